"""What the MCP code needs of an upstream, and what an upstream needs of a channel."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Protocol

from proxies.mcp.drain import Answer
from proxies.transport.errors import UpstreamError


class Upstream(Protocol):
    """One MCP server, reached as the proxy's configuration says."""

    @property
    def base_path(self) -> str:
        """The path of the target URL; empty where there is none."""

    @property
    def problem(self) -> str:
        """Why it cannot be used now, in one sentence for operators; empty when nothing is known."""

    @property
    def tls_key_sha256(self) -> str:
        """Fingerprint of the public key that the server proved last; empty without TLS or before a connection."""

    async def request(
        self,
        method: str,
        target: str,
        headers: list[tuple[str, str]],
        body: bytes,
        *,
        principal_id: str = "",
        endless: bool = False,
    ) -> Answer:
        """One request of the Streamable HTTP transport, on behalf of a principal; raises UpstreamError.

        `target` is what stands behind the target URL's path. An `endless` answer is a stream that is meant to stay open.
        """

    def forget(self, session_id: str) -> None:
        """The client's session is over; nobody will use this upstream session again."""

    async def aclose(self) -> None:
        """Let go of everything; what is under way may finish where that is possible."""


class ChannelEnded(Exception):
    """A channel carries nothing any more. `error` is what open requests get."""

    def __init__(self, error: UpstreamError) -> None:
        super().__init__(error.message)
        self.error = error


class Channel(Protocol):
    """A way to one server that carries whole messages in both directions."""

    async def send(self, message: bytes) -> None:
        """Send one JSON-RPC message; raises UpstreamError."""

    async def receive(self) -> bytes:
        """The next message as it came; raises ChannelEnded."""

    async def aclose(self) -> None:
        """End it, the server's side included where it is ours. Harmless when called again."""


Connect = Callable[[], Awaitable[Channel]]
"""Opens a channel; raises UpstreamError."""
