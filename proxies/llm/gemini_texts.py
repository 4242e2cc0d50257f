"""The texts of Gemini contents: what a turn says, in requests and in answers (requirements a2a-and-llm §3.1)."""

from __future__ import annotations

from typing import Any, Final

from proxies.json_texts import leaves, pointer
from proxies.llm.payloads import file_text
from rules.model import Target, Text

_BINARY: Final = frozenset({"inlineData", "inline_data"})
_SIGNATURES: Final = frozenset({"thoughtSignature", "thought_signature"})
CALLS: Final = frozenset({"functionCall", "function_call"})
_RESULTS: Final = frozenset({"functionResponse", "function_response", "codeExecutionResult", "code_execution_result"})
_CODE: Final = frozenset({"executableCode", "executable_code"})


def gemini_content(content: Any, target: Target, path: str, texts: list[Text]) -> None:
    """One turn. A turn of the model is what it said before, whatever `target` says."""
    if type(content) is not dict:
        leaves(content, target, path, texts)
        return
    if content.get("role") == "model":
        target = Target.COMPLETION
    for key, value in content.items():
        below = pointer(path, key)
        if key == "parts" and type(value) is list:
            for index, part in enumerate(value):
                gemini_part(part, target, f"{below}/{index}", texts)
        elif key != "role":
            leaves(value, target, below, texts)


def gemini_part(part: Any, target: Target, path: str, texts: list[Text]) -> None:
    """One part: text, a call with its arguments as an object, a result, a file. Signatures are not read."""
    if type(part) is not dict:
        leaves(part, target, path, texts)
        return
    for key, value in part.items():
        below = pointer(path, key)
        if key in _SIGNATURES:
            continue
        if key in _BINARY:
            _file(value, below, texts)
            continue
        if key in CALLS and type(value) is dict:
            _call(value, Target.TOOL_ARGS, below, texts)
        elif key in _RESULTS and type(value) is dict:
            _call(value, Target.TOOL_RESULT, below, texts)
        elif key in _CODE:
            leaves(value, Target.TOOL_ARGS, below, texts)
        else:
            leaves(value, target, below, texts)


def _file(value: Any, path: str, texts: list[Text]) -> None:
    """A file with its type; only what is text in it is read."""
    if type(value) is not dict:
        leaves(value, Target.DOCUMENT, path, texts)
        return
    for key, member in value.items():
        if key == "data" and type(member) is str:
            file_text(member, f"{path}/data", texts)
        elif key not in ("mimeType", "mime_type"):
            leaves(member, Target.DOCUMENT, pointer(path, key), texts)


def _call(call: dict[str, Any], target: Target, path: str, texts: list[Text]) -> None:
    for key, value in call.items():
        if key == "name":
            leaves(value, Target.TOOL_NAME, f"{path}/name", texts)
        elif key not in ("id", "outcome"):
            leaves(value, target, pointer(path, key), texts)
