"""Who may call a proxy at all: Host, Origin, credential, and what happens when the gateway itself fails."""

from __future__ import annotations

import hashlib
import json
import threading
import time
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from proxies.capture import TextCapture
from proxies.contract import APIKey, Limits, ProxyConfig, ProxyType
from proxies.exchange import call_id
from proxies.runtime import KeyRing
from proxies.steps import origin
from proxies.transport.breaker import FAILURES_TO_OPEN
from rules.engine import EngineError, Ruleset
from rules.model import Action
from tests.llm_upstream import LEAKED, LLMUpstream, running_llm_upstream
from tests.proxy_harness import RunningProxy, running_proxy

KEY = "ost_" + "a" * 43
CHAT = {"model": "echo", "messages": [{"role": "user", "content": "hello"}]}
INITIALIZE = {
    "jsonrpc": "2.0",
    "id": 1,
    "method": "initialize",
    "params": {
        "protocolVersion": "2025-06-18",
        "capabilities": {},
        "clientInfo": {"name": "tests", "version": "1"},
    },
}
PROMPT_WITH_SECRET = {"model": "echo", "messages": [{"role": "user", "content": LEAKED}]}


@pytest.fixture
async def upstream() -> AsyncIterator[LLMUpstream]:
    async with running_llm_upstream() as running:
        yield running


@pytest.fixture
async def proxy(upstream: LLMUpstream) -> AsyncIterator[RunningProxy]:
    allowed = {"allowed_hosts": ("gateway.example:443",), "allowed_origins": ("https://app.example",)}
    async with running_proxy(type="llm", target_url=upstream.url, client_key=KEY, **allowed) as running:
        yield running


async def post(proxy: RunningProxy, headers: dict[str, str], body: Any = CHAT, method: str = "POST") -> httpx.Response:
    async with httpx.AsyncClient() as client:
        fields = {"authorization": f"Bearer {KEY}", **headers}
        return await client.request(method, f"{proxy.url}/v1/chat/completions", json=body, headers=fields)


@pytest.mark.parametrize(
    "host", ["localhost:{port}", "127.0.0.1:{port}", "[::1]:{port}", "LOCALHOST:{port}", "gateway.example:443"]
)
async def test_ADM_02_a_host_that_names_the_proxy_passes(proxy: RunningProxy, host: str) -> None:
    port = proxy.url.rsplit(":", 1)[1]
    assert (await post(proxy, {"host": host.format(port=port)})).status_code == 200


