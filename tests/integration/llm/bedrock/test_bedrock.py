"""Amazon Bedrock through a real proxy, with the AWS SDK's own client over TLS: Converse, InvokeModel, and their streams."""

from __future__ import annotations

import asyncio
import base64
import json
import re
from collections.abc import Callable
from typing import Any

import anthropic
import httpx
import pytest
from botocore.exceptions import ClientError

from proxies.transport.event_stream import encode_frame
from rules.model import Action
from tests.bedrock_replies import (
    chunk,
    converse_body,
    converse_stream,
    frame,
    framed,
    frames,
    invoke_stream,
    invoked,
)
from tests.masking_calls import CLIENT_KEY, placeholder_in, send
from tests.masking_rules import BLOCKED, EMAIL, KEY, PLACEHOLDER, masking_ruleset
from tests.proxy_harness import running_proxy
from tests.scripted_upstream import Reply, anthropic_body

MODEL = "arn:aws:bedrock:eu-west-1:123456789012:inference-profile/eu.maker.model-v1:0"
ENCODED = "arn%3Aaws%3Abedrock%3Aeu-west-1%3A123456789012%3Ainference-profile%2Feu.maker.model-v1%3A0"
PICTURE = bytes([0x89]) + b"PNG\r\n\x1a\n" + bytes(range(256))
CALL = {"toolUse": {"toolUseId": "t_1", "name": "send", "input": {"to": ["{}"], "key": KEY, "note": 'say "{}"\n'}}}
THOUGHT = {"reasoningContent": {"reasoningText": {"text": "It is {}.", "signature": "c2ln"}}}


def filled(blocks: list[dict[str, Any]], placeholder: str) -> list[dict[str, Any]]:
    return list(json.loads(json.dumps(blocks).replace("{}", placeholder)))


def user(*blocks: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"role": "user", "content": list(blocks)}]


def anthropic_request(text: str) -> dict[str, Any]:
    return {
        "anthropic_version": "bedrock-2023-05-31",
        "max_tokens": 9,
        "messages": [{"role": "user", "content": text}],
    }


async def test_SYP_RED_1_converse_masks_and_restores(upstream, aws, tls_proxy) -> None:
    upstream.reply = lambda body: converse_body(
        *filled([THOUGHT, {"text": f"to {{}} with {KEY}"}, CALL], placeholder_in(body))
    )

    answer = await aws.call("converse", modelId=MODEL, messages=user({"text": f"Write to {EMAIL} with {KEY}"}))

    placeholder = placeholder_in(upstream.bodies[0])
    thought, said, call = answer["output"]["message"]["content"]
    assert thought["reasoningContent"]["reasoningText"] == {"text": f"It is {placeholder}.", "signature": "c2ln"}
    assert said["text"] == f"to {EMAIL} with [REDACTED_AWS_SECRET]"
    assert call["toolUse"]["input"] == {"to": [EMAIL], "key": "[REDACTED_AWS_SECRET]", "note": f'say "{EMAIL}"\n'}
    assert EMAIL not in upstream.seen
    assert upstream.paths == [f"/model/{MODEL}/converse"]
    assert CLIENT_KEY not in str(upstream.headers)
    (record,) = tls_proxy.records
    assert (record.protocol, record.operation, record.action) == ("bedrock.converse", MODEL, Action.REDACT)
    assert record.path == f"/model/{ENCODED}/converse"
    assert record.usage is not None
    assert (record.usage.input_tokens, record.usage.cached_input_tokens, record.usage.cache_write_tokens) == (11, 3, 2)


