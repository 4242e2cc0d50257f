"""Everything that reaches the model is masked, and nothing else is changed."""

from __future__ import annotations

import base64
import json
import re
from typing import Any

import msgspec
import openai
import pytest

from rules.policy import load_policies
from tests.masking_calls import CLIENT_KEY, QUESTION, asked, hold_nothing_back, placeholder_in, post, post_raw, send
from tests.masking_rules import (
    BLOCKED,
    EMAIL,
    KEY,
    PLACEHOLDER,
    certain_ruleset,
    masking_rule,
    masking_ruleset,
    prompts_ruleset,
)
from tests.proxy_harness import running_proxy
from tests.scripted_upstream import Reply, anthropic_stream, chat_body
from tests.unit.rules.small_packs import pack, ruleset


async def test_RED_STR_12_a_value_is_masked_wherever_it_stands(upstream, openai_client) -> None:
    arguments = json.dumps({"to": EMAIL, "note": 'say "hi"\n', "nested": [{EMAIL: 1}]})
    call = {"id": "call_1", "type": "function", "function": {"name": "send", "arguments": arguments}}
    tool = {"type": "function", "function": {"name": "send", "description": f"as {EMAIL}", "parameters": {}}}
    messages: list[Any] = [
        {"role": "system", "content": f"You serve {EMAIL}."},
        {"role": "user", "content": [{"type": "text", "text": f"from {EMAIL}"}, {"type": "text", "text": KEY}]},
        {"role": "assistant", "content": f"I wrote to {EMAIL}", "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "call_1", "content": json.dumps({"sent": EMAIL})},
        {"role": "user", "content": "thanks"},
    ]
    upstream.reply = lambda body: chat_body("ok")

    await openai_client.chat.completions.create(model="m", messages=messages, tools=[tool], user=EMAIL)

    hold_nothing_back(upstream)
    (seen,) = upstream.bodies
    placeholder = placeholder_in(seen)
    assert set(re.findall(PLACEHOLDER, json.dumps(seen))) == {placeholder}
    sent = json.loads(seen["messages"][2]["tool_calls"][0]["function"]["arguments"])
    assert sent == {"to": placeholder, "note": 'say "hi"\n', "nested": [{placeholder: 1}]}
    assert seen["messages"][2]["tool_calls"][0]["id"] == "call_1"
    assert json.loads(seen["messages"][3]["content"]) == {"sent": placeholder}


def defining(path: str, value: str) -> dict[str, Any]:
    """A request to this API whose definitions hold the value in every place."""
    schema = {
        "type": "object",
        "description": value,
        "properties": {
            "to": {"type": "string", "description": f"as {value}", "default": value, "enum": [value, "none"]}
        },
    }
    named = {"name": "send", "description": f"Writes to {value}"}
    if path == "/v1/chat/completions":
        tools = [{"type": "function", "function": {**named, "parameters": schema}}]
        form = {"type": "json_schema", "json_schema": {"name": "x", "description": value, "schema": schema}}
        messages = [{"role": "user", "content": "hi"}]
        return {"model": "m", "messages": messages, "tools": tools, "response_format": form}
    if path == "/v1/messages":
        tools = [{**named, "input_schema": schema}]
        return {"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "hi"}], "tools": tools}
    if path == "/v1/responses":
        tools = [{"type": "function", **named, "parameters": schema}]
        text = {"format": {"type": "json_schema", "name": "x", "schema": schema}}
        return {"model": "m", "input": "hi", "tools": tools, "text": text}
    contents = [{"role": "user", "parts": [{"text": "hi"}]}]
    declared = [{"functionDeclarations": [{**named, "parameters": schema}]}]
    return {"contents": contents, "tools": declared, "generationConfig": {"responseSchema": schema}}


@pytest.mark.parametrize(
    "path", ["/v1/chat/completions", "/v1/messages", "/v1/responses", "/v1beta/models/m:generateContent"]
)
async def test_SYP_RED_1_personal_data_in_definitions_is_masked_by_rules_for_prompts(upstream, path: str) -> None:
    upstream.reply = lambda body: chat_body("ok")
    async with running_proxy(
        type="llm", target_url=upstream.url, client_key=CLIENT_KEY, ruleset=prompts_ruleset()
    ) as proxy:
        await send(proxy, path, defining(path, EMAIL), **{"anthropic-version": "2023-06-01"})
        await send(proxy, path, defining(path, BLOCKED), **{"anthropic-version": "2023-06-01"})
        (masked, _) = proxy.records

    seen, untouched = upstream.bodies
    assert seen == defining(path, placeholder_in(seen))
    assert untouched == defining(path, BLOCKED), "rules that look for no values do not read definitions"
    hold_nothing_back(upstream)
    assert {one.type for one in masked.redactions} == {"EMAIL"}
    assert all(EMAIL not in text.text for text in masked.texts)


async def test_SYP_RED_1_what_a_policy_masks_is_masked_in_definitions_too(upstream) -> None:
    upstream.reply = lambda body: chat_body("ok")
    policy = {"name": "p", "packs": ["prompts"], "overrides": [{"rules": ["X-DOORS"], "action": "redact"}]}
    async with running_proxy(
        type="llm", target_url=upstream.url, client_key=CLIENT_KEY, ruleset=prompts_ruleset(), policies=[policy]
    ) as proxy:
        await send(proxy, "/v1/chat/completions", defining("/v1/chat/completions", BLOCKED))

    assert len(upstream.bodies) == 1
    assert BLOCKED not in upstream.seen


async def test_LLM_SRF_2_only_the_texts_concerned_are_changed(upstream, proxy) -> None:
    document = {
        "model": "m",
        "messages": [{"role": "user", "content": QUESTION, "x-unknown": [1, 2.50, None, {"deep": "é\u2028"}]}],
        "zeta": 12345678901234567890,
        "alpha": {"b": 1, "a": 2},
    }
    upstream.reply = lambda body: chat_body("ok")

    await post(proxy, "/v1/chat/completions", document)

    (seen,) = upstream.bodies
    assert list(seen) == list(document)
    assert seen["messages"][0]["x-unknown"] == document["messages"][0]["x-unknown"]  # type: ignore[index]
    assert seen["zeta"] == 12345678901234567890
    assert list(seen["alpha"]) == ["b", "a"]


async def test_LLM_SRF_3_signed_reasoning_is_not_edited(upstream, anthropic_client, proxy) -> None:
    thinking = {"type": "thinking", "thinking": f"The user is {EMAIL}", "signature": "c2ln"}
    upstream.reply = lambda body: anthropic_stream(
        {**thinking, "thinking": f"about {placeholder_in(body)} or ann@example.com"},
        {"type": "text", "text": placeholder_in(body)},
    )
    messages: Any = [
        {"role": "user", "content": f"I am {EMAIL}"},
        {"role": "assistant", "content": [thinking, {"type": "text", "text": "hello"}]},
        {"role": "user", "content": "go on"},
    ]

    async with anthropic_client.messages.stream(model="m", max_tokens=100, messages=messages) as answer:
        final = await answer.get_final_message()

    assert upstream.bodies[0]["messages"][1]["content"][0] == thinking
    placeholder = upstream.bodies[0]["messages"][0]["content"].removeprefix("I am ")
    assert final.content[0].thinking == f"about {placeholder} or ann@example.com"
    assert final.content[0].signature == "c2ln"
    assert final.content[1].text == EMAIL


async def test_a_blocked_message_is_refused_and_not_masked(upstream, openai_client) -> None:
    with pytest.raises(openai.PermissionDeniedError):
        await openai_client.chat.completions.create(
            model="m", messages=[{"role": "user", "content": f"{EMAIL} open the pod bay doors"}]
        )

    assert upstream.bodies == []


@pytest.mark.parametrize("enforcement", ["log_only"])
async def test_with_log_only_nothing_is_masked(upstream, enforcement) -> None:
    upstream.reply = lambda body: chat_body(asked(body))
    async with running_proxy(
        type="llm", target_url=upstream.url, ruleset=masking_ruleset(), enforcement=enforcement
    ) as watching:
        await post(
            watching, "/v1/chat/completions", {"model": "m", "messages": [{"role": "user", "content": QUESTION}]}
        )

    assert EMAIL in upstream.seen


@pytest.mark.parametrize("role", ["user", "tool"])
async def test_RED_STR_12_a_value_cut_over_two_messages_reaches_the_model_from_neither(
    upstream, openai_client, role
) -> None:
    local, domain = EMAIL.split("@")
    ids = [{"tool_call_id": f"call_{number}"} if role == "tool" else {} for number in (1, 2)]
    calls = [
        {"id": f"call_{number}", "type": "function", "function": {"name": "look", "arguments": "{}"}}
        for number in (1, 2)
    ]
    messages: list[Any] = [
        {"role": "user", "content": "Look it up."},
        {"role": "assistant", "content": None, "tool_calls": calls},
        {"role": role, "content": f"It is {local}@", **ids[0]},
        {"role": role, "content": f"{domain} as it seems", **ids[1]},
    ]
    upstream.reply = lambda body: chat_body("ok")

    await openai_client.chat.completions.create(model="m", messages=messages)

    (seen,) = upstream.bodies
    assert local not in upstream.seen
    assert domain not in upstream.seen
    sent = [message["content"] for message in seen["messages"]]
    assert re.fullmatch(f"It is {PLACEHOLDER}", sent[2])
    assert re.fullmatch(f"{PLACEHOLDER} as it seems", sent[3])


async def test_a_type_that_is_no_word_is_a_member_like_others(upstream, proxy) -> None:
    def reply(body: Any) -> Reply:
        made = chat_body("done")
        made.body["choices"][0]["message"]["tool_calls"] = [{"type": ["x"], "function": {"arguments": f"{KEY}"}}]
        return made

    upstream.reply = reply
    body = {"model": "m", "messages": [{"role": "user", "content": "hi", "extra": {"type": {"a": 1}, "to": EMAIL}}]}

    answer = await post(proxy, "/v1/chat/completions", body)

    assert EMAIL not in upstream.seen
    assert answer["choices"][0]["message"]["tool_calls"][0]["function"]["arguments"] == "[REDACTED_AWS_SECRET]"


@pytest.mark.parametrize("member", ["id", "type", "role", "model", "conversation", "cursor", "signature"])
async def test_RED_STR_12_no_name_in_arguments_keeps_a_value_from_being_masked(upstream, proxy, member) -> None:
    arguments = {member: EMAIL, "deep": {"type": "thinking", member: EMAIL}}
    call = {"id": "call_1", "type": "function", "function": {"name": "send", "arguments": json.dumps(arguments)}}
    document = {
        "model": "m",
        "messages": [{"role": "user", "content": "hi"}, {"role": "assistant", "tool_calls": [call]}],
        "metadata": {"type": "thinking", member: EMAIL},
    }
    upstream.reply = lambda body: chat_body("ok")

    await post(proxy, "/v1/chat/completions", document)

    (seen,) = upstream.bodies
    placeholder = placeholder_in(seen)
    assert EMAIL not in json.dumps(seen)
    assert json.loads(seen["messages"][1]["tool_calls"][0]["function"]["arguments"])[member] == placeholder
    assert seen["metadata"][member] == placeholder
    assert seen["messages"][1]["tool_calls"][0]["id"] == "call_1"


async def test_RED_STR_12_a_value_in_the_arguments_of_anthropic_is_masked_whatever_its_name(upstream, proxy) -> None:
    call = {"type": "tool_use", "id": "toolu_1", "name": "send", "input": {"id": EMAIL, "type": EMAIL}}
    result = {"type": "tool_result", "tool_use_id": "toolu_1", "content": "sent"}
    document = {
        "model": "m",
        "max_tokens": 9,
        "messages": [
            {"role": "user", "content": "hi"},
            {"role": "assistant", "content": [call]},
            {"role": "user", "content": [result]},
        ],
    }
    upstream.reply = lambda body: anthropic_stream({"type": "text", "text": "ok"})

    await post_raw(proxy, "/v1/messages", {**document, "stream": True})

    (seen,) = upstream.bodies
    assert seen["messages"][1]["content"][0]["input"] == {"id": placeholder_in(seen), "type": placeholder_in(seen)}
    assert seen["messages"][1]["content"][0]["id"] == "toolu_1"


@pytest.mark.parametrize(
    ("document", "place"),
    [
        (
            {"messages": [{"role": "tool", "tool_call_id": EMAIL, "content": "ok"}]},
            "/messages/0/tool_call_id",
        ),
        (
            {
                "messages": [{"role": "user", "content": "hi"}],
                "tools": [{"type": "function", "function": {"name": EMAIL}}],
            },
            "/tools/0/function/name",
        ),
    ],
)
async def test_RED_STR_7_a_value_where_nothing_can_be_changed_does_not_pass(upstream, document, place) -> None:
    rules = certain_ruleset()
    upstream.reply = lambda body: chat_body("ok")
    async with running_proxy(type="llm", target_url=upstream.url, client_key=CLIENT_KEY, ruleset=rules) as proxy:
        answer = await post(proxy, "/v1/chat/completions", {"model": "m", **document}, status=422)

    assert upstream.bodies == []
    assert answer["error"]["code"] == "masking_failed"
    assert place in answer["error"]["message"]
    assert EMAIL not in json.dumps(answer)


async def test_a_value_that_is_the_name_of_a_member_is_in_no_error_and_no_record(upstream) -> None:
    upstream.reply = lambda body: chat_body("ok")
    user = {"role": "user", "content": "hi"}
    async with running_proxy(
        type="llm", target_url=upstream.url, client_key=CLIENT_KEY, ruleset=certain_ruleset(), capture="all"
    ) as proxy:
        body = {"model": "m", "messages": [{**user, "who": {EMAIL: {"id": "ann@example.com"}}}]}
        refused = await post(proxy, "/v1/chat/completions", body, status=422)
        body = {"model": "m", "messages": [user], "metadata": {EMAIL: {"to": "ann@example.com"}}}
        await post(proxy, "/v1/chat/completions", body)
        records = await proxy.wait_for_records(2)

    assert "/messages/0/who/[masked-1]/id" in refused["error"]["message"]
    assert EMAIL not in str(refused) + str(records) + upstream.seen
    assert [one.path for one in records[1].findings] == ["/metadata/[masked-1]#", "/metadata/[masked-1]/to"]
    assert {one.path for one in records[1].texts} > {one.path for one in records[1].findings}


@pytest.mark.parametrize("place", ["key", "name", "id", "role", "model", "unknown", "definition"])
async def test_RED_STR_12_with_the_shipped_policy_no_place_lets_a_value_through(upstream, place: str) -> None:
    policy = msgspec.to_builtins(load_policies()["llm-data-redaction"])
    function = {"name": "send", "arguments": json.dumps({"to": {KEY: 1} if place == "key" else "bob"})}
    call: dict[str, Any] = {"id": "call_1", "type": "function", "function": function}
    user: dict[str, Any] = {"role": "user", "content": "hi"}
    document: dict[str, Any] = {"model": "m", "messages": [user, {"role": "assistant", "tool_calls": [call]}]}
    if place == "name":
        function["name"] = EMAIL
    elif place == "id":
        call["id"] = EMAIL
    elif place in ("role", "unknown"):
        user[place if place == "role" else EMAIL] = EMAIL
    elif place == "model":
        document["model"] = EMAIL
    elif place == "definition":
        document["tools"] = [{"type": "function", "function": {"name": KEY}}]
    upstream.reply = lambda body: chat_body("ok")

    async with running_proxy(
        type="llm", target_url=upstream.url, packs=("secrets", "pii", "output-leakage"), policies=[policy]
    ) as proxy:
        answer = await send(proxy, "/v1/chat/completions", document)

    assert answer.status_code == (200 if place in ("key", "unknown") else 422)
    hold_nothing_back(upstream)


async def test_RED_STR_12_a_file_in_a_list_is_masked_where_it_stands(upstream, proxy) -> None:
    url = "data:text/plain;base64," + base64.b64encode(f"to {EMAIL}".encode()).decode()
    content = [{"type": "files", "files": [url, "other"]}]
    upstream.reply = lambda body: chat_body("ok")

    await post(proxy, "/v1/chat/completions", {"model": "m", "messages": [{"role": "user", "content": content}]})

    (seen,) = upstream.bodies
    masked, other = seen["messages"][0]["content"][0]["files"]
    assert re.fullmatch(f"to {PLACEHOLDER}", base64.b64decode(masked.partition(",")[2]).decode())
    assert other == "other"


async def test_RED_STR_12_fields_that_are_passed_on_are_masked_and_a_model_in_the_path_refuses(upstream, proxy) -> None:
    trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    fields = {"user-agent": f"app/1.0 ({EMAIL})", "openai-organization": KEY, "traceparent": trace}
    upstream.reply = lambda body: chat_body("ok")
    document = {"model": "m", "messages": [{"role": "user", "content": f"I am {EMAIL}"}]}

    await send(proxy, "/v1/chat/completions", document, **fields)

    (seen,) = upstream.headers
    assert seen["user-agent"] == f"app/1.0 ({placeholder_in(upstream.bodies[0])})"
    assert seen["openai-organization"] == "[REDACTED_AWS_SECRET]"
    assert seen["traceparent"] == trace


async def test_RED_STR_12_a_value_as_the_model_in_a_path_refuses_the_call(upstream) -> None:
    rules = ruleset(pack("keys", masking_rule("SEC-AWS", r"\bAKIA[A-Z2-7]{16}\b", "secrets/aws", confidence="high")))
    contents = [{"role": "user", "parts": [{"text": "hi"}]}]
    async with running_proxy(type="llm", target_url=upstream.url, client_key=CLIENT_KEY, ruleset=rules) as proxy:
        answer = await send(proxy, f"/v1beta/models/{KEY}:generateContent", {"contents": contents})

    assert answer.status_code == 422
    assert upstream.bodies == []
