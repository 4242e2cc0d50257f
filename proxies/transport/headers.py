"""Header fields: the container, the grammar, and what may be forwarded (RFC 9110 §5, §7.6.1).

Field names are lower-case `str`, values are `str` decoded as latin-1 (so every received byte survives unchanged).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import overload

from proxies.transport.via import passed_proxies, via_value

TOKEN = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]"
"""RFC 9110 `tchar`."""
FIELD_VALUE = rb"[\t\x20-\x7e\x80-\xff]"
"""RFC 9110 field content with surrounding blanks: no CTL but HTAB, hence no CR, LF or NUL."""

_SENDABLE = re.compile((rb"(?:%b++: %b*+\r\n)*+" % (TOKEN, FIELD_VALUE)).decode("latin-1"))

HOP_BY_HOP = frozenset(
    {
        "connection",
        "http2-settings",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authentication-info",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)
"""Fields that concern one connection only (RFC 9110 §7.6.1); `proxy-*` in general is dropped as well."""

_REQUEST_NEVER = HOP_BY_HOP | {
    # The client builds these itself for the upstream leg.
    "accept-encoding",
    "content-encoding",
    "content-length",
    "expect",
    "host",
    # An inspected body is always whole (HTTP-24).
    "if-range",
    "range",
    # Who the client is and how it came is for the gateway to say (HTTP-16).
    "forwarded",
    "true-client-ip",
    "via",
    "x-client-ip",
    "x-cluster-client-ip",
    "x-real-ip",
}

_RESPONSE_NEVER = HOP_BY_HOP | {
    # They describe bytes that inspection may have decoded or rewritten (HTTP-24).
    "accept-ranges",
    "content-digest",
    "content-encoding",
    "content-length",
    "content-md5",
    "content-range",
    "date",
    "digest",
    "etag",
    "last-modified",
    "repr-digest",
}


_CONNECTION_TOKENS = {
    "keep-alive": frozenset({"keep-alive"}),
    "Keep-Alive": frozenset({"keep-alive"}),
    "close": frozenset({"close"}),
}
_NO_TOKENS: frozenset[str] = frozenset()


class Headers:
    """Ordered (name, value) pairs with constant-time lookup. Names are lower-case."""

    __slots__ = ("_index", "_items")

    def __init__(self, items: Iterable[tuple[str, str]] = ()) -> None:
        self._items = items if isinstance(items, list) else list(items)
        self._index = dict(self._items)
        if len(self._index) != len(self._items):
            # Built in reverse so that the first of several fields wins. The guard refuses repeated fields wherever the
            # choice could matter.
            self._index = dict(reversed(self._items))

    @overload
    def get(self, name: str) -> str | None: ...

    @overload
    def get(self, name: str, default: str) -> str: ...

    def get(self, name: str, default: str | None = None) -> str | None:
        """The value of the first field of this (lower-case) name."""
        return self._index.get(name, default)

    def getall(self, name: str) -> list[str]:
        """The values of all fields of this name, in order."""
        if name not in self._index:
            return []
        return [value for key, value in self._items if key == name]

    def items(self) -> list[tuple[str, str]]:
        """All fields in the order received. Not to be changed."""
        return self._items

    def without(self, *names: str) -> Headers:
        """A copy that lacks these names."""
        dropped = frozenset(names)
        return Headers(item for item in self._items if item[0] not in dropped)

    def has_repeats(self) -> bool:
        """Whether any name occurs more than once."""
        return len(self._index) != len(self._items)

    def tokens(self, name: str) -> frozenset[str]:
        """The lower-case members of a comma-separated list field, such as Connection."""
        value = self._index.get(name)
        if value is None:
            return _NO_TOKENS
        if not self.has_repeats() and value in _CONNECTION_TOKENS:
            return _CONNECTION_TOKENS[value]
        members = ",".join(self.getall(name)).lower().split(",")
        return frozenset(stripped for member in members if (stripped := member.strip(" \t")))

    def __contains__(self, name: object) -> bool:
        return name in self._index

    def __iter__(self) -> Iterator[tuple[str, str]]:
        return iter(self._items)

    def __len__(self) -> int:
        return len(self._items)

    def __repr__(self) -> str:
        # Values may be credentials: only the names are shown.
        return f"<Headers {', '.join(name for name, _ in self._items)}>"


class HeadEnd:
    """What llhttp reports of a message head: that it saw the end of it."""

    __slots__ = ("seen",)

    def __init__(self) -> None:
        self.seen = False

    def on_headers_complete(self) -> None:
        """The empty line was read."""
        self.seen = True


def read_fields(block: bytes, lines: int) -> Headers:
    """The fields in a block that a grammar has accepted, one in each of so many lines. Raises ValueError where they are not."""
    rows = block.decode("latin-1").split("\r\n")
    if len(rows) != lines + 1:
        raise ValueError("a line is no header field")
    rows.pop()
    fields = []
    for row in rows:
        name, _, value = row.partition(":")
        # Blanks around a value are not part of it (RFC 9112 §5).
        fields.append((name.lower(), value.strip(" \t")))
    return Headers(fields)


def encode_fields(fields: Sequence[tuple[str, str]], *, without: frozenset[str] = _NO_TOKENS) -> bytes:
    """The field lines, each with its CRLF, but for these (lower-case) names. Raises ValueError where a name or value could
    break the framing."""
    lines = [f"{name}: {value}\r\n" for name, value in fields if name.lower() not in without]
    block = "".join(lines)
    # A CRLF smuggled into a value either breaks the grammar or makes a line without a valid field name in front;
    # a value that forms a valid line of its own is caught by the line count.
    if _SENDABLE.fullmatch(block) is None or block.count("\n") != len(lines):
        raise ValueError("a header field holds characters that must not be sent")
    return block.encode("latin-1")


def forwardable_request_headers(
    headers: Headers, allow: frozenset[str], *, allow_prefixes: tuple[str, ...] = ()
) -> list[tuple[str, str]]:
    """The client's fields that may go upstream: those allowed by name or prefix, and never a hop-by-hop field, one
    nominated by Connection, a framing field, or a claim about the client's address (HTTP-15, HTTP-16). Of Via the
    proxies of ours stay, so that a call that goes in a circle is recognised (SSRF-07)."""
    nominated = headers.tokens("connection")
    fields = [
        (name, value)
        for name, value in headers.items()
        if (name in allow or (allow_prefixes and name.startswith(allow_prefixes)))
        and name not in nominated
        and name not in _REQUEST_NEVER
        and not name.startswith(("x-forwarded-", "proxy-"))
    ]
    if headers.get("via") is not None and (passed := passed_proxies(headers.getall("via"))):
        fields.append(("via", via_value(passed)))
    return fields


def forwardable_response_headers(
    headers: Headers, allow: frozenset[str], *, allow_prefixes: tuple[str, ...] = ()
) -> list[tuple[str, str]]:
    """The upstream's fields that may go to the client: those allowed, and never a hop-by-hop field, one nominated by
    Connection, or one that describes the exact bytes of a body that the gateway re-frames (HTTP-15, HTTP-24)."""
    nominated = headers.tokens("connection")
    return [
        (name, value)
        for name, value in headers.items()
        if (name in allow or (allow_prefixes and name.startswith(allow_prefixes)))
        and name not in nominated
        and name not in _RESPONSE_NEVER
        and not name.startswith("proxy-")
    ]
