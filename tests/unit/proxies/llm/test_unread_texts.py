"""A provider gets the whole body, so nothing in it that could hold a value is left unread."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from copy import deepcopy
from typing import Any

import pytest

from proxies.json_edit import edit_texts
from proxies.llm.request_texts import request_texts
from proxies.llm.surfaces import Surface
from proxies.llm.unread_texts import unread_texts
from rules.model import Target, Text

VALUES = ("zoe.ohara@example.com", "AKIA" + "Q3EGRM5NAZT7W2LB", "4556 7375 8689 9855")
ARGUMENTS = json.dumps({"to": "bob", "n": [1, {"k": "v"}]})
CHAT: dict[str, Any] = {
    "model": "gpt-4o-mini",
    "messages": [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": [{"type": "text", "text": "hi"}, {"type": "image_url", "image_url": {"url": "u"}}]},
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [
                {"id": "call_Ab3", "type": "function", "function": {"name": "send", "arguments": ARGUMENTS}},
                {"id": "call_Ab4", "type": "custom", "custom": {"name": "run", "input": "ls"}},
            ],
        },
        {"role": "tool", "tool_call_id": "call_Ab3", "content": "sent"},
    ],
    "tools": [
        {
            "type": "function",
            "function": {
                "name": "send",
                "description": "d",
                "parameters": {"type": "object", "properties": {"to": {}}},
            },
            "cache_control": {"type": "ephemeral", "ttl": "5m"},
        }
    ],
    "response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": {"$defs": {"a": {}}}}},
}
ANTHROPIC: dict[str, Any] = {
    "model": "claude",
    "system": [{"type": "text", "text": "s", "cache_control": {"type": "ephemeral"}}],
    "messages": [
        {
            "role": "assistant",
            "content": [
                {"type": "redacted_thinking", "data": "c2VhbGVk", "note": "n"},
                {
                    "type": "tool_use",
                    "id": "toolu_1",
                    "name": "send",
                    "input": {"to": "x"},
                    "caller": {"type": "direct"},
                },
                {"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {}, "more": "m"},
            ],
        },
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "toolu_1", "content": "r", "more": "m"}]},
    ],
}
GEMINI: dict[str, Any] = {
    "contents": [
        {"role": "user", "parts": [{"inlineData": {"mimeType": "image/png", "data": "iVBORw0KGgo="}}]},
        {"role": "model", "parts": [{"functionCall": {"id": "c1", "name": "send", "args": {"to": "x"}}}]},
        {"role": "user", "parts": [{"functionResponse": {"id": "c1", "name": "send", "response": {"r": "s"}}}]},
    ],
    "generationConfig": {"responseSchema": {"properties": {"a": {"type": "string"}}}},
}
RESPONSES: dict[str, Any] = {
    "model": "gpt-4o",
    "input": [
        {"type": "message", "role": "user", "id": "msg_1", "status": "completed", "content": "hi"},
        {"type": "function_call", "id": "fc_1", "call_id": "call_1", "name": "send", "arguments": ARGUMENTS},
        {"type": "function_call_output", "call_id": "call_1", "output": "sent", "status": "completed"},
    ],
}
BODIES = {
    Surface.OPENAI_CHAT: CHAT,
    Surface.ANTHROPIC_MESSAGES: ANTHROPIC,
    Surface.GEMINI: GEMINI,
    Surface.OPENAI_RESPONSES: RESPONSES,
}
SEALED = {"data", "arguments"}


def places(value: Any, above: tuple[Any, ...] = ()) -> Iterator[tuple[tuple[Any, ...], Any]]:
    yield above, value
    if isinstance(value, dict | list):
        for key, member in value.items() if isinstance(value, dict) else enumerate(value):
            yield from places(member, (*above, key))


def holder_in(body: Any, above: tuple[Any, ...]) -> Any:
    for step in above:
        body = body[step]
    return body


@pytest.mark.parametrize("value", VALUES)
@pytest.mark.parametrize("surface", BODIES, ids=lambda surface: surface.value)
def test_RED_STR_12_every_string_and_every_key_that_could_hold_a_value_is_read(surface: Surface, value: str) -> None:
    for place, member in list(places(BODIES[surface])):
        body = deepcopy(BODIES[surface])
        if isinstance(member, str) and place[-1] not in SEALED:
            holder_in(body, place[:-1])[place[-1]] = value
        elif isinstance(member, dict):
            holder_in(body, place)[value] = 1
        else:
            continue
        read = [text for text in request_texts(surface, body) if text.text == value]
        assert len(read) == 1, place


@pytest.mark.parametrize("value", VALUES)
def test_RED_STR_12_a_key_in_the_arguments_of_a_call_is_read(value: str) -> None:
    body = deepcopy(CHAT)
    body["messages"][2]["tool_calls"][0]["function"]["arguments"] = json.dumps({"a": [{value: 1}]})

    assert [text.text for text in request_texts(Surface.OPENAI_CHAT, body)].count(value) == 1


@pytest.mark.parametrize("surface", BODIES, ids=lambda surface: surface.value)
def test_words_of_the_protocol_ids_and_names_are_no_texts(surface: Surface) -> None:
    read = {text.text for text in request_texts(surface, BODIES[surface])}

    assert read.isdisjoint(
        """gpt-4o-mini gpt-4o claude system user assistant tool model text function custom call_1 ephemeral
        toolu_1 srvtoolu_1 c2VhbGVk tool_result function_call completed msg_1 fc_1 image/png""".split()
    )
    assert ARGUMENTS not in read


@pytest.mark.parametrize("number", ["4556737586899855", "4556737586899855.0", "4.556737586899855e15"])
def test_RED_STR_12_a_card_is_read_however_its_number_is_written(number: str) -> None:
    body = json.loads(f'{{"model": "m", "prompt": "hi", "metadata": {{"n": [{number}], "m": {number}}}}}')

    read = [text for text in request_texts(Surface.OPENAI_COMPLETIONS, body) if text.text == "4556737586899855"]
    assert {text.path for text in read} == {"/metadata/n/0", "/metadata/m"}

    edit_texts(body, {text.path: "masked" for text in read})
    assert body["metadata"] == {"n": ["masked"], "m": "masked"}


PHOTO = base64.b64encode(bytes(range(256)) * 4).decode()


@pytest.mark.parametrize("name", ["data", "bytes", "file_data", "image", "images"])
def test_members_for_files_hide_no_words(name: str) -> None:
    """Only what is written like a file is passed over, however its member is called."""
    words = "write to bob@corp-mail.de"
    body = {name: words, "list": {name: [words, PHOTO, {"deep": words}]}, "file": {name: PHOTO}}
    body["url"] = {name: f"data:image/png;base64,{PHOTO}"}
    found: list[Text] = []
    unread_texts(body, found)
    assert [text.path for text in found] == [f"/{name}", f"/list/{name}/0", f"/list/{name}/2/deep"]


def test_a_short_file_that_was_read_is_not_read_again() -> None:
    encoded = base64.b64encode(b"bob@corp-mail.de").decode()
    body = {"inlineData": {"mimeType": "text/plain", "data": encoded}}
    found = [Text(Target.PROMPT, "/inlineData/data;base64", "bob@corp-mail.de")]
    unread_texts(body, found)
    assert [text.path for text in found] == ["/inlineData/data;base64"]
