"""Streamable HTTP made of a channel: which message goes where, and what ends what."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from proxies.contract import Limits
from proxies.mcp.eras import META_CAPABILITIES, META_VERSION, MODERN_VERSIONS
from proxies.mcp.upstreams import channelled, conversation, subscriptions
from proxies.mcp.upstreams.channelled import ChannelUpstream
from proxies.mcp.upstreams.seats import SeatBounds
from proxies.mcp.upstreams.server_log import ServerLog
from proxies.transport.errors import (
    UpstreamBusy,
    UpstreamError,
    UpstreamFirstByteTimeout,
    UpstreamTotalTimeout,
    UpstreamTruncated,
    UpstreamUnreachable,
)
from tests.unit.proxies.mcp.upstreams.scripted_channel import Script, ScriptedChannel, answer_everything

MODERN = MODERN_VERSIONS[-1]


def quiet(channel: ScriptedChannel, message: dict[str, Any]) -> None:
    """Shake hands and say nothing more by itself."""
    if message.get("method") in ("initialize", "server/discover"):
        answer_everything(channel, message)


class Bench:
    """An upstream with every channel that it has opened."""

    def __init__(self, script: Script, limits: Limits, bounds: SeatBounds, *, ours: bool, process: Any) -> None:
        self.channels: list[ScriptedChannel] = []
        self.script = script
        self.problems = 0
        self.connect_error: UpstreamError | None = None
        self.upstream = ChannelUpstream(
            self._connect,
            name="test",
            limits=limits,
            bounds=bounds,
            on_problem=self._noted,
            log=ServerLog() if ours else None,
            process=process,
        )

    async def _connect(self) -> ScriptedChannel:
        if self.connect_error is not None:
            raise self.connect_error
        self.channels.append(ScriptedChannel(self.script))
        return self.channels[-1]

    def _noted(self) -> None:
        self.problems += 1

    async def post(self, body: Any, session: str = "", *, principal: str = "key", **options: Any) -> Any:
        headers = [("mcp-session-id", session)] if session else []
        first = body[0] if type(body) is list else body
        if META_VERSION in first.get("params", {}).get("_meta", {}):
            headers.append(("mcp-protocol-version", MODERN))
        data = json.dumps(body).encode()
        return await self.upstream.request("POST", "", headers, data, principal_id=principal, **options)

    async def get(self, session: str = "", method: str = "GET", **headers: str) -> Any:
        fields = [*headers.items(), *([("mcp-session-id", session)] if session else [])]
        return await self.upstream.request(method, "", [(n.replace("_", "-"), v) for n, v in fields], b"")

    async def open(self, principal: str = "key") -> tuple[str, ScriptedChannel]:
        answer = await self.post(request("initialize", 0, protocolVersion="2025-11-25"), principal=principal)
        assert answer.status == 200
        return answer.headers.get("mcp-session-id"), self.channels[-1]


@pytest.fixture
async def make() -> AsyncIterator[Callable[..., Bench]]:
    benches: list[Bench] = []

    def build(
        script: Script = quiet,
        *,
        ours: bool = True,
        bounds: SeatBounds | None = None,
        process: str = "session",
        **limits: float,
    ) -> Bench:
        bounds = bounds or SeatBounds(max_open=8, max_open_per_principal=8)
        benches.append(Bench(script, Limits(**limits), bounds, ours=ours, process=process))  # type: ignore[arg-type]
        return benches[-1]

    yield build
    for bench in benches:
        await bench.upstream.aclose()


def request(method: str, id: int | str = 1, **params: Any) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": id, "method": method, "params": params}


def modern(method: str, id: int | str = 1, **params: Any) -> dict[str, Any]:
    return request(method, id, **params, _meta={META_VERSION: MODERN, META_CAPABILITIES: {}})


def notification(method: str, **params: Any) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "method": method, "params": params}


async def events(answer: Any, count: int) -> list[Any]:
    found = []
    async with asyncio.timeout(5):
        while len(found) < count:
            found.append(json.loads((await anext(answer)).split(b"data: ")[1]))
    return found


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0)


async def begun(bench: Bench, channel: ScriptedChannel, *bodies: Any, session: str = "") -> list[asyncio.Task[Any]]:
    """Calls that have reached the server and wait."""
    before = len(channel.sent)
    tasks = [asyncio.create_task(bench.post(body, session)) for body in bodies]
    await until(lambda: len(channel.sent) == before + len(bodies))
    return tasks


# --- Statuses ---------------------------------------------------------------------------------------------------------


async def test_L_03_without_a_session_or_with_a_lost_one(make) -> None:
    bench = make()
    session, _ = await bench.open()
    assert (await bench.post(request("tools/list"))).status == 400
    assert (await bench.post(request("tools/list"), "lost")).status == 404
    assert (await bench.get()).status == 405
    assert (await bench.get("lost")).status == 410  # Ours: of a server 404 would say less.
    assert (await bench.get(session, last_event_id="1")).status == 400
    assert (await bench.get(session, "DELETE")).status == 204
    assert (await bench.get(session, "DELETE")).status == 404
    assert (await bench.post(notification("notifications/initialized"), session)).status == 404


async def test_L_02_an_error_instead_of_an_initialize_result_opens_no_session(make) -> None:
    def refuse(channel: ScriptedChannel, message: dict[str, Any]) -> None:
        channel.say(id=message["id"], error={"code": -32602, "message": "no"})

    bench = make(refuse)
    answer = await bench.post(request("initialize", "i"))
    assert (answer.status, answer.headers.get("mcp-session-id")) == (200, None)
    assert json.loads(await answer.read(1000))["id"] == "i"
    assert bench.upstream.open_channels == 0
    assert bench.upstream.problem == ""


async def test_L_07_notifications_and_responses_are_accepted(make) -> None:
    bench = make()
    session, channel = await bench.open()
    batch = [notification("notifications/initialized"), {"jsonrpc": "2.0", "id": "q", "result": {}}]
    assert (await bench.post(batch, session)).status == 202
    assert channel.methods() == ["initialize", "notifications/initialized", "response"]
    assert channel.sent[-1]["id"] == "q"


@pytest.mark.parametrize(
    ("code", "status"), [(-32022, 400), (-32021, 400), (-32020, 400), (-32601, 404), (-32602, 200)]
)
async def test_P_06_errors_of_the_modern_era_have_the_status_that_they_have_over_http(make, code, status) -> None:
    def refuse(channel: ScriptedChannel, message: dict[str, Any]) -> None:
        if message["method"] == "server/discover":
            channel.say(id=message["id"], result={})
        else:
            channel.say(id=message["id"], error={"code": code, "message": "no"})

    bench = make(refuse)
    answer = await bench.post(modern("tools/list"))
    assert answer.status == status
    assert json.loads(await answer.read(1000))["error"]["code"] == code


async def test_M_11_a_modern_notification_goes_nowhere(make) -> None:
    bench = make()
    body = notification("notifications/x", _meta={META_VERSION: MODERN})
    assert (await bench.post(body)).status == 202
    assert bench.channels == []


# --- Eras -------------------------------------------------------------------------------------------------------------


async def test_E_03_a_version_that_does_not_fit_is_still_a_modern_answer(make) -> None:
    def other_version(channel: ScriptedChannel, message: dict[str, Any]) -> None:
        channel.say(id=message["id"], error={"code": -32022, "message": "Unsupported protocol version"})

    bench = make(other_version)
    assert (await bench.post(modern("tools/list"))).status == 400
    assert bench.channels[0].methods() == ["server/discover", "tools/list"]


async def test_E_04_a_legacy_verdict_holds_for_a_while(make, monkeypatch) -> None:
    def refuse(channel: ScriptedChannel, message: dict[str, Any]) -> None:
        channel.say(id=message["id"], error={"code": -32601, "message": "Method not found"})

    bench = make(refuse)
    answers = await asyncio.gather(*(bench.post(modern("tools/list", number)) for number in range(3)))
    assert [answer.status for answer in answers] == [400] * 3
    assert [channel.methods() for channel in bench.channels] == [["server/discover"]]
    assert all(channel.closed for channel in bench.channels)
    monkeypatch.setattr(bench.upstream, "_legacy_until", 0.0)
    await bench.post(modern("tools/list"))
    assert len(bench.channels) == 2


async def test_E_03_a_server_that_leaves_instead_of_answering_is_a_failure(make) -> None:
    bench = make(lambda channel, _message: channel.end())
    with pytest.raises(UpstreamTruncated):
        await bench.post(modern("tools/list"))
    assert bench.upstream.problem == "the server left"


async def test_P_04_the_modern_requests_of_a_key_share_a_channel_that_is_opened_once(make) -> None:
    bench = make(answer_everything)
    await asyncio.gather(*(bench.post(modern("tools/list", number)) for number in range(4)))
    await bench.post(modern("tools/list"), principal="other")
    assert [channel.methods().count("server/discover") for channel in bench.channels] == [1, 1]
    bench.channels[0].end()
    await until(lambda: bench.upstream.open_channels == 1)
    assert (await bench.post(modern("tools/list"))).status == 200
    assert len(bench.channels) == 3


async def test_P_04_after_a_failed_start_those_who_waited_open_one_channel_together(make) -> None:
    bench = make(answer_everything, ours=False)
    bench.connect_error = UpstreamUnreachable("not yet")
    first = asyncio.create_task(bench.post(modern("tools/list", 1)))
    waiting = [asyncio.create_task(bench.post(modern("tools/list", number))) for number in (2, 3)]
    with pytest.raises(UpstreamUnreachable):
        await first
    bench.connect_error = None
    late = asyncio.create_task(bench.post(modern("tools/list", 4)))
    answers = await asyncio.gather(*waiting, late, return_exceptions=True)
    assert len(bench.channels) <= 1
    assert bench.upstream.open_channels == len(bench.channels)
    assert all(isinstance(answer, UpstreamUnreachable) or answer.status == 200 for answer in answers)


# --- Starts -----------------------------------------------------------------------------------------------------------


async def test_P_03_a_failed_start_is_a_problem_until_one_succeeds(make) -> None:
    bench = make()
    bench.connect_error = UpstreamUnreachable("It cannot be started.")
    with pytest.raises(UpstreamUnreachable):
        await bench.open("one")
    with pytest.raises(UpstreamUnreachable, match="It is tried again in 1 s") as again:
        await bench.open("one")
    assert again.value.code == "upstream_not_started"
    assert (bench.upstream.problem, bench.problems) == ("It cannot be started.", 1)
    bench.connect_error = None
    await bench.open("two")
    assert (bench.upstream.problem, bench.problems) == ("", 2)


async def test_a_failure_over_the_network_is_no_problem_of_the_proxy(make) -> None:
    bench = make(ours=False)
    bench.connect_error = UpstreamUnreachable("The upstream does not accept connections.")
    for _ in range(2):
        with pytest.raises(UpstreamUnreachable, match=r"connections\.$"):
            await bench.open()
    assert (bench.upstream.problem, bench.problems) == ("", 0)


async def test_P_03_a_server_that_does_not_answer_initialize_is_given_up(make) -> None:
    bench = make(lambda _channel, _message: None, first_byte_timeout_seconds=0.01)
    with pytest.raises(UpstreamFirstByteTimeout):
        await bench.open()
    assert bench.upstream.open_channels == 0


async def test_P_03_all_seats_in_use_is_busy(make, monkeypatch) -> None:
    bench = make(bounds=SeatBounds(max_open=1, max_open_per_principal=1))
    session, channel = await bench.open()
    (waiting,) = await begun(bench, channel, request("tools/call"), session=session)
    with pytest.raises(UpstreamBusy):
        await bench.open()
    with pytest.raises(UpstreamBusy):
        await bench.open("other")
    channel.say(id=2, result={})
    await waiting
    monkeypatch.setattr("proxies.mcp.upstreams.seats.GRACE_SECONDS", 0.0)
    await bench.open()
    await until(lambda: channel.closed)


async def test_P_03_what_nobody_uses_is_ended(make, monkeypatch) -> None:
    monkeypatch.setattr(channelled, "SWEEP_SECONDS", 0.01)
    bench = make(bounds=SeatBounds(max_open=8, max_open_per_principal=8, legacy_idle_seconds=0))
    _, channel = await bench.open()
    await until(lambda: channel.closed)
    assert bench.upstream.open_channels == 0


async def test_a_closed_upstream_opens_nothing(make) -> None:
    bench = make()
    _, channel = await bench.open()
    await bench.upstream.aclose()
    assert channel.closed
    with pytest.raises(UpstreamUnreachable, match="lets go"):
        await bench.open()


async def test_P_03_closing_without_patience_cancels_the_ends(make) -> None:
    bench = make()
    _, channel = await bench.open()
    cancelled = asyncio.Event()

    async def slowly() -> None:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            cancelled.set()
            raise

    channel.aclose = slowly  # type: ignore[method-assign]
    closing = asyncio.create_task(bench.upstream.aclose())
    await asyncio.sleep(0.01)
    closing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await closing
    assert cancelled.is_set()


# --- Which message goes where -----------------------------------------------------------------------------------------


async def test_L_08_a_message_that_names_no_request_goes_to_the_only_one_or_to_the_stream(make) -> None:
    bench = make()
    session, channel = await bench.open()
    (only,) = await begun(bench, channel, request("tools/call", "a"), session=session)
    channel.say(method="notifications/message", params={"data": "for the call"})
    answer = await only
    assert [one["params"]["data"] for one in await events(answer, 1)] == ["for the call"]

    stream = await bench.get(session)
    channel.say(method="notifications/tools/list_changed")
    assert (await events(stream, 1))[0]["method"] == "notifications/tools/list_changed"

    (second,) = await begun(bench, channel, request("tools/call", "b"), session=session)
    channel.say(id="q", method="ping")
    assert (await events(stream, 1))[0]["method"] == "ping"

    await stream.aclose()
    channel.say(id="r", method="ping")
    assert (await events(await second, 1))[0]["id"] == "r"
    channel.say_raw(json.dumps([{"jsonrpc": "2.0", "id": id, "result": {}} for id in (2, 3)]).encode())
    assert (await events(answer, 1))[0] == {"jsonrpc": "2.0", "id": "a", "result": {}}


async def test_L_08_what_nobody_hears_is_kept_within_bounds(make, monkeypatch) -> None:
    monkeypatch.setattr(conversation, "MAX_BACKLOG_MESSAGES", 2)
    monkeypatch.setattr(conversation, "MAX_STREAMS", 1)
    bench = make()
    session, channel = await bench.open()
    for number in range(4):
        channel.say(method="notifications/message", params={"data": number})
    channel.say(method="notifications/progress", params={"progressToken": 77, "progress": 1})
    channel.say_raw(b"{}")
    await until(channel._incoming.empty)
    await asyncio.sleep(0)
    stream = await bench.get(session)
    assert [one["params"]["data"] for one in await events(stream, 2)] == [2, 3]
    assert (await bench.get(session)).status == 405
    channel.end()
    with pytest.raises(StopAsyncIteration):
        await anext(stream)


async def test_M_12_modern_messages_that_name_no_request(make) -> None:
    bench = make()
    task = asyncio.create_task(bench.post(modern("tools/call", "a")))
    await until(lambda: bool(bench.channels) and len(bench.channels[0].sent) == 2)
    (channel,) = bench.channels
    channel.say(method="notifications/message", params={"data": "x"})
    channel.say(id="forbidden", method="ping")
    answer = await task
    assert [one["method"] for one in await events(answer, 2)] == ["notifications/message", "ping"]
    await answer.aclose()
    await until(lambda: channel.methods()[-1] == "notifications/cancelled")
    channel.say(method="notifications/message", params={"data": "nobody"})
    channel.say(id="forbidden", method="ping")
    channel.say(id=2, result={})
    await until(channel._incoming.empty)


async def test_L_11_a_cancelled_request_that_is_not_answered_ends(make, monkeypatch) -> None:
    monkeypatch.setattr(conversation, "CANCELLED_SECONDS", 0.01)
    bench = make()
    session, channel = await bench.open()
    (waiting,) = await begun(bench, channel, request("tools/call", "a"), session=session)
    await bench.post(notification("notifications/cancelled", requestId="a"), session)
    answer = await waiting
    with pytest.raises(StopAsyncIteration):
        await anext(answer)


async def test_G_11_a_call_that_takes_too_long_fails_and_is_cancelled(make) -> None:
    bench = make(total_timeout_seconds=0.05)
    session, channel = await bench.open()
    with pytest.raises(UpstreamTotalTimeout):
        await bench.post(request("tools/call"), session)
    await until(lambda: channel.methods()[-1] == "notifications/cancelled")


async def test_G_11_a_quiet_call_begins_as_a_stream(make, monkeypatch) -> None:
    monkeypatch.setattr(channelled, "QUIET_SECONDS", 0.01)
    bench = make()
    session, channel = await bench.open()
    answer = await bench.post(request("tools/call"), session)
    assert answer.headers.get("content-type") == "text/event-stream"
    channel.say(id=2, result={})
    assert (await events(answer, 1))[0]["id"] == 1


async def test_a_server_that_takes_no_messages_is_an_error(make) -> None:
    bench = make(first_byte_timeout_seconds=0.05)
    session, channel = await bench.open()

    async def stuck(message: bytes) -> None:
        await asyncio.sleep(60)

    channel.send = stuck  # type: ignore[method-assign]
    with pytest.raises(UpstreamFirstByteTimeout, match="does not take messages"):
        await bench.post(request("tools/call"), session)


async def test_requests_on_one_channel_are_bounded(make, monkeypatch) -> None:
    monkeypatch.setattr(conversation, "MAX_OPEN_REQUESTS", 2)
    bench = make()
    session, channel = await bench.open()
    tasks = await begun(bench, channel, request("tools/call", "a"), request("tools/call", "b"), session=session)
    with pytest.raises(UpstreamBusy):
        await bench.post(request("tools/call", "c"), session)
    channel.end()
    for task in tasks:
        with pytest.raises(UpstreamTruncated):
            await task


async def test_P_01_too_many_violations_end_the_channel(make, monkeypatch) -> None:
    monkeypatch.setattr(conversation, "MAX_VIOLATIONS", 3)
    bench = make()
    _, channel = await bench.open()
    for data in (b"\xff", b"[1]", b'{"jsonrpc":"2.0","id":99,"result":{}}', b"nonsense"):
        channel.say_raw(data)
    await until(lambda: channel.closed)
    assert bench.upstream.open_channels == 0


async def test_a_fault_of_ours_ends_the_channel_and_not_the_worker(make, caplog) -> None:
    bench = make()
    _, channel = await bench.open()
    channel._incoming.put_nowait(7)  # type: ignore[arg-type]
    await until(lambda: channel.closed)
    assert "cannot be handled any more" in caplog.text


async def test_L_11_leaving_a_legacy_call_keeps_it_open_at_the_server(make) -> None:
    bench = make()
    session, channel = await bench.open()
    (leaving,) = await begun(bench, channel, request("tools/call", "a"), session=session)
    leaving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await leaving
    channel.say(id=2, result={})
    (after,) = await begun(bench, channel, request("tools/call", "a"), session=session)
    channel.say(id=3, result={"second": True})
    assert json.loads(await (await after).read(1000))["result"] == {"second": True}
    assert channel.methods() == ["initialize", "tools/call", "tools/call"]


async def sharing(make: Any, script: Script = answer_everything, sessions: int = 2) -> Any:
    """A process that several sessions of one key share."""
    bench = make(script, process="key")
    opened = [(await bench.open())[0] for _ in range(sessions)]
    return bench, bench.channels[0], opened


async def said(bench: Bench, method: str, session: str, uri: str = "file:///a", id: int = 1) -> Any:
    answer = await bench.post(request(method, id, uri=uri), session)
    return json.loads(await answer.read(1000))


async def test_P_04_only_the_last_session_that_unsubscribes_ends_the_subscription_of_a_process(make) -> None:
    bench, channel, (first, second) = await sharing(make)
    for session in (first, second, second):
        assert await said(bench, "resources/subscribe", session) == {"jsonrpc": "2.0", "id": 1, "result": {}}
    await said(bench, "resources/subscribe", first, "file:///b")
    assert await said(bench, "resources/unsubscribe", first, id=7) == {"jsonrpc": "2.0", "id": 7, "result": {}}
    await said(bench, "resources/unsubscribe", first)  # It has none there any more.
    assert "resources/unsubscribe" not in channel.methods()
    await said(bench, "resources/unsubscribe", second)
    await said(bench, "resources/unsubscribe", first, "file:///b")
    ended = [message["params"]["uri"] for message in channel.sent if message["method"] == "resources/unsubscribe"]
    assert ended == ["file:///a", "file:///b"]


async def test_P_04_a_session_that_leaves_has_no_subscription_any_more(make) -> None:
    bench, channel, (first, second) = await sharing(make)
    for session in (first, second):
        await said(bench, "resources/subscribe", session)
    await bench.get(first, "DELETE")
    await said(bench, "resources/unsubscribe", second)
    assert channel.methods()[-1] == "resources/unsubscribe"


async def test_P_04_a_refused_subscription_does_not_count(make) -> None:
    refused: list[int] = []

    def script(channel: ScriptedChannel, message: dict[str, Any]) -> None:
        if message.get("method") == "resources/subscribe" and refused:
            channel.say(id=message["id"], error={"code": refused.pop(), "message": "no"})
        else:
            answer_everything(channel, message)

    bench, channel, (first, second) = await sharing(make, script)
    await said(bench, "resources/subscribe", first)
    refused.append(-32002)
    assert "error" in await said(bench, "resources/subscribe", second)
    await said(bench, "resources/unsubscribe", first)
    assert channel.methods()[-1] == "resources/unsubscribe"


async def test_P_04_an_unsubscription_in_a_batch_is_answered_with_the_rest_of_it(make) -> None:
    bench, channel, (first, second) = await sharing(make)
    for session in (first, second):
        await said(bench, "resources/subscribe", session)
    batch = [request("resources/unsubscribe", "u", uri="file:///a"), request("resources/read", "r", uri="file:///a")]
    answers = await events(await bench.post(batch, first), 2)
    assert sorted(answer["id"] for answer in answers) == ["r", "u"]
    assert channel.methods()[-1] == "resources/read"


async def test_P_04_subscriptions_of_a_process_are_bounded(make, monkeypatch) -> None:
    monkeypatch.setattr(subscriptions, "MAX_SUBSCRIPTIONS", 2)
    bench, channel, (first, second) = await sharing(make)
    for session in (first, second):
        await said(bench, "resources/subscribe", session)
    with pytest.raises(UpstreamBusy):
        await said(bench, "resources/subscribe", first, "file:///b")
    assert channel.methods().count("resources/subscribe") == 2


async def test_sessions_with_a_channel_of_their_own_say_themselves_when_a_subscription_ends(make) -> None:
    bench = make(answer_everything)
    session, channel = await bench.open()
    await said(bench, "resources/unsubscribe", session)
    assert channel.methods()[-1] == "resources/unsubscribe"
