"""A small HTTP forward proxy: CONNECT and absolute-form requests, credentials if wanted, its own idea of names.

It shares no code with the product. `names` says at which loopback port a `host:port` really is; a target that it does not
list is refused with 502, so a test sees that the proxy and nobody else resolves.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

_LOGIN = "proxy-authorization"


@dataclass
class ForwardProxy:
    """Use as an asynchronous context manager."""

    names: dict[str, int] = field(default_factory=dict)
    authorization: str = ""
    """The value of Proxy-Authorization without which everything is 407."""
    opened: bytes = b"HTTP/1.1 200 Connection established\r\n\r\n"
    """What it answers when a tunnel is open."""
    heads: list[str] = field(default_factory=list)
    """Every request head that it received, without the empty line."""
    port: int = 0

    async def __aenter__(self) -> Self:
        self._tasks: set[asyncio.Task[None]] = set()
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            await self._exchange(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            return
        finally:
            writer.close()

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One request head decides; for a plain target the connection stays with that target afterwards."""
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").removesuffix("\r\n\r\n")
        self.heads.append(head)
        line, *fields = head.split("\r\n")
        method, target, version = line.split(" ")
        given = [value for name, _, value in (field.partition(": ") for field in fields) if name.lower() == _LOGIN]
        if self.authorization and given != [self.authorization]:
            await _answer(writer, 407)
            return
        authority, _, path = (target, "", "") if method == "CONNECT" else target.removeprefix("http://").partition("/")
        port = self.names.get(authority)
        if port is None:
            await _answer(writer, 502)
            return
        upstream_reader, upstream_writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            if method == "CONNECT":
                writer.write(self.opened)
            else:
                kept = [field for field in fields if not field.startswith(f"{_LOGIN}:")]
                upstream_writer.write("\r\n".join((f"{method} /{path} {version}", *kept, "", "")).encode("latin-1"))
            await asyncio.gather(_pump(reader, upstream_writer), _pump(upstream_reader, writer))
        finally:
            upstream_writer.close()


async def _answer(writer: asyncio.StreamWriter, status: int) -> None:
    writer.write(f"HTTP/1.1 {status} No\r\nContent-Length: 2\r\n\r\nno".encode())
    await writer.drain()


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()
    if writer.can_write_eof():
        writer.write_eof()
