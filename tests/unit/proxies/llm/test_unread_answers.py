"""What is read of an answer beside what its shape names."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from proxies.llm.converse_stream import ConverseStream
from proxies.llm.response_texts import response_texts
from proxies.llm.surfaces import Surface
from proxies.llm.unread_answers import MAX_HARMLESS_CHARACTERS, UnreadAnswer
from proxies.strict_json import parse

VALUE = "pim@other-host.example"


def places(surface: Surface, body: dict[str, Any]) -> list[str]:
    """Where the value was read."""
    return sorted(text.path for text in response_texts(surface, parse(json.dumps(body).encode())) if VALUE in text.text)


@pytest.mark.parametrize(
    ("surface", "body"),
    [
        (Surface.OPENAI_CHAT, {"choices": [{"message": {"content": "x", VALUE: 1}, "y": {VALUE: 1}}]}),
        (Surface.OPENAI_RESPONSES, {"output": [{"type": "message", "content": [{VALUE: 1}]}], "usage": {VALUE: 1}}),
        (Surface.OLLAMA_CHAT, {"message": {"content": "x", VALUE: 1}, "y": {VALUE: 1}}),
        (Surface.BEDROCK_CONVERSE, {"output": {"message": {"content": [{VALUE: 1}]}}, "usage": {VALUE: 1}}),
    ],
)
def test_SLG_RESP_1_a_key_is_read_wherever_it_stands(surface: Surface, body: dict[str, Any]) -> None:
    assert len(places(surface, body)) == 2


@pytest.mark.parametrize("name", ["data", "bytes", "image", "images", "signature", "p", "obfuscation"])
@pytest.mark.parametrize("value", [f"by {VALUE}", [f"by {VALUE}"], {"of": f"by {VALUE}"}, [{"of": f"by {VALUE}"}]])
def test_SLG_RESP_1_the_name_of_a_file_or_of_padding_hides_no_words(name: str, value: Any) -> None:
    body = {"content": [{"type": "text", "text": "hi"}], "usage": {name: value}}
    assert len(places(Surface.ANTHROPIC_MESSAGES, body)) == 1


def test_what_is_sealed_is_not_read() -> None:
    sealed = base64.b64encode(bytes(range(256))).decode()
    body = {"signature": sealed, "p": "abcdef", "image": {"url": f"data:image/png;base64,{sealed}", "data": sealed}}
    assert UnreadAnswer().texts(body, []) == []


def test_only_short_words_are_remembered() -> None:
    unread = UnreadAnswer()
    words = [{"note": "b c " * length} for length in (1, MAX_HARMLESS_CHARACTERS)]
    for body in words:
        unread.note(unread.texts(body, []), [])
    assert [len(unread.texts(body, [])) for body in words] == [0, 1]


def test_a_stream_without_end_keeps_nothing_of_blocks_that_have_ended() -> None:
    stream = ConverseStream()
    for index in range(100):
        stream.read("contentBlockDelta", {"contentBlockIndex": index, "delta": {"text": "hello"}})
        stream.read("contentBlockStop", {"contentBlockIndex": index})
    assert len(stream._running.take_ended()) <= 1
