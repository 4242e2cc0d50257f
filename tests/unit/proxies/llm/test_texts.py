# ruff: noqa: E501 - One case a line reads better than many lines a case.
"""Which texts are read in which member, for requests and answers (LLM-SRF-3)."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from proxies.json_edit import edit_texts
from proxies.llm.request_texts import request_texts
from proxies.llm.response_texts import response_texts, response_usage
from proxies.llm.surfaces import Surface
from rules.model import Target, Text

MARK = "find me"
BINARY = base64.b64encode(b"\x89PNG " + MARK.encode()).decode()


def places(texts: list[Text]) -> dict[str, Target]:
    return {text.path: text.target for text in texts if text.text == MARK}


CHAT = [
    ({"messages": [{"role": "user", "content": MARK}]}, "/messages/0/content", Target.PROMPT),
    ({"messages": [{"role": "system", "content": MARK}]}, "/messages/0/content", Target.SYSTEM_PROMPT),
    ({"messages": [{"role": "developer", "content": MARK}]}, "/messages/0/content", Target.SYSTEM_PROMPT),
    ({"messages": [{"role": "assistant", "content": MARK}]}, "/messages/0/content", Target.COMPLETION),
    ({"messages": [{"role": "assistant", "refusal": MARK}]}, "/messages/0/refusal", Target.COMPLETION),
    ({"messages": [{"role": "tool", "content": MARK}]}, "/messages/0/content", Target.TOOL_RESULT),
    ({"messages": [{"role": "user", "name": MARK}]}, "/messages/0/name", Target.PROMPT),
    ({"messages": [{"role": "wizard", "content": MARK}]}, "/messages/0/content", Target.PROMPT),
    ({"messages": [MARK]}, "/messages/0", Target.PROMPT),
    (
        {"messages": [{"role": "user", "content": [{"type": "text", "text": MARK}]}]},
        "/messages/0/content/0/text",
        Target.PROMPT,
    ),
    ({"messages": [{"role": "user", "content": [MARK]}]}, "/messages/0/content/0", Target.PROMPT),
    ({"messages": [{"role": "user", "content": {"a": MARK}}]}, "/messages/0/content/a", Target.PROMPT),
    (
        {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": MARK}}]}]},
        "/messages/0/content/0/image_url/url",
        Target.PROMPT,
    ),
    (
        {"messages": [{"role": "user", "content": [{"type": "file", "file": {"filename": MARK}}]}]},
        "/messages/0/content/0/file/filename",
        Target.PROMPT,
    ),
    (
        {"messages": [{"role": "assistant", "tool_calls": [{"function": {"arguments": json.dumps({"a": [MARK]})}}]}]},
        "/messages/0/tool_calls/0/function/arguments/a/0",
        Target.TOOL_ARGS,
    ),
    (
        {"messages": [{"role": "assistant", "tool_calls": [{"function": {"arguments": MARK}}]}]},
        "/messages/0/tool_calls/0/function/arguments",
        Target.TOOL_ARGS,
    ),
    (
        {"messages": [{"role": "assistant", "tool_calls": [{"custom": {"name": MARK, "input": "x"}}]}]},
        "/messages/0/tool_calls/0/custom/name",
        Target.TOOL_NAME,
    ),
    ({"messages": [{"role": "assistant", "tool_calls": [MARK]}]}, "/messages/0/tool_calls/0", Target.TOOL_ARGS),
    (
        {"messages": [{"role": "assistant", "function_call": {"arguments": json.dumps({"a": MARK})}}]},
        "/messages/0/function_call/arguments/a",
        Target.TOOL_ARGS,
    ),
    ({"tools": [{"type": "function", "function": {"name": MARK}}]}, "/tools/0/function/name", Target.TOOL_NAME),
    (
        {"tools": [{"type": "function", "function": {"description": MARK}}]},
        "/tools/0/function/description",
        Target.TOOL_DESCRIPTION,
    ),
    (
        {"tools": [{"function": {"parameters": {"properties": {"p": {"description": MARK}}}}}]},
        "/tools/0/function/parameters/properties/p/description",
        Target.PARAM_DESCRIPTION,
    ),
    (
        {"tools": [{"function": {"parameters": {"properties": {"p": {"enum": [MARK]}}}}}]},
        "/tools/0/function/parameters/properties/p/enum/0",
        Target.SCHEMA,
    ),
    (
        {"tools": [{"function": {"parameters": {"properties": {MARK: {}}}}}]},
        f"/tools/0/function/parameters/properties/{MARK}#",
        Target.SCHEMA,
    ),
    ({"tools": [{"type": "mcp", "server_url": MARK}]}, "/tools/0/server_url", Target.SCHEMA),
    ({"tools": [MARK]}, "/tools/0", Target.TOOL_DESCRIPTION),
    ({"functions": [{"description": MARK}]}, "/functions/0/description", Target.TOOL_DESCRIPTION),
    ({"response_format": {"json_schema": {"name": MARK}}}, "/response_format/json_schema/name", Target.SCHEMA),
    ({"metadata": {"note": MARK}}, "/metadata/note", Target.PROMPT),
    ({"metadata": {MARK: 1}}, f"/metadata/{MARK}#", Target.PROMPT),
    ({"prediction": {"content": MARK}}, "/prediction/content", Target.PROMPT),
    ({"never_heard_of": {"a/b~c": [MARK]}}, "/never_heard_of/a~1b~0c/0", Target.PROMPT),
]

ANTHROPIC = [
    ({"system": MARK}, "/system", Target.SYSTEM_PROMPT),
    ({"system": [{"type": "text", "text": MARK}]}, "/system/0/text", Target.SYSTEM_PROMPT),
    ({"messages": [{"role": "user", "content": MARK}]}, "/messages/0/content", Target.PROMPT),
    (
        {"messages": [{"role": "user", "content": [{"type": "tool_result", "content": MARK}]}]},
        "/messages/0/content/0/content",
        Target.TOOL_RESULT,
    ),
    (
        {
            "messages": [
                {"role": "user", "content": [{"type": "tool_result", "content": [{"type": "text", "text": MARK}]}]}
            ]
        },
        "/messages/0/content/0/content/0/text",
        Target.TOOL_RESULT,
    ),
    (
        {"messages": [{"role": "assistant", "content": [{"type": "tool_use", "input": {"a": MARK}}]}]},
        "/messages/0/content/0/input/a",
        Target.TOOL_ARGS,
    ),
    (
        {"messages": [{"role": "user", "content": [{"type": "document", "source": {"type": "text", "data": MARK}}]}]},
        "/messages/0/content/0/source/data",
        Target.DOCUMENT,
    ),
    (
        {"messages": [{"role": "user", "content": [{"type": "document", "title": MARK}]}]},
        "/messages/0/content/0/title",
        Target.DOCUMENT,
    ),
    (
        {"messages": [{"role": "user", "content": [{"type": "search_result", "source": MARK}]}]},
        "/messages/0/content/0/source",
        Target.DOCUMENT,
    ),
    (
        {"messages": [{"role": "assistant", "content": [{"type": "thinking", "thinking": MARK}]}]},
        "/messages/0/content/0/thinking",
        Target.COMPLETION,
    ),
    (
        {"tools": [{"name": "a", "input_schema": {"title": MARK}}]},
        "/tools/0/input_schema/title",
        Target.PARAM_DESCRIPTION,
    ),
    ({"mcp_servers": [{"url": MARK}]}, "/mcp_servers/0/url", Target.PROMPT),
]

RESPONSES = [
    ({"input": MARK}, "/input", Target.PROMPT),
    ({"instructions": MARK}, "/instructions", Target.SYSTEM_PROMPT),
    ({"input": [{"role": "user", "content": MARK}]}, "/input/0/content", Target.PROMPT),
    ({"input": [{"type": "message", "role": "system", "content": MARK}]}, "/input/0/content", Target.SYSTEM_PROMPT),
    (
        {"input": [{"role": "user", "content": [{"type": "input_text", "text": MARK}]}]},
        "/input/0/content/0/text",
        Target.PROMPT,
    ),
    ({"input": [MARK]}, "/input/0", Target.PROMPT),
    (
        {"input": [{"type": "function_call", "name": "f", "arguments": json.dumps({"a": MARK})}]},
        "/input/0/arguments/a",
        Target.TOOL_ARGS,
    ),
    ({"input": [{"type": "function_call", "name": MARK}]}, "/input/0/name", Target.TOOL_NAME),
    ({"input": [{"type": "function_call_output", "output": MARK}]}, "/input/0/output", Target.TOOL_RESULT),
    (
        {"input": [{"type": "shell_call", "action": {"commands": [MARK]}}]},
        "/input/0/action/commands/0",
        Target.TOOL_ARGS,
    ),
    ({"input": [{"type": "reasoning", "summary": [{"text": MARK}]}]}, "/input/0/summary/0/text", Target.COMPLETION),
    ({"input": [{"type": "new_kind", "words": MARK}]}, "/input/0/words", Target.PROMPT),
    ({"prompt": {"variables": {"a": MARK}}}, "/prompt/variables/a", Target.PROMPT),
    (
        {"text": {"format": {"schema": {"description": MARK}}}},
        "/text/format/schema/description",
        Target.PARAM_DESCRIPTION,
    ),
]


@pytest.mark.parametrize(
    ("surface", "body", "path", "target"),
    [(Surface.OPENAI_CHAT, *case) for case in CHAT]
    + [(Surface.ANTHROPIC_MESSAGES, *case) for case in ANTHROPIC]
    + [(Surface.OPENAI_RESPONSES, *case) for case in RESPONSES],
)
def test_LLM_SRF_3_request_text_is_read_with_its_target(
    surface: Surface, body: dict[str, Any], path: str, target: Target
) -> None:
    assert places(request_texts(surface, {"model": "m", **body})) == {path: target}


@pytest.mark.parametrize(
    ("surface", "body"),
    [
        (Surface.OPENAI_CHAT, {"messages": [{"role": "user", "content": [{"type": "input_audio", "input_audio": {"format": "wav", "data": BINARY}}]}]}),
        (Surface.OPENAI_CHAT, {"messages": [{"role": "user", "content": [{"type": "file", "file": {"file_data": BINARY}}]}]}),
        (Surface.ANTHROPIC_MESSAGES, {"messages": [{"role": "user", "content": [{"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": BINARY}}]}]}),
        (Surface.ANTHROPIC_MESSAGES, {"messages": [{"role": "assistant", "content": [{"type": "redacted_thinking", "data": MARK}]}]}),
        (Surface.ANTHROPIC_MESSAGES, {"messages": [{"role": "assistant", "content": [{"type": "thinking", "signature": MARK}]}]}),
        (Surface.OPENAI_RESPONSES, {"input": [{"type": "reasoning", "encrypted_content": MARK}]}),
    ],
)  # fmt: skip
def test_signed_encrypted_and_binary_members_are_not_read(surface: Surface, body: dict[str, Any]) -> None:
    assert places(request_texts(surface, body)) == {}


@pytest.mark.parametrize("name", ["signature", "blob", "file_data", "encrypted_content", "data"])
def test_an_argument_is_read_whatever_its_name(name: str) -> None:
    call = {"type": "tool_use", "input": {name: MARK}}
    body = {"messages": [{"role": "assistant", "content": [call]}]}
    assert places(request_texts(Surface.ANTHROPIC_MESSAGES, body)) == {
        f"/messages/0/content/0/input/{name}": Target.TOOL_ARGS
    }
    assert places(response_texts(Surface.ANTHROPIC_MESSAGES, {"content": [call]})) == {
        f"/content/0/input/{name}": Target.TOOL_ARGS
    }


def test_a_data_url_is_not_read_and_an_empty_text_costs_nothing() -> None:
    body = {
        "messages": [
            {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:image/png;base64,AAA"}}]}
        ]
    }
    assert [t.text for t in request_texts(Surface.OPENAI_CHAT, body) if t.text.startswith("data:")] == []


ANSWERS = [
    (Surface.OPENAI_CHAT, {"choices": [{"message": {"content": MARK}}]}, "/choices/0/message/content", Target.COMPLETION),
    (Surface.OPENAI_CHAT, {"choices": [{"message": {"audio": {"transcript": MARK}}}]}, "/choices/0/message/audio/transcript", Target.COMPLETION),
    (Surface.OPENAI_CHAT, {"choices": [{"message": {"tool_calls": [{"function": {"arguments": json.dumps({"a": MARK})}}]}}]}, "/choices/0/message/tool_calls/0/function/arguments/a", Target.TOOL_ARGS),
    (Surface.OPENAI_CHAT, {"choices": [{"message": {"tool_calls": [MARK]}}]}, "/choices/0/message/tool_calls/0", Target.TOOL_ARGS),
    (Surface.OPENAI_CHAT, {"choices": [{"message": {"function_call": {"name": MARK}}}]}, "/choices/0/message/function_call/name", Target.TOOL_NAME),
    (Surface.OPENAI_CHAT, {"choices": [{"message": {"tool_calls": [{"custom": {"input": MARK}}]}}]}, "/choices/0/message/tool_calls/0/custom/input", Target.TOOL_ARGS),
    (Surface.OPENAI_CHAT, {"choices": [{"message": MARK}]}, "/choices/0/message", Target.COMPLETION),
    (Surface.OPENAI_CHAT, {"choices": [{"note": MARK}]}, "/choices/0/note", Target.COMPLETION),
    (Surface.OPENAI_CHAT, {"hidden": {"deep": MARK}}, "/hidden/deep", Target.COMPLETION),
    (Surface.OPENAI_CHAT, [MARK], "/0", Target.COMPLETION),
    (Surface.OPENAI_RESPONSES, {"output": [{"type": "message", "content": [{"type": "output_text", "text": MARK}]}]}, "/output/0/content/0/text", Target.COMPLETION),
    (Surface.OPENAI_RESPONSES, {"output": [{"type": "message", "content": [MARK]}]}, "/output/0/content/0", Target.COMPLETION),
    (Surface.OPENAI_RESPONSES, {"output": [{"type": "function_call", "arguments": json.dumps({"a": MARK})}]}, "/output/0/arguments/a", Target.TOOL_ARGS),
    (Surface.OPENAI_RESPONSES, {"output": [{"type": "function_call", "name": MARK}]}, "/output/0/name", Target.TOOL_NAME),
    (Surface.OPENAI_RESPONSES, {"output": [{"type": "mcp_call", "output": MARK}]}, "/output/0/output", Target.TOOL_RESULT),
    (Surface.OPENAI_RESPONSES, {"output": [{"type": "shell_call", "action": MARK}]}, "/output/0/action", Target.TOOL_ARGS),
    (Surface.OPENAI_RESPONSES, {"output": [MARK]}, "/output/0", Target.COMPLETION),
    (Surface.OPENAI_RESPONSES, {"error": {"message": MARK}}, "/error/message", Target.COMPLETION),
    (Surface.ANTHROPIC_MESSAGES, {"content": [{"type": "text", "text": MARK}]}, "/content/0/text", Target.COMPLETION),
    (Surface.ANTHROPIC_MESSAGES, {"content": [{"type": "tool_use", "input": {"a": MARK}}]}, "/content/0/input/a", Target.TOOL_ARGS),
    (Surface.ANTHROPIC_MESSAGES, {"content": [{"type": "tool_use", "name": MARK}]}, "/content/0/name", Target.TOOL_NAME),
    (Surface.ANTHROPIC_MESSAGES, {"content": [{"type": "web_search_tool_result", "content": MARK}]}, "/content/0/content", Target.TOOL_RESULT),
    (Surface.ANTHROPIC_MESSAGES, {"content": [MARK]}, "/content/0", Target.COMPLETION),
    (Surface.MODELS, {"data": [{"description": MARK}]}, "/data/0/description", Target.COMPLETION),
]  # fmt: skip


@pytest.mark.parametrize(("surface", "body", "path", "target"), ANSWERS)
def test_answer_text_is_read_with_its_target(surface: Surface, body: Any, path: str, target: Target) -> None:
    assert places(response_texts(surface, body)) == {path: target}


def test_an_answer_without_readable_text_has_none() -> None:
    assert (
        response_texts(Surface.ANTHROPIC_MESSAGES, {"content": [{"type": "redacted_thinking", "data": BINARY}]}) == []
    )


def test_LLM_USE_1_usage_of_whole_answers() -> None:
    chat = {"usage": {"prompt_tokens": 10, "completion_tokens": 4, "prompt_tokens_details": {"cached_tokens": 3}}}
    usage = response_usage(Surface.OPENAI_CHAT, chat)
    assert usage is not None
    assert (usage.input_tokens, usage.output_tokens, usage.cached_input_tokens) == (10, 4, 3)
    message = {
        "usage": {
            "input_tokens": 10,
            "cache_read_input_tokens": 3,
            "cache_creation_input_tokens": 2,
            "output_tokens": 4,
        }
    }
    usage = response_usage(Surface.ANTHROPIC_MESSAGES, message)
    assert usage is not None
    assert (usage.input_tokens, usage.cached_input_tokens, usage.cache_write_tokens) == (15, 3, 2)
    lie = response_usage(Surface.OPENAI_CHAT, {"usage": {"prompt_tokens": -5, "completion_tokens": 10**30}})
    assert lie is not None
    assert (lie.input_tokens, lie.output_tokens) == (0, 0)
    assert response_usage(Surface.OPENAI_CHAT, {"usage": "much"}) is None
    assert response_usage(Surface.ANTHROPIC_MESSAGES, {}) is None
    assert response_usage(Surface.OPENAI_CHAT, []) is None


CARD = 4111111111111111


@pytest.mark.parametrize(
    ("surface", "body", "path"),
    [
        (Surface.OPENAI_CHAT, {"metadata": {"card": CARD}}, "/metadata/card"),
        (
            Surface.OPENAI_CHAT,
            {
                "messages": [
                    {"role": "assistant", "tool_calls": [{"function": {"arguments": json.dumps({"c": [CARD, 7]})}}]}
                ]
            },
            "/messages/0/tool_calls/0/function/arguments/c/0",
        ),
        (
            Surface.OPENAI_RESPONSES,
            {"input": [{"type": "function_call", "arguments": json.dumps({"a": {"c": CARD}})}]},
            "/input/0/arguments/a/c",
        ),
        (
            Surface.ANTHROPIC_MESSAGES,
            {"messages": [{"role": "assistant", "content": [{"type": "tool_use", "input": {"c": CARD}}]}]},
            "/messages/0/content/0/input/c",
        ),
        (
            Surface.GEMINI,
            {"contents": [{"role": "model", "parts": [{"functionCall": {"name": "f", "args": {"c": CARD}}}]}]},
            "/contents/0/parts/0/functionCall/args/c",
        ),
    ],
)
def test_llm_srf_3_a_number_as_long_as_one_of_a_card_is_read_and_can_be_masked(
    surface: Surface, body: dict[str, Any], path: str
) -> None:
    assert [text.path for text in request_texts(surface, body) if text.text == str(CARD)] == [path]

    edit_texts(body, {path: "[MASKED]"})

    assert str(CARD) not in json.dumps(body)
    assert "[MASKED]" in json.dumps(body)


@pytest.mark.parametrize("number", [7, 1_763_000_000, 999_999_999_999, 10**16, True, 4111111111111111.5])
def test_other_numbers_are_no_texts(number: float) -> None:
    assert request_texts(Surface.OPENAI_CHAT, {"metadata": {"a": number, "b": [number]}}) == []
