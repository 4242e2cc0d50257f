"""Streamable HTTP made of a channel: which message goes where, and what ends what."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest

from proxies import off_loop
from proxies.mcp.eras import META_VERSION
from proxies.mcp.upstreams import channelled, conversation
from proxies.mcp.upstreams.seats import SeatBounds
from proxies.transport.errors import (
    UpstreamBusy,
    UpstreamFirstByteTimeout,
    UpstreamTotalTimeout,
    UpstreamTruncated,
    UpstreamUnreachable,
)
from tests.unit.proxies.mcp.upstreams.channel_bench import (
    MODERN,
    begun,
    events,
    modern,
    notification,
    request,
    until,
)
from tests.unit.proxies.mcp.upstreams.scripted_channel import ScriptedChannel, answer_everything

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

    stream.close()
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
    answer.close()
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


async def test_P_04_a_large_answer_before_the_request_is_acknowledged_reaches_its_caller(make, monkeypatch) -> None:
    """Servers of HTTP+SSE often answer on the stream before they acknowledge the POST."""
    is_judged, is_sent = asyncio.Event(), asyncio.Event()
    works: list[object] = []

    async def away(work: Callable[[], Any]) -> Any:
        works.append(work)
        if len(works) == 2:  # The first has read the answer, this one writes it anew for its caller.
            is_judged.set()
            await is_sent.wait()
        return work()

    bench = make()
    session, channel = await bench.open()
    take = channel.send

    async def send(message: bytes) -> None:
        await take(message)
        sent = channel.sent[-1]
        channel.say(id=sent["id"], result={"tools": [], "note": "x" * 2 * off_loop.LARGE_BYTES})
        await is_judged.wait()
        asyncio.get_running_loop().call_soon(is_sent.set)

    monkeypatch.setattr(off_loop, "away", away)
    channel.send = send
    answer = await bench.post(request("tools/list", "a"), session)
    assert (json.loads(await answer.read(100_000))["id"], len(works)) == ("a", 2)
