"""Files inside requests: what is text in them is read and masked, and nothing hides behind the look of a file (LLM-SRF-3)."""

from __future__ import annotations

import base64
import copy
from typing import Any

import pytest

from proxies.json_edit import edit_texts
from proxies.llm.request_texts import request_texts
from proxies.llm.surfaces import Surface
from rules.model import Target

SECRET = "Ünlike others: find me"
ENCODED = base64.b64encode(SECRET.encode()).decode()
URL = "data:text/plain;charset=utf-8;base64," + ENCODED
PNG = base64.b64encode(b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 8).decode()

FILES: list[tuple[Surface, dict[str, Any], str]] = [
    (
        Surface.OPENAI_CHAT,
        {
            "messages": [
                {"role": "user", "content": [{"type": "file", "file": {"filename": "a.txt", "file_data": URL}}]}
            ]
        },
        "/messages/0/content/0/file/file_data;data-url",
    ),
    (
        Surface.OPENAI_RESPONSES,
        {"input": [{"role": "user", "content": [{"type": "input_file", "file_data": URL}]}]},
        "/input/0/content/0/file_data;data-url",
    ),
    (
        Surface.OPENAI_RESPONSES,
        {"input": [{"role": "user", "content": [{"type": "input_file", "file_data": ENCODED}]}]},
        "/input/0/content/0/file_data;base64",
    ),
    (
        Surface.ANTHROPIC_MESSAGES,
        {
            "messages": [
                {
                    "role": "user",
                    "content": [
                        {
                            "type": "document",
                            "source": {"type": "base64", "media_type": "text/plain", "data": ENCODED},
                        }
                    ],
                }
            ]
        },
        "/messages/0/content/0/source/data;base64",
    ),
    (
        Surface.GEMINI,
        {"contents": [{"role": "user", "parts": [{"inlineData": {"mimeType": "text/csv", "data": ENCODED}}]}]},
        "/contents/0/parts/0/inlineData/data;base64",
    ),
]


@pytest.mark.parametrize(("surface", "body", "path"), FILES)
def test_llm_srf_3_a_file_that_is_text_is_read_and_can_be_masked(
    surface: Surface, body: dict[str, Any], path: str
) -> None:
    body = copy.deepcopy(body)
    texts = [text for text in request_texts(surface, body) if "find me" in text.text]

    assert [(text.target, text.path, text.text) for text in texts] == [(Target.DOCUMENT, path, SECRET)]
    edit_texts(body, {path: "[MASKED]"})
    assert [text.text for text in request_texts(surface, body) if "MASKED" in text.text] == ["[MASKED]"]
    assert ENCODED not in str(body)


@pytest.mark.parametrize("url", [f"data:image/png;base64,{PNG}", f"data:;base64,{PNG}"])
def test_an_image_is_no_text(url: str) -> None:
    body = {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": url}}]}]}

    assert [text.path for text in request_texts(Surface.OPENAI_CHAT, body)] == ["/messages/0/content/0/type"]


@pytest.mark.parametrize(
    "text",
    [
        "data: find me",
        "data:find me",
        "data:text/plain,find me",
        "data:x;base64,find me!",
        "data:find\u00a0me;base64,/w==",
        "data:find;me=you;base64,/w==",
        "data:text/plain;find%20me;base64,/w==",
        f"data:image/png;base64,{PNG[:512]}\nfind\nme\nand\ntell",
        f"data:image/png;base64,{PNG[:512]}\u00a0find\u00a0me",
    ],
)
def test_llm_srf_3_what_only_begins_like_a_file_is_read(text: str) -> None:
    body = {
        "input": [
            {"type": "function_call_output", "call_id": "1", "output": text},
            {"type": "message", "role": "user", "content": [{"type": "input_file", "filename": text}]},
        ]
    }

    assert [one.text for one in request_texts(Surface.OPENAI_RESPONSES, body)].count(text) == 2
