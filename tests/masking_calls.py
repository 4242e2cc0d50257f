"""Calls through a proxy that masks, and what a test asks about them."""

from __future__ import annotations

import json
import re
import ssl
from pathlib import Path
from typing import Any

import httpx
import openai

from tests.masking_rules import EMAIL, KEY, PLACEHOLDER
from tests.proxy_harness import RunningProxy
from tests.scripted_upstream import ScriptedUpstream

CLIENT_KEY = "ost_" + "k" * 43


OTHER_KEY = "ost_" + "o" * 43


QUESTION = f"Write to {EMAIL}, my key is {KEY}."


def asked(body: Any) -> str:
    """The last user text as the upstream saw it."""
    messages = body.get("messages") or body.get("input")
    if isinstance(messages, str):
        return messages
    content = messages[-1]["content"]
    return content if isinstance(content, str) else str(content[0]["text"])


def placeholder_in(body: Any) -> str:
    found = re.search(PLACEHOLDER, json.dumps(body))
    assert found
    return found[0]


def hold_nothing_back(upstream: ScriptedUpstream) -> None:
    assert EMAIL not in upstream.seen
    assert KEY not in upstream.seen


async def streamed_chat(client: openai.AsyncOpenAI, question: str = QUESTION, **more: Any) -> list[Any]:
    stream = await client.chat.completions.create(
        model="m", messages=[{"role": "user", "content": question}], stream=True, **more
    )
    return [chunk async for chunk in stream]


def said(chunks: list[Any]) -> str:
    return "".join(chunk.choices[0].delta.content or "" for chunk in chunks)


async def post_raw(
    proxy: RunningProxy, path: str, body: Any, *, key: str = CLIENT_KEY, status: int = 200, complete: bool = True
) -> str:
    """The raw answer; one that is cut off only where the test says so."""
    pieces: list[bytes] = []
    cut = False
    async with httpx.AsyncClient(trust_env=False) as client:
        headers = {"authorization": f"Bearer {key}"}
        if path == "/v1/messages":
            headers["anthropic-version"] = "2026-10-21"
        async with client.stream("POST", f"{proxy.url}{path}", json=body, headers=headers) as answer:
            assert answer.status_code == status
            try:
                async for piece in answer.aiter_bytes():
                    pieces.append(piece)
            except httpx.RemoteProtocolError:
                cut = True
    assert cut is not complete
    return b"".join(pieces).decode()


async def post(proxy: RunningProxy, path: str, body: Any, **more: Any) -> Any:
    return json.loads(await post_raw(proxy, path, body, **more))


async def send(
    proxy: RunningProxy, path: str, body: Any, ca_path: Path | None = None, **headers: str
) -> httpx.Response:
    """What the proxy answers to a request with the client's key; it speaks HTTPS where an authority is named."""
    verify = ssl.create_default_context(cafile=str(ca_path)) if ca_path else True
    async with httpx.AsyncClient(trust_env=False, timeout=20, verify=verify) as client:
        fields = {"authorization": f"Bearer {CLIENT_KEY}", **headers}
        return await client.post(proxy.url + path, json=body, headers=fields)
