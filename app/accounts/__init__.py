"""Accounts: the people who use the console, their sessions, their API tokens and the throttling of their logins."""
