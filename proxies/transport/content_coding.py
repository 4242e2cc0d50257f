"""Content codings (gzip, deflate), decoded within bounds (RFC 9110 §8.4; BODY-01, BODY-02, G-05).

The gateway asks for `identity`. What comes encoded all the same is decoded before inspection, or refused.
"""

from __future__ import annotations

import zlib

_MAX_RATIO = 200
_RATIO_FREE_BYTES = 1024 * 1024
_MAX_MEMBERS = 64
_STEP_BYTES = 64 * 1024


class CodingRefused(Exception):
    """The coding is unknown, stacked or malformed, or decodes to more than allowed. `too_large` tells which."""

    def __init__(self, message: str, *, too_large: bool = False) -> None:
        super().__init__(message)
        self.message = message
        self.too_large = too_large


def is_identity(content_encoding: str | None) -> bool:
    """Whether a Content-Encoding value means that nothing was encoded."""
    return content_encoding is None or content_encoding.strip(" \t").lower() in ("", "identity")


def decode_body(body: bytes, content_encoding: str | None, *, max_bytes: int) -> bytes:
    """The content of `body`. Raises CodingRefused.

    Bounded by `max_bytes` and, beyond the first mebibyte, by 200 bytes of content per encoded byte.
    """
    if is_identity(content_encoding):
        return body
    coding = (content_encoding or "").strip(" \t").lower()
    if coding not in ("gzip", "x-gzip", "deflate"):
        raise CodingRefused("The only content codings understood are gzip and deflate.")
    allowed = min(max_bytes, max(_RATIO_FREE_BYTES, len(body) * _MAX_RATIO))
    if coding == "deflate":
        return _deflate(body, allowed)
    return _gzip(body, allowed)


def _deflate(body: bytes, allowed: int) -> bytes:
    """RFC 9110 means the zlib format; some senders use raw deflate. The first byte tells them apart."""
    is_zlib = len(body) >= 2 and body[0] & 0x0F == 8 and not int.from_bytes(body[:2]) % 31
    content, rest = _inflate(body, zlib.MAX_WBITS if is_zlib else -zlib.MAX_WBITS, allowed)
    if rest:
        raise CodingRefused("Bytes follow the end of the encoded body.")
    return content


def _gzip(body: bytes, allowed: int) -> bytes:
    """One or more gzip members (RFC 1952 §2.2), a bounded number of them."""
    parts: list[bytes] = []
    rest = body
    while rest or not parts:
        if len(parts) == _MAX_MEMBERS:
            raise CodingRefused("The encoded body has too many parts.")
        content, rest = _inflate(rest, 16 + zlib.MAX_WBITS, allowed)
        allowed -= len(content)
        parts.append(content)
    return b"".join(parts)


def _inflate(data: bytes, window_bits: int, allowed: int) -> tuple[bytes, bytes]:
    """One stream's content and what follows it."""
    inflater = zlib.decompressobj(window_bits)
    parts: list[bytes] = []
    try:
        while not inflater.eof:
            part = inflater.decompress(data, _STEP_BYTES)
            data = inflater.unconsumed_tail
            if not part and not data and not inflater.eof:
                raise CodingRefused("The encoded body is incomplete.")
            allowed -= len(part)
            if allowed < 0:
                raise CodingRefused("The encoded body is larger than allowed once decoded.", too_large=True)
            parts.append(part)
    except zlib.error as error:
        raise CodingRefused("The encoded body is malformed.") from error
    return b"".join(parts), inflater.unused_data
