"""Policies over real traffic of LLM proxies: what passes, what is refused and how, and what the record says."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import cache
from typing import Any

import httpx
import openai
import pytest

from rules.engine import EngineError, Ruleset
from rules.model import Action
from tests.integration.policy_documents import AGENTGUARD, PACK, PHRASE, phrase_rules
from tests.llm_upstream import LLMUpstream, running_llm_upstream
from tests.proxy_harness import RunningProxy, running_proxy

HEADERS = {"anthropic-version": "2023-06-01"}


@cache
def rules() -> Ruleset:
    return phrase_rules()


@pytest.fixture
async def upstream() -> AsyncIterator[LLMUpstream]:
    async with running_llm_upstream() as running:
        yield running


@asynccontextmanager
async def proxy_under(upstream: LLMUpstream, *policies: dict[str, Any], **config: Any) -> AsyncIterator[RunningProxy]:
    async with running_proxy(
        type="llm", target_url=upstream.url, ruleset=rules(), policies=policies, **config
    ) as running:
        yield running


async def ask(proxy: RunningProxy, text: str = "hello", model: str = "echo", **body: Any) -> httpx.Response:
    headers = body.pop("headers", {})
    body = {"model": model, "messages": [{"role": "user", "content": text}], **body}
    async with httpx.AsyncClient(timeout=20) as client:
        return await client.post(f"{proxy.url}/v1/chat/completions", json=body, headers=headers)


async def test_AG_PE_CFG_1_the_example_of_agentguard_over_the_wire(upstream: LLMUpstream) -> None:
    async with proxy_under(upstream, {"name": "agentguard", **AGENTGUARD}) as proxy:
        allowed = await ask(proxy, model="gpt-4o")
        model = await ask(proxy, model="o3")
        ssn = await ask(proxy, "my number is 123-45-6789", "gpt-4o")
        history = await ask(proxy, model="gpt-4o", messages=[{"role": "user", "content": "x"}] * 101)

    assert [answer.status_code for answer in (allowed, model, ssn, history)] == [200, 403, 403, 403]
    assert len(upstream.seen) == 1
    assert model.json()["error"]["code"] == "policy_denied"
    assert model.json()["error"]["type"] == "policy_error"
    assert ssn.json()["error"]["message"] == (
        "Denied: Potential SSN detected in prompt (rule detect-pii-in-prompt, policy agentguard)"
    )
    assert "Message history too long" in history.json()["error"]["message"]
    by_rule = [record.decision.rule_id for record in proxy.records]
    assert by_rule == ["", "default-action", "detect-pii-in-prompt", "limit-context-size"]
    refused = proxy.records[2]
    assert (refused.outcome, refused.action, refused.decision.source) == ("blocked", Action.BLOCK, "rule")
    assert "6789" not in str(refused)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/messages"])
async def test_AG_STATE_3_an_answer_that_asks_for_a_denied_tool_does_not_pass(
    upstream: LLMUpstream, path: str, stream: bool
) -> None:
    denied = {"id": "no-run", "action": "deny", "match": {"tool_name": ["RUN"]}, "reason": "Nothing is run here"}
    body = {"model": "tool", "messages": [{"role": "user", "content": "x"}], "stream": stream, "max_tokens": 9}
    async with proxy_under(upstream, {"name": "p", "rules": [denied]}) as proxy, httpx.AsyncClient() as client:
        answer = await client.post(proxy.url + path, json=body, headers=HEADERS)
        records = await proxy.wait_for_records(1)

    assert len(upstream.seen) == 1
    assert "Nothing is run here" in answer.text
    assert '"name":"run"' not in answer.text.replace(" ", "")
    assert (records[0].outcome, records[0].decision.rule_id) == ("blocked", "no-run")
    assert answer.status_code == (200 if stream else 403)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/messages"])
@pytest.mark.parametrize(("pattern", "passes"), [("curl http", False), ("^wget", True)])
async def test_AG_PE_2_arguments_that_a_model_writes_are_judged_when_they_are_complete(
    upstream: LLMUpstream, path: str, stream: bool, pattern: str, passes: bool
) -> None:
    match = {"tool_name": "run", "tool_arguments": [{"path": "$.command", "matches": pattern}]}
    body = {"model": "tool", "messages": [{"role": "user", "content": "x"}], "stream": stream, "max_tokens": 9}
    policy = {"name": "p", "rules": [{"id": "no-curl", "action": "deny", "match": match}]}
    async with proxy_under(upstream, policy) as proxy, httpx.AsyncClient() as client:
        answer = await client.post(proxy.url + path, json=body, headers=HEADERS)
        (record,) = await proxy.wait_for_records(1)

    assert record.outcome == ("allowed" if passes else "blocked")
    assert ("policy_denied" in answer.text) is not passes
    # Whatever was released before: the regular end of the call is not.
    assert ('finish_reason":"tool_calls' in answer.text or "message_stop" in answer.text) is (stream and passes)


async def test_AG_PE_2_calls_in_the_history_are_judged_too(upstream: LLMUpstream) -> None:
    call = {"id": "c", "type": "function", "function": {"name": "read_file", "arguments": '{"path": "/etc/shadow"}'}}
    messages = [{"role": "assistant", "content": None, "tool_calls": [call]}, {"role": "user", "content": "x"}]
    match = {"tool_name": "read_file", "tool_arguments": [{"path": "$.path", "matches": "^/etc/"}]}
    async with proxy_under(upstream, {"name": "p", "rules": [{"id": "r", "action": "deny", "match": match}]}) as proxy:
        refused = await ask(proxy, messages=messages)
        call["function"]["arguments"] = '{"path": "/tmp/x"}'  # type: ignore[index]
        passed = await ask(proxy, messages=messages)
    assert (refused.status_code, passed.status_code) == (403, 200)


async def test_AG_PE_2_arguments_in_words_that_only_some_clients_read_are_judged(upstream: LLMUpstream) -> None:
    """Neither a key given twice nor a member that is called as one of the API slips past a denial, or out of what is allowed."""
    call = {"id": "c", "type": "function", "function": {"name": "read_file"}}
    messages = [{"role": "assistant", "content": None, "tool_calls": [call]}, {"role": "user", "content": "x"}]

    async def statuses(proxy: RunningProxy, *arguments: str) -> list[int]:
        found = []
        for text in arguments:
            call["function"]["arguments"] = text  # type: ignore[index]
            found.append((await ask(proxy, messages=messages)).status_code)
        return found

    rule = {"id": "r", "match": {"tool_name": "read_file", "tool_arguments": [{"path": "$.path", "matches": "^/etc/"}]}}
    async with proxy_under(upstream, {"name": "p", "rules": [{**rule, "action": "deny"}]}) as proxy:
        twice = '{"path": "/etc/shadow", "path": "/tmp"}', '{"path": "/tmp", "path": "/etc/shadow"}'
        assert await statuses(proxy, *twice, '{"path": "/etc/shadow", "Text": 1}') == [403, 403, 403]
    async with proxy_under(
        upstream, {"name": "p", "default_action": "deny", "rules": [{**rule, "action": "allow"}]}
    ) as proxy:
        assert await statuses(proxy, *twice, '{"path": "/etc/hosts", "Text": 1}') == [403, 403, 200]


async def test_AG_STATE_3_a_list_of_tools_binds_what_a_model_asks_for(upstream: LLMUpstream) -> None:
    models = {"id": "m", "action": "allow", "match": {"model": "*"}}
    for tool, status in (("run", 200), ("search", 403)):
        listed = {"id": "t", "action": "allow", "match": {"tool_name": tool}}
        policy = {"name": "p", "default_action": "deny", "rules": [models, listed]}
        async with proxy_under(upstream, policy) as proxy:
            assert (await ask(proxy, model="tool")).status_code == status
            assert (await ask(proxy)).status_code == 200


async def test_AG_PE_3_a_policy_can_ask_for_a_header_and_the_address(upstream: LLMUpstream) -> None:
    rule = {"id": "r", "action": "deny", "match": {"header": {"X-Team": "guests*"}, "ip": ["127.0.0.0/8"]}}
    async with proxy_under(upstream, {"name": "p", "rules": [rule]}) as proxy:
        assert (await ask(proxy, headers={"x-team": "Guests-1"})).status_code == 403
        assert (await ask(proxy, headers={"x-team": "staff"})).status_code == 200
        assert (await ask(proxy)).status_code == 200


async def test_AG_PE_5_the_call_after_the_limit_is_told_to_wait(upstream: LLMUpstream) -> None:
    limit = {"id": "per-client", "scope": "client", "limit": 3, "window": "1h"}
    keys = ["ost_" + letter * 43 for letter in "ab"]
    async with proxy_under(
        upstream, {"name": "p", "rate_limits": [limit]}, client_key=keys[0], other_keys=keys[1:]
    ) as proxy:
        answers = [await ask(proxy, headers={"x-api-key": keys[0]}) for _ in range(4)]
        other = await ask(proxy, headers={"x-api-key": keys[1]})

    assert [answer.status_code for answer in answers] == [200, 200, 200, 429]
    assert other.status_code == 200
    refused = answers[3]
    assert 0 < int(refused.headers["retry-after"]) <= 3_600
    assert refused.json()["error"]["code"] == "rate_limited"
    assert refused.json()["error"]["type"] == "rate_limit_error"
    assert "x-should-retry" not in refused.headers
    record = proxy.records[3]
    assert (record.outcome, record.decision.source, record.decision.rule_id) == ("refused", "rate_limit", "per-client")
    assert "rate_limit" in record.timings_ms


async def test_AG_PE_5_a_call_that_one_limit_refuses_counts_in_no_other(upstream: LLMUpstream) -> None:
    all_clients = {"id": "all", "scope": "proxy", "limit": 3, "window": "1h"}
    each = {"id": "each", "scope": "client", "limit": 1, "window": "1h"}
    keys = ["ost_" + letter * 43 for letter in "ab"]
    async with proxy_under(
        upstream, {"name": "p", "rate_limits": [all_clients, each]}, client_key=keys[0], other_keys=keys[1:]
    ) as proxy:
        noisy = [(await ask(proxy, headers={"x-api-key": keys[0]})).status_code for _ in range(4)]
        quiet = (await ask(proxy, headers={"x-api-key": keys[1]})).status_code
    assert (noisy, quiet) == ([200, 429, 429, 429], 200)


async def test_AG_PE_9_a_limit_of_a_policy_that_only_logs_lets_pass(upstream: LLMUpstream) -> None:
    limit = {"id": "l", "scope": "ip", "limit": 1, "window": "1h"}
    async with proxy_under(upstream, {"name": "p", "rate_limits": [limit], "enforcement": "log_only"}) as proxy:
        answers = [await ask(proxy) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [200, 200]
    assert [record.decision.would_action for record in proxy.records] == [Action.ALLOW, Action.BLOCK]


async def test_AG_PE_6_a_tag_is_recorded_and_the_request_goes_on_unchanged(upstream: LLMUpstream) -> None:
    rule = {"id": "t", "action": "tag", "tags": ["eu", "finance"], "match": {"model": "echo"}}
    body = {"model": "echo", "messages": [{"role": "user", "content": "hello"}], "temperature": 0.5}
    async with proxy_under(upstream, {"name": "p", "rules": [rule]}) as proxy:
        assert (await ask(proxy, temperature=0.5)).status_code == 200
    assert upstream.seen[0].body == body
    (record,) = proxy.records
    assert (record.action, record.decision.tags, record.outcome) == (Action.TAG, ("eu", "finance"), "allowed")


async def test_AG_PE_9_policies_of_one_proxy_are_judged_apart(upstream: LLMUpstream) -> None:
    watching = {"name": "watch", "packs": [PACK], "enforcement": "log_only"}
    async with proxy_under(upstream, watching) as proxy:
        assert (await ask(proxy, PHRASE)).status_code == 200
        (record,) = proxy.records
    assert (record.action, record.decision.would_action, record.decision.policy) == (
        Action.ALERT,
        Action.BLOCK,
        "watch",
    )
    async with proxy_under(upstream, watching, {"name": "enforce", "packs": [PACK]}) as proxy:
        refused = await ask(proxy, PHRASE)
        (record,) = proxy.records
    assert refused.status_code == 403
    assert refused.json()["error"]["message"].endswith("(rule T-BLOCK, policy enforce)")
    assert record.decision.policy == "enforce"


async def test_AG_PE_9_a_proxy_that_only_logs_lets_everything_pass(upstream: LLMUpstream) -> None:
    deny = {"name": "p", "packs": [PACK], "default_action": "deny"}
    async with proxy_under(upstream, deny, enforcement="log_only") as proxy:
        assert (await ask(proxy, PHRASE)).status_code == 200
    assert (proxy.records[0].action, proxy.records[0].decision.would_action) == (Action.ALERT, Action.BLOCK)


async def test_AG_PE_9_an_override_that_only_logs_lets_pass(upstream: LLMUpstream) -> None:
    policy = {"name": "p", "packs": [PACK], "overrides": [{"rules": "T-*", "log_only": True}]}
    async with proxy_under(upstream, policy) as proxy:
        assert (await ask(proxy, PHRASE)).status_code == 200
    assert proxy.records[0].findings[0].action is Action.ALERT


async def test_LLMSG_GUARD_3_a_policy_can_answer_400(upstream: LLMUpstream) -> None:
    async with (
        proxy_under(upstream, {"name": "p", "packs": [PACK], "block_status": 400}) as proxy,
        openai.AsyncOpenAI(base_url=f"{proxy.url}/v1", api_key="x", max_retries=0) as client,
    ):
        with pytest.raises(openai.BadRequestError) as caught:
            await client.chat.completions.create(model="echo", messages=[{"role": "user", "content": PHRASE}])
    assert caught.value.code == "blocked_by_policy"


async def test_AG_PE_8_an_answer_is_judged_by_the_same_policies(upstream: LLMUpstream) -> None:
    disabled = {"name": "p", "packs": [PACK], "overrides": [{"rules": "T-ANSWER", "enabled": False}]}
    for policy, action in (({"name": "p", "packs": [PACK]}, Action.ALERT), (disabled, Action.ALLOW)):
        for stream in (False, True):
            async with proxy_under(upstream, policy) as proxy:
                answer = await ask(proxy, "the answer word", stream=stream)
                (record,) = await proxy.wait_for_records(1)
            assert answer.status_code == 200
            assert record.action is action


@pytest.mark.interpreted
@pytest.mark.parametrize("stage", ["conditions", "verdict"])
async def test_a_policy_that_fails_is_a_refusal(
    upstream: LLMUpstream, stage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from rules.policy_evaluation import PolicySet

    def fail(*_args: object, **_kwargs: object) -> None:
        raise EngineError("broken for the test")

    monkeypatch.setattr(PolicySet, "conditional_findings" if stage == "conditions" else "verdict", fail)
    rule = {"id": "t", "action": "tag", "match": {"model": "echo"}}
    async with proxy_under(upstream, {"name": "p", "packs": [PACK], "rules": [rule]}) as proxy:
        answer = await ask(proxy, PHRASE)
    assert (answer.status_code, answer.json()["error"]["code"]) == (500, "inspection_failed")
    assert upstream.seen == []
    assert proxy.records[0].outcome == "failed"


async def test_a_selection_too_large_to_judge_is_a_refusal(upstream: LLMUpstream) -> None:
    call = {"id": "c", "type": "function", "function": {"name": "t", "arguments": json.dumps([1] * 10_001)}}
    messages = [{"role": "assistant", "content": None, "tool_calls": [call]}]
    rule = {"id": "r", "action": "deny", "match": {"tool_arguments": [{"path": "$[*]", "equals": 2}]}}
    async with proxy_under(upstream, {"name": "p", "rules": [rule]}) as proxy:
        answer = await ask(proxy, messages=messages)
    assert answer.json()["error"]["code"] == "inspection_failed"
    assert upstream.seen == []


@pytest.mark.parametrize("api", ["chat", "anthropic", "responses"])
async def test_LLMSG_GUARD_1_what_is_cut_over_the_parts_of_a_message_is_found(upstream: LLMUpstream, api: str) -> None:
    half = len(PHRASE) // 2
    kind = "input_text" if api == "responses" else "text"
    parts = [{"type": kind, "text": piece} for piece in ("Please say: " + PHRASE[:half], PHRASE[half:] + " now.")]
    messages = [{"role": "user", "content": parts}]
    body: dict[str, Any] = {"model": "echo", "max_tokens": 9}
    body["input" if api == "responses" else "messages"] = messages
    path = {"chat": "/v1/chat/completions", "anthropic": "/v1/messages", "responses": "/v1/responses"}[api]
    async with (
        proxy_under(upstream, {"name": "p", "packs": [PACK]}) as proxy,
        httpx.AsyncClient(timeout=20, headers=HEADERS) as client,
    ):
        answer = await client.post(proxy.url + path, json=body)
    assert answer.status_code == 403
    assert upstream.seen == []
