"""A secret that a client sends where no rule looks for it is not kept either: nothing of the record of a call holds it."""

from __future__ import annotations

import httpx
import msgspec
import pytest

from rules.policy import load_policies
from tests.proxy_harness import running_proxy
from tests.scripted_upstream import chat_body, running_scripted_upstream

SECRET = "AKIA" + "Q7ZM2N4P6R5T3V6K"
TOKEN = "tok7Yw2Kq9ZpLx4VtRnMc8Hs6Jd3FgTa1E"
BODY = {"model": "gpt-4o-2024-08-06", "messages": [{"role": "user", "content": "hello"}]}


@pytest.mark.parametrize("place", ["body", "model", "agent", "header", "query", "path"])
async def test_AG_SH_4_a_secret_is_nowhere_in_the_record_of_its_call(place: str) -> None:
    policy = msgspec.to_builtins(load_policies()["llm-data-redaction"])
    url, body, headers = "/v1/chat/completions", dict(BODY), {"user-agent": "OpenAI/Python 3.51.0"}
    both = f"{SECRET} {TOKEN}"
    if place == "body":
        body["messages"] = [{"role": "user", "content": f"The key is {SECRET}, thanks."}]
    elif place == "model":
        body["model"] = SECRET
    elif place == "agent":
        headers["user-agent"] = f"curl/8.5.0 key={both}"
    elif place == "header":
        headers |= {"x-custom": both, "cookie": f"session={TOKEN}"}
    else:
        url += f"?token={TOKEN}" if place == "query" else f"/{TOKEN}/{SECRET}"
    async with (
        running_scripted_upstream() as upstream,
        running_proxy(type="llm", target_url=upstream.url, policies=[policy]) as proxy,
        httpx.AsyncClient(timeout=20, headers=headers) as client,
    ):
        upstream.reply = lambda _: chat_body(f"You said {SECRET}." if place == "body" else "Hello.")
        await client.post(proxy.url + url, json=body)
        [record] = await proxy.wait_for_records(1)
    kept = msgspec.json.encode(record).decode()
    assert SECRET not in kept
    assert TOKEN not in kept
    if place not in ("model", "agent"):
        assert record.client_agent == "OpenAI/Python 3.51.0"
    if place not in ("model", "path"):
        assert record.operation == "gpt-4o-2024-08-06"


@pytest.mark.parametrize("place", ["body", "path"])
async def test_personal_data_in_the_name_of_a_model_is_nowhere_in_the_record_of_its_call(place: str) -> None:
    policy = msgspec.to_builtins(load_policies()["llm-data-redaction"])
    card, mail = "4111111111111111", "ann.lee@secretmail.example"
    name = f"pay {card} of {mail}" if place == "body" else card
    async with (
        running_scripted_upstream() as upstream,
        running_proxy(type="llm", target_url=upstream.url, policies=[policy]) as proxy,
        httpx.AsyncClient(timeout=20) as client,
    ):
        if place == "body":
            await client.post(f"{proxy.url}/v1/chat/completions", json={**BODY, "model": name})
        else:
            contents = {"contents": [{"role": "user", "parts": [{"text": "hello"}]}]}
            await client.post(f"{proxy.url}/v1beta/models/{name}:generateContent", json=contents)
        [record] = await proxy.wait_for_records(1)
    kept = msgspec.json.encode(record).decode()
    assert record.findings
    for value in (card, mail):
        assert value not in kept
