"""A load generator over raw asyncio: closed loop, fixed rate, streams. Reads one JSON job from stdin, prints one JSON result.

A job: `{"mode", "port", "path", "key", "body", ...}`, with more header fields under `headers`. Latencies are in milliseconds.
Bounded in count and time; loopback only.
"""

from __future__ import annotations

import asyncio
import json
import re
import sys
import time
from typing import Any, cast

from tests.bench.distinct import distinct

TIMEOUT_SECONDS = 120.0
SESSION_ID = re.compile(rb"mcp-session-id: *(\S+)\r\n", re.IGNORECASE)


def use_fast_loop() -> None:
    """uvloop where it exists, as in a worker."""
    try:
        import uvloop
    except ImportError:
        return
    asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())


def request_bytes(job: dict[str, Any]) -> bytes:
    """The request that every connection sends again and again, each time `distinct`."""
    body = job["body"].encode()
    head = f"POST {job['path']} HTTP/1.1\r\nhost: 127.0.0.1:{job['port']}\r\n"
    head += "content-type: application/json\r\naccept: application/json, text/event-stream\r\nuser-agent: bench\r\n"
    head += "".join(f"{name}: {value}\r\n" for name, value in job.get("headers", {}).items())
    head += f"authorization: Bearer {job['key']}\r\ncontent-length: {len(body)}\r\n\r\n"
    return head.encode() + body


class Client(asyncio.Protocol):
    """One keep-alive connection; `call()` sends the request and waits for the whole answer."""

    def __init__(self, request: bytes) -> None:
        self.request = request
        self.buffer = b""
        self.waiter: asyncio.Future[int] | None = None
        self.session_id = ""
        """Of the latest answer that assigned one."""
        self.arrivals_ms: list[float] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports do not derive from asyncio.Transport.
        self.transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        end = self.buffer.find(b"\r\n\r\n")
        if end < 0 or self.waiter is None:
            return
        start = self.buffer.lower().find(b"content-length:", 0, end)
        length = int(self.buffer[start + 15 : self.buffer.find(b"\r\n", start)])
        if len(self.buffer) >= end + 4 + length:
            status = int(self.buffer[9:12])
            if assigned := SESSION_ID.search(self.buffer, 0, end + 2):
                self.session_id = assigned[1].decode()
            self.buffer = b""
            self.waiter.set_result(status)

    def connection_lost(self, exc: Exception | None) -> None:
        if self.waiter and not self.waiter.done():
            self.waiter.set_exception(ConnectionError("the connection was lost"))

    async def call(self) -> int:
        """Send once, wait for the answer, return its status."""
        self.waiter = asyncio.get_running_loop().create_future()
        self.transport.write(distinct(self.request))
        return await self.waiter


class StreamClient(asyncio.Protocol):
    """One streamed answer: notes how long after its sending each event arrived."""

    def __init__(self, request: bytes) -> None:
        self.request = request
        self.delays_ms: list[float] = []
        self.first = asyncio.get_running_loop().create_future()
        self.done = asyncio.get_running_loop().create_future()
        self.tail = b""
        self.status_line = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports do not derive from asyncio.Transport.
        self.transport = cast(asyncio.Transport, transport)
        self.transport.write(self.request)

    def data_received(self, data: bytes) -> None:
        now = time.monotonic_ns()
        if not self.first.done():
            self.status_line = data.partition(b"\r\n")[0]
            self.first.set_result(None)
        data = self.tail + data
        lines = data.split(b"\n")
        self.tail = lines.pop()
        for line in lines:
            if line.startswith(b"data: {"):
                sent_at = json.loads(line[6:]).get("created")
                if sent_at:
                    self.delays_ms.append((now - sent_at) / 1e6)
            elif line.startswith(b"data: [DONE]") and not self.done.done():
                self.done.set_result(None)

    def connection_lost(self, exc: Exception | None) -> None:
        for future in (self.first, self.done):
            if not future.done():
                future.set_exception(ConnectionError("the stream was cut"))
                future.exception()


async def connect(job: dict[str, Any], count: int) -> list[Client]:
    """Open connections, one after another."""
    loop = asyncio.get_running_loop()
    request = request_bytes(job)
    return [(await loop.create_connection(lambda: Client(request), "127.0.0.1", job["port"]))[1] for _ in range(count)]


async def closed_loop(job: dict[str, Any]) -> dict[str, Any]:
    """`connections` clients, each sends its next request when the last one is answered; `count` requests in all."""
    clients = await connect(job, job["connections"])
    left = job["count"]
    latencies: list[float] = []
    failures = 0

    async def work(client: Client) -> None:
        nonlocal left, failures
        while left > 0:
            left -= 1
            begin = time.perf_counter()
            status = await client.call()
            latencies.append((time.perf_counter() - begin) * 1000)
            failures += status != job.get("expect", 200)

    begin = time.perf_counter()
    await asyncio.gather(*(work(client) for client in clients))
    return {"seconds": time.perf_counter() - begin, "failures": failures, **percentiles(latencies)}


