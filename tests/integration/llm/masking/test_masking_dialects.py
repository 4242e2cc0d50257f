"""Masking in the streams of hosts that speak Chat Completions with habits of their own."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.masking_calls import QUESTION, placeholder_in, post_raw, said, streamed_chat
from tests.masking_rules import EMAIL, KEY
from tests.scripted_upstream import Reply, chat_body, chat_chunk, chat_stream, pieces, responses_stream


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


@pytest.mark.parametrize("stream", [False, True])
async def test_RED_STR_11_reasoning_that_openrouter_passes_on_is_changed_only_where_it_is_not_signed(
    upstream, proxy, stream: bool
) -> None:
    signed = {"type": "reasoning.text", "format": "anthropic-claude-v1", "index": 0}
    plain = {"type": "reasoning.text", "format": "unknown", "index": 1}
    summary = {"type": "reasoning.summary", "format": "unknown", "index": 2}

    def reply(body: Any) -> Reply:
        thought = f"{placeholder_in(body)} has {KEY}"
        if not stream:
            details = [{**signed, "text": thought, "signature": "s"}, {**plain, "text": thought}]
            return chat_body("ok", reasoning_details=[*details, {**summary, "summary": thought}])
        events: list[Any] = []
        for kind, member in ((signed, "text"), (plain, "text"), (summary, "summary")):
            events += [
                chat_chunk({"content": "", "reasoning_details": [{**kind, member: piece}]})
                for piece in pieces(thought, 5)
            ]
        return Reply(events=[*events, chat_chunk({}, finish="stop"), (None, "[DONE]")])

    upstream.reply = reply
    body = {"model": "m", "messages": [{"role": "user", "content": QUESTION}], "stream": stream}

    raw = await post_raw(proxy, "/v1/chat/completions", body)

    thoughts = {0: "", 1: "", 2: ""}
    for one in chunks_of(raw) if stream else [json.loads(raw)]:
        [choice] = one["choices"]
        for detail in (choice.get("delta") or choice.get("message", {})).get("reasoning_details", ()):
            thoughts[detail["index"]] += detail.get("text", "") + detail.get("summary", "")
    changed = f"{EMAIL} has [REDACTED_AWS_SECRET]"
    assert thoughts == {0: f"{placeholder_in(upstream.bodies[0])} has {KEY}", 1: changed, 2: changed}


async def test_LLM_SRF_3_signed_reasoning_goes_back_to_openrouter_as_it_came(upstream, proxy) -> None:
    signed = {"type": "reasoning.text", "text": f"They wrote {EMAIL} .", "signature": "s", "index": 0}
    said = {"role": "assistant", "content": "Yes?", "reasoning_details": [signed]}
    upstream.reply = lambda body: chat_body("ok")
    messages = [{"role": "user", "content": f"I am {EMAIL} !"}, said, {"role": "user", "content": "Go on."}]

    await post_raw(proxy, "/v1/chat/completions", {"model": "m", "messages": messages})

    sent = upstream.bodies[0]["messages"]
    assert EMAIL not in sent[0]["content"]
    assert sent[1]["reasoning_details"] == [signed]


@pytest.mark.parametrize("stream", [False, True])
async def test_RED_STR_6_content_in_parts_is_masked_and_restored_in_streams_as_in_whole_answers(
    upstream, proxy, stream: bool
) -> None:
    """Mistral's models that think give lists of parts: their thoughts stay as they are, what they say is masked."""

    def reply(body: Any) -> Reply:
        text = f"{placeholder_in(body)} has {KEY}"

        def thought(piece: str) -> dict[str, Any]:
            return {"type": "thinking", "thinking": [{"type": "text", "text": piece}]}

        def said(piece: str) -> dict[str, Any]:
            return {"type": "text", "text": piece}

        if not stream:
            return chat_body([thought(text), said(text)])  # type: ignore[arg-type]
        events = [chat_chunk({"content": [make(piece)]}) for make in (thought, said) for piece in pieces(text, 5)]
        return Reply(events=[*events, chat_chunk({}, finish="stop"), (None, "[DONE]")])

    upstream.reply = reply
    body = {"model": "m", "messages": [{"role": "user", "content": QUESTION}], "stream": stream}

    raw = await post_raw(proxy, "/v1/chat/completions", body)

    read = {"text": "", "thinking": ""}
    for one in chunks_of(raw) if stream else [json.loads(raw)]:
        [choice] = one["choices"]
        for part in (choice.get("delta") or choice.get("message", {})).get("content", ()):
            read[part["type"]] += part.get("text") or "".join(inner["text"] for inner in part.get("thinking", ()))
    thought = f"{placeholder_in(upstream.bodies[0])} has {KEY}"
    assert read == {"text": f"{EMAIL} has [REDACTED_AWS_SECRET]", "thinking": thought}


