"""A Bedrock upstream behind credentials of AWS: what arrives there bears the gateway's own signature, and no other."""

from __future__ import annotations

import json
import ssl
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path
from typing import Any

import anthropic
import httpx
import pytest

from proxies.contract import UpstreamAuth
from proxies.transport.tls import listener_context
from tests.aws_client import AWS
from tests.aws_signatures import ACCESS_KEY_ID, SECRET_ACCESS_KEY, signed_by
from tests.bedrock_replies import converse_body, converse_stream, invoke_stream
from tests.certificates import Authority
from tests.masking_calls import CLIENT_KEY, placeholder_in, send
from tests.masking_rules import EMAIL, masking_ruleset
from tests.proxy_harness import RunningProxy, running_proxy
from tests.scripted_upstream import Reply, ScriptedUpstream, anthropic_body

MODEL = "arn:aws:bedrock:eu-west-1:123456789012:inference-profile/eu.maker.model-v1:0"
AUTH = UpstreamAuth(type="aws", region="eu-west-1", access_key_id=ACCESS_KEY_ID, value=SECRET_ACCESS_KEY)
TOKEN = "FwoGZXIvYXdzEXAMPLE//token=="
HELLO: list[dict[str, Any]] = [{"role": "user", "content": [{"text": f"I am {EMAIL}"}]}]


@pytest.fixture
async def proxy(upstream: ScriptedUpstream, tmp_path: Path) -> AsyncIterator[RunningProxy]:
    issued = Authority(tmp_path).issue("127.0.0.1")
    async with running_proxy(
        type="llm",
        target_url=f"{upstream.url}/base",
        client_key=CLIENT_KEY,
        upstream_auth=AUTH,
        ruleset=masking_ruleset(),
        tls=listener_context(issued.cert_path, issued.key_path),
    ) as running:
        yield running


async def test_LLM_BDR_1_what_is_sent_is_signed_over_its_final_bytes(upstream, proxy, tmp_path, monkeypatch) -> None:
    """The SDK sends the model's name with its colons and slashes encoded; the body was masked on the way."""
    monkeypatch.setenv("AWS_BEARER_TOKEN_BEDROCK", CLIENT_KEY)
    with closing(AWS(proxy.url, str(tmp_path / "ca.pem"))) as aws:
        upstream.reply = lambda body: converse_body({"text": f"to {placeholder_in(body)}"})
        whole = await aws.call("converse", modelId=MODEL, messages=HELLO)
        upstream.reply = lambda body: converse_stream({"text": f"to {placeholder_in(body)}"})
        events, error = await aws.events("converse_stream", modelId=MODEL, messages=HELLO)

    assert whole["output"]["message"]["content"] == [{"text": f"to {EMAIL}"}]
    deltas = [event["contentBlockDelta"]["delta"] for event in events if "contentBlockDelta" in event]
    assert (error, "".join(delta["text"] for delta in deltas)) == (None, f"to {EMAIL}")
    assert "%3A" in upstream.targets[0]
    assert EMAIL not in upstream.seen
    for number in (0, 1):
        access_key_id, region, service, names = signed_by(upstream, number)
        assert (access_key_id, region, service) == (ACCESS_KEY_ID, "eu-west-1", "bedrock")
        assert {"content-type", "host", "x-amz-date"} <= set(names)
    assert SECRET_ACCESS_KEY not in str(upstream.headers)