@pytest.mark.parametrize("split", ["byte", "event", "whole"])
async def test_RED_STR_6_converse_streams_are_masked_and_restored(upstream, aws, tls_proxy, split) -> None:
    def reply(body: Any) -> Reply:
        placeholder = placeholder_in(body)
        blocks = filled([THOUGHT, {"text": "to {} or ann@example.com é 🙂 "}, CALL, {"text": "{}"}], placeholder)
        blocks[1]["text"] += placeholder[:9]
        return converse_stream(*blocks, split=split)

    upstream.reply = reply

    events, error = await aws.events("converse_stream", modelId=MODEL, messages=user({"text": f"I am {EMAIL}"}))

    placeholder = placeholder_in(upstream.bodies[0])
    deltas = [event["contentBlockDelta"] for event in events if "contentBlockDelta" in event]
    of = {index: [one["delta"] for one in deltas if one["contentBlockIndex"] == index] for index in range(4)}
    thoughts = [delta["reasoningContent"] for delta in of[0]]
    assert error is None
    assert "".join(thought.get("text", "") for thought in thoughts) == f"It is {placeholder}."
    assert thoughts[-1] == {"signature": "c2ln"}
    assert "".join(delta["text"] for delta in of[1]) == f"to {EMAIL} or [REDACTED_EMAIL] é 🙂 {placeholder[:9]}"
    arguments = "".join(delta["toolUse"]["input"] for delta in of[2])
    assert json.loads(arguments) == {"to": [EMAIL], "key": "[REDACTED_AWS_SECRET]", "note": f'say "{EMAIL}"\n'}
    assert "".join(delta["text"] for delta in of[3]) == EMAIL
    order = [next(iter(event)) for event in events]
    assert order[0] == "messageStart"
    assert order[-2:] == ["messageStop", "metadata"]
    assert KEY not in json.dumps(events)
    (record,) = await tls_proxy.wait_for_records(1)
    assert (record.streamed, record.truncated, record.usage.output_tokens) == (True, False, 7)


async def test_RED_STR_6_invoked_models_of_anthropic_are_masked_and_restored(upstream, aws, tls_proxy) -> None:
    call = {"type": "tool_use", "id": "t", "name": "send", "input": {"to": "{}"}}
    blocks = [{"type": "text", "text": f"to {{}} with {KEY}"}, call]
    request = {"modelId": "anthropic.m:0", "body": json.dumps(anthropic_request(f"Write to {EMAIL}"))}

    upstream.reply = lambda body: anthropic_body(*filled(blocks, placeholder_in(body)))
    answer = await aws.call("invoke_model", contentType="application/json", **request)
    whole = json.loads(await asyncio.to_thread(answer["body"].read))
    upstream.reply = lambda body: invoke_stream(*filled(blocks, placeholder_in(body)))
    events, error = await aws.events("invoke_model_with_response_stream", **request)

    streamed = [json.loads(event["chunk"]["bytes"]) for event in events]
    deltas = [event["delta"] for event in streamed if event["type"] == "content_block_delta"]
    text = f"to {EMAIL} with [REDACTED_AWS_SECRET]"
    assert error is None
    assert [block.get("text") for block in whole["content"]] == [text, None]
    assert "".join(delta.get("text", "") for delta in deltas) == text
    arguments = "".join(delta.get("partial_json", "") for delta in deltas)
    assert json.loads(arguments) == whole["content"][1]["input"] == {"to": EMAIL}
    assert streamed[-1]["amazon-bedrock-invocationMetrics"] == {"inputTokenCount": 11, "outputTokenCount": 7}
    assert EMAIL not in upstream.seen
    for record in await tls_proxy.wait_for_records(2):
        assert (record.protocol, record.operation) == ("bedrock.invoke", "anthropic.m:0")
        assert record.usage is not None
        assert (record.usage.input_tokens, record.usage.output_tokens) == (11, 7)


async def test_SYP_RED_1_the_client_of_anthropic_for_bedrock_is_served(upstream, proxy) -> None:
    request: Any = {"model": "anthropic.m:0", "max_tokens": 9}
    question: Any = [{"role": "user", "content": f"Write to {EMAIL}"}]
    refused: Any = [{"role": "user", "content": BLOCKED}]
    async with anthropic.AsyncAnthropicBedrock(
        api_key=CLIENT_KEY, base_url=proxy.url, aws_region="us-east-1", max_retries=0
    ) as client:
        upstream.reply = lambda body: anthropic_body({"type": "text", "text": f"to {placeholder_in(body)}"})
        whole = await client.messages.create(**request, messages=question)
        upstream.reply = lambda body: invoke_stream({"type": "text", "text": f"to {placeholder_in(body)}"})
        events = [event async for event in await client.messages.create(**request, messages=question, stream=True)]
        with pytest.raises(anthropic.PermissionDeniedError) as caught:
            await client.messages.create(**request, messages=refused)
        upstream.reply = lambda body: invoke_stream({"type": "text", "text": f"I will {BLOCKED}"})
        stream = await client.messages.create(**request, messages=question, stream=True)
        with pytest.raises(anthropic.APIStatusError):
            [event async for event in stream]

    assert whole.content[0].text == f"to {EMAIL}"
    assert "".join(event.delta.text for event in events if event.type == "content_block_delta") == f"to {EMAIL}"
    assert "X-DOORS" in str(caught.value.body)
    assert EMAIL not in upstream.seen
    assert upstream.paths[:2] == [
        "/model/anthropic.m:0/invoke",
        "/model/anthropic.m:0/invoke-with-response-stream",
    ]


