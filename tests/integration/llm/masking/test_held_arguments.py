"""The arguments of a streamed tool call wait until they are complete where a rule blocks what stands in them."""

from __future__ import annotations

import json

import pytest

from proxies import answer_texts
from tests.masking_calls import post_raw
from tests.masking_rules import BLOCKED
from tests.proxy_harness import RunningProxy
from tests.scripted_upstream import Reply, ScriptedUpstream, anthropic_stream, chat_stream

ASKED = {"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "hello"}], "stream": True}


def reply(surface: str, arguments: dict[str, str]) -> Reply:
    if surface == "chat":
        return chat_stream("first a word", arguments=[json.dumps(arguments)], split="event")
    words = {"type": "text", "text": "first a word"}
    return anthropic_stream(words, {"type": "tool_use", "id": "t_1", "name": "send", "input": arguments}, split="event")


def read(raw: str, surface: str) -> tuple[str, list[str]]:
    """What a stream says, and the pieces of its arguments that are not empty."""
    said, pieces = "", []
    for line in raw.splitlines():
        event = json.loads(line[6:]) if line.startswith("data: {") else {}
        if surface == "chat":
            delta = event["choices"][0]["delta"] if event.get("choices") else {}
            said += delta.get("content") or ""
            pieces += [call["function"].get("arguments") for call in delta.get("tool_calls", ())]
        elif event.get("type") == "content_block_delta":
            said += event["delta"].get("text", "")
            pieces.append(event["delta"].get("partial_json"))
    return said, [piece for piece in pieces if piece]


PATHS = {"chat": "/v1/chat/completions", "anthropic": "/v1/messages"}


@pytest.mark.parametrize("surface", PATHS)
async def test_RED_STR_7_no_part_of_a_blocked_call_reaches_the_client(
    upstream: ScriptedUpstream, proxy: RunningProxy, surface: str
) -> None:
    upstream.reply = lambda body: reply(surface, {"to": "the crew", "order": f"quickly {BLOCKED} now"})

    raw = await post_raw(proxy, PATHS[surface], ASKED)

    said, pieces = read(raw, surface)
    assert said.startswith("first a")
    assert pieces == []
    assert "crew" not in raw
    assert "quickly" not in raw
    assert "X-DOORS" in raw


@pytest.mark.parametrize("surface", PATHS)
async def test_RED_STR_6_complete_arguments_come_in_one_piece_before_their_end(
    upstream: ScriptedUpstream, proxy: RunningProxy, surface: str
) -> None:
    arguments = {"to": "zoe", "order": "open a window"}
    upstream.reply = lambda body: reply(surface, arguments)

    raw = await post_raw(proxy, PATHS[surface], ASKED)

    said, pieces = read(raw, surface)
    assert said == "first a word"
    assert [json.loads(piece) for piece in pieces] == [arguments]


async def test_arguments_that_are_too_large_to_wait_are_refused(
    upstream: ScriptedUpstream, proxy: RunningProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(answer_texts, "MAX_WAITING_CHARACTERS", 40)
    upstream.reply = lambda body: reply("chat", {"order": "open a window, then another one, and so on"})

    raw = await post_raw(proxy, PATHS["chat"], ASKED, complete=False)

    assert read(raw, "chat")[1] == []
    assert "upstream_too_large" in raw
