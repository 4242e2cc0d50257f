"""Ollama's own API through a real proxy, with its official client: chats, completions, embeddings and lists."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx
import ollama
import pytest

from rules.model import Action
from tests.masking_calls import CLIENT_KEY, asked, hold_nothing_back, placeholder_in, send
from tests.masking_rules import BLOCKED, EMAIL, KEY, PLACEHOLDER, masking_ruleset
from tests.ollama_replies import (
    lines_of,
    ollama_chat,
    ollama_chat_stream,
    ollama_completion,
    ollama_completion_stream,
    ollama_message,
)
from tests.proxy_harness import RunningProxy, running_proxy
from tests.scripted_upstream import Reply, ScriptedUpstream

QUESTION = f"Write to {EMAIL} with {KEY}"
MESSAGES = [{"role": "user", "content": QUESTION}]
IMAGE = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAQAAAC1HAwCAAAAC0lEQVR42mNk+A8AAQUBAScY42YAAAAASUVORK5CYII="


@pytest.fixture
async def proxy(upstream: ScriptedUpstream) -> AsyncIterator[RunningProxy]:
    async with running_proxy(
        type="llm", target_url=upstream.url, client_key=CLIENT_KEY, ruleset=masking_ruleset()
    ) as running:
        yield running


@pytest.fixture
async def client(proxy: RunningProxy) -> AsyncIterator[ollama.AsyncClient]:
    headers = {"authorization": f"Bearer {CLIENT_KEY}"}
    async with ollama.AsyncClient(host=proxy.url, headers=headers, trust_env=False) as client:
        yield client


async def until_error(client: ollama.AsyncClient) -> tuple[str, str]:
    """What a stream says before its error, and that."""
    said = ""
    try:
        async for part in await client.chat(model="m", messages=[{"role": "user", "content": "x"}], stream=True):
            said += part.message.content or ""
    except ollama.ResponseError as error:
        return said, error.error
    raise AssertionError("the stream has no error")


def lines(answer: httpx.Response) -> list[Any]:
    assert answer.headers["content-type"] == "application/x-ndjson"
    return [json.loads(line) for line in answer.text.splitlines()]


@pytest.mark.parametrize("stream", [False, True])
async def test_SYP_RED_1_chats_are_masked_and_restored(proxy, upstream, client, stream) -> None:
    def reply(body: Any) -> Reply:
        placeholder = placeholder_in(body)
        said = {
            "thinking": f"It is {placeholder} and {KEY}.",
            "arguments": [{"to": [placeholder], "key": KEY}, {"note": f"for {placeholder}"}],
        }
        return (ollama_chat_stream if stream else ollama_chat)(f"echo: {asked(body)}", **said)

    upstream.reply = reply

    answer = await client.chat(model="llama", messages=MESSAGES, stream=stream)
    parts = [part async for part in answer] if stream else [answer]

    assert "".join(part.message.content or "" for part in parts) == f"echo: Write to {EMAIL} with [REDACTED_AWS_SECRET]"
    assert "".join(part.message.thinking or "" for part in parts) == f"It is {EMAIL} and [REDACTED_AWS_SECRET]."
    calls = [call.function for part in parts for call in part.message.tool_calls or ()]
    assert [call.name for call in calls] == ["send", "send"]
    assert [dict(call.arguments) for call in calls] == [
        {"to": [EMAIL], "key": "[REDACTED_AWS_SECRET]"},
        {"note": f"for {EMAIL}"},
    ]
    assert (parts[-1].done, parts[-1].eval_count) == (True, 7)
    hold_nothing_back(upstream)
    assert upstream.paths == ["/api/chat"]
    assert CLIENT_KEY not in str(upstream.headers)
    (record,) = await proxy.wait_for_records(1)
    assert (record.protocol, record.operation, record.action) == ("ollama.chat", "llama", Action.REDACT)
    assert (record.streamed, record.truncated) == (stream, False)
    assert record.usage is not None
    assert (record.usage.input_tokens, record.usage.output_tokens) == (11, 7)


@pytest.mark.parametrize("stream", [False, True])
async def test_SYP_RED_1_completions_are_masked_and_restored(proxy, upstream, client, stream) -> None:
    make = ollama_completion_stream if stream else ollama_completion
    upstream.reply = lambda body: make(f"echo: {body['prompt']}", thinking=f"about {placeholder_in(body)}")

    answer = await client.generate(model="llama", prompt=QUESTION, suffix=f"-- {EMAIL}", stream=stream)
    parts = [part async for part in answer] if stream else [answer]

    assert "".join(part.response for part in parts) == f"echo: Write to {EMAIL} with [REDACTED_AWS_SECRET]"
    assert "".join(part.thinking or "" for part in parts) == f"about {EMAIL}"
    hold_nothing_back(upstream)
    (record,) = await proxy.wait_for_records(1)
    assert (record.protocol, record.streamed) == ("ollama.generate", stream)


@pytest.mark.parametrize("path", ["/api/chat", "/api/generate"])
@pytest.mark.parametrize("more", [{}, {"stream": None}])
async def test_RED_STR_1_done_is_the_end_and_a_stream_needs_no_asking(proxy, upstream, path, more) -> None:
    def reply(body: Any) -> Reply:
        make = ollama_chat_stream if path == "/api/chat" else ollama_completion_stream
        return make(f"to {placeholder_in(body)[:9]}", thinking=f"of {placeholder_in(body)[:8]}")

    upstream.reply = reply
    body = {"model": "m", "messages": MESSAGES, "prompt": QUESTION, **more}

    events = lines(await send(proxy, path, body))

    placeholder = placeholder_in(upstream.bodies[0])
    said = [event.get("message", event) for event in events]
    text = "".join(one.get("content", one.get("response", "")) for one in said)
    assert text == f"to {placeholder[:9]}"
    assert "".join(one.get("thinking", "") for one in said) == f"of {placeholder[:8]}"
    assert [event["done"] for event in events] == [False] * (len(events) - 1) + [True]
    assert upstream.headers[0]["accept"] == "application/x-ndjson"
    assert all(event["model"] == "m" and event["created_at"] for event in events)


async def test_embeddings_are_made_of_masked_texts(proxy, upstream, client) -> None:
    upstream.reply = lambda body: Reply(body={"model": "m", "embeddings": [[0.25, -1.5]], "prompt_eval_count": 4})

    answer = await client.embed(model="m", input=["hello", QUESTION])
    upstream.reply = lambda body: Reply(body={"embedding": [0.25]})
    old = await client.embeddings(model="m", prompt=QUESTION)

    assert list(answer.embeddings[0]) == [0.25, -1.5]
    assert list(old.embedding) == [0.25]
    hold_nothing_back(upstream)
    first, second = proxy.records
    assert (first.protocol, first.usage.input_tokens, first.usage.output_tokens) == ("ollama.embed", 4, 0)
    assert (second.protocol, second.usage) == ("ollama.embed", None)


async def test_a_blocked_embedding_is_refused(proxy, upstream, client) -> None:
    with pytest.raises(ollama.ResponseError) as caught:
        await client.embed(model="m", input=["hello", BLOCKED])

    assert caught.value.status_code == 403
    assert upstream.bodies == []


async def test_lists_of_models_pass(upstream, client, proxy) -> None:
    upstream.reply = lambda body: Reply(body={"models": [{"model": "llama3:8b", "name": "llama3:8b", "size": 1}]})

    listed = await client.list()
    running = await client.ps()
    async with httpx.AsyncClient(trust_env=False) as http:
        version = await http.get(f"{proxy.url}/api/version", headers={"x-api-key": CLIENT_KEY})

    assert [model.model for model in listed.models] == [model.model for model in running.models] == ["llama3:8b"]
    assert version.status_code == 200
    assert upstream.paths == ["/api/tags", "/api/ps", "/api/version"]
    assert {record.protocol for record in proxy.records} == {"llm.models"}


@pytest.mark.parametrize("base", ["/api", "/ollama/api/"])
async def test_a_target_that_ends_in_api_does_not_get_it_twice(upstream, base) -> None:
    upstream.reply = lambda body: ollama_chat("ok")
    async with running_proxy(
        type="llm", target_url=upstream.url + base, client_key=CLIENT_KEY, ruleset=masking_ruleset()
    ) as proxy:
        await send(proxy, "/api/chat", {"model": "m", "messages": [], "stream": False})

    assert upstream.paths == [f"{base.rstrip('/')}/chat"]


async def test_LLM_SRF_3_every_place_of_a_chat_is_inspected_and_masked(proxy, upstream) -> None:
    upstream.reply = lambda body: ollama_chat("ok")
    call = {"function": {"name": "send", "arguments": {"to": EMAIL, "deep": [{"a": EMAIL}]}}}
    tool = {"type": "function", "function": {"name": "send", "description": f"as {EMAIL}", "parameters": {}}}
    body = {
        "model": "m",
        "stream": False,
        "messages": [
            {"role": "system", "content": f"You serve {EMAIL}"},
            {"role": "user", "content": f"I am {EMAIL}", "images": [IMAGE]},
            {"role": "assistant", "content": "", "thinking": f"Aha, {EMAIL}", "tool_calls": [call]},
            {"role": "tool", "tool_name": "send", "content": f"sent to {EMAIL}"},
            {"role": "user", "content": "", "images": [f"no image: {EMAIL}"]},
        ],
        "tools": [tool],
        "format": {"type": "object", "description": f"for {EMAIL}"},
        "options": {"stop": [EMAIL], "temperature": 0.5},
        "keep_alive": "5m",
    }

    await send(proxy, "/api/chat", body)

    (seen,) = upstream.bodies
    assert EMAIL not in upstream.seen
    found = re.findall(PLACEHOLDER, json.dumps(seen))
    assert (len(found), len(set(found))) == (10, 1)
    assert seen["messages"][1]["images"] == [IMAGE]
    assert seen["messages"][2]["tool_calls"][0]["function"]["arguments"]["deep"] == [{"a": found[0]}]
    assert seen["messages"][3]["tool_name"] == "send"
    assert seen["options"]["temperature"] == 0.5


@pytest.mark.parametrize("member", ["prompt", "suffix", "system", "template", "images", "format", "options"])
async def test_LLM_SRF_3_every_place_of_a_completion_is_inspected(proxy, upstream, member) -> None:
    places: dict[str, Any] = {"images": [BLOCKED], "options": {"stop": [BLOCKED]}, "format": {"description": BLOCKED}}

    answer = await send(proxy, "/api/generate", {"model": "m", "prompt": "x", member: places.get(member, BLOCKED)})

    assert answer.status_code == 403
    assert upstream.bodies == []


async def test_LLM_SRF_4_tokens_that_nobody_can_read_do_not_pass(proxy, upstream, client) -> None:
    upstream.reply = lambda body: ollama_completion("ok")
    whole = await client.generate(model="m", prompt="hello", context=[])
    upstream.reply = lambda body: ollama_completion_stream("ok")
    streamed = [part async for part in await client.generate(model="m", prompt="hello", stream=True)]
    with pytest.raises(ollama.ResponseError) as caught:
        await client.generate(model="m", prompt="go on", context=[1, 2, 3])
    variant = await send(proxy, "/api/generate", {"model": "m", "prompt": "go on", "Context": [1, 2, 3]})

    assert whole.context is None
    assert [part.context for part in streamed if part.context] == []
    assert ["context" in body for body in upstream.bodies] == [False, False]
    assert (caught.value.status_code, "tokens" in caught.value.error) == (400, True)
    assert (variant.status_code, variant.json()["code"]) == (400, "invalid_json")


async def test_LLM_SRF_4_tokens_pass_where_nothing_is_enforced(upstream) -> None:
    upstream.reply = lambda body: ollama_completion("ok")
    async with running_proxy(
        type="llm", target_url=upstream.url, ruleset=masking_ruleset(), enforcement="log_only"
    ) as proxy:
        answer = await send(proxy, "/api/generate", {"model": "m", "prompt": "x", "context": [4], "stream": False})

    assert upstream.bodies[0]["context"] == [4]
    assert answer.json()["context"] == [1, 2, 3]


async def test_LLM_ERR_2_the_client_shows_why_a_call_is_refused(proxy, upstream, client) -> None:
    messages = [{"role": "user", "content": BLOCKED}]
    with pytest.raises(ollama.ResponseError) as caught:
        await client.chat(model="m", messages=messages)
    with pytest.raises(ollama.ResponseError) as streamed:
        [part async for part in await client.chat(model="m", messages=messages, stream=True)]
    body = (await send(proxy, "/api/chat", {"model": "m", "messages": messages})).json()

    assert caught.value.status_code == streamed.value.status_code == 403
    assert "X-DOORS" in caught.value.error
    assert streamed.value.error == caught.value.error == body["error"]
    assert (body["code"], bool(body["remediation"])) == ("blocked_by_policy", True)
    assert body["request_id"] == proxy.records[2].id
    assert upstream.bodies == []


async def test_LLM_ERR_2_a_block_in_a_stream_is_its_last_line(proxy, upstream, client) -> None:
    upstream.reply = lambda body: ollama_chat_stream(f"I will {BLOCKED} now", split="event")

    said, error = await until_error(client)

    assert "I will ".startswith(said)
    assert "X-DOORS" in error


async def test_LLM_ERR_2_other_refusals_have_the_shape_of_the_api(proxy, upstream) -> None:
    async with httpx.AsyncClient(trust_env=False) as http:
        nobody = await http.post(f"{proxy.url}/api/chat", json={"model": "m", "messages": []})
    answers = [await send(proxy, path, {"model": "m"}) for path in ("/api/web_search", "/api/me", "/api/shows")]

    assert (nobody.status_code, nobody.json()["code"]) == (401, "missing_api_key")
    assert all(type(answer.json()["error"]) is str for answer in [nobody, *answers])
    assert [answer.status_code for answer in answers] == [404] * 3
    assert upstream.bodies == []


async def test_LLM_ERR_3_an_error_of_the_upstream_passes_masked(proxy, upstream, client) -> None:
    upstream.reply = lambda body: Reply(body={"error": f"model 'x' not found by {KEY}"}, status=404)

    with pytest.raises(ollama.ResponseError) as caught:
        await client.chat(model="x", messages=[{"role": "user", "content": "x"}])

    assert caught.value.status_code == 404
    assert caught.value.error == "model 'x' not found by [REDACTED_AWS_SECRET]"
    assert proxy.records[0].error_code == "upstream_404"


async def test_RED_STR_5_probabilities_of_changed_texts_go(proxy, upstream) -> None:
    def said(text: str, done: bool = False) -> dict[str, Any]:
        logprobs = [{"token": text, "logprob": -1, "bytes": list(text.encode())}]
        return {"model": "m", "message": ollama_message(text), "done": done, "logprobs": logprobs}

    upstream.reply = lambda body: lines_of([said("hello "), said("ann@example"), said(".com"), said(" bye", True)])
    body = {"model": "m", "messages": [{"role": "user", "content": "x"}], "logprobs": True}

    streamed = lines(await send(proxy, "/api/chat", body))
    upstream.reply = lambda body: Reply(body=said("ann@example.com", True))
    whole = (await send(proxy, "/api/chat", {**body, "stream": False})).json()

    assert "".join(event["message"]["content"] for event in streamed) == "hello [REDACTED_EMAIL] bye"
    assert streamed[0]["logprobs"][0]["token"] == "hello "
    assert "example" not in json.dumps([streamed, whole])
    assert whole["logprobs"] == []


@pytest.mark.parametrize(
    ("bad", "code"),
    [
        (b'{"message": {"content": "x"}, "message": {}}\n', "upstream_protocol_error"),
        (b"[1]\n", "upstream_protocol_error"),
        (b'{"message": {"content": "half', "upstream_protocol_error"),
    ],
)
async def test_a_line_that_cannot_be_read_ends_the_stream(proxy, upstream, client, bad, code) -> None:
    reply = ollama_chat_stream("fine so far", size=4, split="event")
    reply.frames[-1] = bad
    upstream.reply = lambda body: reply

    said, error = await until_error(client)

    assert said == "fine so far"
    assert "not" in error
    (record,) = await proxy.wait_for_records(1)
    assert (record.error_code, record.truncated) == (code, True)


async def test_an_answer_in_one_piece_to_a_call_that_asked_for_a_stream_passes(upstream, client) -> None:
    """As Ollama answers a completion without a prompt, which only loads the model."""
    upstream.reply = lambda body: Reply(body={"model": "m", "response": "", "done": True, "done_reason": "load"})

    parts = [part async for part in await client.generate(model="m", stream=True)]

    assert [part.done_reason for part in parts] == ["load"]


@pytest.mark.parametrize("stream", [False, True])
async def test_AG_STATE_3_an_answer_that_asks_for_a_denied_tool_does_not_pass(upstream, stream) -> None:
    make = ollama_chat_stream if stream else ollama_chat
    upstream.reply = lambda body: make("fine", arguments=[{"to": "crew"}])
    denied = {"id": "no-send", "action": "deny", "match": {"tool_name": ["send"]}, "reason": "Nothing is sent"}
    too_long = {"id": "short", "action": "deny", "match": {"message_count": {"gt": 2}}, "reason": "Too long"}
    async with running_proxy(
        type="llm",
        target_url=upstream.url,
        ruleset=masking_ruleset(),
        policies=[{"name": "p", "rules": [denied, too_long]}],
    ) as proxy:
        user = {"role": "user", "content": "x"}
        refused = await send(proxy, "/api/chat", {"model": "m", "messages": [user], "stream": stream})
        long = await send(proxy, "/api/chat", {"model": "m", "messages": [user] * 3, "stream": stream})
        history = {"role": "assistant", "content": "", "tool_calls": [{"function": {"name": "send", "arguments": {}}}]}
        again = await send(proxy, "/api/chat", {"model": "m", "messages": [history, user], "stream": stream})

    assert "Nothing is sent" in refused.text
    assert "crew" not in refused.text
    assert ("Too long" in long.text, "Nothing is sent" in again.text) == (True, True)
    assert len(upstream.bodies) == 1
    assert {record.outcome for record in proxy.records} == {"blocked"}


SHOWN = {
    "license": "Apache License, Version 2.0",
    "modelfile": f"FROM llama3.2\nSYSTEM You serve {EMAIL}\nTEMPLATE {{{{ .Prompt }}}}",
    "parameters": 'stop "<|eot_id|>"',
    "template": "{{ .Prompt }}",
    "system": f"Log in with {KEY}",
    "details": {"parent_model": "", "format": "gguf", "family": "llama", "parameter_size": "3.2B"},
    "model_info": {"general.architecture": "llama", "tokenizer.ggml.tokens": None, "llama.context_length": 131072},
    "capabilities": ["completion", "tools"],
    "modified_at": "2026-01-01T00:00:00.000000001Z",
}


async def test_AG_MP_6_a_model_is_described_with_its_prompts_inspected(proxy, upstream, client) -> None:
    upstream.reply = lambda body: Reply(body=SHOWN)

    shown = await client.show("llama3.2")
    by_old_name = await send(proxy, "/api/show", {"name": "llama3.2"})

    assert (shown.template, shown.capabilities) == ("{{ .Prompt }}", ["completion", "tools"])
    assert shown.details.family == "llama"
    assert shown.modelinfo["llama.context_length"] == 131072
    assert "You serve [REDACTED_EMAIL]" in shown.modelfile
    assert by_old_name.json()["system"] == "Log in with [REDACTED_AWS_SECRET]"
    assert upstream.bodies == [{"model": "llama3.2"}, {"name": "llama3.2"}]
    assert CLIENT_KEY not in str(upstream.headers)
    for record in proxy.records:
        assert (record.protocol, record.operation, record.action) == ("ollama.show", "llama3.2", Action.REDACT)


async def test_AG_MP_6_what_must_not_be_told_of_a_model_is_refused(proxy, upstream, client) -> None:
    upstream.reply = lambda body: Reply(body={**SHOWN, "system": BLOCKED})
    with pytest.raises(ollama.ResponseError) as blocked:
        await client.show("llama3.2")
    upstream.reply = lambda body: Reply(body={"error": "model 'none' not found"}, status=404)
    with pytest.raises(ollama.ResponseError) as missing:
        await client.show("none")
    asked = await send(proxy, "/api/show", {"model": "m", "system": BLOCKED})
    verbose = await send(proxy, "/api/show", {"model": "m", "verbose": True})
    nameless = await send(proxy, "/api/show", {})

    assert (blocked.value.status_code, "X-DOORS" in blocked.value.error) == (403, True)
    assert (missing.value.status_code, missing.value.error) == (404, "model 'none' not found")
    assert (asked.status_code, asked.json()["code"]) == (403, "blocked_by_policy")
    assert (verbose.status_code, verbose.json()["code"]) == (422, "verbose_not_supported")
    assert (nameless.status_code, nameless.json()["code"]) == (422, "invalid_model")
    assert len(upstream.bodies) == 2


async def test_AG_MP_6_a_policy_may_deny_what_a_model_is(upstream) -> None:
    upstream.reply = lambda body: Reply(body=SHOWN)
    denied = {"id": "no-secret", "action": "deny", "match": {"model": ["secret-*"]}, "reason": "Not for you"}
    async with running_proxy(
        type="llm", target_url=upstream.url, ruleset=masking_ruleset(), policies=[{"name": "p", "rules": [denied]}]
    ) as proxy:
        refused = await send(proxy, "/api/show", {"model": "secret-1"})
        shown = await send(proxy, "/api/show", {"model": "open-1", "verbose": False})

    assert (refused.status_code, "Not for you" in refused.json()["error"]) == (403, True)
    assert shown.status_code == 200
    assert len(upstream.bodies) == 1


async def test_AG_MP_6_a_client_that_looks_whether_somebody_is_there_finds_the_gateway(proxy, upstream) -> None:
    """The command line of Ollama asks so before everything else."""
    async with httpx.AsyncClient(trust_env=False) as http:
        there = await http.head(proxy.url + "/", headers={"x-api-key": CLIENT_KEY})
        nobody = await http.head(proxy.url + "/")
        page = await http.get(proxy.url + "/", headers={"x-api-key": CLIENT_KEY})

    assert (there.status_code, there.content) == (200, b"")
    assert (nobody.status_code, page.status_code) == (401, 404)
    assert upstream.headers == []


async def test_AG_MP_6_models_are_not_managed_through_the_gateway(proxy, upstream, client, tmp_path) -> None:
    blob = tmp_path / "blob"
    blob.write_bytes(b"GGUF" * 1000)
    calls: list[Callable[[], Any]] = [
        lambda: client.pull("llama3.2"),
        lambda: client.push("team/llama3.2"),
        lambda: client.create("mine", from_="llama3.2", system="x"),
        lambda: client.copy("llama3.2", "mine"),
        lambda: client.delete("llama3.2"),
        lambda: client.create_blob(blob),
    ]
    for call in calls:
        with pytest.raises(ollama.ResponseError) as caught:
            await call()
        assert (caught.value.status_code, "changes the models" in caught.value.error) == (403, True)
    with pytest.raises(ollama.ResponseError) as streamed:
        [part async for part in await client.pull("llama3.2", stream=True)]
    async with httpx.AsyncClient(trust_env=False) as http:
        asked = await http.head(f"{proxy.url}/api/blobs/sha256:00", headers={"x-api-key": CLIENT_KEY})
        nobody = await http.post(f"{proxy.url}/api/pull", json={"model": "m"})

    assert "changes the models" in streamed.value.error
    assert (asked.status_code, asked.content) == (403, b"")
    assert (nobody.status_code, nobody.json()["code"]) == (401, "missing_api_key")
    assert upstream.bodies == []
    assert {record.error_code for record in proxy.records} == {"model_management_denied", "missing_api_key"}
