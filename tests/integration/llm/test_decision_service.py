"""SLG-POL-1: a decision service in the manner of Open Policy Agent, as a real server, and what happens without its answer."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from proxies.contract import DecisionService
from rules.model import Action
from tests.masking_rules import BLOCKED, masking_ruleset
from tests.proxy_harness import RunningProxy, running_proxy
from tests.scripted_upstream import Reply, ScriptedUpstream, chat_body, running_scripted_upstream

CLIENT_KEY = "ost_" + "k" * 43


@pytest.fixture
async def upstream() -> AsyncIterator[ScriptedUpstream]:
    async with running_scripted_upstream() as running:
        running.reply = lambda body: chat_body("fine")
        yield running


@pytest.fixture
async def opa() -> AsyncIterator[ScriptedUpstream]:
    """Denies the model `large` to everybody, as a Rego policy would."""

    def decide(body: Any) -> Reply:
        return Reply(body={"result": ["large is too dear"] if body["input"]["model"] == "large" else []})

    async with running_scripted_upstream() as running:
        running.reply = decide
        yield running


def proxy_with(upstream: ScriptedUpstream, url: str, *, enforcement: Any = "enforce", **service: Any) -> Any:
    return running_proxy(
        type="llm",
        target_url=upstream.url,
        client_key=CLIENT_KEY,
        ruleset=masking_ruleset(),
        enforcement=enforcement,
        decisions=DecisionService(url=url, **{"timeout_seconds": 10.0, **service}),
    )


async def ask(proxy: RunningProxy, model: str = "small", text: str = "hello") -> httpx.Response:
    async with httpx.AsyncClient(timeout=30, headers={"authorization": f"Bearer {CLIENT_KEY}"}) as client:
        body = {"model": model, "messages": [{"role": "user", "content": text}]}
        return await client.post(f"{proxy.url}/v1/chat/completions", json=body)


async def test_SLG_POL_1_the_service_is_asked_who_wants_which_model(upstream, opa) -> None:
    async with proxy_with(upstream, opa.url) as proxy:
        assert (await ask(proxy, text="a secret plan")).status_code == 200
        (record,) = await proxy.wait_for_records(1)
    assert opa.paths == ["/v1/data/gateway/deny"]
    asked = opa.bodies[0]["input"]
    assert (asked["tenant"], asked["model"], asked["stream"]) == ("tests", "small", False)
    assert (asked["proxy"]["name"], asked["client_ip"]) == ("test", "127.0.0.1")
    assert "a secret plan" not in opa.seen
    assert record.timings_ms["decision"] > 0


async def test_SLG_POL_1_reasons_refuse_the_call_before_its_text_is_read(upstream, opa) -> None:
    async with proxy_with(upstream, opa.url) as proxy:
        response = await ask(proxy, "large", BLOCKED)
        (record,) = await proxy.wait_for_records(1)
    assert response.status_code == 403
    error = response.json()["error"]
    assert (error["code"], error["message"]) == ("policy_denied", "Denied: large is too dear")
    assert upstream.bodies == []
    assert (record.outcome, record.decision.rule_id) == ("blocked", "DECISION-DENIED")
    assert [(finding.rule_id, finding.evidence) for finding in record.findings] == [
        ("DECISION-DENIED", "large is too dear")
    ]
    assert record.texts == ()


async def test_SLG_POL_1_a_permission_is_not_the_last_word(upstream, opa) -> None:
    async with proxy_with(upstream, opa.url) as proxy:
        response = await ask(proxy, "small", BLOCKED)
    assert response.json()["error"]["code"] == "blocked_by_policy"


async def test_SLG_POL_1_a_proxy_that_only_logs_refuses_nothing(upstream, opa) -> None:
    async with proxy_with(upstream, opa.url, enforcement="log_only") as proxy:
        assert (await ask(proxy, "large")).status_code == 200
        (record,) = await proxy.wait_for_records(1)
    assert (record.action, record.decision.would_action) == (Action.ALERT, Action.BLOCK)


UNUSABLE = [
    Reply(body={"result": ["no"]}, status=500),
    Reply(body={}),
    Reply(body={"result": {"reasons": []}}),
    Reply(body={"result": [7]}),
    Reply(body=["no"]),
    Reply(body={"result": ["x" * 70_000]}),
]


@pytest.mark.parametrize("reply", UNUSABLE)
async def test_SLG_POL_1_what_is_no_answer_is_no_permission(upstream, opa, reply) -> None:
    opa.reply = lambda body: reply
    async with proxy_with(upstream, opa.url) as proxy:
        response = await ask(proxy)
        (record,) = await proxy.wait_for_records(1)
    assert response.status_code == 503
    assert response.json()["error"]["code"] == "decision_unavailable"
    assert upstream.bodies == []
    assert (record.outcome, record.action) == ("failed", Action.ALERT)
    assert [finding.rule_id for finding in record.findings] == ["DECISION-MISSING"]


@pytest.mark.parametrize("fail_open", [False, True])
async def test_SLG_POL_1_an_unreachable_service_follows_the_fail_mode(upstream, fail_open) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # Bound and not listening: connections are refused.
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        async with proxy_with(upstream, url, fail_open=fail_open) as proxy:
            response = await ask(proxy)
            (record,) = await proxy.wait_for_records(1)
    assert response.status_code == (200 if fail_open else 503)
    assert [finding.rule_id for finding in record.findings] == ["DECISION-MISSING"]


async def test_SLG_POL_1_a_service_that_never_answers_is_waited_for_no_longer_than_the_timeout(upstream) -> None:
    async def never(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    server = await asyncio.start_server(never, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    async with server, proxy_with(upstream, url, timeout_seconds=0.2) as proxy:
        response = await ask(proxy)
        (record,) = await proxy.wait_for_records(1)
    assert response.status_code == 503
    assert "no answer" in record.reason


@pytest.mark.parametrize(
    ("result", "said"),
    [(True, "Denied."), ([{"msg": "not\nnow"}], "not now"), ([{"reason": "later"}, "never"], "later; never")],
)
async def test_SLG_POL_1_reasons_come_in_several_shapes(upstream, opa, result, said) -> None:
    opa.reply = lambda body: Reply(body={"result": result})
    async with proxy_with(upstream, opa.url) as proxy:
        response = await ask(proxy)
    assert response.json()["error"]["message"] == f"Denied: {said}"


async def test_SLG_POL_1_false_denies_nothing(upstream, opa) -> None:
    opa.reply = lambda body: Reply(body={"result": False})
    async with proxy_with(upstream, opa.url) as proxy:
        assert (await ask(proxy)).status_code == 200
