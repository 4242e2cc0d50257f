"""Messages to the console whose calls are MessagePack already, so that no call is encoded twice."""

from __future__ import annotations

import msgspec


class EncodedEvents(msgspec.Struct, tag="events", frozen=True):
    """`contract.Events` with calls that are MessagePack already."""

    sequence: int
    calls: list[msgspec.Raw]
    calls_dropped: int = 0
    texts_dropped: int = 0


class EncodedSpool(msgspec.Struct, frozen=True):
    """`contract.Spool` with calls that are MessagePack already."""

    contract_version: int
    calls: list[msgspec.Raw]
