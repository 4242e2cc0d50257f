"""What the conditions of policies ask about an LLM call: model, messages, roles, length and tool calls."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any, Final

from proxies.exchange import Exchange
from proxies.llm.tool_calls import calls_in
from proxies.recorded_facts import CallNotes, Turns
from proxies.steps.facts import complete
from rules.facts import Facts, Message, ToolCall
from rules.model import Text

_MESSAGE_LISTS: Final = ("messages", "input", "contents", "prompt", "inputText")
_ROLES: Final = {"model": "assistant", "function": "tool"}
_RESPONSES: Final = frozenset({"functionResponse", "function_response", "toolResult"})
_SYSTEM: Final = ("system", "instructions", "systemInstruction", "system_instruction")
_ELSEWHERE: Final = frozenset({*_MESSAGE_LISTS, *_SYSTEM} - {"messages"})
"""Where messages stand besides `messages`."""


def request_facts(exchange: Exchange, body: dict[str, Any], texts: Sequence[Text]) -> Facts:
    """The facts of a request; the model is the one that the endpoint noted as the operation."""
    messages, calls = messages_and_calls(body)
    return complete(exchange, kind="llm", model=exchange.operation, messages=messages, tool_calls=calls, texts=texts)


def note_call(exchange: Exchange, body: dict[str, Any], texts: Sequence[Text], facts: Facts | None) -> None:
    """Note what the record tells besides the texts. `facts` where they are known already."""
    if facts is None and (roles := _plain_roles(body)) is not None:
        count = sum(roles.values())
        exchange.notes = CallNotes(Turns(count, count, roles), (), texts)
        return
    messages, calls = messages_and_calls(body) if facts is None else (facts.messages, facts.tool_calls)
    roles = dict(Counter([message.role for message in messages]))
    turns = Turns(sum([message.counts for message in messages]), len(messages), roles)
    exchange.notes = CallNotes(turns, calls, texts)


def _plain_roles(body: dict[str, Any]) -> dict[str, int] | None:
    """How many messages of each role there are where each is a role and a text, as nearly always; None elsewhere."""
    messages = body.get("messages")
    if type(messages) is not list or not _ELSEWHERE.isdisjoint(body):
        return None
    roles: dict[str, int] = {}
    for message in messages:
        if type(message) is not dict or len(message) != 2 or type(message.get("content")) is not str:
            return None
        role = message.get("role")
        if type(role) is not str:
            return None
        role = _ROLES.get(role, role)
        roles[role] = roles.get(role, 0) + 1
    return roles


def response_tool_calls(body: Any) -> list[ToolCall]:
    """The tool calls that a whole answer asks for."""
    if type(body) is not dict:
        return []
    return [
        call
        for key in ("choices", "output", "content", "candidates", "message")
        for call in calls_in(body.get(key), f"/{key}")
    ]


def messages_and_calls(body: dict[str, Any]) -> tuple[tuple[Message, ...], tuple[ToolCall, ...]]:
    """The messages of a request body, and the tool calls in its history."""
    messages = [Message("system", f"/{key}", counts=False) for key in _SYSTEM if body.get(key)]
    calls: list[ToolCall] = []
    for key in _MESSAGE_LISTS:
        value = body.get(key)
        if type(value) is str:
            messages.append(Message("user", f"/{key}"))
        elif type(value) is dict:
            messages += said_in(value, f"/{key}")
            calls += calls_in(value, f"/{key}")
        elif type(value) is list:
            for index, message in enumerate(value):
                messages += said_in(message, f"/{key}/{index}")
                calls += calls_in(message, f"/{key}/{index}")
    return tuple(messages), tuple(calls)


def said_in(message: Any, path: str) -> Iterator[Message]:
    """A message, and one of the role `tool` for each result of a tool that another API would send as a message.

    `message_count` counts the message once, whatever it holds.
    """
    role = _role(message)
    results, others = _results(message, path) if role == "user" else ([], True)
    if others:
        yield Message(role, path)
    for number, place in enumerate(results):
        is_message = number == 0 and not others
        yield Message("tool", path if is_message else place, counts=is_message)


def _results(message: Any, path: str) -> tuple[list[str], bool]:
    """Where the results of tools stand in a message, and whether it holds anything else."""
    if type(message) is dict:
        for key in ("content", "parts"):
            if type(parts := message.get(key)) is list and parts:
                places = [f"{path}/{key}/{index}" for index, part in enumerate(parts) if _is_result(part)]
                return places, len(places) < len(parts)
    return [], True


def _is_result(part: Any) -> bool:
    return type(part) is dict and (part.get("type") == "tool_result" or not _RESPONSES.isdisjoint(part))


def _role(message: Any) -> str:
    """The role of a message; an item of the Responses API has it by its type, Gemini's model is the assistant."""
    if type(message) is not dict:
        return "user"
    role = message.get("role")
    if type(role) is str:
        return _ROLES.get(role, role)
    kind = str(message.get("type", ""))
    if kind.endswith("_output"):
        return "tool"
    return "assistant" if kind.endswith("_call") or kind == "reasoning" else "user"
