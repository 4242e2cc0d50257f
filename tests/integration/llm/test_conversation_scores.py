"""Conversations that the provider remembers are judged as one: what earlier calls held supports a block, as in one request."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from rules.engine import Ruleset
from tests.proxy_harness import RunningProxy, running_proxy
from tests.scripted_upstream import Reply, ScriptedUpstream
from tests.unit.rules.small_packs import pack, rule, ruleset

KEYS = ("ost_" + "k" * 43, "ost_" + "o" * 43)
POLICY: dict[str, Any] = {"name": "p", "packs": ["signs"]}
FIRST, SECOND = "the bravo sign", "the alpha sign"


def two_signs() -> Ruleset:
    """A rule that blocks with support, and one that alerts and can give it."""
    alpha = rule("T-ALPHA", {"any": [{"re": "alpha sign"}]}, ("alpha sign", "x"), action="block", score=60)
    bravo = rule("T-BRAVO", {"any": [{"re": "bravo sign"}]}, ("bravo sign", "x"), score=50)
    return ruleset(pack("signs", alpha, bravo))


def answered(body: dict[str, Any]) -> Reply:
    """An answer of the Responses API with an id of its own, whole or as a stream of its ends."""
    number = body["metadata"]["number"]
    response = {"id": f"resp_{number}", "object": "response", "status": "completed", "output": [], "usage": None}
    if body.get("conversation"):
        response["conversation"] = {"id": body["conversation"]}
    if not body.get("stream"):
        return Reply(body=response)
    created = {"type": "response.created", "response": {**response, "status": "in_progress"}, "sequence_number": 0}
    completed = {"type": "response.completed", "response": response, "sequence_number": 1}
    return Reply(events=[("response.created", created), ("response.completed", completed)])


async def say(proxy: RunningProxy, text: str, number: int, *, key: str = KEYS[0], **body: Any) -> int:
    sent = {"model": "m", "input": text, "metadata": {"number": str(number)}, **body}
    async with httpx.AsyncClient(timeout=20) as client:
        fields = {"authorization": f"Bearer {key}"}
        return (await client.post(f"{proxy.url}/v1/responses", json=sent, headers=fields)).status_code


@pytest.mark.parametrize("stream", [False, True])
async def test_scores_add_up_over_the_calls_of_a_conversation(upstream: ScriptedUpstream, stream: bool) -> None:
    upstream.reply = answered
    async with running_proxy(
        type="llm",
        target_url=upstream.url,
        client_key=KEYS[0],
        other_keys=KEYS[1:],
        ruleset=two_signs(),
        policies=(POLICY,),
    ) as proxy:
        assert await say(proxy, FIRST, 1, stream=stream) == 200
        assert await say(proxy, "and then?", 2, previous_response_id="resp_1", stream=stream) == 200
        assert await say(proxy, SECOND, 3, previous_response_id="resp_2") == 403
        assert await say(proxy, SECOND, 4) == 200, "alone it only alerts"
        assert await say(proxy, SECOND, 5, previous_response_id="resp_1", key=KEYS[1]) == 200, "of another caller"
        assert await say(proxy, FIRST, 6, conversation="conv_1", stream=stream) == 200
        assert await say(proxy, SECOND, 7, conversation="conv_1") == 403
        assert await say(proxy, "fine", 8, conversation="conv_1") == 200, "earlier findings never make a block"


async def test_a_policy_may_leave_conversations_out(upstream: ScriptedUpstream) -> None:
    upstream.reply = answered
    policy = {**POLICY, "thresholds": {"conversation_block": None}}
    async with running_proxy(
        type="llm", target_url=upstream.url, client_key=KEYS[0], ruleset=two_signs(), policies=(policy,)
    ) as proxy:
        assert await say(proxy, FIRST, 1) == 200
        assert await say(proxy, SECOND, 2, previous_response_id="resp_1") == 200
