"""SSE event ids of a legacy session: the upstream's, signed, so that a client can only resume what it was sent (L-09)."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from typing import Final

MAX_EVENT_ID_BYTES: Final = 512
_TAG_BYTES: Final = 12


def seal(key: bytes, upstream_id: str) -> str | None:
    """The id that the client sees; None for an id that is too long to be sent back in a header."""
    raw = upstream_id.encode("utf-8")
    if len(raw) > MAX_EVENT_ID_BYTES:
        return None
    return base64.urlsafe_b64encode(_tag(key, raw) + raw).decode("ascii")


def unseal(key: bytes, presented: str) -> str | None:
    """The upstream's id behind an id that we issued in this session, else None."""
    if len(presented) > 2 * MAX_EVENT_ID_BYTES:
        return None
    try:
        data = base64.b64decode(presented.encode("ascii"), altchars=b"-_", validate=True)
    except (binascii.Error, UnicodeEncodeError):
        return None
    tag, raw = data[:_TAG_BYTES], data[_TAG_BYTES:]
    return raw.decode("utf-8") if hmac.compare_digest(tag, _tag(key, raw)) else None


def _tag(key: bytes, raw: bytes) -> bytes:
    return hmac.new(key, raw, hashlib.sha256).digest()[:_TAG_BYTES]
