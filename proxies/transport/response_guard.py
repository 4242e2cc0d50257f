"""Which response heads of an upstream are acceptable and how their bodies are framed (RFC 9112 §4, §6.3). Pure.

An upstream is as little trusted as a client: whatever is ambiguous becomes an `UpstreamProtocolError` and its
connection is discarded. Requirements HTTP-14, 17, 18.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import httptools

from proxies.transport.errors import UpstreamProtocolError
from proxies.transport.headers import FIELD_VALUE, TOKEN, HeadEnd, Headers, read_fields
from proxies.transport.limits import DEFAULT_BOUNDS, Bounds

CHUNKED = -1
UNTIL_CLOSE = -2
"""Values of `ResponseHead.content_length` besides a number of bytes."""

_HEAD = re.compile(
    rb"HTTP/1\.([01]) ([1-9][0-9]{2})(?: (%b*+))?\r\n((?:%b++:%b*+\r\n)*+)\r\n" % (FIELD_VALUE, TOKEN, FIELD_VALUE)
)
_BARE_LINE_END = re.compile(rb"(?<!\r)\n|\r(?!\n|\Z)")
_LENGTH = re.compile(r"[0-9]{1,15}")
_SINGLE_FIELDS = frozenset(
    {"content-encoding", "content-length", "content-type", "location", "mcp-session-id", "transfer-encoding"}
)


@dataclass
class ResponseHead:
    """An accepted head. `bodyless` responses have no body whatever their fields say (RFC 9112 §6.3)."""

    status: int
    reason: str
    headers: Headers
    content_length: int
    bodyless: bool
    keep_alive: bool


def parse_response_head(raw: bytes, method: str, bounds: Bounds = DEFAULT_BOUNDS) -> ResponseHead:
    """The head in `raw`, which ends with its empty line, as the answer to `method`. Raises UpstreamProtocolError."""
    match = _HEAD.fullmatch(raw)
    if match is None:
        raise UpstreamProtocolError("The upstream's response head is malformed.")
    minor, digits, reason, block = match.groups()
    fields = block.count(b"\n")
    if len(raw) > bounds.max_head_bytes or fields > bounds.max_response_fields:
        raise _head_too_large()
    status = int(digits)
    headers = _fields(raw, status, block, fields)
    old = minor == b"0"
    connection = headers.tokens("connection")
    length = _body_length(headers, old=old)
    bodyless = method == "HEAD" or status in (204, 304) or status < 200
    keep_alive = "close" not in connection and (not old or "keep-alive" in connection)
    if bodyless and method != "HEAD" and status != 304 and length not in (0, UNTIL_CLOSE):
        # A body announced where none can be: nobody knows where the next response begins (HTTP-18).
        keep_alive = False
    return ResponseHead(
        status=status,
        reason=reason.decode("latin-1") if reason else "",
        headers=headers,
        content_length=0 if bodyless else length,
        bodyless=bodyless,
        keep_alive=keep_alive and (bodyless or length != UNTIL_CLOSE),
    )


def check_partial_head(data: bytes | bytearray, start: int, bounds: Bounds = DEFAULT_BOUNDS) -> None:
    """Refuse a response head that is too long, or already wrong, before its end has arrived."""
    if not b"HTTP/1.".startswith(data[:7]):
        raise UpstreamProtocolError("The upstream does not speak HTTP/1.1.")
    if len(data) > bounds.max_head_bytes:
        raise _head_too_large()
    if _BARE_LINE_END.search(data, max(0, start - 1)):
        raise UpstreamProtocolError("The upstream's response head is malformed.")


def _head_too_large() -> UpstreamProtocolError:
    return UpstreamProtocolError("The upstream's response head is too large.")


def _fields(raw: bytes, status: int, block: bytes, lines: int) -> Headers:
    """The fields of a head; refused where llhttp does not read the same head as the grammar did."""
    if status == 101:
        raise UpstreamProtocolError("The upstream switched protocols without being asked.")
    end = HeadEnd()
    parser = httptools.HttpResponseParser(end)
    try:
        parser.feed_data(raw)
        headers = read_fields(block, lines)
    except (httptools.HttpParserError, httptools.HttpParserUpgrade, ValueError) as error:
        raise UpstreamProtocolError("The upstream's response head is malformed or ambiguous.") from error
    if not end.seen or parser.get_status_code() != status:
        raise UpstreamProtocolError("The upstream's response head is ambiguous.")
    if headers.has_repeats():
        seen: set[str] = set()
        for name, _ in headers:
            if name in seen and name in _SINGLE_FIELDS:
                raise UpstreamProtocolError(f"The upstream's response repeats the header field {name}.")
            seen.add(name)
    return headers


def _body_length(headers: Headers, *, old: bool) -> int:
    coding = headers.get("transfer-encoding")
    length = headers.get("content-length")
    if coding is not None:
        if length is not None or old or coding.lower() != "chunked":
            raise UpstreamProtocolError("The length of the upstream's response is ambiguous.")
        return CHUNKED
    if length is None:
        return UNTIL_CLOSE
    if _LENGTH.fullmatch(length) is None:
        raise UpstreamProtocolError("The upstream's Content-Length is not a plain number.")
    return int(length)
