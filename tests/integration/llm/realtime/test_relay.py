"""A Realtime connection through a proxy, with the official client and a provider on a real WebSocket."""

from __future__ import annotations

from typing import Any

import openai

from tests.masking_calls import CLIENT_KEY
from tests.proxy_harness import RunningProxy
from tests.realtime_calls import ask
from tests.realtime_provider import Provider, response


def answering(provider: Provider, **answer: Any) -> None:
    provider.reply = lambda event: response(**answer) if event["type"] == "response.create" else []


async def test_LLM_RT_1_events_pass_both_ways_with_the_upstreams_credential(
    provider: Provider, proxy: RunningProxy, client: openai.AsyncOpenAI
) -> None:
    answering(provider, text="Good morning.")
    async with client.realtime.connect(model="gpt-realtime") as connection:
        created = await connection.recv()
        events = await ask(connection, "hello")

    assert created.type == "session.created"
    assert "".join(event.delta for event in events if event.type == "response.output_text.delta") == "Good morning."
    assert provider.types == ["conversation.item.create", "response.create"]
    request = provider.sockets[0].request
    assert request.path == "/v1/realtime?model=gpt-realtime"
    assert request.headers["authorization"].startswith("Bearer sk-upstream-")
    assert CLIENT_KEY not in str(request.headers)
    turn, connected = await proxy.wait_for_records(2)
    assert (turn.protocol, turn.operation, turn.outcome, turn.status) == (
        "openai.realtime",
        "gpt-realtime",
        "allowed",
        200,
    )
    assert turn.usage is not None
    assert (turn.usage.input_tokens, turn.usage.output_tokens, turn.usage.cached_input_tokens) == (11, 7, 4)
    assert [text.text for text in turn.texts] == ["hello", "Good morning."]
    assert (connected.operation, connected.status, connected.outcome) == ("connection", 101, "allowed")
