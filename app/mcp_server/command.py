"""`ostiary mcp`: an MCP server on the standard streams, alone or in front of a console."""

from __future__ import annotations

import argparse
import asyncio
import http.client
import logging
import os
import sys
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import urlsplit

import msgspec

from app.mcp_server import protocol
from app.mcp_server.local import LocalBackend
from app.scanner.command import cache_directory

logger = logging.getLogger(__name__)

TOKEN_VARIABLE = "OSTIARY_TOKEN"  # noqa: S105 - a name.
MAX_PENDING = 16
RELAY_SECONDS = 300.0
EXIT_REFUSED = 1

Respond = Callable[[bytes], Awaitable[bytes | None]]


def run(given: argparse.Namespace) -> int:
    """Serve until the client closes its end."""
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    token = os.environ.get(TOKEN_VARIABLE, "")
    if given.console and not token:
        print(f"ostiary: The variable {TOKEN_VARIABLE} with an API token of the console is missing.", file=sys.stderr)
        return EXIT_REFUSED
    if token:
        url = urlsplit(given.console or "http://127.0.0.1:8080")
        if url.scheme not in ("http", "https") or not url.hostname:
            print("ostiary: --console is the http(s) address of a console.", file=sys.stderr)
            return EXIT_REFUSED
        relay = Relay(url.scheme, url.netloc, url.path.rstrip("/"), token)
        asyncio.run(serve(relay.respond))
    else:
        asyncio.run(serve(local_respond(LocalBackend(cache_directory(os.environ)))))
    return 0


def local_respond(backend: LocalBackend) -> Respond:
    """Answers from this process."""

    async def respond(line: bytes) -> bytes | None:
        try:
            answer = await protocol.answer(protocol.read(line), backend)
        except protocol.Refused as refusal:
            answer = protocol.failure(refusal)
        return None if answer is None else msgspec.json.encode(answer)

    return respond


async def serve(respond: Respond) -> None:
    """Read messages line by line; each is answered by itself, at most a few at a time."""
    places = asyncio.Semaphore(MAX_PENDING)
    tasks: set[asyncio.Task[None]] = set()

    async def work(line: bytes) -> None:
        try:
            answer = await respond(line)
            if answer is not None:
                sys.stdout.buffer.write(answer + b"\n")
                sys.stdout.buffer.flush()
        finally:
            places.release()

    while line := await asyncio.to_thread(sys.stdin.buffer.readline, protocol.MAX_MESSAGE_BYTES + 1):
        if line.strip():
            await places.acquire()
            task = asyncio.create_task(work(line))
            tasks.add(task)
            task.add_done_callback(tasks.discard)
    await asyncio.gather(*tasks)


class Relay:
    """Passes messages on to the console's own address for MCP."""

    def __init__(self, scheme: str, authority: str, path: str, token: str) -> None:
        self._connect = http.client.HTTPSConnection if scheme == "https" else http.client.HTTPConnection
        self._authority = authority
        self._path = f"{path}/mcp"
        self._token = token

    def __repr__(self) -> str:
        return f"<Relay to {self._authority}>"

    async def respond(self, line: bytes) -> bytes | None:
        """What the console answers."""
        try:
            value = protocol.read(line)
        except protocol.Refused as refusal:
            return msgspec.json.encode(protocol.failure(refusal))
        id = value.get("id") if type(value) is dict else None
        try:
            status, body = await asyncio.to_thread(self._post, msgspec.json.encode(value), _fields(value))
        except (OSError, http.client.HTTPException) as error:
            logger.warning("the console cannot be reached: %s", error)
            lost = protocol.Refused(protocol.INTERNAL_ERROR, f"The console at {self._authority} cannot be reached.")
            return None if id is None else msgspec.json.encode(protocol.failure(lost, id))
        if status in (200, 400) and body.startswith(b'{"jsonrpc"'):
            return body
        if id is None:
            return None
        words = (
            "The console refuses the token." if status in (401, 403) else f"The console answered with HTTP {status}."
        )
        return msgspec.json.encode(protocol.failure(protocol.Refused(protocol.INTERNAL_ERROR, words), id))

    def _post(self, body: bytes, fields: dict[str, str]) -> tuple[int, bytes]:
        connection = self._connect(self._authority, timeout=RELAY_SECONDS)
        try:
            connection.request("POST", self._path, body, {"Authorization": f"Bearer {self._token}", **fields})
            response = connection.getresponse()
            return response.status, response.read(8 * protocol.MAX_MESSAGE_BYTES)
        finally:
            connection.close()


def _fields(value: Any) -> dict[str, str]:
    """The header fields that the modern era wants beside a message."""
    fields = {"Content-Type": "application/json", "Accept": "application/json, text/event-stream"}
    params = value.get("params") if type(value) is dict else None
    meta = params.get("_meta") if type(params) is dict else None
    version = meta.get(protocol.META_VERSION) if type(meta) is dict else None
    method = value.get("method") if type(value) is dict else None
    if type(version) is str and type(method) is str and f"{version}{method}".isprintable():
        fields |= {"MCP-Protocol-Version": version, "Mcp-Method": method}
        name = params.get("name") if type(params) is dict else None
        if method == "tools/call" and type(name) is str and name.isascii() and name.isprintable():
            fields["Mcp-Name"] = name
    return fields
