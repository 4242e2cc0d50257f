"""Who may come in, and what is kept from everyone.

Passwords, sessions, tokens, roles, origin checks, keys, the vault.
"""
