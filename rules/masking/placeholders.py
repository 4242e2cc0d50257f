"""The grammar of placeholders: `[EMAIL_k3v9x2mq]` (RED-PH-1, RED-PH-2, RED-PH-3; docs/adr/0010).

A type word, an underscore and eight characters that only the holder of the session key can make. The alphabet of the
suffix has one case and no look-alikes, so that a model that changes the case does not change the meaning. No bracket,
letter or underscore of it is escaped by JSON, HTML, URLs or Markdown; the fixed length makes placeholders prefix-free.
"""

from __future__ import annotations

import hashlib
import re
from typing import Final

ALPHABET: Final = "abcdefghijkmnpqrstuvwxyz23456789"
SUFFIX_CHARACTERS: Final = 8
_PAIRS: Final = tuple(first + second for second in ALPHABET for first in ALPHABET)
MAX_LABEL_CHARACTERS: Final = 24
MAX_CHARACTERS: Final = MAX_LABEL_CHARACTERS + SUFFIX_CHARACTERS + 3

GRAMMAR: Final = re.compile(
    rf"\[[A-Z][A-Z0-9_]{{0,{MAX_LABEL_CHARACTERS - 1}}}_[a-km-np-z2-9]{{{SUFFIX_CHARACTERS}}}\]"
)
"""Anything that could be a placeholder, whoever made it."""

LITERAL_LABEL: Final = "LITERAL"
"""The type of a text that looks like a placeholder and was in the input."""

_LABEL: Final = re.compile(rf"[A-Z][A-Z0-9_]{{0,{MAX_LABEL_CHARACTERS - 1}}}\Z")


def may_hold_placeholder(text: str) -> bool:
    """A quick no for most texts: there is no placeholder without what stands before its suffix."""
    return "_" in text


def make_placeholder(key: bytes, label: str, value: str, attempt: int = 0) -> str:
    """The placeholder for a value: the same for the same key (16 to 64 bytes), label and value, unguessable without it.

    `attempt` gives another one, for the case that two values of one session meet in the first. Raises ValueError for a
    label outside the grammar.
    """
    if not _LABEL.match(label):
        raise ValueError("the label is not a type word")
    message = f"{label}\0{attempt}\0{value}".encode("utf-8", "surrogatepass")
    number = int.from_bytes(hashlib.blake2b(message, key=key, digest_size=8).digest())
    # Five bits are a character, the lowest ones the first.
    suffix = "".join([_PAIRS[number >> shift & 1023] for shift in range(0, 5 * SUFFIX_CHARACTERS, 10)])
    return f"[{label}_{suffix}]"


def one_way(label: str) -> str:
    """What stands for a value that is never restored. It names the type and nothing of the value."""
    return f"[REDACTED_{label}]"


def session_key(master: bytes, *scope: str) -> bytes:
    """The key of one session: its parts (principal, proxy, conversation) cannot run into each other."""
    parts = [part.encode("utf-8", "replace") for part in scope]
    message = b"".join([len(data).to_bytes(4) + data for data in parts])
    return hashlib.blake2b(message, key=hashlib.sha256(master).digest(), digest_size=32).digest()
