"""How a Realtime connection begins and ends: who may open one, which frames pass, and what each side learns of the other."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import httpx
import msgspec
import openai
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from proxies.contract import Limits, UpstreamAuth, UpstreamProxy
from proxies.llm.realtime import from_client, session
from proxies.runtime import KeyRing
from tests.forward_proxy import ForwardProxy
from tests.masking_calls import CLIENT_KEY
from tests.masking_rules import masking_ruleset
from tests.proxy_harness import RunningProxy, running_proxy
from tests.realtime_calls import ask, raw_client
from tests.realtime_provider import Provider, begun, by_type, response, running_provider, said

MODEL = "/v1/realtime?model=gpt-realtime"


async def refused(url: str, path: str = MODEL, *, key: str = CLIENT_KEY, **options: Any) -> tuple[int, Any]:
    """Status and error of a handshake that is refused."""
    headers = {"authorization": f"Bearer {key}"} if key else {}
    headers |= options.pop("headers", {})
    with pytest.raises(InvalidStatus) as caught:
        async with connect(url.replace("http", "ws", 1) + path, additional_headers=headers, proxy=None, **options):
            pass
    answer = caught.value.response
    return answer.status_code, json.loads(answer.body)["error"]


# --- Credentials ------------------------------------------------------------------------------------------------------


async def test_LLM_RT_1_a_browser_gives_its_key_as_a_subprotocol(provider: Provider, proxy: RunningProxy) -> None:
    names = [
        "realtime",
        f"openai-insecure-api-key.{CLIENT_KEY}",
        "openai-organization.org-1",
        "openai-beta.realtime-v1",
    ]
    async with raw_client(
        proxy.url, key="", subprotocols=names, headers={"origin": proxy.url, "openai-safety-identifier": "u1"}
    ) as client:
        await client.until("session.created")
        assert client.socket.subprotocol == "realtime"

    headers = provider.sockets[0].request.headers
    assert headers["authorization"].startswith("Bearer sk-upstream-")
    assert "sec-websocket-protocol" not in headers
    assert "origin" not in headers
    assert (headers["openai-organization"], headers["openai-beta"]) == ("org-1", "realtime=v1")
    assert headers["openai-safety-identifier"] == "u1"
    assert CLIENT_KEY not in str(headers)
    assert CLIENT_KEY not in str(client.socket.response.headers)
    (record,) = await proxy.wait_for_records(1)
    assert record.principal_id == "key_test"
    assert CLIENT_KEY.encode() not in msgspec.json.encode(record)


async def test_LLM_RT_1_who_may_not_call_is_told_in_the_shape_of_the_api(
    provider: Provider, proxy: RunningProxy
) -> None:
    assert (await refused(proxy.url, key=""))[1]["code"] == "missing_api_key"
    assert (await refused(proxy.url, key="ost_wrong"))[0] == 401
    wrong = ["realtime", "openai-insecure-api-key.ost_wrong"]
    assert (await refused(proxy.url, key="", subprotocols=wrong))[1]["code"] == "invalid_api_key"
    status, error = await refused(proxy.url, headers={"origin": "https://evil.example"})
    assert (status, error["code"]) == (403, "origin_not_allowed")
    assert not provider.sockets


async def test_a_provider_with_a_key_in_a_header_of_its_own_is_asked_at_its_own_path(provider: Provider) -> None:
    auth = UpstreamAuth(type="header", name="api-key", value="azure-key")
    for base, path, asked in (
        (
            "/openai",
            "/openai/realtime?api-version=2025-04-01&deployment=d",
            "/openai/realtime?api-version=2025-04-01&deployment=d",
        ),
        ("/openai/v1", "/v1/realtime?model=d", "/openai/v1/realtime?model=d"),
        ("", "/openai/v1/realtime?model=d", "/openai/v1/realtime?model=d"),
        ("/v1", "/realtime?model=a%20b", "/v1/realtime?model=a+b"),
    ):
        async with (
            running_proxy(
                type="llm",
                target_url=provider.url + base,
                client_key=CLIENT_KEY,
                upstream_auth=auth,
                ruleset=masking_ruleset(),
            ) as proxy,
            raw_client(proxy.url, key="", path=path, headers={"api-key": CLIENT_KEY}) as client,
        ):
            await client.until("session.created")
        request = provider.sockets[-1].request
        assert request.path == asked
        assert request.headers["api-key"] == "azure-key"


async def test_a_handshake_that_asks_for_something_else_is_refused(provider: Provider, proxy: RunningProxy) -> None:
    for path, status, code in (
        ("/v1/realtime", 422, "invalid_model"),
        ("/v1/realtime?model=a&model=b", 400, "invalid_query"),
        ("/v1/realtime?model=a&api-key=x", 400, "invalid_query"),
        ("/v1/realtime?call_id=rtc_1", 403, "endpoint_not_supported"),
    ):
        found, error = await refused(proxy.url, path)
        assert (found, error["code"]) == (status, code)
    async with httpx.AsyncClient(headers={"authorization": f"Bearer {CLIENT_KEY}"}) as http:
        plain = await http.get(proxy.url + MODEL)
        old = await http.get(
            proxy.url + MODEL,
            headers={
                "upgrade": "websocket",
                "connection": "upgrade",
                "sec-websocket-version": "8",
                "sec-websocket-key": "x",
            },
        )
    assert (plain.status_code, plain.headers["upgrade"]) == (426, "websocket")
    assert plain.json()["error"]["code"] == old.json()["error"]["code"] == "websocket_handshake"
    assert old.status_code in (400, 426)


async def test_LLM_RT_3_keys_for_browsers_and_calls_that_pass_the_gateway_by_are_denied(
    proxy: RunningProxy, client: openai.AsyncOpenAI
) -> None:
    with pytest.raises(openai.NotFoundError) as caught:
        await client.realtime.client_secrets.create(session={"type": "realtime"})
    assert caught.value.code == "endpoint_not_supported"
    assert "WebRTC" in str(caught.value.body)
    with pytest.raises(openai.NotFoundError):
        await client.realtime.calls.create(sdp="v=0")


async def test_LLM_RT_4_a_websocket_for_responses_is_refused_and_does_not_hang(
    provider: Provider, proxy: RunningProxy, client: openai.AsyncOpenAI
) -> None:
    status, error = await refused(proxy.url, "/v1/responses")
    assert (status, error["code"]) == (404, "endpoint_not_supported")
    assert "/v1/realtime" in error["remediation"]
    async with asyncio.timeout(20):
        with pytest.raises(InvalidStatus):
            async with client.responses.connect() as connection:
                await connection.recv()
    assert not provider.sockets


@pytest.mark.parametrize(("given", "status"), [(401, 401), (429, 429), (503, 503), (302, 502)])
async def test_what_the_provider_says_to_the_handshake_the_client_hears_before_its_own_is_done(
    provider: Provider, proxy: RunningProxy, given: int, status: int
) -> None:
    provider.refuses_with = given
    found, error = await refused(proxy.url)
    assert (found, error["code"]) == (status, f"upstream_{given}")
    (record,) = await proxy.wait_for_records(1)
    assert (record.outcome, record.protocol, record.operation) == ("upstream_error", "openai.realtime", "gpt-realtime")


async def test_a_provider_that_is_not_there_is_an_error_before_the_connection_is_open() -> None:
    async with running_provider() as gone:
        url = gone.url
    async with running_proxy(type="llm", target_url=url, client_key=CLIENT_KEY, ruleset=masking_ruleset()) as proxy:
        assert (await refused(proxy.url))[0] == 502


async def test_a_provider_is_reached_through_a_tunnel(provider: Provider) -> None:
    port = int(provider.url.rpartition(":")[2])
    async with ForwardProxy(names={"realtime.test:80": port}) as forward:
        way = UpstreamProxy("127.0.0.1", forward.port)
        async with (
            running_proxy(
                type="llm", target_url="http://realtime.test", ruleset=masking_ruleset(), upstream_proxy=way
            ) as proxy,
            raw_client(proxy.url, key="") as client,
        ):
            await client.until("session.created")
        assert forward.heads[0].startswith("CONNECT realtime.test:80 ")
    assert provider.sockets[0].request.headers["host"] == "realtime.test"


# --- Frames -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "message",
    [
        "{",
        "[]",
        '"x"',
        '{"type":1}',
        "{}",
        '{"type":"a","type":"b"}',
        '{"type":"a","Type":"b"}',
        '{"type":"a","x":NaN}',
    ],
)
async def test_LLM_RT_1_what_two_readers_could_read_in_two_ways_goes_nowhere(
    provider: Provider, proxy: RunningProxy, message: str
) -> None:
    provider.reply = lambda event: response("Fine.") if event["type"] == "response.create" else []
    async with raw_client(proxy.url) as client:
        await client.send(message)
        assert (await client.until("error"))[-1]["error"]["code"] == "invalid_json"
        assert (await client.ask("hello"))[-1]["response"]["status"] == "completed"
    assert len(provider.events) == 2


async def test_LLM_RT_1_binary_messages_end_the_connection_because_nobody_can_read_them(
    provider: Provider, proxy: RunningProxy
) -> None:
    async with raw_client(proxy.url) as client:
        await client.send(b'{"type":"response.create"}')
        assert await client.closed() == 1003
    assert provider.events == []

    async with raw_client(proxy.url) as client:
        await client.until("session.created")
        await provider.sockets[-1].send(b"\x00")
        assert await client.closed() == 1011
    assert client.events[-1]["error"]["code"] == "upstream_protocol_error"


async def test_a_provider_that_speaks_nonsense_ends_the_connection(provider: Provider, proxy: RunningProxy) -> None:
    for nonsense in (
        "{",
        "[]",
        '{"type":"a","type":"b"}',
        '{"type":"response.output_text.delta","delta":"of nobody"}',
        '{"type":"response.created","response":{"id":{"a":1}}}',
        '{"type":"response.done","response_id":"%s"}' % ("x" * 201),
    ):
        async with raw_client(proxy.url) as client:
            await client.until("session.created")
            await provider.sockets[-1].send(nonsense)
            assert await client.closed() == 1011
        assert client.events[-1]["error"]["code"] == "upstream_protocol_error"


async def test_a_message_that_is_too_large_ends_the_connection(provider: Provider) -> None:
    async with (
        running_proxy(
            type="llm", target_url=provider.url, ruleset=masking_ruleset(), limits=Limits(max_body_bytes=1_000)
        ) as proxy,
        raw_client(proxy.url, key="") as client,
    ):
        await client.say("x" * 2_000)
        assert await client.closed() == 1009
    assert provider.events == []


async def test_a_client_that_goes_on_after_many_refusals_is_sent_away(
    provider: Provider, proxy: RunningProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(from_client, "MAX_REFUSED", 3)
    async with raw_client(proxy.url) as client:
        for _ in range(4):
            await client.send("{")
        assert await client.closed() == 1008
    assert len(list(by_type(client.events, "error"))) == 4


async def test_responses_that_never_begin_are_bounded(provider: Provider, proxy: RunningProxy) -> None:
    async with raw_client(proxy.url) as client:
        for _ in range(65):
            await client.send({"type": "response.create"})
        event = (await client.until("error"))[-1]
    assert event["error"]["code"] == "too_many_responses"
    assert len(provider.events) == 64


# --- The end ----------------------------------------------------------------------------------------------------------


async def test_LLM_RT_1_close_codes_pass_from_the_provider_to_the_client(
    provider: Provider, proxy: RunningProxy
) -> None:
    provider.reply = lambda event: response("Bye.") if event["type"] == "response.create" else []
    provider.ending = "close"
    async with raw_client(proxy.url) as client:
        await client.ask("hello")
        assert await client.closed() == 4001
    assert "provider's reason" not in str(client.socket.close_reason)
    assert client.events[-1]["error"]["code"] == "upstream_truncated"

    async with raw_client(proxy.url) as client:
        await client.until("session.created")
        await provider.sockets[-1].close(1000)
        assert await client.closed() == 1000
    assert [event["type"] for event in client.events] == ["session.created"]


@pytest.mark.parametrize("code", [1000, 1001, 3000, 4123])
async def test_LLM_RT_1_close_codes_pass_from_the_client_to_the_provider(
    provider: Provider, proxy: RunningProxy, code: int
) -> None:
    async with raw_client(proxy.url) as client:
        await client.say("hello")
        await client.socket.close(code, "a reason")
    await provider.left.wait()
    assert (provider.sockets[0].close_code, provider.sockets[0].close_reason) == (code, "")
    assert provider.types == ["conversation.item.create"]


async def test_LIM_10_a_client_that_leaves_stops_the_provider(provider: Provider, proxy: RunningProxy) -> None:
    provider.reply = lambda event: [begun(), *said("and more")[:-4]] if event["type"] == "response.create" else []
    async with raw_client(proxy.url) as client:
        await client.ask("hello", "response.output_text.delta")
        client.socket.transport.abort()
        await provider.left.wait()
        turn, connected = await proxy.wait_for_records(2)
    assert (turn.outcome, turn.truncated) == ("client_closed", True)
    assert connected.operation == "connection"
    assert provider.sockets[0].close_code == 1001


async def test_pings_are_answered_by_the_gateway(provider: Provider, proxy: RunningProxy) -> None:
    async with raw_client(proxy.url) as client:
        async with asyncio.timeout(20):
            await (await client.socket.ping())
            await (await provider.sockets[0].ping())


async def test_nobody_says_anything_for_a_long_time(
    provider: Provider, proxy: RunningProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session, "IDLE_SECONDS", 0.0)
    monkeypatch.setattr(session, "CHECK_SECONDS", 0.05)
    async with raw_client(proxy.url) as client:
        assert await client.closed() == 1001
    await provider.left.wait()


async def test_W_03_a_key_that_is_revoked_ends_its_connections(provider: Provider, proxy: RunningProxy) -> None:
    async with raw_client(proxy.url) as client:
        await client.until("session.created")
        proxy.swap(msgspec.structs.replace(proxy.runtime, keys=KeyRing([])))
        proxy.carriers.recheck(proxy.runtime)
        assert await client.closed() == 1008
    await provider.left.wait()
    assert len(proxy.carriers) == 0


async def test_what_is_said_after_a_change_is_judged_by_the_new_snapshot(
    provider: Provider, proxy: RunningProxy
) -> None:
    async with raw_client(proxy.url) as client:
        await client.say("mail ann@example.com")
        await client.send({"type": "response.create"})
        await provider.wait_for_events(2)
        async with running_proxy(
            type="llm",
            target_url=provider.url,
            client_key=CLIENT_KEY,
            ruleset=masking_ruleset(),
            enforcement="log_only",
        ) as other:
            newer = msgspec.structs.replace(
                other.runtime, upstream=proxy.runtime.upstream, keys=proxy.runtime.keys, snapshot_version=2
            )
            proxy.carriers.recheck(newer)
            await client.say("mail bob@example.com")
            await provider.wait_for_events(3)
    first, second, _ = await proxy.wait_for_records(3)
    assert "ann@" not in provider.seen
    assert "bob@" in provider.seen
    assert (first.snapshot_version, second.snapshot_version) == (1, 2)


async def test_a_proxy_that_drains_lets_a_response_end(provider: Provider, proxy: RunningProxy) -> None:
    events = response("Good bye.")
    provider.reply = lambda event: events[:5] if event["type"] == "response.create" else []
    async with raw_client(proxy.url) as client, raw_client(proxy.url) as idle:
        await idle.until("session.created")
        await client.ask("hello", "response.output_text.delta")
        draining = asyncio.ensure_future(proxy.listener.drain(20))
        assert await idle.closed() == 1001
        for event in events[5:]:
            await provider.say(event, next(one for one in provider.sockets if one.state.name == "OPEN"))
        assert await client.closed() == 1001
        await draining
    assert client.events[-1]["type"] == "response.done"
    turn = next(record for record in proxy.records if record.operation == "gpt-realtime")
    assert (turn.outcome, turn.truncated) == ("allowed", False)


async def test_a_failure_of_the_gateway_ends_the_connection_and_is_recorded(
    provider: Provider, proxy: RunningProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("the test wants a gateway that fails")

    provider.reply = lambda event: [begun(), *said("and more")] if event["type"] == "response.create" else []
    async with raw_client(proxy.url) as client:
        await client.ask("hello", "response.created")
        monkeypatch.setattr(from_client, "_read", fail)
        await client.say("go on")
        assert await client.closed() == 1011
    await provider.left.wait()
    records = await proxy.wait_for_records(2)
    assert {record.outcome for record in records} == {"failed"}
    assert len(proxy.carriers) == 0


async def test_LLM_RT_1_the_client_of_azure_talks_to_its_deployment(provider: Provider) -> None:
    provider.reply = lambda event: response("Good morning.") if event["type"] == "response.create" else []
    auth = UpstreamAuth(type="header", name="api-key", value="azure-key")
    async with (
        running_proxy(
            type="llm", target_url=provider.url, client_key=CLIENT_KEY, upstream_auth=auth, ruleset=masking_ruleset()
        ) as proxy,
        openai.AsyncAzureOpenAI(
            azure_endpoint=proxy.url,
            websocket_base_url=f"{proxy.url.replace('http', 'ws', 1)}/openai",
            api_key=CLIENT_KEY,
            api_version="2025-04-01-preview",
        ) as client,
        client.realtime.connect(model="voice") as connection,
    ):
        events = await ask(connection, "hello")
    assert events[-1].response.status == "completed"
    request = provider.sockets[0].request
    assert request.path == "/openai/realtime?api-version=2025-04-01-preview&deployment=voice"
    assert request.headers["api-key"] == "azure-key"
    assert CLIENT_KEY not in str(request.headers)
    assert (await proxy.wait_for_records(1))[0].operation == "voice"
