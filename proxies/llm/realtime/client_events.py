"""What the events of a Realtime client say: every text that can reach the model, with its target, and the messages in them."""

from __future__ import annotations

import re
from typing import Any, Final

from proxies.json_texts import leaves, pointer
from proxies.llm.facts import said_in
from proxies.llm.request_texts import response_item
from proxies.llm.tool_calls import calls_in
from proxies.llm.tool_texts import tool_texts
from proxies.llm.unread_texts import unread_texts
from proxies.refusal import Refusal
from rules.facts import Message, ToolCall
from rules.model import Target, Text

CREATES_RESPONSE: Final = "response.create"
PROTOCOL_KEYS: Final = frozenset("type event_id item session response audio instructions tools input content".split())
"""Members that decide what an event means."""
_NAMES: Final = frozenset({"item_id", "previous_item_id", "response_id"})
_ITEM_NAMES: Final = frozenset({"id", "call_id"})
_NAME: Final = re.compile(r"[A-Za-z0-9_.:-]{0,200}")


def client_texts(event: dict[str, Any], path: str) -> list[Text]:
    """The texts of one event, in its order. Audio is to be taken out before; the name of the event does not go upstream."""
    texts: list[Text] = []
    for key, value in event.items():
        below = pointer(path, key)
        if key == "item":
            response_item(value, below, texts)
        elif key in ("session", "response") and type(value) is dict:
            _configuration(value, below, texts)
        elif key not in _NAMES and key not in ("type", "event_id"):
            leaves(value, Target.PROMPT, below, texts)
    unread_texts({key: value for key, value in event.items() if key != "event_id"}, texts, path)
    return texts


def check_names(event: dict[str, Any]) -> None:
    """Raises `Refusal` where the name of an item, a response or a call says something: names are not masked."""
    response = event.get("response")
    given = response.get("input") if type(response) is dict else None
    named: list[tuple[Any, frozenset[str]]] = [(event, _NAMES), (event.get("item"), _ITEM_NAMES)]
    named += [(item, _ITEM_NAMES) for item in (given if type(given) is list else ())]
    for holder, members in named:
        for member in members & holder.keys() if type(holder) is dict else ():
            name = holder[member]
            if name is not None and (type(name) is not str or _NAME.fullmatch(name) is None):
                raise Refusal(
                    400,
                    "invalid_id",
                    f"The member '{member}' is no id.",
                    remediation="Use letters, digits and '_', '.', ':' or '-', at most 200 of them.",
                )


def _configuration(settings: dict[str, Any], path: str, texts: list[Text]) -> None:
    """What is set for the session or for one response."""
    for key, value in settings.items():
        below = pointer(path, key)
        if key == "instructions":
            leaves(value, Target.SYSTEM_PROMPT, below, texts)
        elif key == "tools" and type(value) is list:
            for index, tool in enumerate(value):
                tool_texts(tool, f"{below}/{index}", texts)
        elif key == "input" and type(value) is list:
            for index, item in enumerate(value):
                response_item(item, f"{below}/{index}", texts)
        elif key not in ("type", "model"):
            leaves(value, Target.PROMPT, below, texts)


def client_messages(event: dict[str, Any], path: str) -> tuple[tuple[Message, ...], tuple[ToolCall, ...]]:
    """The messages of one event and the tool calls in them, for the conditions of policies."""
    messages: list[Message] = []
    calls: list[ToolCall] = []
    if "item" in event:
        messages += said_in(event["item"], f"{path}/item")
        calls += calls_in(event["item"], f"{path}/item")
    for name in ("session", "response"):
        settings = event.get(name)
        if type(settings) is not dict:
            continue
        if settings.get("instructions"):
            messages.append(Message("system", f"{path}/{name}/instructions", counts=False))
        items = settings.get("input")
        for index, item in enumerate(items if type(items) is list else ()):
            messages += said_in(item, f"{path}/{name}/input/{index}")
            calls += calls_in(item, f"{path}/{name}/input/{index}")
    return tuple(messages), tuple(calls)


def named_model(event: dict[str, Any]) -> str:
    """The model that an event asks for, or an empty string; raises `Refusal` where it names two, or what is no name."""
    settings = [event.get(name) for name in ("session", "response")]
    models = [one["model"] for one in settings if type(one) is dict and one.get("model") is not None]
    if not models:
        return ""
    if len(models) > 1 or type(models[0]) is not str or not 0 < len(models[0]) <= 200:
        raise Refusal(422, "invalid_model", "The member 'model' must be one name.", remediation="Name one model.")
    return models[0]
