"""A small MCP client of both eras: asks a server for everything that it declares, without any client of ours (T-04).

The era is found as E-02 says: a modern `server/discover` first, and `initialize` where the answer is not of that era.
It declares no capabilities, answers nothing, calls nothing, and ends the session that it opened.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any, Final, NamedTuple, Protocol

from proxies.contract import EntryKind
from proxies.mcp.control.answers import Noticed, read_answer
from proxies.mcp.control.declarations import LIST_KINDS, Listing, ListKind
from proxies.mcp.control.gathering import MAX_LIST_BYTES, gather
from proxies.mcp.eras import (
    LATEST_LEGACY,
    LEGACY_VERSIONS,
    META_CAPABILITIES,
    META_VERSION,
    METHOD_HEADER,
    MODERN_VERSIONS,
    VERSION_HEADER,
)
from proxies.mcp.messages import METHOD_NOT_FOUND, Message
from proxies.mcp.methods import Era
from proxies.mcp.upstream import SESSION_HEADER, Received, failed, own_headers, send_to, session_id_of
from proxies.refusal import Refusal
from proxies.runtime import ProxyRuntime
from proxies.strict_json import dump
from proxies.transport.errors import UpstreamError

logger = logging.getLogger(__name__)

PROBE_SECONDS: Final = 5.0
"""What a server without HTTP may take to say that it does not know the modern era (E-03)."""
CLIENT_INFO: Final = {"name": "ostiary", "title": "Ostiary gateway", "version": "1"}
META_CLIENT: Final = "io.modelcontextprotocol/clientInfo"
META_SERVER: Final = "io.modelcontextprotocol/serverInfo"
_CAPABILITY: Final[dict[EntryKind, str]] = {"prompt": "prompts", "resource": "resources", "template": "resources"}
"""Lists that a server without the capability is not asked for; tools are asked for in any case."""


class ListingFailed(Exception):
    """The server could not be listed; `str()` says why, without anything that the server said."""


class Found(NamedTuple):
    """What one server declares now."""

    era: Era
    server: dict[str, Any]
    """`serverInfo`, `protocolVersion`, `capabilities` and `instructions`, as far as it gave them."""
    listings: list[Listing]


class Peer(Protocol):
    """A server that can be asked."""

    era: Era
    server: dict[str, Any]

    async def ask(self, method: str, params: dict[str, Any]) -> Received:
        """The response to a request; raises `Refusal` or `UpstreamError`."""

    async def close(self) -> None:
        """Let go of the server."""


async def list_server(proxy: ProxyRuntime, *, before: Callable[[EntryKind], Listing | None], noticed: Noticed) -> Found:
    """Ask for everything; raises `ListingFailed`. `noticed` hears of the server's notifications meanwhile."""
    peer: Peer | None = None
    try:
        peer = await connect(proxy, noticed)
        listings = [await _listing(peer, one, before(one.kind)) for one in LIST_KINDS.values()]
        return Found(peer.era, peer.server, listings)
    except UpstreamError as error:
        raise ListingFailed(error.message) from error
    except Refusal as refusal:
        raise ListingFailed(refusal.message) from refusal
    finally:
        if peer is not None:
            await peer.close()


async def connect(proxy: ProxyRuntime, noticed: Noticed) -> Peer:
    """A peer of the era that the server speaks; raises `Refusal` or `UpstreamError`."""
    settings = proxy.config.mcp
    transport = settings.transport if settings is not None else "http"
    if transport == "sse":
        return await _Legacy.open(proxy, noticed)
    try:
        async with asyncio.timeout(None if transport == "http" else PROBE_SECONDS):
            modern = await _Modern.probe(proxy, noticed)
    except TimeoutError:
        modern = None
    return modern or await _Legacy.open(proxy, noticed)


async def _listing(peer: Peer, list_kind: ListKind, before: Listing | None) -> Listing:
    kind = list_kind.kind
    capabilities = peer.server.get("capabilities")
    declared = capabilities if type(capabilities) is dict else {}
    if kind in _CAPABILITY and _CAPABILITY[kind] not in declared:
        return Listing.read(kind, [], before=before)

    async def fetch(cursor: str | None) -> Received:
        return await peer.ask(list_kind.method, {} if cursor is None else {"cursor": cursor})

    gathered = await gather(list_kind, fetch)
    if gathered.first.error is not None:
        if gathered.first.error.get("code") != METHOD_NOT_FOUND:
            raise ListingFailed(f"The server answers {list_kind.method} with an error.")
        return Listing.read(kind, [], before=before)
    return await gathered.listing(list_kind, before)


