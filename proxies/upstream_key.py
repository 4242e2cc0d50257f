"""The field in which the gateway's own key for an upstream stands, whatever is spoken there."""

from __future__ import annotations

from proxies.contract import UpstreamAuth


def key_fields(auth: UpstreamAuth) -> list[tuple[str, str]]:
    """One field for a key; none for no login, nor for one that signs each request."""
    if auth.type == "bearer":
        return [("authorization", f"Bearer {auth.value}")]
    if auth.type == "header":
        return [(auth.name.lower(), auth.value)]
    return []