async def test_LLM_ERR_2_the_sdk_raises_what_the_gateway_refuses(upstream, aws) -> None:
    refused: list[ClientError] = []
    calls: list[Callable[[], Any]] = [
        lambda: aws.call("converse", modelId="m", messages=user({"text": BLOCKED})),
        lambda: aws.events("converse_stream", modelId="m", messages=user({"text": BLOCKED})),
        lambda: aws.call("invoke_model", modelId="m", body=json.dumps(anthropic_request(BLOCKED))),
        lambda: aws.call("invoke_model", modelId="m", body=json.dumps({"texts": ["hello"]})),
        lambda: aws.call("count_tokens", modelId="m", input={"converse": {"messages": user({"text": "x"})}}),
    ]
    for call in calls:
        with pytest.raises(ClientError) as caught:
            await call()
        refused.append(caught.value)

    answers = [(one.response["ResponseMetadata"]["HTTPStatusCode"], one.response["Error"]["Code"]) for one in refused]
    assert answers == [
        (403, "AccessDeniedException"),
        (403, "AccessDeniedException"),
        (403, "AccessDeniedException"),
        (422, "ValidationException"),
        (404, "ResourceNotFoundException"),
    ]
    assert "X-DOORS" in refused[0].response["Error"]["Message"]
    assert upstream.bodies == []


async def test_LLM_ERR_2_a_block_in_a_stream_is_an_exception_of_the_sdk(upstream, aws) -> None:
    upstream.reply = lambda body: converse_stream({"text": f"I will {BLOCKED} now"})
    converse, refused = await aws.events("converse_stream", modelId="m", messages=user({"text": "x"}))
    upstream.reply = lambda body: invoke_stream({"type": "text", "text": f"I will {BLOCKED} now"})
    request = {"modelId": "m", "body": json.dumps(anthropic_request("x"))}
    invoke, refused_too = await aws.events("invoke_model_with_response_stream", **request)

    said = "".join(event["contentBlockDelta"]["delta"]["text"] for event in converse if "contentBlockDelta" in event)
    assert "I will ".startswith(said)
    assert "doors" not in str(invoke)
    for error in (refused, refused_too):
        assert error is not None
        assert error.response["Error"]["Code"] == "validationException"
        assert "X-DOORS" in error.response["Error"]["Message"]


async def test_LLM_ERR_3_an_error_of_the_upstream_passes_masked(upstream, proxy) -> None:
    upstream.reply = lambda body: Reply(body={"message": f"no such model, says {KEY}"}, status=404)

    answer = await send(proxy, "/model/m/converse", {"messages": user({"text": "x"})})

    assert (answer.status_code, answer.json()["message"]) == (404, "no such model, says [REDACTED_AWS_SECRET]")
    assert proxy.records[0].error_code == "upstream_404"


async def test_LLM_BDR_1_the_key_of_the_gateway_replaces_that_of_the_client(upstream, proxy) -> None:
    upstream.reply = lambda body: converse_body({"text": "ok"})

    await send(proxy, "/model/a%3A0/converse", {"messages": user({"text": "x"})}, **{"x-amzn-bedrock-trace": "ENABLED"})

    (sent,) = upstream.headers
    assert sent["authorization"] == "Bearer bedrock-api-key-for-tests"
    assert sent["x-amzn-bedrock-trace"] == "ENABLED"


async def test_LLM_BDR_1_a_signed_request_is_told_how_to_do_without(upstream, proxy) -> None:
    signed = "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20261101/us-east-1/bedrock/aws4_request, Signature=00"

    answer = await send(proxy, "/model/m/converse", {"messages": user({"text": "x"})}, authorization=signed)

    assert (answer.status_code, answer.headers["x-amzn-errortype"]) == (401, "AccessDeniedException")
    assert (answer.json()["code"], "AWS_BEARER_TOKEN_BEDROCK" in answer.json()["remediation"]) == (
        "signed_request",
        True,
    )
    assert upstream.bodies == []


