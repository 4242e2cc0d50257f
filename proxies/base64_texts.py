"""The text of a file that stands in base64: in UTF-8, in UTF-16 with its mark, or in the letters of one byte of Windows.

Pictures, sounds and archives cannot be read by rules. But a model may read what nobody decodes for it: what decodes to no
text and is parted by line ends as words are is a text as it stands.
"""

from __future__ import annotations

import base64
import binascii
import codecs
import re
from typing import Final

_FIRST_CHARACTERS: Final = 512
"""Of base64, a multiple of four: enough to see that a large file is no text without decoding all of it."""
_SLICE_CHARACTERS: Final = 1024 * 1024
"""Decoded at a time, a multiple of four: the interpreter's lock is held for as long."""
_LEAST_LINE_CHARACTERS: Final = 60
"""Lines of base64 have 64 or 76."""
_LETTERS: Final = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/-_"
_URL_ALPHABET: Final = str.maketrans("-_", "+/")
_UTF16_MARKS: Final = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
_CONTROLS: Final = re.compile(rb"[\x00-\x08\x0e-\x1a\x1c-\x1f\x7f]")
"""What stands in no text of letters of one byte, and soon in every other file."""


def base64_text(encoded: str) -> str | None:
    """The text that stands here in base64, in either alphabet and with line ends; nothing for other files.

    None where it is no base64, or may be words.
    """
    letters = encoded.rstrip("=\r\n")
    others = letters.encode("utf-8", "replace").translate(None, _LETTERS)
    if others.strip(b"\r\n"):
        return None
    try:
        data = _decoded(letters[:_FIRST_CHARACTERS], is_whole=False)
        if not _is_binary(data):
            data = _decoded(letters, is_whole=True)
    except binascii.Error:
        return None
    try:
        return data.decode()
    except UnicodeDecodeError:
        return None if others and not _has_even_lines(letters) else _otherwise_encoded(data)


def _decoded(letters: str, *, is_whole: bool) -> bytes:
    """The bytes of base64 without its padding; of its beginning as far as four letters stand together."""
    joined = "".join(letters.split()) if "\n" in letters or "\r" in letters else letters
    if "-" in joined or "_" in joined:
        joined = joined.translate(_URL_ALPHABET)
    joined = joined + "=" * (-len(joined) % 4) if is_whole else joined[: len(joined) // 4 * 4]
    slices = (joined[start : start + _SLICE_CHARACTERS] for start in range(0, len(joined), _SLICE_CHARACTERS))
    return b"".join([base64.b64decode(one, validate=True) for one in slices])


def _is_binary(beginning: bytes) -> bool:
    """Whether a file that begins so is no text."""
    if beginning.startswith(_UTF16_MARKS) or _CONTROLS.search(beginning) is None:
        return False
    try:
        codecs.getincrementaldecoder("utf-8")().decode(beginning)
    except UnicodeDecodeError:
        return True
    return False


def _otherwise_encoded(data: bytes) -> str:
    """The text of a file that is no UTF-8; nothing for one that is no text."""
    if data.startswith(_UTF16_MARKS):
        return data.decode("utf-16", "replace")
    return "" if _CONTROLS.search(data) else data.decode("cp1252", "replace")


def _has_even_lines(letters: str) -> bool:
    *lines, last = map(len, letters.split())
    return not lines or min(lines) == max(lines) >= max(last, _LEAST_LINE_CHARACTERS)