async def test_LLM_BDR_1_a_client_with_credentials_of_its_own_names_its_key_beside_them(
    upstream, proxy, tmp_path, monkeypatch
) -> None:
    """As with boto3 and a hook: neither the signature nor the session token of the client goes on."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIADUMMYDUMMYDUMMY0")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "dummy")
    monkeypatch.setenv("AWS_SESSION_TOKEN", "dummy-session-token")
    upstream.reply = lambda body: converse_body({"text": "ok"})

    with closing(AWS(proxy.url, str(tmp_path / "ca.pem"), key_header=CLIENT_KEY)) as aws:
        answer = await aws.call("converse", modelId="m", messages=HELLO)

    assert answer["output"]["message"]["content"] == [{"text": "ok"}]
    assert signed_by(upstream)[:2] == (ACCESS_KEY_ID, "eu-west-1")
    sent = str(upstream.headers[0])
    for trace in ("DUMMY", "dummy", CLIENT_KEY, "us-east-1", "amz-sdk"):
        assert trace not in sent
    assert proxy.records[0].principal_name == "tests"


async def test_LLM_BDR_1_where_nobody_needs_a_key_a_signature_goes_no_further_either(upstream) -> None:
    upstream.reply = lambda body: converse_body({"text": "ok"})
    signed = {
        "authorization": "AWS4-HMAC-SHA256 Credential=AKIACLIENTCLIENTCLI/20261101/us-east-1/bedrock/aws4_request, "
        "SignedHeaders=host;x-amz-date;x-amz-security-token, Signature=00",
        "x-amz-date": "20261101T000000Z",
        "x-amz-security-token": "token-of-the-client",
        "x-amz-content-sha256": "UNSIGNED-PAYLOAD",
    }
    sent: dict[str, list[str]] = {}
    for name, auth in {"none": UpstreamAuth(), "aws": AUTH}.items():
        async with running_proxy(
            type="llm", target_url=upstream.url, upstream_auth=auth, ruleset=masking_ruleset()
        ) as proxy:
            async with httpx.AsyncClient(trust_env=False) as client:
                answer = await client.post(f"{proxy.url}/model/m/converse", json={"messages": HELLO}, headers=signed)
            assert answer.status_code == 200
        sent[name] = [field for field in upstream.headers[-1] if field.startswith(("x-amz", "authorization"))]

    assert sent == {"none": [], "aws": ["x-amz-date", "authorization"]}
    assert "AKIACLIENT" not in str(upstream.headers)
    assert "token-of-the-client" not in str(upstream.headers)
    assert signed_by(upstream, 1)[0] == ACCESS_KEY_ID


async def test_LLM_BDR_1_temporary_credentials_send_their_session_token(upstream) -> None:
    upstream.reply = lambda body: anthropic_body({"type": "text", "text": "ok"})
    auth = UpstreamAuth(
        type="aws", region="us-gov-west-1", access_key_id=ACCESS_KEY_ID, value=SECRET_ACCESS_KEY, session_token=TOKEN
    )
    async with (
        running_proxy(
            type="llm", target_url=upstream.url, client_key=CLIENT_KEY, upstream_auth=auth, ruleset=masking_ruleset()
        ) as proxy,
        anthropic.AsyncAnthropicBedrock(
            api_key=CLIENT_KEY, base_url=proxy.url, aws_region="us-east-1", max_retries=0
        ) as client,
    ):
        request: Any = {"model": "anthropic.m:0", "max_tokens": 9, "messages": [{"role": "user", "content": "x"}]}
        whole = await client.messages.create(**request)
        upstream.reply = lambda body: invoke_stream({"type": "text", "text": "ok"})
        events = [event async for event in await client.messages.create(**request, stream=True)]

    assert whole.content[0].text == "ok"
    assert events[-1].type == "message_stop"
    for number in (0, 1):
        assert upstream.headers[number]["x-amz-security-token"] == TOKEN
        _, region, _, names = signed_by(upstream, number)
        assert region == "us-gov-west-1"
        assert "x-amz-security-token" in names


async def test_LLM_BDR_1_headers_that_choose_something_are_signed_and_models_can_be_listed(
    upstream, proxy, tmp_path
) -> None:
    upstream.reply = lambda body: converse_body({"text": "ok"})
    ca_path = tmp_path / "ca.pem"

    await send(
        proxy,
        "/model/m/invoke",
        {"anthropic_version": "x", "messages": []},
        ca_path,
        **{"x-amzn-bedrock-trace": "ENABLED"},
    )
    async with httpx.AsyncClient(verify=ssl.create_default_context(cafile=str(ca_path)), trust_env=False) as client:
        listed = await client.get(f"{proxy.url}/v1/models?limit=2&after=a%20b", headers={"x-api-key": CLIENT_KEY})

    assert "x-amzn-bedrock-trace" in signed_by(upstream, 0)[3]
    assert listed.status_code == 200
    assert upstream.targets[1] == "/base/v1/models?limit=2&after=a%20b"
    assert signed_by(upstream, 1, method="GET")[0] == ACCESS_KEY_ID


async def test_LLM_BDR_1_a_refused_signature_is_explained_and_what_was_signed_is_not_told(
    upstream, proxy, tmp_path
) -> None:
    told = f"The request signature we calculated does not match. Canonical string: x-amz-security-token:{TOKEN}"
    upstream.reply = lambda body: Reply(
        body={"message": told},
        status=403,
        headers={"x-amzn-errortype": "InvalidSignatureException:http://internal.example/"},
    )

    answer = await send(proxy, "/model/m/converse", {"messages": HELLO}, tmp_path / "ca.pem")

    assert (answer.status_code, answer.json()["code"]) == (403, "upstream_signature_refused")
    assert answer.headers["x-amzn-errortype"] == "AccessDeniedException"
    assert "InvalidSignatureException" in answer.json()["message"]
    assert "region" in answer.json()["remediation"]
    assert "clock" in answer.json()["remediation"]
    assert TOKEN not in answer.text
    (record,) = proxy.records
    assert (record.outcome, record.error_code) == ("upstream_error", "upstream_signature_refused")
    assert TOKEN not in json.dumps(str(record))


async def test_LLM_ERR_3_what_the_credentials_may_not_do_is_an_error_of_the_upstream(upstream, proxy, tmp_path) -> None:
    upstream.reply = lambda body: Reply(
        body={"message": "You do not have access to the model."},
        status=403,
        headers={"x-amzn-errortype": "AccessDeniedException"},
    )

    answer = await send(proxy, "/model/m/converse", {"messages": HELLO}, tmp_path / "ca.pem")

    assert (answer.status_code, answer.json()) == (403, {"message": "You do not have access to the model."})