async def test_LLM_SRF_3_every_place_of_a_converse_request_is_masked(upstream, proxy) -> None:
    upstream.reply = lambda body: converse_body({"text": "ok"})
    document = {
        "format": "txt",
        "name": "notes",
        "source": {"bytes": base64.b64encode(f"for {EMAIL}".encode()).decode()},
    }
    picture = base64.b64encode(PICTURE).decode()
    body = {
        "system": [{"text": f"You serve {EMAIL}"}, {"cachePoint": {"type": "default"}}],
        "messages": [
            {
                "role": "user",
                "content": [
                    {"text": f"I am {EMAIL}"},
                    {"document": document},
                    {"document": {"format": "md", "name": "n", "source": {"text": f"by {EMAIL}"}, "context": EMAIL}},
                    {"image": {"format": "png", "source": {"bytes": picture}}},
                    {"guardContent": {"text": {"text": f"guard {EMAIL}"}}},
                ],
            },
            {
                "role": "assistant",
                "content": [
                    {"reasoningContent": {"reasoningText": {"text": f"Aha, {EMAIL}", "signature": "c2ln"}}},
                    {
                        "toolUse": {
                            "toolUseId": "t_1",
                            "name": "send",
                            "input": {"to": EMAIL, "reasoningContent": EMAIL},
                        }
                    },
                ],
            },
            {
                "role": "user",
                "content": [
                    {
                        "toolResult": {
                            "toolUseId": "t_1",
                            "content": [{"json": {"sent": EMAIL}}, {"text": f"to {EMAIL}"}],
                            "status": "success",
                        }
                    }
                ],
            },
        ],
        "toolConfig": {
            "tools": [
                {
                    "toolSpec": {
                        "name": "send",
                        "description": f"as {EMAIL}",
                        "inputSchema": {"json": {"type": "object", "title": EMAIL}},
                    }
                }
            ]
        },
        "additionalModelRequestFields": {"note": EMAIL},
        "promptVariables": {"who": {"text": EMAIL}},
        "requestMetadata": {"who": EMAIL},
    }

    await send(proxy, "/model/m/converse", body)

    (seen,) = upstream.bodies
    user_blocks, assistant_blocks, _ = (message["content"] for message in seen["messages"])
    thought = assistant_blocks[0].pop("reasoningContent")["reasoningText"]
    assert thought == {"text": f"Aha, {EMAIL}", "signature": "c2ln"}, "signed reasoning goes back as it was"
    assert EMAIL not in json.dumps(seen)
    placeholders = re.findall(PLACEHOLDER, json.dumps(seen))
    assert (len(placeholders), len(set(placeholders))) == (14, 1)
    text = base64.b64decode(user_blocks[1]["document"]["source"]["bytes"]).decode()
    assert text == f"for {placeholders[0]}"
    assert user_blocks[3]["image"]["source"]["bytes"] == picture
    assert assistant_blocks[1]["toolUse"]["toolUseId"] == "t_1"


@pytest.mark.parametrize("place", ["document", "citations", "guardrail", "other"])
async def test_every_text_of_a_converse_answer_is_inspected(upstream, proxy, place) -> None:
    blocks: dict[str, Any] = {
        "document": {"document": {"source": {"bytes": base64.b64encode(BLOCKED.encode()).decode()}}},
        "citations": {"citationsContent": {"content": [{"text": BLOCKED}]}},
    }
    more = {"guardrail": {"trace": {"guardrail": {"modelOutput": [BLOCKED]}}}, "other": {"note": BLOCKED}}
    upstream.reply = lambda body: converse_body(blocks.get(place, {"text": "fine"}), **more.get(place, {}))

    answer = await send(proxy, "/model/m/converse", {"messages": user({"text": "x"})})

    assert answer.status_code == 403


def broken(reply: Reply, at: int = 40) -> Reply:
    whole = bytearray(b"".join(reply.frames))
    whole[-at] ^= 1
    return framed([bytes(whole)], split="whole")


