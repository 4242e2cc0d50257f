"""The whole texts of a provider's event: everything that is said in it, but for the piece of a running text."""

from __future__ import annotations

import re
from typing import Any, Final

from proxies.json_texts import leaves, pointer
from proxies.llm.response_texts import output_item_texts
from proxies.llm.tool_texts import argument_texts, tool_texts
from rules.model import Target, Text

_NAMES: Final = frozenset(
    "type event_id response_id item_id previous_item_id call_id conversation_id id object status role obfuscation".split()
)
_NAME: Final = re.compile(r"[A-Za-z0-9_.:-]{0,200}")
_OWN_ROLES: Final = frozenset({"user", "system", "developer"})
"""Roles of items that say what the caller said."""


def event_texts(body: dict[str, Any], *, but: str = "") -> list[Text]:
    """The texts of an event. Audio is to be taken out before; the member `but` is left to whoever reads it in pieces."""
    texts: list[Text] = []
    for key, value in body.items():
        if key == but or _says_nothing(key, value):
            continue
        below = pointer("", key)
        if key == "item":
            _item(value, below, texts)
        elif key == "response" and type(value) is dict:
            _response(value, below, texts)
        elif key == "session" and type(value) is dict:
            _session(value, below, texts)
        elif key == "arguments":
            argument_texts(value, below, texts)
        elif key in ("part", "usage") and type(value) is dict:
            _members(value, Target.COMPLETION, below, texts)
        else:
            target = Target.ERROR if key == "error" else Target.TOOL_NAME if key == "name" else Target.COMPLETION
            leaves(value, target, below, texts)
    return texts


def _says_nothing(key: str, value: Any) -> bool:
    """Whether a member is a name as it should be, or holds the probabilities of tokens; anything else may be a text."""
    if key in _NAMES:
        return type(value) is str and _NAME.fullmatch(value) is not None
    return key == "logprobs" and type(value) is list


def _members(value: dict[str, Any], target: Target, path: str, texts: list[Text]) -> None:
    for key, member in value.items():
        if not _says_nothing(key, member):
            leaves(member, target, pointer(path, key), texts)


def _response(response: dict[str, Any], path: str, texts: list[Text]) -> None:
    output = response.get("output")
    for index, item in enumerate(output if type(output) is list else ()):
        _item(item, f"{path}/output/{index}", texts)
    rest = {key: value for key, value in response.items() if key != "output" or type(value) is not list}
    _members(rest, Target.COMPLETION, path, texts)


def _session(session: dict[str, Any], path: str, texts: list[Text]) -> None:
    """Settings: the provider repeats what the client has set, and begins with its own."""
    for key, value in session.items():
        below = pointer(path, key)
        if key == "tools" and type(value) is list:
            for index, tool in enumerate(value):
                tool_texts(tool, f"{below}/{index}", texts)
        elif not _says_nothing(key, value):
            leaves(value, Target.SYSTEM_PROMPT if key == "instructions" else Target.PROMPT, below, texts)


def _item(item: Any, path: str, texts: list[Text]) -> None:
    """An item of the conversation, the caller's own or the model's."""
    if type(item) is not dict:
        leaves(item, Target.COMPLETION, path, texts)
        return
    rest = {key: value for key, value in item.items() if not _says_nothing(key, value)}
    if (role := str(item.get("role"))) in _OWN_ROLES:
        _members(rest, Target.PROMPT if role == "user" else Target.SYSTEM_PROMPT, path, texts)
        return
    if type(kind := item.get("type")) is str:
        rest["type"] = kind
    output_item_texts(rest, path, texts)
    _members({key: value for key, value in rest.items() if key in _NAMES}, Target.COMPLETION, path, texts)
