"""Masking in the streams of hosts that speak Chat Completions with habits of their own."""

from __future__ import annotations

import json
from typing import Any

from tests.masking_calls import QUESTION, placeholder_in, post_raw, said, streamed_chat
from tests.masking_rules import EMAIL
from tests.scripted_upstream import Reply, chat_chunk, chat_stream


def chunks_of(raw: str) -> list[Any]:
    return [json.loads(line[6:]) for line in raw.splitlines() if line.startswith("data: {")]


def azure(text: str) -> Reply:
    """What Azure OpenAI sends: the filter's verdict on the prompt first, and on the answer at any time, with offsets."""
    made = chat_stream(text, split="event")
    first = {"id": "", "object": "", "created": 0, "model": "", "choices": [], "prompt_filter_results": [{"index": 0}]}
    offsets = {"check_offset": 0, "start_offset": 0, "end_offset": len(text)}
    _, filtered = chat_chunk({}, content_filter_results={"hate": {"filtered": False}}, content_filter_offsets=offsets)
    del filtered["choices"][0]["delta"]
    made.events[-2:-2] = [(None, filtered)]
    return Reply(events=[(None, first), *made.events])


async def test_SYP_RED_1_azure_masks_and_restores(upstream, openai_client) -> None:
    upstream.reply = lambda body: azure(f"I wrote to {placeholder_in(body)}.")

    chunks = await streamed_chat(openai_client)

    assert chunks[0].choices == []
    assert said([chunk for chunk in chunks if chunk.choices and chunk.choices[0].delta]) == f"I wrote to {EMAIL}."


async def test_RED_STR_5_offsets_of_a_filter_go_once_the_text_has_changed(upstream, proxy) -> None:
    body = {"model": "m", "messages": [{"role": "user", "content": QUESTION}], "stream": True}
    for text, kept in (("nothing to restore", True), (None, False)):
        upstream.reply = lambda body, text=text: azure(text or f"I wrote to {placeholder_in(body)}.")

        chunks = chunks_of(await post_raw(proxy, "/v1/chat/completions", body))

        [verdict] = [one["choices"][0] for one in chunks if "content_filter_results" in str(one)]
        assert verdict["content_filter_results"] == {"hate": {"filtered": False}}
        assert ("content_filter_offsets" in verdict) is kept


async def test_RED_STR_1_an_error_chunk_comes_after_what_was_held(upstream, proxy) -> None:
    def reply(body: Any) -> Reply:
        made = chat_stream("write to ann@example.com", split="event")
        _, failed = chat_chunk({"content": ""}, finish="error")
        failed["error"] = {"code": 502, "message": "Provider disconnected, last seen: ann@example.com"}
        return Reply(events=[*made.events[:-2], (None, failed), (None, "[DONE]")])

    upstream.reply = reply
    body = {"model": "m", "messages": [{"role": "user", "content": "hello"}], "stream": True}

    chunks = chunks_of(await post_raw(proxy, "/v1/chat/completions", body))

    assert "example.com" not in json.dumps(chunks)
    contents = [one["choices"][0]["delta"].get("content") or "" for one in chunks]
    assert "".join(contents) == "write to [REDACTED_EMAIL]"
    assert chunks[-1]["error"]["message"].endswith("[REDACTED_EMAIL]")
