"""Canaries on their way through a real proxy: away from home they are reported, in streams as well."""

from __future__ import annotations

from urllib.parse import unquote

import openai
import pytest

from rules.canaries import Canary
from rules.model import Action
from tests.llm_upstream import running_llm_upstream
from tests.masking_calls import send
from tests.proxy_harness import running_proxy
from tests.scripted_upstream import running_scripted_upstream

CLIENT_KEY = "ost_" + "k" * 43
VALUE = "REF-7F3K92QXHM4TB6WD"
ESCAPED = VALUE.replace("7", "%37").replace("K", "%4b")


def canary(**home: object) -> Canary:
    return Canary(id="can_01ab", name="payroll", value=VALUE, **home)  # type: ignore[arg-type]


async def ask(url: str, text: str, *, stream: bool) -> str:
    async with openai.AsyncOpenAI(base_url=f"{url}/v1", api_key=CLIENT_KEY, max_retries=0) as client:
        answer = await client.chat.completions.create(
            model="echo", messages=[{"role": "user", "content": text}], stream=stream
        )
        if not stream:
            return str(answer.choices[0].message.content)
        return "".join([chunk.choices[0].delta.content or "" async for chunk in answer])


@pytest.mark.parametrize("stream", [False, True])
async def test_a_canary_away_from_home_is_reported_and_passes(stream: bool) -> None:
    async with (
        running_llm_upstream() as upstream,
        running_proxy(
            type="llm", target_url=upstream.url, client_key=CLIENT_KEY, packs=["secrets"], canaries=[canary()]
        ) as proxy,
    ):
        assert VALUE in await ask(proxy.url, f"about {VALUE}", stream=stream)
        (record,) = await proxy.wait_for_records(1)
        assert record.action is Action.ALERT
        assert [finding.target.value for finding in record.findings] == ["prompt", "completion"]
        assert {finding.rule_id for finding in record.findings} == {"CANARY-01AB"}
        assert VALUE not in repr(record)


async def test_a_canary_cut_over_two_messages_is_reported_and_kept_from_the_record() -> None:
    halves = [{"role": "user", "content": f"is {VALUE[:9]}"}, {"role": "user", "content": f"{VALUE[9:]} yours?"}]
    async with (
        running_llm_upstream() as upstream,
        running_proxy(
            type="llm", target_url=upstream.url, client_key=CLIENT_KEY, packs=["secrets"], canaries=[canary()]
        ) as proxy,
    ):
        async with openai.AsyncOpenAI(base_url=f"{proxy.url}/v1", api_key=CLIENT_KEY, max_retries=0) as client:
            await client.chat.completions.create(model="echo", messages=halves)  # type: ignore[arg-type]
        (record,) = await proxy.wait_for_records(1)
    assert {finding.rule_id for finding in record.findings} == {"CANARY-01AB"}
    said = [text.text for text in record.texts if text.direction == "request"]
    assert len(said) == 2
    assert VALUE[:9] not in repr(said)
    assert VALUE[9:] not in repr(said)


async def test_a_canary_in_its_home_direction_is_reported_only_in_the_answer() -> None:
    home = canary(proxy_ids=frozenset({"prx_test"}), direction="request")
    async with (
        running_llm_upstream() as upstream,
        running_proxy(
            type="llm", target_url=upstream.url, client_key=CLIENT_KEY, packs=["secrets"], canaries=[home]
        ) as proxy,
    ):
        await ask(proxy.url, VALUE, stream=True)
        (record,) = await proxy.wait_for_records(1)
        assert [finding.target.value for finding in record.findings] == ["completion"]


async def test_a_blocking_canary_never_reaches_the_provider() -> None:
    async with (
        running_llm_upstream() as upstream,
        running_proxy(
            type="llm",
            target_url=upstream.url,
            client_key=CLIENT_KEY,
            packs=["secrets"],
            canaries=[canary(action=Action.BLOCK)],
        ) as proxy,
    ):
        with pytest.raises(openai.PermissionDeniedError) as caught:
            await ask(proxy.url, VALUE, stream=False)
        assert "payroll" in caught.value.message
        assert VALUE not in caught.value.message
        assert upstream.seen == []


@pytest.mark.parametrize("action", [Action.ALERT, Action.BLOCK])
@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/chat/completions", {"model": VALUE, "messages": []}),
        (
            "/v1/chat/completions",
            {"model": "echo", "messages": [{"role": "tool", "tool_call_id": VALUE, "content": ""}]},
        ),
        ("/v1/chat/completions", {"model": "echo", "messages": [], VALUE: 1}),
        (f"/v1beta/models/{VALUE}:generateContent", {"contents": []}),
    ],
)
async def test_a_canary_that_looks_like_a_name_or_an_id_is_seen(path, body, action) -> None:
    async with (
        running_scripted_upstream() as upstream,
        running_proxy(
            type="llm",
            target_url=upstream.url,
            client_key=CLIENT_KEY,
            packs=["secrets"],
            canaries=[canary(action=action)],
        ) as proxy,
    ):
        await send(proxy, path, body)
        (record,) = await proxy.wait_for_records(1)
    assert record.action is action
    assert {finding.rule_id for finding in record.findings} == {"CANARY-01AB"}
    assert VALUE not in repr(record)
    assert bool(upstream.bodies) is (action is Action.ALERT)


@pytest.mark.parametrize("path", [f"/v1beta/models/{ESCAPED}:generateContent", f"/v1/{VALUE}", f"/v1/{ESCAPED}"])
async def test_a_canary_in_a_path_is_in_no_record_however_it_is_written(path: str) -> None:
    async with (
        running_scripted_upstream() as upstream,
        running_proxy(
            type="llm", target_url=upstream.url, client_key=CLIENT_KEY, packs=["secrets"], canaries=[canary()]
        ) as proxy,
    ):
        await send(proxy, path, {"contents": []})
        (record,) = await proxy.wait_for_records(1)
    assert VALUE not in unquote(repr(record))