@pytest.mark.parametrize(
    ("path", "made"),
    [
        ("converse-stream", lambda: broken(converse_stream({"text": "fine so far"}))),
        ("converse-stream", lambda: framed([*converse_stream({"text": "fine so far"}).frames[:-4], b"\0\0\0"])),
        ("converse-stream", lambda: framed([frame("odd name", {})])),
        ("converse-stream", lambda: framed([frame("secretException", {})])),
        ("converse-stream", lambda: framed([frame("messageStart", {}, "exception")])),
        ("converse-stream", lambda: framed([frame("messageStart", b'{"a":1,"a":2}')])),
        ("invoke-with-response-stream", lambda: framed([frame("chunk", {"bytes": "no base64"})])),
        ("invoke-with-response-stream", lambda: framed([frame("chunk", {"text": "x"})])),
        ("invoke-with-response-stream", lambda: framed([frame("lump", chunk({"type": "ping"}))])),
        ("invoke-with-response-stream", lambda: framed([frame("chunk", chunk([1]))])),
    ],
)
async def test_LLM_BDR_2_frames_that_cannot_be_read_end_the_stream(upstream, proxy, path, made) -> None:
    upstream.reply = lambda body: made()
    body = anthropic_request("x") if path.startswith("invoke") else {"messages": user({"text": "x"})}
    raw = b""
    cut = False
    headers = {"authorization": f"Bearer {CLIENT_KEY}"}
    async with (
        httpx.AsyncClient(trust_env=False) as client,
        client.stream("POST", f"{proxy.url}/model/m/{path}", json=body, headers=headers) as answer,
    ):
        try:
            async for piece in answer.aiter_raw():
                raw += piece
        except httpx.RemoteProtocolError:
            cut = True

    assert cut
    assert frames(raw)[-1][":name"] == "internalServerException"
    (record,) = await proxy.wait_for_records(1)
    assert (record.error_code, record.truncated) == ("upstream_protocol_error", True)


async def test_LLM_BDR_2_an_error_frame_passes_as_an_exception(upstream, proxy) -> None:
    """As the layout allows it: an error has a code and a message in headers, and no payload."""
    headers = {":message-type": "error", ":error-code": "overloaded", ":error-message": f"by {KEY}"}
    upstream.reply = lambda body: framed([encode_frame(headers, b"")])

    answer = await send(proxy, "/model/m/converse-stream", {"messages": user({"text": "x"})})

    assert frames(answer.content) == [
        {":name": "internalServerException", "message": "overloaded: by [REDACTED_AWS_SECRET]"}
    ]


@pytest.mark.parametrize("stream", [False, True])
async def test_AG_STATE_3_an_answer_that_asks_for_a_denied_tool_does_not_pass(upstream, stream) -> None:
    block = {"toolUse": {"toolUseId": "t", "name": "send", "input": {"to": "crew"}}}
    upstream.reply = lambda body: (converse_stream if stream else converse_body)({"text": "fine"}, block)
    denied = {"id": "no-send", "action": "deny", "match": {"tool_name": ["send"]}, "reason": "Nothing is sent"}
    async with running_proxy(
        type="llm", target_url=upstream.url, ruleset=masking_ruleset(), policies=[{"name": "p", "rules": [denied]}]
    ) as proxy:
        path = f"/model/m/converse{'-stream' if stream else ''}"
        refused = await send(proxy, path, {"messages": user({"text": "x"})})
        history = [*user({"text": "x"}), {"role": "assistant", "content": [block]}, *user({"text": "go on"})]
        again = await send(proxy, path, {"messages": history})

    assert b"Nothing is sent" in refused.content
    assert b"crew" not in refused.content
    assert b"Nothing is sent" in again.content
    assert len(upstream.bodies) == 1


@pytest.mark.parametrize("path", ["/model/m/converse-stream", "/model/m/invoke-with-response-stream"])
async def test_RED_STR_7_no_part_of_a_blocked_call_reaches_the_client(upstream, proxy, path) -> None:
    order = {"to": "the crew", "order": f"quickly {BLOCKED} now"}
    if "invoke" in path:
        made = invoke_stream({"type": "tool_use", "id": "t", "name": "send", "input": order}, split="event")
    else:
        made = converse_stream({"toolUse": {"toolUseId": "t", "name": "send", "input": order}}, split="event")
    upstream.reply = lambda body: made
    body = anthropic_request("x") if "invoke" in path else {"messages": user({"text": "x"})}

    answer = await send(proxy, path, body)

    events = (invoked if "invoke" in path else frames)(answer.content)
    assert "crew" not in json.dumps(events)
    assert "quickly" not in json.dumps(events)
    assert events[-1][":name"] == "validationException"
