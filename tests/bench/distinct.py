"""Messages no two of which are alike: a gateway that remembers what it has seen would else be measured at remembering."""

from __future__ import annotations

import secrets
from itertools import count

MARK = "nothingnew"
"""What a message holds where each is to differ. Letters only, because rules look at numbers."""

_MARK = MARK.encode()
_LETTERS = bytes.maketrans(b"0123456789abcdef", b"ghijklmnopabcdef")
_numbers = count(secrets.randbits(39))
"""Begins anywhere: several load generators run one after another."""


def distinct(message: bytes) -> bytes:
    """The message, as long as before, with a word in place of the mark that none had before it."""
    return message.replace(_MARK, (b"%010x" % next(_numbers)).translate(_LETTERS), 1)
