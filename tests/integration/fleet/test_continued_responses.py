"""The Responses API remembers for its clients: what was masked in one call comes back in those that continue it, whichever
worker serves them, after workers have died and after the console has started again."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest

from app.fleet.supervisor import ProxyState
from proxies.contract import Masking
from tests.masking_rules import EMAIL, PLACEHOLDER, masking_pack
from tests.scripted_upstream import Reply, ScriptedUpstream, responses_body, responses_stream, running_scripted_upstream
from tests.support.fleet import KEY, Bench, api_key, proxy, ruleset_source, running_fleet

OTHER_KEY = "ost_" + "o" * 43
MASKING_KEY = b"m" * 32


class RememberingProvider:
    """A provider that keeps what it was told, by response and by conversation, and says all of it again."""

    def __init__(self) -> None:
        self._told: dict[str, list[str]] = {}
        self._count = 0

    def reply(self, body: Any) -> Reply:
        """The answer to one call of the Responses API."""
        conversation = body.get("conversation") or ""
        before = self._told.get(conversation or body.get("previous_response_id") or "", [])
        told = [*before, body["input"]]
        self._count += 1
        name = f"resp_{self._count}"
        self._told[name] = self._told[conversation or name] = told
        make = responses_stream if body.get("stream") else responses_body
        answer = make(f"You told me: {' | '.join(told)}", id=name)
        if conversation:
            for response in [answer.body, *(event[1].get("response") for event in answer.events)]:
                if response:
                    response["conversation"] = {"id": conversation}
        return answer


@pytest.fixture
async def provider() -> AsyncIterator[ScriptedUpstream]:
    async with running_scripted_upstream() as running:
        running.reply = RememberingProvider().reply
        yield running


@asynccontextmanager
async def masking_fleet(directory: Path, provider: ScriptedUpstream, workers: int = 1) -> AsyncIterator[Bench]:
    rules = ruleset_source(masking_pack())
    config = proxy("a", provider.url, ruleset=rules.digest, require_auth=True, masking=Masking(key=MASKING_KEY))
    keys = (api_key(), api_key("key_2", OTHER_KEY))
    directory.mkdir(exist_ok=True)
    async with running_fleet(directory, [config], workers=workers, rulesets=(rules,), api_keys=keys) as bench:
        await started(bench, workers)
        await bench.fleet.start_proxy("prx_a")
        yield bench


async def started(bench: Bench, workers: int, without: Sequence[int] = ()) -> list[int]:
    def ready() -> bool:
        pids = [item.pid for item in bench.fleet.workers() if item.state == "running"]
        return len(pids) == workers and not set(pids) & set(without)

    await bench.until(ready)
    return [item.pid for item in bench.fleet.workers()]


async def ask(bench: Bench, question: str, *, key: str = KEY, stream: bool = False, **more: Any) -> tuple[str, str]:
    """The id and the text of an answer, with the official client, on a connection of its own."""
    url = f"http://127.0.0.1:{bench.config('prx_a').port}/v1"
    http = httpx.AsyncClient(limits=httpx.Limits(max_keepalive_connections=0), trust_env=False)
    async with openai.AsyncOpenAI(base_url=url, api_key=key, max_retries=0, http_client=http) as client:
        if not stream:
            answer = await client.responses.create(model="m", input=question, **more)
            return answer.id, answer.output_text
        async with client.responses.stream(model="m", input=question, **more) as events:
            pieces = [event.delta async for event in events if event.type == "response.output_text.delta"]
            last = await events.get_final_response()
    assert "".join(pieces) == last.output_text
    return last.id, last.output_text


async def kill_worker(bench: Bench, workers: int = 1) -> None:
    victims = [item.pid for item in bench.fleet.workers()]
    for pid in victims:
        os.kill(pid, signal.SIGKILL)
    await started(bench, workers, without=victims)
    await bench.until(lambda: bench.state("prx_a") is ProxyState.RUNNING)


@pytest.mark.parametrize("stream", [False, True])
async def test_LLM_SRF_6_a_chain_of_responses_restores_in_whichever_worker(tmp_path, provider, stream) -> None:
    async with masking_fleet(tmp_path, provider, workers=3) as bench:
        name, text = await ask(bench, f"I am {EMAIL}.", stream=stream)
        told = [f"I am {EMAIL}."]
        for number in range(12):
            told.append(f"My friend is friend{number}@example.com.")
            name, text = await ask(bench, told[-1], previous_response_id=name, stream=stream)
            assert text == f"You told me: {' | '.join(told)}"
    assert "@" not in provider.seen


@pytest.mark.parametrize("stream", [False, True])
async def test_LLM_SRF_6_a_chain_of_responses_survives_the_death_of_workers_and_a_restart(
    tmp_path, provider, stream
) -> None:
    async with masking_fleet(tmp_path, provider) as bench:
        name, _ = await ask(bench, f"I am {EMAIL}.", stream=stream)
        await kill_worker(bench)
        name, text = await ask(bench, "Who am I?", previous_response_id=name, stream=stream)
        assert text == f"You told me: I am {EMAIL}. | Who am I?"
    async with masking_fleet(tmp_path, provider) as bench:
        _, text = await ask(bench, "And now?", previous_response_id=name, stream=stream)
    assert text == f"You told me: I am {EMAIL}. | Who am I? | And now?"
    assert EMAIL not in provider.seen


async def test_RED_PH_4_a_conversation_grows_in_all_workers(tmp_path, provider) -> None:
    async with masking_fleet(tmp_path, provider, workers=3) as bench:
        told = []
        for number in range(12):
            told.append(f"friend{number}@example.com")
            _, text = await ask(bench, told[-1], conversation="conv_1")
            assert text == f"You told me: {' | '.join(told)}"


async def test_RED_PH_4_nobody_else_gets_the_values_of_a_chain(tmp_path, provider) -> None:
    async with masking_fleet(tmp_path, provider) as bench:
        name, _ = await ask(bench, f"I am {EMAIL}.")
        await kill_worker(bench)
        _, text = await ask(bench, "Who is it?", key=OTHER_KEY, previous_response_id=name)
        assert re.fullmatch(rf"You told me: I am {PLACEHOLDER}\. \| Who is it\?", text)


async def test_RED_PH_4_what_is_kept_is_sealed_and_private(tmp_path, provider) -> None:
    async with masking_fleet(tmp_path, provider) as bench:
        name, _ = await ask(bench, f"I am {EMAIL}.")
    (file,) = (tmp_path / "conversations").glob("*.sealed")
    assert file.stat().st_mode & 0o077 == 0
    assert file.parent.stat().st_mode & 0o077 == 0
    data = file.read_bytes()
    for known in (EMAIL, name, "EMAIL", "key_1", "prx_a"):
        assert known.encode() not in data
        assert known not in file.name
    file.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    async with masking_fleet(tmp_path, provider) as bench:
        _, text = await ask(bench, "Who am I?", previous_response_id=name)
    assert re.fullmatch(rf"You told me: I am {PLACEHOLDER}\. \| Who am I\?", text)