@pytest.mark.parametrize("index", [0, None])
@pytest.mark.parametrize("together", [False, True])
async def test_RED_STR_6_parallel_calls_that_share_an_index_or_have_none_are_told_apart_by_their_ids(
    upstream, proxy, index: int | None, together: bool
) -> None:
    """Some hosts send every call whole, and give none of them an index of its own."""
    place = {} if index is None else {"index": index}

    def reply(body: Any) -> Reply:
        arguments = json.dumps({"to": placeholder_in(body), "key": KEY})
        calls = [
            {"id": f"call_{n}", "type": "function", "function": {"name": f"f{n}", "arguments": arguments}, **place}
            for n in range(2)
        ]
        chunks = [chat_chunk({"tool_calls": one}) for one in ([calls] if together else [[call] for call in calls])]
        return Reply(events=[*chunks, chat_chunk({}, finish="tool_calls"), (None, "[DONE]")])

    upstream.reply = reply
    body = {"model": "m", "messages": [{"role": "user", "content": QUESTION}], "stream": True}

    received: dict[str, str] = {}
    last = ""
    for chunk in chunks_of(await post_raw(proxy, "/v1/chat/completions", body)):
        for call in chunk["choices"][0]["delta"].get("tool_calls", ()):
            assert call.get("index") == index
            last = call.get("id") or last
            received[last] = received.get(last, "") + call["function"].get("arguments", "")
    expected = {"to": EMAIL, "key": "[REDACTED_AWS_SECRET]"}
    assert {id: json.loads(arguments) for id, arguments in received.items()} == {"call_0": expected, "call_1": expected}


async def test_RED_STR_5_what_says_where_in_a_changed_text_something_stands_goes(upstream, proxy) -> None:
    """Most hosts send it in a piece of its own, behind the text."""
    place = {"start_index": 30, "end_index": 40, "url": "https://a.example/", "title": "t"}
    cited = {"annotations": [{"type": "url_citation", "url_citation": place}]}
    grounded = {"groundingSupports": [{"segment": {"startIndex": 30, "endIndex": 40}}]}
    added = {"item_id": "msg_1", "output_index": 0, "content_index": 0, "annotation_index": 0}
    added |= {"type": "response.output_text.annotation.added", "annotation": {"type": "url_citation", **place}}
    question = {"role": "user", "content": QUESTION}

    def chat(text: str) -> Reply:
        made = chat_stream(text, size=9, split="event")
        made.events[-2:-2] = [chat_chunk(cited)]
        return made

    def gemini(text: str) -> Reply:
        parts = [{"parts": [{"text": piece}], "role": "model"} for piece in (*pieces(text, 9), "")]
        events = [{"candidates": [{"content": part, "index": 0}]} for part in parts]
        events[-1]["candidates"][0] |= {"finishReason": "STOP", "groundingMetadata": grounded}
        return Reply(events=[(None, event) for event in events])

    def responses(text: str) -> Reply:
        made = responses_stream(text, size=9, split="event")
        end = [name for name, _ in made.events].index("response.output_text.done")
        made.events.insert(end, (str(added["type"]), added))
        return made

    calls = (
        ("/v1/chat/completions", {"model": "m", "messages": [question], "stream": True}, chat),
        ("/v1beta/models/g:streamGenerateContent?alt=sse", {"contents": [{"parts": [{"text": QUESTION}]}]}, gemini),
        ("/v1/responses", {"model": "m", "input": QUESTION, "stream": True}, responses),
    )
    for path, body, make in calls:
        for plain, kept in (("Nothing to restore. ", True), ("", False)):
            upstream.reply = lambda body, make=make, plain=plain: make(plain or f"I wrote to {placeholder_in(body)} . ")

            raw = await post_raw(proxy, path, body)

            assert ("start_index" in raw or "startIndex" in raw) is kept, path


async def test_RED_STR_5_probabilities_that_come_apart_from_a_changed_text_go(upstream, proxy) -> None:
    """They spell what was taken out of it."""
    token = {"token": KEY, "logprob": -1, "bytes": list(KEY.encode()), "top_logprobs": []}

    def chat(body: Any) -> Reply:
        made = chat_stream(f"The key is {KEY}", size=7, split="event")
        made.events[-2:-2] = [chat_chunk({"content": ""}, logprobs={"content": [token]})]
        return made

    def gemini(body: Any) -> Reply:
        said = [{"content": {"parts": [{"text": piece}], "role": "model"}, "index": 0} for piece in pieces(KEY, 7)]
        spelt = {"content": {"parts": [{"text": ""}]}, "index": 0, "logprobsResult": {"chosenCandidates": [token]}}
        return Reply(
            events=[(None, {"candidates": [one]}) for one in (*said, spelt, {**spelt, "finishReason": "STOP"})]
        )

    def ollama(body: Any) -> Reply:
        lines = [{"model": "m", "response": piece, "done": False} for piece in pieces(KEY, 7)]
        lines += [{"model": "m", "response": "", "done": done, "logprobs": [token]} for done in (False, True)]
        media_type = "application/x-ndjson"
        return Reply(frames=[json.dumps(line).encode() + b"\n" for line in lines], media_type=media_type)

    hello = {"role": "user", "content": "hello"}
    for path, body, reply in (
        ("/v1/chat/completions", {"model": "m", "messages": [hello], "stream": True}, chat),
        ("/v1beta/models/g:streamGenerateContent?alt=sse", {"contents": [{"parts": [{"text": "hello"}]}]}, gemini),
        ("/api/generate", {"model": "m", "prompt": "hello"}, ollama),
    ):
        upstream.reply = reply

        raw = await post_raw(proxy, path, body)

        assert "[REDACTED_AWS_SECRET]" in raw
        assert KEY not in raw, path
