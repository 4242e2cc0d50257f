"""Sessions that share a process share its subscriptions: the last that unsubscribes ends one."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from proxies.mcp.upstreams import subscriptions
from proxies.transport.errors import (
    UpstreamBusy,
)
from tests.unit.proxies.mcp.upstreams.channel_bench import (
    Bench,
    events,
    request,
)
from tests.unit.proxies.mcp.upstreams.scripted_channel import Script, ScriptedChannel, answer_everything


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


async def unsubscribed(channel: ScriptedChannel, count: int) -> list[str]:
    """The addresses that the server was told to send nothing about any more, once there are so many."""
    async with asyncio.timeout(10):
        while len(ended := [one for one in channel.sent if one.get("method") == "resources/unsubscribe"]) < count:
            await asyncio.sleep(0)
    return [one["params"]["uri"] for one in ended]


async def test_P_04_what_a_session_leaves_without_a_word_is_unsubscribed_for_it(make) -> None:
    bench, channel, (first, second, third) = await sharing(make, sessions=3)
    for session, uri in ((first, "file:///a"), (first, "file:///b"), (second, "file:///b"), (second, "file:///c")):
        await said(bench, "resources/subscribe", session, uri)
    await bench.get(first, "DELETE")
    assert await unsubscribed(channel, 1) == ["file:///a"]
    await bench.get(second, "DELETE")
    assert sorted(await unsubscribed(channel, 3)) == ["file:///a", "file:///b", "file:///c"]
    # The answers to what nobody asked for go nowhere and offend nobody.
    assert await said(bench, "resources/subscribe", third) == {"jsonrpc": "2.0", "id": 1, "result": {}}
    ids = [one["id"] for one in channel.sent if "id" in one]
    assert len(ids) == len(set(ids))


async def test_P_04_what_another_session_subscribes_to_at_that_moment_stays(make) -> None:
    bench, channel, (first, second) = await sharing(make)
    await said(bench, "resources/subscribe", first)
    leaving = asyncio.create_task(bench.get(first, "DELETE"))
    await said(bench, "resources/subscribe", second)
    await leaving
    await said(bench, "resources/subscribe", second, "file:///b")
    told = [one["method"] for one in channel.sent if one.get("params", {}).get("uri") == "file:///a"]
    assert told[-1] == "resources/subscribe"


async def test_P_04_an_address_too_long_to_be_kept_is_left_to_the_server(make) -> None:
    bench, channel, (first, _) = await sharing(make)
    await said(bench, "resources/subscribe", first, "file:///" + "a" * subscriptions.MAX_KEPT_CHARACTERS)
    await said(bench, "resources/subscribe", first, "file:///b")
    await bench.get(first, "DELETE")
    assert await unsubscribed(channel, 1) == ["file:///b"]


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
