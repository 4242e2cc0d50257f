"""Texts that an answer says again: those of the request, and its own at the end of a stream."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.llm_dialects import DIALECTS
from tests.masking_calls import CLIENT_KEY, QUESTION, placeholder_in, post, post_raw
from tests.masking_rules import EMAIL, KEY, masking_ruleset
from tests.proxy_harness import running_proxy
from tests.scripted_upstream import Reply, responses_body, responses_stream, running_scripted_upstream

KEPT = {
    "instructions": f"A prompt that the provider keeps: {EMAIL}, {KEY}.",
    "metadata": {"key": KEY},
    "prompt": {"id": "pmpt_1", "variables": {"key": KEY}},
    "user": EMAIL,
    "tools": [{"type": "function", "name": "f", "description": f"With {KEY}.", "parameters": {}}],
    "text": {"format": {"type": "json_schema", "name": "f", "schema": {"description": KEY}}},
}


@pytest.mark.parametrize("stream", [False, True])
async def test_RED_STR_6_what_an_answer_says_of_a_kept_prompt_is_read_as_its_own(upstream, proxy, stream: bool) -> None:
    def reply(body: Any) -> Reply:
        if not stream:
            return Reply(body=responses_body("hello").body | KEPT)
        made = responses_stream("hello", size=9, split="event")
        for _, event in made.events:
            if "response" in event:
                event["response"] |= KEPT
        return made

    upstream.reply = reply

    raw = await post_raw(proxy, "/v1/responses", {"model": "m", "prompt": {"id": "pmpt_1"}, "stream": stream})

    assert EMAIL not in raw
    assert KEY not in raw
    assert "A prompt that the provider keeps: [REDACTED_EMAIL], [REDACTED_AWS_SECRET]." in raw
    [record] = await proxy.wait_for_records(1)
    assert {one.direction for one in record.redactions} == {"response"}


async def test_RED_PH_3_what_an_answer_repeats_of_the_request_comes_back_as_it_was(upstream, proxy) -> None:
    upstream.reply = lambda body: responses_body("ok", instructions=body["instructions"], metadata=body["metadata"])
    sent = {"instructions": f"Write to {EMAIL}.", "metadata": {"for": EMAIL}}

    answer = await post(proxy, "/v1/responses", {"model": "m", "input": "hi", **sent})

    assert EMAIL not in upstream.seen
    assert {name: answer[name] for name in sent} == sent
    [record] = await proxy.wait_for_records(1)
    assert {one.direction for one in record.redactions} == {"request"}


@pytest.mark.parametrize("first", ["message", "call"])
async def test_RED_PH_7_a_call_and_a_message_of_the_same_words_keep_their_own_values(first: str) -> None:
    """A policy keeps values out of calls; the event that ends the stream says all texts again."""

    def reply(body: Any) -> Reply:
        text = placeholder_in(body)
        made = responses_stream(text, custom=text, size=4, split="event")
        if first == "message":
            return made
        items = [event for _, event in made.events if event.get("output_index") == 0]
        calls = [event for _, event in made.events if event.get("output_index") == 1]
        order = [made.events[0][1], *calls, *items, made.events[-1][1]]
        return Reply(events=[(event["type"], event | {"sequence_number": n}) for n, event in enumerate(order)])

    policies = [{"name": "strict", "packs": ["masking"], "restore_tool_arguments": False}]
    async with (
        running_scripted_upstream() as upstream,
        running_proxy(
            type="llm",
            target_url=upstream.url,
            client_key=CLIENT_KEY,
            ruleset=masking_ruleset(),
            policies=policies,
        ) as proxy,
    ):
        upstream.reply = reply
        raw = await post_raw(proxy, "/v1/responses", {"model": "m", "input": QUESTION, "stream": True})
        masked = placeholder_in(upstream.bodies[0])

    events = DIALECTS["responses"].events(raw.encode())
    message, call = events[-1]["response"]["output"]
    assert message["content"][0]["text"] == EMAIL
    assert call["input"] == masked
    assert EMAIL not in json.dumps([event for event in events if "custom" in event["type"]])
    assert [event["text"] for event in events if event["type"] == "response.output_text.done"] == [EMAIL]


async def test_RED_STR_7_a_call_that_comes_whole_is_read_though_a_message_has_the_same_words(upstream, proxy) -> None:
    def reply(_: Any) -> Reply:
        made = responses_stream(f"my key is {KEY}", custom=f"my key is {KEY}", size=4, split="event")
        kept = [one for one in made.events if "custom_tool_call_input" not in one[0]]
        return Reply(events=[one for one in kept if one[1].get("item", {}).get("type") != "custom_tool_call"])

    upstream.reply = reply

    raw = await post_raw(proxy, "/v1/responses", {"model": "m", "input": "hi", "stream": True})

    assert KEY not in raw
    assert (
        DIALECTS["responses"]
        .events(raw.encode())[-1]["response"]["output"][1]["input"]
        .endswith("[REDACTED_AWS_SECRET]")
    )


async def test_RED_STR_6_what_commands_write_is_read_over_its_pieces(upstream, proxy) -> None:
    """`response.shell_call_output_content.delta` has a piece of each of two streams, and commands are told by number."""

    def reply(body: Any) -> Reply:
        text = f"{placeholder_in(body)} {KEY}"
        where = {"item_id": "sh_1", "output_index": 0}
        kind = "response.shell_call_output_content"
        events: list[dict[str, Any]] = []
        for at in range(0, len(text), 5):
            for command in (0, 1):
                delta = {"stdout": text[at : at + 5], "stderr": text[at : at + 5]}
                events.append({"type": f"{kind}.delta", **where, "command_index": command, "delta": delta})
        for command in (0, 1):
            output = [{"stdout": text, "stderr": text, "outcome": {"type": "exit", "exit_code": 0}}]
            events.append({"type": f"{kind}.done", **where, "command_index": command, "output": output})
        response = {"id": "resp_1", "object": "response", "status": "completed", "output": []}
        events.append({"type": "response.completed", "response": response})
        return Reply(events=[(event["type"], event | {"sequence_number": n}) for n, event in enumerate(events)])

    upstream.reply = reply

    raw = await post_raw(proxy, "/v1/responses", {"model": "m", "input": QUESTION, "stream": True})

    said: dict[tuple[int, str], str] = {}
    for event in DIALECTS["responses"].events(raw.encode()):
        for member, piece in (event.get("delta") or {}).items():
            said[event["command_index"], member] = said.get((event["command_index"], member), "") + piece
        for output in event.get("output", ()):
            assert {output["stdout"], output["stderr"]} == {f"{EMAIL} [REDACTED_AWS_SECRET]"}
    assert said == {(n, name): f"{EMAIL} [REDACTED_AWS_SECRET]" for n in (0, 1) for name in ("stdout", "stderr")}


async def test_RED_STR_7_arguments_of_gemini_in_pieces_do_not_pass(upstream, proxy) -> None:
    pieces = [{"jsonPath": "$.key", "stringValue": KEY[:9], "willContinue": True}]
    part = {"functionCall": {"name": "f", "partialArgs": pieces, "willContinue": True}}
    upstream.reply = lambda _: Reply(events=[(None, {"candidates": [{"content": {"role": "model", "parts": [part]}}]})])
    asked = {"contents": [{"role": "user", "parts": [{"text": "hi"}]}]}

    raw = await post_raw(proxy, "/v1beta/models/m:streamGenerateContent?alt=sse", asked, complete=False)

    assert "streamFunctionCallArguments" in raw
    assert KEY[:9] not in raw
