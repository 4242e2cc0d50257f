"""Ways to servers behind HTTP+SSE and WebSocket: by what serves the proxies, with another credential, Origin or Host each time.

A conversation is opened by a stream or a handshake, so that is where such a server can refuse somebody; the messages
inside have no fields of their own.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Awaitable, Callable
from typing import Final, Protocol
from urllib.parse import parse_qsl, urlencode, urlsplit

from proxies.contract.configuration import Limits
from proxies.mcp.upstreams.channelled import ChannelUpstream
from proxies.mcp.upstreams.interface import Channel, Connect
from proxies.mcp.upstreams.seats import SeatBounds
from proxies.mcp.upstreams.sse import SSEChannel
from proxies.scan.link import Fields, HTTPLink, Link, Reply
from proxies.strict_json import dump
from proxies.transport.errors import UpstreamError, UpstreamRefused

MAX_HANDLES: Final = 6
SWITCHED: Final = 101
_BOUNDS: Final = SeatBounds(max_open=32, max_open_per_principal=32)
_PATH_PART: Final = re.compile(r"[^/]+")


class Openers(Protocol):
    """How channels to one server are opened: with these fields, and with this Host in place of the target's own."""

    def __call__(self, fields: Fields, authority: str = "") -> tuple[Connect, Callable[[], Awaitable[None]]]:
        """What opens a channel, and what lets go of the connections."""


class ChannelWay:
    """One server. `post` sends to an address that the server has named for messages; None where it names none."""

    def __init__(
        self,
        openers: Openers,
        limits: Limits,
        *,
        opened_with: int,
        post: Callable[[str, Fields, bytes], Awaitable[Reply]] | None = None,
    ) -> None:
        self._openers = openers
        self._limits = limits
        self._opened_with = opened_with
        self._post = post
        self._endpoints: list[str] = []
        self._upstreams: list[ChannelUpstream] = []

    def __repr__(self) -> str:
        return f"<ChannelWay {len(self._upstreams)} links>"

    async def link(self, credential: Fields) -> Link:
        """A link whose conversations are opened with this credential."""
        connect, release = self._openers(credential)

        async def noted() -> Channel:
            channel = await connect()
            if isinstance(channel, SSEChannel) and len(self._endpoints) < MAX_HANDLES:
                self._endpoints.append(channel.endpoint)
            return channel

        upstream = ChannelUpstream(noted, name="scan", limits=self._limits, bounds=_BOUNDS, release=release)
        self._upstreams.append(upstream)
        return HTTPLink(upstream)

    async def handshake(self, fields: Fields, authority: str = "") -> Reply:
        """What opening a channel is answered with, and nothing more."""
        connect, release = self._openers(fields, authority)
        try:
            channel = await connect()
        except UpstreamRefused as refused:
            return Reply(status=refused.refused_with, headers=refused.fields, text=refused.message)
        except UpstreamError as error:
            return Reply(text=error.message, lost=True, problem=error.code)
        else:
            headers = channel.opened_with if isinstance(channel, SSEChannel) else {}
            await channel.aclose()
            return Reply(status=self._opened_with, headers=headers)
        finally:
            await release()

    def handles(self) -> tuple[str, ...]:
        """By what the server tells its streams apart, in the order in which they were opened; none where it shows nothing."""
        return tuple(value for _, value in _handles(self._endpoints))

    async def accepts_unknown(self, credential: Fields) -> bool:
        """Whether a message is taken for a stream that was never opened."""
        named = _handles(self._endpoints)
        if not named or self._post is None:
            return False
        (place, value), endpoint = named[0], self._endpoints[0]
        invented = _with_handle(endpoint, place, secrets.token_hex((len(value) + 1) // 2)[: len(value)])
        ping = dump({"jsonrpc": "2.0", "id": 1, "method": "ping"})
        reply = await self._post(invented, [*credential, ("content-type", "application/json")], ping)
        return 200 <= reply.status < 300

    async def aclose(self) -> None:
        """End every conversation."""
        for upstream in self._upstreams:
            await upstream.aclose()


def _handles(endpoints: list[str]) -> list[tuple[str | int, str]]:
    """For each address the place in which it differs from the others, a parameter's name or the number of a part of its
    path, and what stands there. Empty where there is nothing to compare."""
    if len(endpoints) < 2:
        return []
    parts = [urlsplit(endpoint) for endpoint in endpoints]
    queries = [dict(parse_qsl(part.query)) for part in parts]
    for name in queries[0]:
        if len({query.get(name) for query in queries}) > 1:
            return [(name, query[name]) for query in queries if name in query]
    paths = [_PATH_PART.findall(part.path) for part in parts]
    for index in range(len(paths[0])):
        if len({path[index] if index < len(path) else "" for path in paths}) > 1:
            return [(index, path[index]) for path in paths if index < len(path)]
    return []


def _with_handle(endpoint: str, place: str | int, value: str) -> str:
    parts = urlsplit(endpoint)
    if isinstance(place, str):
        query = urlencode([(name, value if name == place else old) for name, old in parse_qsl(parts.query)])
        return f"{parts.path}?{query}"
    path = _PATH_PART.findall(parts.path)
    path[place] = value
    return "/" + "/".join(path) + (f"?{parts.query}" if parts.query else "")
