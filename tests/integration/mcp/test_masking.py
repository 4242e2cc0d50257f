"""Arguments are masked towards the server, results restored towards the caller, in both eras."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable
from typing import Any

import pytest

from proxies.contract import MCPSettings
from rules.model import Action
from tests.integration.mcp.test_tool_control import Scripted, called, scripted
from tests.masking_rules import EMAIL, KEY, PLACEHOLDER, masking_rule, masking_ruleset
from tests.mcp_control import ControlConsole, accepting, tool
from tests.mcp_legacy_server import Server, asking, next_message
from tests.mcp_wire import (
    OTHER_KEY,
    initialize_answer,
    json_answer,
    legacy_headers,
    messages_of,
    notification,
    request,
    result,
    rpc,
    rpc_error,
    stream_answer,
    text_result,
    wire,
)
from tests.rawpeer import RawMessage, UpstreamPeer
from tests.unit.rules.small_packs import pack, ruleset

ARGUMENTS = {"to": [EMAIL], "body": f"key {KEY}", "n": 4}
NAMED = {"id": EMAIL, "type": EMAIL, "cursor": EMAIL, "deep": [{"conversation": EMAIL, "type": "thinking"}]}


def placeholder_in(value: Any) -> str:
    found = re.search(PLACEHOLDER, json.dumps(value))
    assert found
    return found[0]


def server(answer: Callable[[Any], bytes]) -> Any:
    """Answers a call with what the test makes of it."""

    async def respond(raw: RawMessage, peer: UpstreamPeer) -> bytes | None:
        message = rpc(raw)
        if message["method"] == "initialize":
            return initialize_answer(raw)
        return answer(message)

    return respond


@pytest.mark.parametrize("as_stream", [False, True])
async def test_SYP_RED_1_a_tool_gets_placeholders_and_its_caller_the_values(as_stream: bool) -> None:
    def answer(message: Any) -> bytes:
        echoed = message["params"]["arguments"]
        done = result(1, content=[{"type": "text", "text": json.dumps(echoed)}], structuredContent=echoed)
        if not as_stream:
            return json_answer(done)
        said = notification("notifications/progress", progressToken=1, progress=1, message=f"to {echoed['to'][0]}")
        return stream_answer(said, done)

    async with wire(server(answer), ruleset=masking_ruleset()) as (client, upstream, proxy):
        reply = await client.post_modern(request("tools/call", name="send", arguments=ARGUMENTS))
        (seen,) = upstream.requests
        records = await proxy.wait_for_records(1)
    sent = rpc(seen)["params"]["arguments"]
    assert re.fullmatch(PLACEHOLDER, sent["to"][0])
    assert sent["body"] == "key [REDACTED_AWS_SECRET]"
    assert EMAIL not in seen.body.decode()
    messages = messages_of(reply.text) if as_stream else [reply.json()]
    expected = {"to": [EMAIL], "body": "key [REDACTED_AWS_SECRET]", "n": 4}
    assert messages[-1]["result"]["structuredContent"] == expected
    assert json.loads(messages[-1]["result"]["content"][0]["text"]) == expected
    if as_stream:
        assert messages[0]["params"]["message"] == f"to {EMAIL}"
    assert records[0].action is Action.REDACT
    assert {(one.type, one.count, one.restored) for one in records[0].redactions} >= {("EMAIL", 1, 2 + as_stream)}


async def test_AG_PE_8_a_secret_in_a_result_does_not_reach_the_client() -> None:
    blob = base64.b64encode(f"mail ann@example.com {KEY}".encode()).decode()

    def answer(message: Any) -> bytes:
        resource = {"type": "resource", "resource": {"uri": "file:///a", "blob": blob}}
        content = [{"type": "text", "text": f"key={KEY}"}, resource]
        return json_answer(result(1, content=content, structuredContent={"key": KEY, "ann@example.com": True}))

    async with wire(server(answer), ruleset=masking_ruleset()) as (client, _, _proxy):
        reply = await client.post_modern(request("tools/call", name="read"))
    got = reply.json()["result"]
    assert KEY not in reply.text
    assert got["content"][0]["text"] == "key=[REDACTED_AWS_SECRET]"
    assert got["structuredContent"] == {"key": "[REDACTED_AWS_SECRET]", "[REDACTED_EMAIL]": True}
    decoded = base64.b64decode(got["content"][1]["resource"]["blob"]).decode()
    assert decoded == "mail [REDACTED_EMAIL] [REDACTED_AWS_SECRET]"
    assert reply.headers["x-ostiary-redactions"] == "5"


async def test_M_08_a_header_that_repeats_a_masked_argument_is_masked_too() -> None:
    tool = {
        "name": "send",
        "inputSchema": {"type": "object", "properties": {"to": {"type": "string", "x-mcp-header": "Recipient"}}},
    }

    def answer(message: Any) -> bytes:
        if message["method"] == "tools/list":
            return json_answer(result(1, tools=[tool]))
        return json_answer(text_result(1, "sent"))

    async with wire(server(answer), ruleset=masking_ruleset()) as (client, upstream, _):
        await client.post_modern(request("tools/list"))
        reply = await client.post_modern(
            request("tools/call", name="send", arguments={"to": EMAIL}), mcp_param_recipient=EMAIL
        )
        seen = upstream.requests[-1]
    assert reply.json() == text_result(1, "sent")
    assert seen.header("mcp-param-recipient") == rpc(seen)["params"]["arguments"]["to"] != EMAIL


async def test_RED_PH_4_a_legacy_session_restores_what_was_masked_in_it() -> None:
    placeholders: list[str] = []

    def answer(message: Any) -> bytes:
        if message["params"].get("arguments"):
            placeholders.append(placeholder_in(message))
            return json_answer(text_result(1, "stored"))
        return json_answer(text_result(2, f"you are {placeholders[0]}"))

    async with wire(server(answer), ruleset=masking_ruleset()) as (client, upstream, _):
        session = await client.initialize()
        call = request("tools/call", name="store", arguments={"me": EMAIL})
        await client.post(call, session=session, mcp_protocol_version="2025-11-25")
        mine = await client.post(
            request("tools/call", 2, name="who"), session=session, mcp_protocol_version="2025-11-25"
        )
        other = await client.initialize()
        theirs = await client.post(
            request("tools/call", 2, name="who"), session=other, mcp_protocol_version="2025-11-25"
        )
        await client.post(call, session=other, mcp_protocol_version="2025-11-25")
        assert EMAIL not in "".join(one.body.decode() for one in upstream.requests)
    assert mine.json() == text_result(2, f"you are {EMAIL}")
    assert theirs.json() == text_result(2, f"you are {placeholders[0]}")
    assert placeholders[0] != placeholders[1]


async def test_RED_PH_4_another_caller_gets_nothing_back() -> None:
    placeholders: list[str] = []

    def answer(message: Any) -> bytes:
        placeholders.append(placeholder_in(message))
        return json_answer(text_result(1, placeholders[0]))

    respond = server(answer)
    call = request("tools/call", name="store", arguments={"me": EMAIL})
    async with wire(respond, ruleset=masking_ruleset()) as (client, _, _):
        assert (await client.post_modern(call)).json() == text_result(1, EMAIL)
        client.http.headers["authorization"] = f"Bearer {OTHER_KEY}"
        theirs = await client.post_modern(call)
    assert theirs.json() == text_result(1, placeholders[0])
    assert placeholders[0] != placeholders[1]


async def test_an_error_of_the_server_is_restored_and_redacted() -> None:
    def answer(message: Any) -> bytes:
        told = placeholder_in(message)
        return json_answer(rpc_error(1, -32602, f"no such person {told}", hint=f"ask ann@example.com, not {told}"))

    async with wire(server(answer), ruleset=masking_ruleset()) as (client, _, _):
        reply = await client.post_modern(request("tools/call", name="find", arguments={"who": EMAIL}))
    error = reply.json()["error"]
    assert error["message"] == f"no such person {EMAIL}"
    assert error["data"] == {"hint": f"ask [REDACTED_EMAIL], not {EMAIL}"}


async def test_RED_PH_4_what_the_user_answered_during_a_call_is_restored_in_its_result() -> None:
    question = request("elicitation/create", "s1", message="Whom?", requestedSchema={"type": "object"})
    server = Server(**asking(question))
    async with wire(server, ruleset=masking_ruleset()) as (client, upstream, _proxy):
        session = await client.initialize(capabilities={"elicitation": {}})
        body = json.dumps(request("tools/call", 1, name="t")).encode()
        async with client.http.stream("POST", "/mcp", content=body, headers=legacy_headers(session)) as stream:
            lines = stream.aiter_lines()
            asked = await next_message(lines)
            await client.post(result(asked["id"], action="accept", content={"to": EMAIL}), session=session)
            answered = await next_message(lines)
    assert EMAIL not in str([seen.body for seen in upstream.requests])
    assert json.loads(answered["result"]["content"][0]["text"])[0]["result"]["content"] == {"to": EMAIL}


async def test_SYP_RED_1_no_name_in_arguments_or_results_keeps_a_value_from_being_masked() -> None:
    def answer(message: Any) -> bytes:
        return json_answer(result(1, content=[], structuredContent={**message["params"]["arguments"], "role": KEY}))

    async with wire(server(answer), ruleset=masking_ruleset()) as (client, upstream, _):
        reply = await client.post_modern(request("tools/call", name="send", arguments=NAMED))
        (seen,) = upstream.requests

    assert EMAIL not in seen.body.decode()
    assert rpc(seen)["params"]["arguments"]["deep"][0]["type"] == "thinking"
    assert reply.json()["result"]["structuredContent"] == {**NAMED, "role": "[REDACTED_AWS_SECRET]"}


@pytest.mark.parametrize(
    ("method", "params"),
    [
        ("prompts/get", {"name": "p", "arguments": {"n": 4556737586899855}, KEY: "x"}),
        (
            "completion/complete",
            {"argument": {"name": "n", "value": EMAIL, KEY: 1}, "context": {"n": 4556737586899855.0}},
        ),
        ("tools/call", {"name": "send", "arguments": {KEY: {KEY: EMAIL}}}),
    ],
)
async def test_RED_STR_12_keys_and_numbers_are_masked_in_every_request(method: str, params: dict[str, Any]) -> None:
    cards = masking_rule("PII-CARD", r"\b4556737586899855\b", "pii/card", capture={"group": 0, "reversible": True})
    keys = masking_rule("SEC-AWS", r"\bAKIA[A-Z2-7]{16}\b", "secrets/aws")
    addresses = masking_rule("PII-EMAIL", re.escape(EMAIL), "pii/email", capture={"group": 0, "reversible": True})
    rules = ruleset(pack("values", cards, keys, addresses))

    async with wire(server(lambda message: json_answer(result(1))), ruleset=rules) as (client, upstream, _proxy):
        await client.post_modern(request(method, **params))
        (seen,) = upstream.requests

    body = seen.body.decode()
    assert KEY not in body
    assert EMAIL not in body
    assert "4556737586899855" not in body


@pytest.mark.parametrize("era", ["legacy", "modern"])
@pytest.mark.parametrize("to", [EMAIL, "nobody"])
async def test_T_10_a_result_is_held_against_its_schema_with_the_values_in_it(era: str, to: str) -> None:
    """Neither placeholders nor what is taken out of it make a result one that its tool does not give."""
    address = {"type": "string", "pattern": "^([^@]+@[^@]+|.*nobody)$"}
    schema = {"type": "object", "properties": {"to": address, "link": address}, "additionalProperties": address}
    shown = tool("send", outputSchema=schema)

    async def call(raw: RawMessage, _peer: UpstreamPeer) -> bytes:
        given = rpc(raw)["params"]["arguments"]["to"]
        told = {"to": given, "link": f"https://a.example/{given}", given: "nobody", "by": "ann@example.com"}
        return json_answer(result(6, content=[], structuredContent=told))

    server, console = Scripted(shown, era=era, tools_call=call), ControlConsole()
    async with scripted(server, console, mcp=MCPSettings(control=accepting(shown)), ruleset=masking_ruleset()) as ends:
        session = await ends.client.initialize() if era == "legacy" else None
        answer = await called(ends, session, "send", to=to)
        (seen,) = [one for one in ends.upstream.requests if b'"tools/call"' in one.body]

    given = rpc(seen)["params"]["arguments"]["to"]
    told = {"to": to, "link": f"https://a.example/{given}", to: "nobody", "by": "[REDACTED_EMAIL]"}
    assert answer["result"]["structuredContent"] == told


@pytest.mark.parametrize("as_error", [False, True])
async def test_SLG_RESP_1_cards_that_are_numbers_are_taken_out_of_results(as_error: bool) -> None:
    rules = ruleset(pack("cards", masking_rule("PII-CARD", r"\b4556737586899855\b", "pii/card")))
    told = {"card": 4556737586899855, "deep": [4556737586899855.0, 12], "at": 1790000000000}

    def answer(message: Any) -> bytes:
        if as_error:
            return json_answer(rpc_error(1, -32000, "no", **told))
        return json_answer(result(1, content=[], structuredContent=told))

    async with wire(server(answer), ruleset=rules) as (client, _upstream, _proxy):
        reply = (await client.post_modern(request("tools/call", name="send", arguments={}))).json()

    said = reply["error"]["data"] if as_error else reply["result"]["structuredContent"]
    assert said == {"card": "[REDACTED_CARD]", "deep": ["[REDACTED_CARD]", 12], "at": 1790000000000}
