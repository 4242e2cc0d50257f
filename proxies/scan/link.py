"""One way to a server: post a message, get what came back. HTTP over the transport of the proxies."""

from __future__ import annotations

from typing import Any, Final, Protocol

import msgspec

from proxies.mcp.drain import Answer
from proxies.strict_json import JSONRefused, parse
from proxies.transport.errors import UpstreamError, UpstreamRefused
from proxies.transport.sse import SSEParser, SSETooLarge

MAX_REPLY_BYTES: Final = 4 * 1024 * 1024
MAX_TEXT_CHARS: Final = 16_384
MAX_MESSAGES: Final = 1_000

Fields = list[tuple[str, str]]


class Reply(msgspec.Struct, frozen=True):
    """What one request came to."""

    status: int = 0
    """HTTP status; 200 for a message of a process, 0 where there was no answer."""
    headers: dict[str, str] = {}
    messages: tuple[dict[str, Any], ...] = ()
    text: str = ""
    """The first characters of the body, or why there is none."""
    size: int = 0
    lost: bool = False
    """Whether the connection or the process ended instead of an answer."""
    problem: str = ""

    def answer_to(self, id: int | str) -> dict[str, Any] | None:
        """The response to the request with this id."""
        return next((one for one in self.messages if one.get("id") == id and "method" not in one), None)

    def result_of(self, id: int | str) -> dict[str, Any] | None:
        """The result, where there is one."""
        result = (self.answer_to(id) or {}).get("result")
        return result if type(result) is dict else None


class Link(Protocol):
    """A way to a server."""

    async def post(self, body: bytes, headers: Fields, wanted: int | str | None) -> Reply:
        """Send a message and read until the response with the wanted id, or to the end. Never raises for the peer's doing."""
        ...

    async def aclose(self) -> None:
        """Let go of it."""
        ...


class Pool(Protocol):
    """What HTTP needs: the proxies' pool, or an adapter with the same call."""

    async def request(self, method: str, target: str, headers: Fields, body: bytes) -> Answer:
        """Send one request; raises `UpstreamError`."""
        ...

    async def aclose(self) -> None:
        """Close what is idle."""
        ...


class HTTPLink:
    """Streamable HTTP. `target` is put behind the path of the pool's own URL."""

    def __init__(self, pool: Pool, target: str = "") -> None:
        self._pool = pool
        self._target = target

    def __repr__(self) -> str:
        return f"<HTTPLink {self._target}>"

    async def post(self, body: bytes, headers: Fields, wanted: int | str | None) -> Reply:
        """See `Link`."""
        fields = [
            ("content-type", "application/json"),
            ("accept", "application/json, text/event-stream"),
            *headers,
        ]
        return await self.send("POST", fields, body, wanted)

    async def send(self, method: str, fields: Fields, body: bytes = b"", wanted: int | str | None = None) -> Reply:
        """Any request."""
        try:
            response = await self._pool.request(method, self._target, fields, body)
        except UpstreamRefused as refused:
            return Reply(status=refused.refused_with, headers=refused.fields, text=refused.message)
        except UpstreamError as error:
            return Reply(text=str(error), lost=True, problem=error.code)
        except ValueError as error:
            # A channel carries messages only: what is none cannot be sent through it.
            return Reply(text=str(error), problem="not_sent")
        try:
            return await _read(response, wanted)
        except (UpstreamError, SSETooLarge) as error:
            return Reply(
                status=response.status,
                headers=_fields(response),
                text=str(error),
                lost=True,
                problem=getattr(error, "code", "too_large"),
            )
        finally:
            response.close()

    async def aclose(self) -> None:
        """See `Link`. The pool is its owner's."""


async def _read(response: Answer, wanted: int | str | None) -> Reply:
    headers = _fields(response)
    media_type = headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type == "text/event-stream" and response.status == 200:
        return await _read_stream(response, headers, wanted)
    data = await response.read(MAX_REPLY_BYTES)
    messages: tuple[dict[str, Any], ...] = ()
    problem = ""
    if media_type == "application/json" and data:
        try:
            messages = messages_in(data)
        except JSONRefused as error:
            problem = str(error)
    return Reply(
        status=response.status,
        headers=headers,
        messages=messages,
        text=data[: 4 * MAX_TEXT_CHARS].decode("utf-8", "replace")[:MAX_TEXT_CHARS],
        size=len(data),
        problem=problem,
    )


async def _read_stream(response: Answer, headers: dict[str, str], wanted: int | str | None) -> Reply:
    parser = SSEParser(MAX_REPLY_BYTES)
    messages: list[dict[str, Any]] = []
    size = 0
    async for chunk in response:
        size += len(chunk)
        for event in parser.feed(chunk):
            if event.data:
                try:
                    messages += messages_in(event.data.encode("utf-8", "replace"))
                except JSONRefused:
                    continue  # What is not JSON is no answer; the next event may be one.
        answered = wanted is not None and any(one.get("id") == wanted and "method" not in one for one in messages)
        if answered or size > MAX_REPLY_BYTES or len(messages) > MAX_MESSAGES:
            break
    text = msgspec.json.encode(messages[-1]).decode()[:MAX_TEXT_CHARS] if messages else ""
    return Reply(status=response.status, headers=headers, messages=tuple(messages), text=text, size=size)


def messages_in(data: bytes) -> tuple[dict[str, Any], ...]:
    """The JSON-RPC messages of a body; raises `JSONRefused`."""
    value = parse(data, max_depth=256)
    values = value if type(value) is list else [value]
    return tuple(one for one in values[:MAX_MESSAGES] if type(one) is dict)


def _fields(response: Answer) -> dict[str, str]:
    return {name: value[:1_000] for name, value in list(response.headers.items())[:100]}
