"""Servers that are processes of ours: one JSON-RPC message a line on standard input and output (P-01..P-06)."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Mapping
from contextlib import suppress
from typing import Final

from proxies.child_environment import server_environment
from proxies.contract import StdioServer
from proxies.mcp.upstreams.interface import ChannelEnded
from proxies.mcp.upstreams.server_log import ServerLog
from proxies.transport.errors import UpstreamProtocolError, UpstreamTruncated, UpstreamUnreachable
from proxies.transport.identity import NoSuchIdentity, identity_of
from proxies.transport.lines import LineTooLong
from proxies.transport.process import Bounds, Child, NotStarted, Patience, describe_exit

logger = logging.getLogger(__name__)

MAX_LINE_BYTES: Final = 10 * 1024 * 1024
MAX_ERROR_LINE_BYTES: Final = 4096
LAST_WORDS_SECONDS: Final = 0.5
"""How long a program that has ended may still have something in its pipes."""


async def start_server(
    server: StdioServer, environment: Mapping[str, str], *, patience: Patience | None = None, max_line_bytes: int
) -> Child:
    """Start one process of a server, as the user and within the limits that are given for it; raises NotStarted."""
    identity = None
    if server.run_as:
        try:
            identity = await asyncio.to_thread(identity_of, server.run_as)
        except NoSuchIdentity as error:
            raise NotStarted(str(error)) from error
        own = {name: value for name, value in identity.variables.items() if name not in server.environment}
        environment = {**environment, **own}
    return await Child.start(
        server.argv,
        environment,
        server.working_directory,
        patience=patience,
        bounds=bounds_of(server),
        identity=identity,
        max_line_bytes=max_line_bytes,
    )


def bounds_of(server: StdioServer) -> Bounds:
    """What each of its processes may use."""
    return Bounds(server.max_memory_mb * 1024 * 1024, server.max_cpu_seconds)


class StdioServers:
    """The processes of one proxy's server: how they are started, and what they write to their standard error."""

    def __init__(
        self,
        name: str,
        server: StdioServer,
        *,
        environ: Mapping[str, str] | None = None,
        patience: Patience | None = None,
    ) -> None:
        self.log = ServerLog(server.environment.values())
        self._name = name
        self._server = server
        self._environment = server_environment(
            os.environ if environ is None else environ, server.environment, os.getpid()
        )
        self._patience = patience

    def __repr__(self) -> str:
        return f"<StdioServers {self._name} {self._server.argv[:1]}>"

    async def connect(self) -> StdioChannel:
        """Start a process (`interface.Connect`)."""
        try:
            child = await start_server(
                self._server, self._environment, patience=self._patience, max_line_bytes=MAX_LINE_BYTES
            )
        except NotStarted as error:
            raise UpstreamUnreachable(
                f"The MCP server cannot be started: {error}.", code="upstream_not_started"
            ) from error
        logger.info("%s: server process %d started", self._name, child.pid)
        return StdioChannel(child, self.log, self._name)


class StdioChannel:
    """One process as a `Channel`."""

    def __init__(self, child: Child, log: ServerLog, name: str) -> None:
        self._child = child
        self._log = log
        self._name = name
        loop = asyncio.get_running_loop()
        self._exit = loop.create_task(child.wait())
        self._errors = loop.create_task(child.read_error_lines(self._take_error_line, MAX_ERROR_LINE_BYTES))
        self._stop: asyncio.Task[int] | None = None

    def __repr__(self) -> str:
        return f"<StdioChannel {self._name} {self._child!r}>"

    async def send(self, message: bytes) -> None:
        """See `Channel`."""
        try:
            await self._child.write(message + b"\n")
        except ConnectionError as error:
            raise UpstreamTruncated("The MCP server's program has ended.", code="upstream_ended") from error

    async def receive(self) -> bytes:
        """See `Channel`."""
        reading = asyncio.get_running_loop().create_task(self._child.read_line())
        try:
            await asyncio.wait({reading, self._exit}, return_when=asyncio.FIRST_COMPLETED)
            if not reading.done():
                # It has ended, but a child of its own may hold the pipe open.
                await asyncio.wait({reading}, timeout=LAST_WORDS_SECONDS)
            line = reading.result() if reading.done() else None
        except LineTooLong as error:
            raise ChannelEnded(UpstreamProtocolError(f"The MCP server's program sent {error}.")) from error
        finally:
            reading.cancel()
        if line is None:
            raise ChannelEnded(await self._ending())
        return line

    async def aclose(self) -> None:
        """See `Channel`: the process is ended (P-03)."""
        if self._stop is None:
            self._stop = asyncio.get_running_loop().create_task(self._end())
        try:
            await asyncio.shield(self._stop)
        except asyncio.CancelledError:
            self._child.kill()
            raise

    async def _end(self) -> int:
        status = await self._child.stop()
        with suppress(TimeoutError):
            async with asyncio.timeout(LAST_WORDS_SECONDS):
                await self._errors
        logger.info("%s: server process %d ended (%s)", self._name, self._child.pid, describe_exit(status))
        return status

    async def _ending(self) -> UpstreamTruncated:
        """What open requests are told of a process that sends nothing any more."""
        await asyncio.wait({self._exit, self._errors}, timeout=LAST_WORDS_SECONDS)
        how = describe_exit(self._exit.result()) if self._exit.done() else "it closed its output"
        last = f" Its last words: {self._log.last}" if self._log.last else ""
        message = f"The MCP server's program ended ({how})."
        return UpstreamTruncated(message, code="upstream_ended", detail=f"{message}{last}")

    def _take_error_line(self, line: bytes) -> None:
        text = self._log.take(line, asyncio.get_running_loop().time())
        if text is not None:
            logger.info("%s: server process %d: %s", self._name, self._child.pid, text)