async def fixed_rate(job: dict[str, Any]) -> dict[str, Any]:
    """`rate` requests a second for `seconds`; latency counts from the time at which a request was due (open loop)."""
    clients = await connect(job, job["connections"])
    free = list(clients)
    latencies: list[float] = []
    failures = 0
    tasks: set[asyncio.Task[None]] = set()

    async def one(client: Client, due_at: float) -> None:
        nonlocal failures
        status = await client.call()
        latencies.append((time.perf_counter() - due_at) * 1000)
        failures += status != 200
        free.append(client)

    begin = time.perf_counter()
    for number in range(job["rate"] * job["seconds"]):
        due_at = begin + number / job["rate"]
        while (wait := due_at - time.perf_counter()) > 0 or not free:
            await asyncio.sleep(max(0.0, wait))
        task = asyncio.get_running_loop().create_task(one(free.pop(), due_at))
        tasks.add(task)
        task.add_done_callback(tasks.discard)
    await asyncio.gather(*tasks)
    return {"failures": failures, **percentiles(latencies)}


async def streams(job: dict[str, Any]) -> dict[str, Any]:
    """`connections` parallel streams; the delay of every event from its sending to its arrival."""
    loop = asyncio.get_running_loop()
    request = request_bytes(job)
    made = [
        (await loop.create_connection(lambda: StreamClient(request), "127.0.0.1", job["port"]))[1]
        for _ in range(job["connections"])
    ]
    await asyncio.gather(*(client.done for client in made))
    return percentiles([delay for client in made for delay in client.delays_ms])


async def idle_streams(job: dict[str, Any]) -> dict[str, Any]:
    """Open `connections` silent streams, say so, hold them until stdin says enough."""
    loop = asyncio.get_running_loop()
    request = request_bytes(job)
    made = []
    for _ in range(job["connections"]):
        client = (await loop.create_connection(lambda: StreamClient(request), "127.0.0.1", job["port"]))[1]
        await client.first
        made.append(client)
    print(json.dumps({"open": len(made)}), flush=True)
    await loop.run_in_executor(None, sys.stdin.readline)
    return {"held": sum(not client.done.done() for client in made)}


async def legacy_sessions(job: dict[str, Any]) -> dict[str, Any]:
    """Open `connections` legacy MCP sessions, each with its silent stream, and hold them until stdin says enough."""
    loop = asyncio.get_running_loop()
    made = []
    for client in await connect(job, job["connections"]):
        await client.call()
        fields = {
            "mcp-session-id": client.session_id,
            "mcp-protocol-version": json.loads(job["body"])["params"]["protocolVersion"],
        }
        lines = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
        head = f"GET {job['path']} HTTP/1.1\r\nhost: 127.0.0.1:{job['port']}\r\naccept: text/event-stream\r\n{lines}"
        request = f"{head}authorization: Bearer {job['key']}\r\n\r\n".encode()
        client.transport.close()
        stream = (await loop.create_connection(lambda one=request: StreamClient(one), "127.0.0.1", job["port"]))[1]
        await stream.first
        made.append(stream)
    print(json.dumps({"open": len(made)}), flush=True)
    await loop.run_in_executor(None, sys.stdin.readline)
    return {"held": sum(not stream.done.done() for stream in made)}


async def idle_websockets(job: dict[str, Any]) -> dict[str, Any]:
    """Open `connections` WebSockets that say nothing, and hold them until stdin says enough."""
    loop = asyncio.get_running_loop()
    fields = "connection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\nsec-websocket-protocol: mcp\r\n"
    request = (
        f"GET {job['path']} HTTP/1.1\r\nhost: 127.0.0.1:{job['port']}\r\nauthorization: Bearer {job['key']}\r\n"
        f"sec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==\r\n{fields}\r\n"
    ).encode()
    made = []
    for _ in range(job["connections"]):
        client = (await loop.create_connection(lambda: StreamClient(request), "127.0.0.1", job["port"]))[1]
        await client.first
        if b" 101 " not in client.status_line:
            raise ConnectionError("the WebSocket was refused")
        made.append(client)
    print(json.dumps({"open": len(made)}), flush=True)
    await loop.run_in_executor(None, sys.stdin.readline)
    return {"held": sum(not client.done.done() for client in made)}


def percentiles(values: list[float]) -> dict[str, Any]:
    """Count, median, p99 and maximum."""
    ordered = sorted(values)
    if not ordered:
        return {"count": 0, "p50_ms": 0.0, "p99_ms": 0.0, "max_ms": 0.0}
    return {
        "count": len(ordered),
        "p50_ms": ordered[len(ordered) // 2],
        "p99_ms": ordered[min(len(ordered) - 1, int(len(ordered) * 0.99))],
        "max_ms": ordered[-1],
    }


MODES = {
    "closed": closed_loop,
    "rate": fixed_rate,
    "streams": streams,
    "idle": idle_streams,
    "sessions": legacy_sessions,
    "websockets": idle_websockets,
}


async def main() -> None:
    job = json.loads(sys.stdin.readline())
    async with asyncio.timeout(TIMEOUT_SECONDS):
        result = await MODES[job["mode"]](job)
    print(json.dumps(result), flush=True)


if __name__ == "__main__":
    use_fast_loop()
    asyncio.run(main())