@pytest.mark.parametrize(
    "host",
    [
        "evil.test",
        "localhost.evil.test:{port}",
        "127.0.0.1.evil.test:{port}",
        "gatewayXexample:443",
        "gateway.example",
        "localhost.:{port}",
        "localhost:1",
        "0.0.0.0:{port}",
        "192.168.1.7:{port}",
    ],
)
async def test_ADM_02_any_other_host_is_refused(proxy: RunningProxy, upstream: LLMUpstream, host: str) -> None:
    port = proxy.url.rsplit(":", 1)[1]
    answer = await post(proxy, {"host": host.format(port=port), "x-forwarded-host": f"localhost:{port}"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (403, "host_not_allowed")
    assert upstream.seen == []


@pytest.mark.parametrize(
    "bad", ["null", "http://evil.test", "https://app.example:444", "http://app.example", "https://app.example.evil"]
)
async def test_G_01_a_foreign_origin_is_refused(proxy: RunningProxy, upstream: LLMUpstream, bad: str) -> None:
    answer = await post(proxy, {"origin": bad})
    assert (answer.status_code, answer.json()["error"]["code"]) == (403, "origin_not_allowed")
    assert "access-control-allow-origin" not in answer.headers
    assert upstream.seen == []


async def test_G_10_a_listed_origin_passes_and_gets_its_cors_headers(proxy: RunningProxy) -> None:
    answer = await post(proxy, {"origin": "https://app.example", "sec-fetch-site": "cross-site"})
    assert answer.status_code == 200
    assert answer.headers["access-control-allow-origin"] == "https://app.example"
    assert "Origin" in answer.headers["vary"]
    assert "access-control-allow-credentials" not in answer.headers
    own = await post(proxy, {"origin": proxy.url})
    assert own.status_code == 200


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
async def test_ADM_03_a_cross_site_request_without_origin_is_refused(proxy: RunningProxy, site: str) -> None:
    answer = await post(proxy, {"sec-fetch-site": site, "sec-fetch-mode": "no-cors"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (403, "cross_site_request")


async def test_G_10_a_preflight_needs_no_credential_and_a_plain_options_does(proxy: RunningProxy) -> None:
    preflight = {
        "origin": "https://app.example",
        "access-control-request-method": "POST",
        "access-control-request-headers": "authorization, mcp-param-region, mcp-param-<script>, x-anything",
        "authorization": "",
    }
    answer = await post(proxy, preflight, body=None, method="OPTIONS")
    assert answer.status_code == 204
    allowed = answer.headers["access-control-allow-headers"]
    assert "mcp-param-region" in allowed
    assert "Authorization" in allowed
    assert "script" not in allowed
    assert "x-anything" not in allowed
    assert (await post(proxy, {"authorization": ""}, body=None, method="OPTIONS")).status_code == 401


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"authorization": f"Bearer {KEY}"}, 200),
        ({"authorization": f"bearer {KEY}"}, 200),
        ({"authorization": f"ApiKey {KEY}"}, 200),
        ({"x-api-key": KEY, "authorization": "Bearer something"}, 200),
        ({"authorization": f"Basic {KEY}"}, 401),
        ({"authorization": KEY}, 401),
        ({"authorization": f"Bearer {KEY}x"}, 401),
        ({"authorization": "Bearer " + "x" * 600}, 401),
        ({"authorization": "Bearer \u00e9"}, 401),
    ],
)
async def test_ADM_17_a_key_counts_the_same_wherever_it_may_stand(
    proxy: RunningProxy, headers: dict[str, str], status: int
) -> None:
    async with httpx.AsyncClient() as client:
        encoded = [(name.encode(), value.encode("latin-1")) for name, value in headers.items()]
        answer = await client.post(f"{proxy.url}/v1/chat/completions", json=CHAT, headers=encoded)
    assert answer.status_code == status
    if status == 200:
        assert proxy.records[0].principal_name == "tests"


def test_keys_expire() -> None:
    digest = hashlib.sha256(KEY.encode()).hexdigest()
    now = time.time()
    assert KeyRing([APIKey(id="k", name="n", digest=digest, expires_at=now + 60)]).find(KEY) is not None
    assert KeyRing([APIKey(id="k", name="n", digest=digest, expires_at=now - 1)]).find(KEY) is None
    assert len(KeyRing([])) == 0


def test_calls_are_named_uniquely_and_sort_by_time() -> None:
    names = [call_id(1_700_000_000 + number) for number in range(100)]
    assert names == sorted(names)
    assert len({call_id(1.0) for _ in range(1000)}) == 1000
    assert all(len(name) == 31 and name.startswith("call_") for name in names)


def config(**fields: Any) -> ProxyConfig:
    base: dict[str, Any] = {
        "id": "p",
        "name": "p",
        "type": "llm",
        "target_url": "http://u",
        "ruleset": "",
    }
    return ProxyConfig(**{**base, "host": "127.0.0.1", "port": 4000, **fields})


def test_the_names_of_a_proxy_follow_from_its_address() -> None:
    assert origin.authorities(config()) == {"127.0.0.1:4000", "localhost:4000", "[::1]:4000"}
    assert origin.authorities(config(host="10.1.2.3")) == {"10.1.2.3:4000"}
    assert origin.authorities(config(host="2001:db8::1")) == {"[2001:db8::1]:4000"}
    assert "localhost" in origin.authorities(config(port=80))
    assert "http://localhost:4000" in origin.origins(config())
    assert origin.is_loopback("::1")
    assert not origin.is_loopback("example.com")
    assert origin.is_wildcard("0.0.0.0")


async def test_a_wildcard_proxy_takes_addresses_but_no_names(upstream: LLMUpstream) -> None:
    async with running_proxy(type="llm", target_url=upstream.url, client_key=KEY, host="0.0.0.0") as proxy:
        port = proxy.url.rsplit(":", 1)[1]
        assert (await post(proxy, {"host": f"192.168.1.7:{port}"})).status_code == 200
        assert (await post(proxy, {"host": f"[2001:db8::1]:{port}"})).status_code == 200
        for host in (f"evil.test:{port}", "192.168.1.7:1", "192.168.1.7", f"999.1.1.1:{port}"):
            assert (await post(proxy, {"host": host})).status_code == 403


