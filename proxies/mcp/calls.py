"""What both eras do alike with one request: check its parameters, and turn a JSON answer into the client's message."""

from __future__ import annotations

from functools import partial
from typing import Final, NamedTuple

from proxies import off_loop
from proxies.exchange import Exchange
from proxies.mcp.drain import Answer
from proxies.mcp.gates import Gate
from proxies.mcp.messages import Message, error_response
from proxies.mcp.methods import STRING_PARAMS
from proxies.mcp.refusals import invalid_params, printable, upstream_invalid
from proxies.mcp.upstream import messages_in, read_json
from proxies.refusal import Refusal
from proxies.strict_json import dump

JSON_HEADERS: Final = [("content-type", "application/json"), ("cache-control", "no-store")]


def operation_of(message: Message) -> str:
    """What the record calls this message: its method, and the tool for a call."""
    name = (message.params or {}).get("name")
    if message.method == "tools/call" and type(name) is str:
        return f"tools/call {printable(name)}"
    return printable(message.method) or message.kind


def check_params(message: Message, *, status: int) -> None:
    """Refuse a request that lacks the string it is about, or whose arguments are not an object (-32602)."""
    params = message.params or {}
    needed = STRING_PARAMS.get(message.method)
    if needed is not None and type(params.get(needed)) is not str:
        raise invalid_params(f"params.{needed} must be a string.", status=status)
    if type(params.get("arguments", {})) is not dict:
        raise invalid_params("params.arguments must be an object.", status=status)


class Passed(NamedTuple):
    """What may pass of a JSON answer."""

    messages: list[Message]
    size: int
    """Bytes of the answer as it came."""


async def pass_json(exchange: Exchange, response: Answer, gate: Gate) -> Passed:
    """The messages of a JSON answer that may pass; raises `Refusal` when a response is missing."""
    data = await read_json(exchange, response)
    messages = await messages_in(data, allow_batch=gate.allow_batches)
    passed: list[Message] = []
    for message in messages:
        kept: Message | None = None
        try:
            kept = await gate.take(message, len(data))
        except Refusal as refusal:
            # Only responses go on from here: what else is blocked is on record and takes none of them with it.
            if message.kind == "response" or refusal.outcome != "blocked":
                raise
        if kept is not None:
            passed.append(kept)
    if gate.unanswered():
        raise upstream_invalid("The upstream did not answer the request.")
    return Passed(passed, len(data))


async def answer_message(exchange: Exchange, message: Message, status: int = 200, *, size: int = 0) -> None:
    """Send one message as the whole answer; `size` is that of the text in which it came."""
    write = partial(dump, message.body())
    exchange.answer(status, JSON_HEADERS, await off_loop.away(write) if size > off_loop.LARGE_BYTES else write())


def without_id(message: Message, id: int | str | None) -> Message:
    """An error of the upstream that lost the id of its request, with the id put back."""
    error = message.error or {}
    return error_response(id, error["code"], error["message"], error.get("data"))
