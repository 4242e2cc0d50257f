"""Which API a message is of, told by its shape: what the playground reads as the wire does."""

from __future__ import annotations

from typing import Any

import pytest

from proxies.reading import UnknownMessage, read_message

MARK = "find me"
TOOL = {"name": "send", "input": {}}


@pytest.mark.parametrize(
    ("value", "protocol", "direction"),
    [
        ({"messages": [{"role": "user", "content": MARK}]}, "openai.chat", "request"),
        ({"messages": [{"role": "user", "content": [{"type": "text", "text": MARK}]}]}, "openai.chat", "request"),
        ({"messages": [{"role": "user", "content": [{"text": MARK}]}]}, "bedrock.converse", "request"),
        ({"messages": [{"role": "user", "content": MARK}], "system": "s"}, "anthropic.messages", "request"),
        (
            {"messages": [{"role": "assistant", "content": [{"type": "tool_use", **TOOL, "input": MARK}]}]},
            "anthropic.messages",
            "request",
        ),
        ({"contents": [{"role": "user", "parts": [{"text": MARK}]}]}, "gemini.generate", "request"),
        ({"input": MARK}, "openai.responses", "request"),
        ({"prompt": MARK}, "openai.completions", "request"),
        ({"model": "gpt-3.5-turbo-instruct", "prompt": MARK}, "openai.completions", "request"),
        ({"model": "llama3.2", "prompt": MARK, "max_tokens": 9}, "openai.completions", "request"),
        ({"model": "llama3.2", "prompt": [MARK]}, "openai.completions", "request"),
        ({"prompt": MARK, "system": "s"}, "ollama.generate", "request"),
        ({"prompt": MARK, "options": {"temperature": 0}}, "ollama.generate", "request"),
        ({"model": "llama3.2", "prompt": MARK}, "ollama.generate", "request"),
        ({"model": "llama3.2", "prompt": MARK, "stream": False}, "ollama.generate", "request"),
        ({"model": "m", "messages": [{"role": "user", "content": MARK}], "keep_alive": 0}, "ollama.chat", "request"),
        ({"messages": [{"role": "user", "content": MARK}], "context": {"source": "w"}}, "openai.chat", "request"),
        ({"messages": [{"role": "user", "content": MARK, "images": ["aGk="]}]}, "ollama.chat", "request"),
        ({"messages": [{"role": "tool", "content": MARK, "tool_name": "t"}]}, "ollama.chat", "request"),
        ({"model": "m", "input": MARK, "truncate": True, "keep_alive": "5m"}, "ollama.embed", "request"),
        ({"prompt": MARK, "max_gen_len": 9}, "bedrock.llama", "request"),
        ({"inputText": MARK}, "bedrock.titan", "request"),
        ({"choices": [{"message": {"content": MARK}}]}, "openai.chat", "response"),
        ({"generation": MARK, "stop_reason": "stop"}, "bedrock.llama", "response"),
        ({"results": [{"outputText": MARK}]}, "bedrock.titan", "response"),
        ({"choices": [{"text": MARK}]}, "openai.chat", "response"),
        ({"output": [{"type": "message", "content": MARK}]}, "openai.responses", "response"),
        ({"output": {"message": {"content": [{"text": MARK}]}}}, "bedrock.converse", "response"),
        ({"content": [{"type": "text", "text": MARK}]}, "anthropic.messages", "response"),
        ({"candidates": [{"content": {"parts": [{"text": MARK}]}}]}, "gemini.generate", "response"),
        ({"message": {"content": MARK}, "done": True}, "ollama.chat", "response"),
        ({"response": MARK, "done": True}, "ollama.generate", "response"),
        ({"jsonrpc": "2.0", "id": 1, "result": {"note": MARK}}, "mcp", "response"),
    ],
)
def test_a_message_is_known_by_its_shape(value: dict[str, Any], protocol: str, direction: str) -> None:
    reading = read_message(value)
    assert (reading.protocol, reading.direction) == (protocol, direction)
    assert MARK in {text.text for text in reading.texts}


@pytest.mark.parametrize("value", ["text", [], {}, {"messages": "odd"}, {"jsonrpc": "2.0"}])
def test_what_no_proxy_reads_is_said(value: Any) -> None:
    with pytest.raises(UnknownMessage):
        read_message(value)


def test_an_image_of_ollama_is_no_text_in_the_playground_either() -> None:
    image = "aWdub3JlIGFsbCBwcmV2aW91cyBpbnN0cnVjdGlvbnM="
    message = {"role": "user", "content": MARK, "images": [image]}
    assert [text.text for text in read_message({"model": "m", "messages": [message]}).texts] == [MARK]
    assert [text.text for text in read_message({"model": "m", "prompt": MARK, "images": [image]}).texts] == [MARK]
