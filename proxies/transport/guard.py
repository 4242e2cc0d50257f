"""The framing guard: which request heads are acceptable, decided on the raw bytes (RFC 9112, RFC 9110).

`parse_request_head` is pure: bytes in, `RequestHead` out, `RequestRefused` for everything doubtful. Two readers must
agree on every head: a strict grammar over the raw bytes (which sees what a parser hides: bare LF, folded lines,
underscores, blanks before a colon) and llhttp, which has to accept it too. Requirements HTTP-01..11, 25, 26, LIM-01.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from functools import lru_cache
from urllib.parse import unquote_to_bytes

import httptools

from proxies.transport.errors import RequestRefused
from proxies.transport.headers import FIELD_VALUE, TOKEN, HeadEnd, Headers, read_fields
from proxies.transport.limits import DEFAULT_BOUNDS, Bounds

HEAD_END = b"\r\n\r\n"
CHUNKED = -1
"""Value of `RequestHead.content_length` for a chunked body."""

# Field names with an underscore are refused (HTTP-08): some upstreams read `Content_Length` as `Content-Length`.
_NAME = rb"[!#$%&'*+\-.^`|~0-9A-Za-z]"
_HEAD = re.compile(
    rb"(%b++) ([\x21-\x7e]++) HTTP/([0-9])\.([0-9])\r\n((?:%b++:%b*+\r\n)*+)\r\n" % (TOKEN, _NAME, FIELD_VALUE)
)
_REQUEST_LINE = re.compile(rb"(%b++) ([^ \t\r\n]++) (HTTP/[0-9]++\.[0-9]++)" % TOKEN)
_FIELD_LINE = re.compile(rb"(%b++):%b*+" % (TOKEN, FIELD_VALUE))
_BARE_LINE_END = re.compile(rb"(?<!\r)\n|\r(?!\n|\Z)")

_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_REFUSED_METHODS = frozenset({"CONNECT", "TRACE"})

_SEGMENT = r"[A-Za-z0-9\-._~!$&'()*+,;=:@]"
_QUERY = r"[A-Za-z0-9\-._~!$&'()*+,;=:@/?\[\]{}|^]"
# Every segment non-empty and not starting with a dot, nothing percent-encoded: nearly all real targets.
_PLAIN_TARGET = re.compile(rf"(?:/(?!\.){_SEGMENT}++)*+/?(?:\?{_QUERY}*+)?")
_PATH = re.compile(rf"(?:/(?:{_SEGMENT}|%[0-9A-Fa-f]{{2}})*+)++")
_QUERY_STRING = re.compile(rf"(?:{_QUERY}|%[0-9A-Fa-f]{{2}})*+")

_HOST = re.compile(r"(?:([A-Za-z0-9_](?:[A-Za-z0-9._-]*+))|\[([0-9A-Fa-f:.]{2,45})\])(?::([0-9]{1,5}))?")
_MAX_HOST_CHARACTERS = 261
_MAX_LENGTH_DIGITS = 15

SINGLE_FIELDS = frozenset(
    {
        "anthropic-version",
        "api-key",
        "authorization",
        "content-encoding",
        "content-length",
        "content-type",
        "expect",
        "host",
        "last-event-id",
        "mcp-method",
        "mcp-name",
        "mcp-protocol-version",
        "mcp-session-id",
        "origin",
        "proxy-authorization",
        "range",
        "referer",
        "sec-fetch-mode",
        "sec-fetch-site",
        "transfer-encoding",
        "user-agent",
        "x-api-key",
        "x-goog-api-key",
    }
)
"""Fields whose repetition would let two readers disagree about framing, identity or routing (HTTP-01, 09, G-06)."""


@dataclass
class RequestHead:
    """An accepted head. `content_length` is 0 for no body, `CHUNKED` for a chunked one."""

    method: str
    target: str
    path: str
    query: str
    http_version: str
    headers: Headers
    host: str
    content_length: int
    keep_alive: bool
    expect_continue: bool


def parse_request_head(raw: bytes, bounds: Bounds = DEFAULT_BOUNDS) -> RequestHead:
    """The head in `raw`, which ends with its empty line. Raises `RequestRefused`."""
    match = _HEAD.fullmatch(raw)
    if match is None:
        raise _explain(raw, bounds)
    raw_method, raw_target, major, minor, block = match.groups()
    fields = block.count(b"\n")
    _check_sizes(raw, match.end(4) + 2, block, fields, bounds)
    method = raw_method.decode()
    if method not in _METHODS:
        raise _bad_method(method)
    if major != b"1" or minor > b"1":
        raise RequestRefused(505, "http_version_not_supported", "Only HTTP/1.1 and HTTP/1.0 are spoken here.")
    version = "1.1" if minor == b"1" else "1.0"
    target = raw_target.decode()
    path, query = _split_target(target)
    headers = _fields(raw, raw_method, version, block, fields)
    connection = headers.tokens("connection")
    return RequestHead(
        method=method,
        target=target,
        path=path,
        query=query,
        http_version=version,
        headers=headers,
        host=_host(headers),
        content_length=_body_length(headers, version),
        keep_alive="close" not in connection if version == "1.1" else "keep-alive" in connection,
        expect_continue=headers.get("expect") is not None and _expects_continue(headers, version),
    )


def check_partial_head(data: bytes | bytearray, start: int, bounds: Bounds = DEFAULT_BOUNDS) -> None:
    """Refuse a head that is too long, or already wrong, before its end has arrived.

    `data` holds everything received so far, `start` is the offset from which it has not been examined yet.
    """
    if data and data[0] in b"\r\n \t":
        raise RequestRefused(400, "bad_request_line", "A request starts with its method.")
    line_end = data.find(b"\r\n", 0, bounds.max_request_line_bytes + 2)
    if line_end < 0 and len(data) > bounds.max_request_line_bytes:
        raise _long_request_line(data)
    if len(data) > bounds.max_head_bytes:
        raise _head_too_large()
    if len(data) > bounds.max_header_line_bytes and len(data) - data.rfind(b"\n") > bounds.max_header_line_bytes:
        raise _header_too_large()
    if _BARE_LINE_END.search(data, max(0, start - 1)):
        raise RequestRefused(400, "bad_line_end", "Lines of a request head end with CRLF.")


def _check_sizes(raw: bytes, request_line_end: int, block: bytes, fields: int, bounds: Bounds) -> None:
    if request_line_end - 2 > bounds.max_request_line_bytes:
        raise _long_request_line(raw)
    if len(raw) > bounds.max_header_line_bytes:
        if len(raw) > bounds.max_head_bytes:
            raise _head_too_large()
        if any(len(line) > bounds.max_header_line_bytes for line in block.split(b"\r\n")):
            raise _header_too_large()
    if fields > bounds.max_header_fields:
        raise RequestRefused(431, "too_many_headers", f"More than {bounds.max_header_fields} header fields.")


def _long_request_line(data: bytes | bytearray) -> RequestRefused:
    if b" " not in data[:64]:
        return RequestRefused(400, "bad_request_line", "The request line has no method.")
    return RequestRefused(414, "uri_too_long", "The request line is too long.")


def _head_too_large() -> RequestRefused:
    return RequestRefused(431, "head_too_large", "The request head is too large.")


def _header_too_large() -> RequestRefused:
    return RequestRefused(431, "header_too_large", "A header field is too large.")


def _bad_method(method: str) -> RequestRefused:
    if method in _REFUSED_METHODS:
        return RequestRefused(405, "method_not_allowed", f"{method} is not served.", allow=", ".join(sorted(_METHODS)))
    return RequestRefused(501, "method_not_implemented", "The request method is not known here.")


def _explain(raw: bytes, bounds: Bounds) -> RequestRefused:
    """Why the grammar does not match: the first thing that is wrong, for the answer and the log."""
    if _BARE_LINE_END.search(raw):
        return RequestRefused(400, "bad_line_end", "Lines of a request head end with CRLF.")
    lines = raw[:-4].split(b"\r\n")
    request_line = _REQUEST_LINE.fullmatch(lines[0])
    if len(lines[0]) > bounds.max_request_line_bytes:
        return _long_request_line(raw)
    if request_line is None:
        return RequestRefused(400, "bad_request_line", "The request line is malformed.")
    method = request_line[1].decode("ascii")
    if method not in _METHODS:
        return _bad_method(method)
    if re.fullmatch(rb"HTTP/[0-9]\.[0-9]", request_line[3]) is None:
        return RequestRefused(505, "http_version_not_supported", "Only HTTP/1.1 and HTTP/1.0 are spoken here.")
    if re.fullmatch(rb"[\x21-\x7e]+", request_line[2]) is None:
        return RequestRefused(400, "bad_target", "The request target holds characters that must be encoded.")
    for line in lines[1:]:
        if line[:1] in (b" ", b"\t"):
            return RequestRefused(400, "folded_header", "Header fields must not be folded over lines.")
        field = _FIELD_LINE.fullmatch(line)
        if field is None:
            return RequestRefused(400, "bad_header", "A header field is malformed.")
        if b"_" in field[1]:
            return RequestRefused(400, "header_name_underscore", "Header names with an underscore are refused.")
    return RequestRefused(400, "bad_head", "The request head is malformed.")


def _fields(raw: bytes, method: bytes, version: str, block: bytes, lines: int) -> Headers:
    """The fields of a head; refused where llhttp does not read the same head as the grammar did."""
    end = HeadEnd()
    parser = httptools.HttpRequestParser(end)
    try:
        headers = read_fields(block, lines)
        parser.feed_data(raw)
    except httptools.HttpParserUpgrade:
        # The head asks for another protocol, or is read as if it did. That offer is ignored (RFC 9110 §7.8): the
        # request is served as HTTP/1.1 and `Upgrade` is never forwarded.
        pass
    except (httptools.HttpParserError, ValueError) as error:
        raise RequestRefused(400, "bad_head", "The request head is malformed or ambiguous.") from error
    if not end.seen or parser.get_method() != method or parser.get_http_version() != version:
        raise RequestRefused(400, "bad_head", "The request head is ambiguous.")
    if headers.has_repeats():
        _check_repeats(headers)
    return headers


def _check_repeats(headers: Headers) -> None:
    seen: set[str] = set()
    for name, _ in headers:
        if name in seen and (name in SINGLE_FIELDS or name.startswith("mcp-")):
            raise RequestRefused(400, "repeated_header", f"The header field {name} occurs more than once.")
        seen.add(name)


def _split_target(target: str) -> tuple[str, str]:
    """Path and query of an origin-form target, byte for byte. Every other form is refused (HTTP-10)."""
    path, _, query = target.partition("?")
    if not query and _is_plain_path(target):
        return path, query
    if _PLAIN_TARGET.fullmatch(target) and path:
        return path, query
    if _PATH.fullmatch(path) is None or _QUERY_STRING.fullmatch(query) is None:
        raise RequestRefused(400, "bad_target", "The request target must be an absolute path, properly encoded.")
    if "%00" in query:
        raise RequestRefused(400, "bad_target", "The request target holds an encoded NUL.")
    decoded = unquote_to_bytes(path)
    try:
        decoded.decode("utf-8")
    except UnicodeDecodeError as error:
        raise RequestRefused(400, "bad_target", "The path is not UTF-8.") from error
    if min(decoded) < 0x20 or 0x7F in decoded:
        raise RequestRefused(400, "bad_target", "The path holds an encoded control character.")
    # An upstream may decode before it resolves: a path that could climb or collapse in any reading is refused, so
    # that what policy saw is the path that is served.
    segments = decoded.replace(b"\\", b"/").split(b"/")[1:]
    if "//" in path or any(segment in (b".", b"..") for segment in segments) or b"" in segments[:-1]:
        raise RequestRefused(400, "bad_target", "The path has empty or dot segments.")
    return path, query


@lru_cache(maxsize=256)
def _is_plain_path(target: str) -> bool:
    """Whether this is a path that all readers resolve to itself. Clients ask for few paths, each of them often."""
    return target[:1] == "/" and _PLAIN_TARGET.fullmatch(target) is not None


def _host(headers: Headers) -> str:
    """The Host value, syntax checked; required of every version (HTTP-09)."""
    value = headers.get("host")
    if value is None:
        raise RequestRefused(400, "host_missing", "A request needs exactly one Host header field.")
    if len(value) > _MAX_HOST_CHARACTERS or not _is_host(value):
        raise RequestRefused(400, "bad_host", "The Host header field is malformed.")
    return value


@lru_cache(maxsize=256)
def _is_host(value: str) -> bool:
    """Whether this is a host, perhaps with a port. A proxy has few names, and each call brings one."""
    match = _HOST.fullmatch(value)
    return match is not None and (not match[3] or 0 < int(match[3]) < 65536) and _is_ipv6(match[2])


def _is_ipv6(literal: str | None) -> bool:
    if literal is None:
        return True
    try:
        ipaddress.IPv6Address(literal)
    except ValueError:
        return False
    return True


def _body_length(headers: Headers, version: str) -> int:
    """How the body is framed (RFC 9112 §6): a length, 0 for none, or `CHUNKED`."""
    coding = headers.get("transfer-encoding")
    length = headers.get("content-length")
    if coding is None:
        if length is None:
            return 0
        if not _is_length(length):
            raise RequestRefused(400, "bad_content_length", "Content-Length is not a plain number.")
        return int(length)
    if length is not None:
        raise RequestRefused(400, "ambiguous_length", "Content-Length and Transfer-Encoding exclude each other.")
    if version == "1.0":
        raise RequestRefused(400, "bad_transfer_encoding", "HTTP/1.0 has no Transfer-Encoding.")
    if coding.lower() != "chunked":
        raise RequestRefused(501, "transfer_encoding_not_implemented", "The only transfer coding is chunked.")
    return CHUNKED


def _is_length(value: str) -> bool:
    """Whether this is a plain decimal number, written in the one way and not absurdly large."""
    return (
        0 < len(value) <= _MAX_LENGTH_DIGITS
        and value.isascii()
        and value.isdigit()
        and (value[0] != "0" or value == "0")
    )


def _expects_continue(headers: Headers, version: str) -> bool:
    if headers.get("expect", "").lower() != "100-continue":
        raise RequestRefused(417, "expectation_failed", "The only expectation that can be met is 100-continue.")
    return version == "1.1"
