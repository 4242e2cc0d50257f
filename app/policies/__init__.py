"""Policies and packs as they are shipped: named sets of rule packs that a proxy is told to enforce.

They are files (`rules/packs/*.json`, `rules/policies/*.json`), read once at start by `library.py`; there is no table yet.
"""