class _Modern:
    """Self-contained requests."""

    era: Era = "modern"

    def __init__(self, proxy: ProxyRuntime, noticed: Noticed) -> None:
        self.server: dict[str, Any] = {}
        self._proxy = proxy
        self._noticed = noticed
        self._requests = 0

    @classmethod
    async def probe(cls, proxy: ProxyRuntime, noticed: Noticed) -> _Modern | None:
        """The server in the modern era, or None where it does not speak it; raises `Refusal` or `UpstreamError` where
        that cannot be told."""
        peer = cls(proxy, noticed)
        response = await peer._send("server/discover", {})
        try:
            if response.status != 200:
                if response.status in (401, 403, 429) or response.status >= 500:
                    raise failed(response, modern=False)
                return None
            answer, _ = await read_answer(response, peer._requests, limit_bytes=MAX_LIST_BYTES, noticed=noticed)
        except Refusal as refusal:
            if refusal.code == "upstream_invalid":
                return None
            raise
        finally:
            response.close()
        result = answer.result or {}
        versions = result.get("supportedVersions")
        if type(versions) is not list or MODERN_VERSIONS[-1] not in versions:
            return None
        meta = result.get("_meta")
        peer.server = {
            "serverInfo": meta.get(META_SERVER) if type(meta) is dict else None,
            "protocolVersion": MODERN_VERSIONS[-1],
            **{key: result[key] for key in ("capabilities", "instructions") if key in result},
        }
        return peer

    async def ask(self, method: str, params: dict[str, Any]) -> Received:
        """See `Peer`."""
        response = await self._send(method, params)
        try:
            if response.status not in (200, 400, 404):
                raise failed(response, modern=False)
            return await read_answer(response, self._requests, limit_bytes=MAX_LIST_BYTES, noticed=self._noticed)
        finally:
            response.close()

    async def close(self) -> None:
        """See `Peer`: there is nothing to let go of."""

    async def _send(self, method: str, params: dict[str, Any]) -> Any:
        self._requests += 1
        meta = {META_VERSION: MODERN_VERSIONS[-1], META_CAPABILITIES: {}, META_CLIENT: CLIENT_INFO}
        request = Message(kind="request", id=self._requests, method=method, params={**params, "_meta": meta})
        headers = [*own_headers(self._proxy), (VERSION_HEADER, MODERN_VERSIONS[-1]), (METHOD_HEADER, method)]
        return await send_to(self._proxy, "POST", headers, dump(request.body()))


class _Legacy:
    """A session of its own."""

    era: Era = "legacy"

    def __init__(self, proxy: ProxyRuntime, noticed: Noticed) -> None:
        self.server: dict[str, Any] = {}
        self._proxy = proxy
        self._noticed = noticed
        self._requests = 0
        self._session_id: str | None = None
        self._version: str | None = None

    @classmethod
    async def open(cls, proxy: ProxyRuntime, noticed: Noticed) -> _Legacy:
        """Initialize; raises `Refusal` or `UpstreamError`."""
        peer = cls(proxy, noticed)
        params = {"protocolVersion": LATEST_LEGACY, "capabilities": {}, "clientInfo": CLIENT_INFO}
        try:
            answer, _ = await peer.ask("initialize", params)
            result = answer.result or {}
            version = result.get("protocolVersion")
            if version not in LEGACY_VERSIONS:
                raise ListingFailed("The server does not speak a protocol version that this gateway understands.")
            peer._version = version
            peer.server = {
                key: result[key]
                for key in ("serverInfo", "protocolVersion", "capabilities", "instructions")
                if key in result
            }
            initialized = Message(kind="notification", method="notifications/initialized")
            response = await send_to(proxy, "POST", peer._headers(), dump(initialized.body()))
            response.close()
        except BaseException:
            await peer.close()
            raise
        return peer

    async def ask(self, method: str, params: dict[str, Any]) -> Received:
        """See `Peer`."""
        self._requests += 1
        request = Message(kind="request", id=self._requests, method=method, params=params)
        response = await send_to(self._proxy, "POST", self._headers(), dump(request.body()))
        try:
            if response.status != 200:
                raise failed(response, modern=False)
            if method == "initialize":
                self._session_id = session_id_of(response)
            return await read_answer(response, self._requests, limit_bytes=MAX_LIST_BYTES, noticed=self._noticed)
        finally:
            response.close()

    async def close(self) -> None:
        """End the session; one that cannot be ended will expire at the server."""
        if self._session_id is None:
            return
        try:
            response = await send_to(self._proxy, "DELETE", self._headers())
            response.close()
        except UpstreamError as error:
            logger.debug("a session of our own could not be ended: %s", error.code)
        self._session_id = None

    def _headers(self) -> list[tuple[str, str]]:
        headers = own_headers(self._proxy)
        if self._version is not None:
            headers.append((VERSION_HEADER, self._version))
        if self._session_id is not None:
            headers.append((SESSION_HEADER, self._session_id))
        return headers
