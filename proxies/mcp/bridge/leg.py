"""Messages to the server in either era, and what it answers, message by message."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from functools import partial
from typing import Any, Final, Protocol

from proxies import off_loop
from proxies.mcp.drain import Answer
from proxies.mcp.eras import METHOD_HEADER, MODERN_VERSIONS, NAME_HEADER, VERSION_HEADER
from proxies.mcp.header_values import encode_value
from proxies.mcp.messages import Message, MessageRefused, parse_batch, parse_message
from proxies.mcp.methods import NAME_PARAM
from proxies.mcp.param_headers import PREFIX, ParamHeader, mirrored
from proxies.mcp.upstream import LAST_EVENT_HEADER, MAX_EVENT_BYTES, SESSION_HEADER, is_stream, media_type
from proxies.mcp.upstreams.interface import Upstream
from proxies.strict_json import JSONRefused, dump, parse
from proxies.transport.errors import UpstreamProtocolError
from proxies.transport.sse import SSEParser, SSETooLarge

MODERN: Final = MODERN_VERSIONS[-1]
_OF_THE_ERA: Final = frozenset({VERSION_HEADER, METHOD_HEADER, NAME_HEADER, SESSION_HEADER, LAST_EVENT_HEADER})
_JSON: Final = ("content-type", "application/json")

Fields = list[tuple[str, str]]


class LegacySession(Protocol):
    """A session with a legacy server, as far as messages name it."""

    principal_id: str
    id: str | None
    version: str


def without_era(headers: Sequence[tuple[str, str]]) -> Fields:
    """The fields of a client's message that mean the same in both eras: credential, trace, what is accepted."""
    return [
        (name, value)
        for name, value in headers
        if name not in _OF_THE_ERA and name != "content-type" and not name.startswith(PREFIX)
    ]


class ServerLeg:
    """The way to one server."""

    def __init__(self, server: Upstream, *, max_answer_bytes: int) -> None:
        self.server = server
        self._max_answer_bytes = max_answer_bytes

    async def modern(
        self,
        fields: Fields,
        message: Message,
        *,
        principal_id: str,
        annotated: tuple[ParamHeader, ...] = (),
        endless: bool = False,
    ) -> Answer:
        """One modern request, with the fields that mirror it (M-08); raises UpstreamError."""
        own = [*fields, _JSON, (VERSION_HEADER, MODERN), (METHOD_HEADER, encode_value(message.method))]
        params = message.params or {}
        subject = params.get(NAME_PARAM.get(message.method, ""))
        if type(subject) is str:
            own.append((NAME_HEADER, encode_value(subject)))
        own += mirrored(annotated, params.get("arguments"))
        return await self._request("POST", own, dump(message.body()), principal_id, endless=endless)

    async def legacy(
        self, fields: Fields, message: Message, *, principal_id: str, session_id: str | None, version: str
    ) -> Answer:
        """One legacy message; raises UpstreamError."""
        own = [*fields, _JSON, *_session_fields(session_id, version)]
        return await self._request("POST", own, dump(message.body()), principal_id)

    async def in_session(self, fields: Fields, message: Message, session: LegacySession) -> Answer:
        """One message inside a session with a legacy server; raises UpstreamError."""
        return await self.legacy(
            fields, message, principal_id=session.principal_id, session_id=session.id, version=session.version
        )

    async def legacy_stream(self, fields: Fields, *, principal_id: str, session_id: str | None, version: str) -> Answer:
        """The stream of a legacy session; raises UpstreamError."""
        own = [*fields, *_session_fields(session_id, version)]
        return await self._request("GET", own, b"", principal_id, endless=True)

    async def legacy_end(self, fields: Fields, *, principal_id: str, session_id: str, version: str) -> None:
        """End a legacy session, whatever the server says to it; raises UpstreamError."""
        answer = await self._request("DELETE", [*fields, *_session_fields(session_id, version)], b"", principal_id)
        answer.close()

    async def messages(self, answer: Answer) -> AsyncGenerator[Message, None]:
        """The messages of an answer, whole or streamed; raises UpstreamError."""
        if not is_stream(answer):
            if media_type(answer) != "application/json":
                raise UpstreamProtocolError("The upstream's answer is neither JSON nor an event stream.")
            for message in await _messages(await answer.read(self._max_answer_bytes)):
                yield message
            return
        parser = SSEParser(MAX_EVENT_BYTES)
        try:
            async for chunk in answer:
                for event in parser.feed(chunk):
                    if event.data and event.event in (None, "", "message"):
                        for message in await _messages(event.data.encode("utf-8", "surrogatepass")):
                            yield message
            for event in parser.close():
                if event.data and event.event in (None, "", "message"):
                    for message in await _messages(event.data.encode("utf-8", "surrogatepass")):
                        yield message
        except SSETooLarge:
            raise UpstreamProtocolError("The upstream sent an event that is larger than the gateway reads.") from None

    async def response_to(self, answer: Answer, request: Message) -> Message | None:
        """The response to a request among the messages of its answer; None when there is none. Raises UpstreamError."""
        try:
            async for message in self.messages(answer):
                if message.kind == "response" and (message.id == request.id or message.id is None):
                    return message
            return None
        finally:
            answer.close()

    async def _request(
        self, method: str, fields: Fields, body: bytes, principal_id: str, *, endless: bool = False
    ) -> Answer:
        target = "" if self.server.base_path else "/"
        return await self.server.request(method, target, fields, body, principal_id=principal_id, endless=endless)


class RefusedByStatus(UpstreamProtocolError):
    """The server answered with an HTTP status and no message."""

    def __init__(self, refused_with: int) -> None:
        super().__init__(f"The upstream answered with HTTP {refused_with}.", code="upstream_error")
        self.refused_with = refused_with


def _session_fields(session_id: str | None, version: str) -> Fields:
    fields = [(VERSION_HEADER, version)] if version else []
    if session_id is not None:
        fields.append((SESSION_HEADER, session_id))
    return fields


async def _messages(data: bytes) -> list[Message]:
    """The messages of a text, read in a thread where it is large; raises UpstreamError."""
    return await off_loop.sized(len(data), partial(_parsed, data))


def _parsed(data: bytes) -> list[Message]:
    try:
        value: Any = parse(data)
        return parse_batch(value) if type(value) is list else [parse_message(value)]
    except (JSONRefused, MessageRefused) as error:
        raise UpstreamProtocolError(f"The upstream sent something that is not a JSON-RPC message. {error}") from None