async def test_a_key_opens_only_its_proxies(upstream: LLMUpstream, monkeypatch: pytest.MonkeyPatch) -> None:
    async with running_proxy(type="llm", target_url=upstream.url, client_key=KEY) as proxy:
        foreign = APIKey(id="k", name="n", digest="", proxy_ids=("prx_other",))
        monkeypatch.setattr(KeyRing, "find", lambda ring, presented: foreign)
        answer = await post(proxy, {})
    assert (answer.status_code, answer.json()["error"]["code"]) == (403, "proxy_not_allowed")


async def test_BODY_13_an_engine_that_fails_is_never_an_allow(
    proxy: RunningProxy, upstream: LLMUpstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*args: Any, **more: Any) -> Any:
        raise EngineError("the database is gone")

    monkeypatch.setattr(Ruleset, "recall", fail)
    answer = await post(proxy, {})

    assert (answer.status_code, answer.json()["error"]["code"]) == (500, "inspection_failed")
    assert "database" not in answer.text
    assert upstream.seen == []
    assert proxy.records[0].outcome == "failed"


@pytest.mark.parametrize("fails", [False, True])
async def test_LIM_15_a_large_message_is_read_once_and_off_the_loop(
    proxy: RunningProxy, upstream: LLMUpstream, monkeypatch: pytest.MonkeyPatch, fails: bool
) -> None:
    recall = Ruleset.recall
    names: list[str] = []

    def noting(*args: Any, **more: Any) -> Any:
        names.append(threading.current_thread().name)
        if fails:
            raise EngineError("the database is gone")
        return recall(*args, **more)

    monkeypatch.setattr(Ruleset, "recall", noting)
    filler = "A line of an ordinary document.\n" * 2_000
    body = {**CHAT, "messages": [{"role": "system", "content": filler}, {"role": "user", "content": LEAKED}]}
    answer = await post(proxy, {}, body)

    assert (answer.status_code, answer.json()["error"]["code"]) == (
        (500, "inspection_failed") if fails else (403, "blocked_by_policy")
    )
    assert len(names) == 1
    assert names[0].startswith("large-message")
    assert upstream.seen == []


async def test_BODY_13_a_stream_whose_inspection_fails_is_cut(
    proxy: RunningProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*args: Any, **more: Any) -> Any:
        raise EngineError("the database is gone")

    monkeypatch.setattr(Ruleset, "stream", fail)
    with pytest.raises(httpx.RemoteProtocolError):
        await post(proxy, {}, {**CHAT, "stream": True})
    (record,) = await proxy.wait_for_records(1)
    assert (record.outcome, record.error_code, record.truncated) == ("failed", "inspection_failed", True)


