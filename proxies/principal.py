"""Whom a call belongs to. It stays uncompiled: the compiler would lose the options of the record."""

from __future__ import annotations

import msgspec


class Principal(msgspec.Struct, frozen=True, gc=False):
    """Who calls: an API key, or nobody where the proxy asks for no credential."""

    id: str
    name: str


ANONYMOUS = Principal(id="", name="anonymous")
