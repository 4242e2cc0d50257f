"""Values of `Mcp-Name` and `Mcp-Param-*`: plain visible ASCII, or `=?base64?...?=` around UTF-8 (M-04)."""

from __future__ import annotations

import base64
import binascii
from typing import Final

_OPEN: Final = "=?base64?"
_CLOSE: Final = "?="


def decode_value(raw: str) -> str | None:
    """The text that a header value stands for, or None where the value is malformed.

    The markers are exact and lower-case; the base64 must be canonical, because a value with two spellings could be
    read in two ways by the hops that follow.
    """
    if not raw.isascii() or not raw.isprintable():
        return None
    if not (raw.startswith(_OPEN) and _is_marked(raw)):
        return raw
    payload = raw[len(_OPEN) : -len(_CLOSE)]
    try:
        data = base64.b64decode(payload, validate=True)
        text = data.decode("utf-8")
    except (binascii.Error, UnicodeDecodeError):
        return None
    return text if base64.b64encode(data).decode("ascii") == payload else None


def encode_value(text: str) -> str:
    """The header value for a text: itself where it survives a header unchanged, else the base64 form."""
    is_marked = text.startswith(_OPEN) and _is_marked(text)
    if text.isascii() and text.isprintable() and text == text.strip() and not is_marked:
        return text
    return _OPEN + base64.b64encode(text.encode("utf-8")).decode("ascii") + _CLOSE


def _is_marked(value: str) -> bool:
    """Whether a value that begins like the base64 form ends like it too."""
    return len(value) >= len(_OPEN) + len(_CLOSE) and value.endswith(_CLOSE)