async def test_a_failure_inside_the_gateway_says_nothing_about_itself(
    proxy: RunningProxy, upstream: LLMUpstream, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def explode(*args: Any) -> Any:
        raise ZeroDivisionError("a secret detail")

    monkeypatch.setattr("proxies.llm.endpoint.request_texts", explode)
    answer = await post(proxy, {})

    assert (answer.status_code, answer.json()["error"]["code"]) == (500, "gateway_error")
    assert "secret detail" not in answer.text
    assert "secret detail" in caplog.text
    assert upstream.seen == []
    assert proxy.records[0].outcome == "failed"


async def test_log_only_records_and_lets_pass(upstream: LLMUpstream) -> None:
    async with running_proxy(type="llm", target_url=upstream.url, client_key=KEY, enforcement="log_only") as proxy:
        answer = await post(proxy, {}, PROMPT_WITH_SECRET)
    assert answer.status_code == 200
    (record,) = proxy.records
    assert record.action is Action.ALERT
    assert record.findings[0].rule_id.startswith("SEC-AWS")
    assert record.outcome == "allowed"


async def test_a_proxy_without_keys_serves_anybody_and_still_forwards_no_credential(upstream: LLMUpstream) -> None:
    async with running_proxy(type="llm", target_url=upstream.url) as proxy:
        answer = await post(proxy, {"cookie": "a=b", "x-forwarded-for": "1.2.3.4"})
    assert answer.status_code == 200
    assert not {"authorization", "cookie", "x-forwarded-for"} & set(upstream.seen[0].headers)
    assert proxy.records[0].principal_name == "anonymous"


async def test_an_unreachable_upstream_is_a_502_in_the_api_s_shape() -> None:
    async with running_proxy(type="llm", target_url="http://127.0.0.1:1", client_key=KEY) as proxy:
        answer = await post(proxy, {})
    assert answer.status_code == 502
    error = json.loads(answer.content)["error"]
    assert error["code"] == "upstream_unreachable"
    assert error["remediation"]
    assert proxy.records[0].outcome == "upstream_error"


async def test_LIM_13_an_upstream_that_never_answers_is_left_alone_and_the_client_told_for_how_long() -> None:
    async with running_proxy(type="llm", target_url="http://127.0.0.1:1", client_key=KEY) as proxy:
        answers = [await post(proxy, {}) for _ in range(FAILURES_TO_OPEN + 1)]
    assert [answer.status_code for answer in answers] == [502] * FAILURES_TO_OPEN + [503]
    assert answers[-1].headers["retry-after"] == "1"
    assert json.loads(answers[-1].content)["error"]["code"] == "upstream_circuit_open"
    assert proxy.records[-1].reason.endswith("The upstream does not accept connections.")


@pytest.mark.parametrize("type", ["llm", "mcp"])
async def test_SSRF_01_why_an_address_is_refused_is_told_to_operators_alone(type: ProxyType) -> None:
    async with running_proxy(type=type, target_url="http://169.254.169.254:80", client_key=KEY) as proxy:
        headers = {"authorization": f"Bearer {KEY}", "accept": "application/json, text/event-stream"}
        path, body = ("/v1/chat/completions", CHAT) if type == "llm" else ("/mcp", INITIALIZE)
        async with httpx.AsyncClient() as client:
            answer = await client.post(f"{proxy.url}{path}", json=body, headers=headers)
    record = proxy.records[0]
    assert (record.outcome, record.error_code) == ("upstream_error", "upstream_address_refused")
    assert record.reason == (
        "The upstream's address 169.254.169.254 is not allowed: it is link-local (cloud metadata)."
    )
    assert "upstream_address_refused" in answer.text
    assert "169.254" not in answer.text
    assert "link-local" not in answer.text


async def test_LIM_02_a_body_beyond_the_limit_is_a_413(upstream: LLMUpstream) -> None:
    async with running_proxy(
        type="llm", target_url=upstream.url, client_key=KEY, limits=Limits(max_body_bytes=1000)
    ) as proxy:
        answer = await post(proxy, {}, {"model": "echo", "messages": [{"role": "user", "content": "x" * 1000}]})
    assert (answer.status_code, answer.json()["error"]["code"]) == (413, "body_too_large")
    assert "max_request_size_mb" in answer.text
    assert upstream.seen == []


@pytest.mark.parametrize(
    ("headers", "body", "step"),
    [
        ({"origin": "http://evil.test"}, CHAT, "origin"),
        ({"authorization": "Bearer ost_wrong"}, CHAT, "authenticate"),
        ({}, PROMPT_WITH_SECRET, "inspect_request"),
    ],
)
async def test_the_step_that_refuses_is_the_last_of_the_record(
    proxy: RunningProxy, headers: dict[str, str], body: Any, step: str
) -> None:
    assert (await post(proxy, headers, body)).status_code in (401, 403)
    assert list(proxy.records[0].timings_ms)[-1] == step


@pytest.mark.interpreted
async def test_a_call_is_recorded_when_its_texts_and_facts_cannot_be(
    upstream: LLMUpstream, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_args: Any) -> Any:
        raise ZeroDivisionError("a secret detail")

    monkeypatch.setattr(TextCapture, "texts", fail)
    async with running_proxy(type="llm", target_url=upstream.url, client_key=KEY, capture="all") as proxy:
        assert (await post(proxy, {})).status_code == 200
        (record,) = await proxy.wait_for_records(1)
    assert (record.outcome, record.texts, record.facts) == ("allowed", (), None)
    assert [entry.levelname for entry in caplog.records if "cannot be captured" in entry.message] == ["ERROR"]
