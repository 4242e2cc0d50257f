"""The texts of Bedrock's Converse API: requests, answers and their content blocks (requirements a2a-and-llm §3.1).

A block has one member that says what it is. Files stand in it as base64; what of that is text reaches the model as text,
so it is read as such.
"""

from __future__ import annotations

from typing import Any, Final

from proxies.base64_texts import base64_text
from proxies.json_texts import BASE64_SUFFIX, leaves, pointer, schema_leaves
from rules.model import Target, Text

_ROLE_TARGETS: Final = {"user": Target.PROMPT, "assistant": Target.COMPLETION, "system": Target.SYSTEM_PROMPT}
_NOT_SAID: Final = frozenset({"stopReason", "usage", "metrics", "performanceConfig", "serviceTier"})


def converse_request(body: dict[str, Any], texts: list[Text]) -> None:
    """A request."""
    for key, value in body.items():
        if key == "messages" and type(value) is list:
            for index, message in enumerate(value):
                _message(message, f"/messages/{index}", texts)
        elif key == "system":
            _blocks(value, Target.SYSTEM_PROMPT, "/system", texts)
        elif key == "toolConfig" and type(value) is dict:
            _tool_config(value, texts)
        elif key == "outputConfig":
            schema_leaves(value, "/outputConfig", texts)
        else:
            leaves(value, Target.PROMPT, pointer("", key), texts)


def converse_answer(body: dict[str, Any], texts: list[Text]) -> None:
    """A whole answer. What a guardrail says about it may repeat its texts and is read like them."""
    for key, value in body.items():
        below = pointer("", key)
        if key == "output" and type(value) is dict:
            for name, message in value.items():
                if name == "message":
                    _message(message, f"{below}/message", texts, default=Target.COMPLETION)
                else:
                    leaves(message, Target.COMPLETION, pointer(below, name), texts)
        elif key not in _NOT_SAID:
            leaves(value, Target.COMPLETION, below, texts)


def block_texts(block: Any, target: Target, path: str, texts: list[Text]) -> None:
    """One content block."""
    if type(block) is not dict:
        leaves(block, target, path, texts)
        return
    for key, value in block.items():
        below = pointer(path, key)
        if key == "toolUse" and type(value) is dict:
            tool_use_texts(value, below, texts)
        elif key == "toolResult" and type(value) is dict:
            _tool_result(value, below, texts)
        elif key == "reasoningContent":
            _reasoning(value, target, below, texts)
        elif key in ("document", "searchResult"):
            file_texts(value, Target.DOCUMENT, below, texts)
        else:
            file_texts(value, target, below, texts)


def tool_use_texts(call: dict[str, Any], path: str, texts: list[Text]) -> None:
    """A call of a tool, or the beginning of one: its name, and its arguments as an object."""
    for key, value in call.items():
        if key == "name":
            leaves(value, Target.TOOL_NAME, f"{path}/name", texts)
        elif key not in ("toolUseId", "type"):
            leaves(value, Target.TOOL_ARGS, pointer(path, key), texts)


def file_texts(value: Any, target: Target, path: str, texts: list[Text]) -> None:
    """All strings below; a member `bytes` is read as the text that it is in base64, and not at all where it is none."""
    if type(value) is dict:
        for key, member in value.items():
            below = pointer(path, key)
            if key == "bytes" and type(member) is str:
                text = base64_text(member)
                if text is None:
                    leaves(member, target, below, texts)
                else:
                    leaves(text, target, below + BASE64_SUFFIX, texts)
            else:
                file_texts(member, target, below, texts)
    elif type(value) is list:
        for index, member in enumerate(value):
            file_texts(member, target, f"{path}/{index}", texts)
    else:
        leaves(value, target, path, texts)


def _message(message: Any, path: str, texts: list[Text], default: Target = Target.PROMPT) -> None:
    if type(message) is not dict:
        leaves(message, default, path, texts)
        return
    target = _ROLE_TARGETS.get(str(message.get("role")), default)
    for key, value in message.items():
        if key == "content":
            _blocks(value, target, f"{path}/content", texts)
        elif key != "role":
            leaves(value, target, pointer(path, key), texts)


def _blocks(value: Any, target: Target, path: str, texts: list[Text]) -> None:
    if type(value) is not list:
        leaves(value, target, path, texts)
        return
    for index, block in enumerate(value):
        block_texts(block, target, f"{path}/{index}", texts)


def _tool_result(result: dict[str, Any], path: str, texts: list[Text]) -> None:
    for key, value in result.items():
        if key not in ("toolUseId", "status", "type"):
            file_texts(value, Target.TOOL_RESULT, pointer(path, key), texts)


def _reasoning(value: Any, target: Target, path: str, texts: list[Text]) -> None:
    """What a model thought: read, but neither its signature nor what is encrypted."""
    if type(value) is not dict:
        leaves(value, target, path, texts)
        return
    for key, member in value.items():
        if key == "reasoningText" and type(member) is dict:
            member = {name: text for name, text in member.items() if name != "signature"}
        if key not in ("redactedContent", "signature"):
            leaves(member, target, pointer(path, key), texts)


def _tool_config(config: dict[str, Any], texts: list[Text]) -> None:
    for key, value in config.items():
        below = pointer("/toolConfig", key)
        if key == "tools" and type(value) is list:
            for index, tool in enumerate(value):
                _tool(tool, f"{below}/{index}", texts)
        else:
            leaves(value, Target.SCHEMA, below, texts)


def _tool(tool: Any, path: str, texts: list[Text]) -> None:
    if type(tool) is not dict:
        leaves(tool, Target.TOOL_DESCRIPTION, path, texts)
        return
    for kind, body in tool.items():
        below = pointer(path, kind)
        if type(body) is not dict:
            leaves(body, Target.SCHEMA, below, texts)
            continue
        for key, value in body.items():
            place = pointer(below, key)
            if key == "name":
                leaves(value, Target.TOOL_NAME, place, texts)
            elif key == "description":
                leaves(value, Target.TOOL_DESCRIPTION, place, texts)
            else:
                schema_leaves(value, place, texts)
