"""Calls that are MessagePack already, and the messages to the console that carry them, so that no call is encoded twice."""

from __future__ import annotations

import msgspec

from proxies.contract import encoder

NO_TEXTS = encoder.encode(())
"""The encoded last field of a call without captured texts."""


class EncodedCall(msgspec.Struct, gc=False):
    """A `CallRecord` as MessagePack, from which the captured texts can be cut off: they are its last field."""

    head: bytes
    texts: bytes
    size: int
    """Bytes of both."""

    @property
    def has_texts(self) -> bool:
        """Whether captured texts are still with the call."""
        return self.texts != NO_TEXTS

    def whole(self) -> bytes:
        """The call with what it still has."""
        return self.head + self.texts

    def without_texts(self) -> bytes:
        """The call without its captured texts."""
        return self.head + NO_TEXTS

    def drop_texts(self) -> int:
        """Forget the captured texts; returns how many bytes that frees."""
        freed = len(self.texts) - len(NO_TEXTS)
        self.texts = NO_TEXTS
        self.size -= freed
        return freed


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
