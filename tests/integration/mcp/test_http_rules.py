"""Rules common to all of MCP over HTTP (G-01..G-12, D-05), seen from both ends of the proxy."""

from __future__ import annotations

import gzip
import json
from functools import partial
from typing import Any

import pytest

from proxies.contract import Limits
from rules.model import Action
from tests.mcp_rules import RESPONSE_BLOCKED
from tests.mcp_wire import (
    CLIENT_KEY,
    UPSTREAM_KEY,
    initialize_answer,
    json_answer,
    legacy_headers,
    messages_of,
    request,
    result,
    rpc,
    stream_answer,
    text_result,
    wire,
)
from tests.rawpeer import RawClient, RawMessage, UpstreamPeer, http_response

# Without a time stamp: the two test processes must collect the same cases.
gzipped = partial(gzip.compress, mtime=0)


async def echo(raw: RawMessage, _peer: UpstreamPeer) -> bytes | None:
    """A server that answers everything."""
    message = rpc(raw)
    if message.get("method") == "initialize":
        return initialize_answer(raw)
    if "id" not in message:
        return http_response(202)
    return json_answer(text_result(message["id"], "ok"), 200, "Set-Cookie: a=b", "WWW-Authenticate: Bearer evil")


@pytest.mark.parametrize("origin", ["null", "http://evil.example", "https://127.0.0.1", "http://localhost.evil.test"])
async def test_G_01_a_foreign_origin_is_refused(origin: str) -> None:
    async with wire(echo) as (client, upstream, _proxy):
        answer = await client.post(request("initialize"), origin=origin)
        get = await client.http.get("/mcp", headers={"origin": origin})
    assert (answer.status_code, get.status_code) == (403, 403)
    assert answer.json()["error"]["code"] == -32011
    assert upstream.requests == []


async def test_G_01_a_foreign_host_is_refused() -> None:
    async with wire(echo) as (client, upstream, _proxy):
        answer = await client.post(request("initialize"), host="evil.example")
    assert answer.status_code == 403
    assert upstream.requests == []


@pytest.mark.parametrize(
    "content_type", ["text/plain", "", "application/json-rpc", "application/x-www-form-urlencoded"]
)
async def test_G_03_other_content_types_are_refused(content_type: str) -> None:
    async with wire(echo) as (client, upstream, _proxy):
        answer = await client.post(request("initialize"), content_type=content_type)
    assert answer.status_code == 415
    assert upstream.requests == []


@pytest.mark.parametrize(
    "accept",
    ["application/json", "text/event-stream", "*/*", "application/json, text/event-stream;q=0", "", "application/*"],
)
async def test_G_03_a_client_must_accept_both_media_types(accept: str) -> None:
    async with wire(echo) as (client, upstream, _proxy):
        answer = await client.post(request("initialize"), accept=accept)
    assert answer.status_code == 406
    assert "Accept" in answer.json()["error"]["data"]["remediation"]
    assert upstream.requests == []


async def test_G_03_parameters_and_case_of_media_types_do_not_matter() -> None:
    async with wire(echo) as (client, upstream, _proxy):
        answer = await client.post(
            request("initialize", protocolVersion="2025-11-25"),
            content_type="Application/JSON; charset=utf-8",
            accept="text/event-stream;q=0.5, Application/Json",
        )
        assert answer.status_code == 200
        (seen,) = upstream.requests
    assert seen.header("accept") == "application/json, text/event-stream"
    assert seen.header("accept-encoding") == "identity"


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", -32700),
        (b"{", -32700),
        (b'{"jsonrpc":"2.0","id":1,"method":"a","method":"b"}', -32700),
        (b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"ok","name":"bad"}}', -32700),
        (b'{"jsonrpc":"2.0","id":1,"method":"a","params":{"name":"ok","na\\u006de":"x"}}', -32700),
        (b'{"jsonrpc":"2.0","id":1,"method":"a","params":{"x":1e400}}', -32700),
        (b'{"jsonrpc":"2.0","id":1,"method":"a","params":{"x":NaN}}', -32700),
        (b'{"jsonrpc":"2.0","id":1,"method":"a"} {}', -32700),
        (b'\xef\xbb\xbf{"jsonrpc":"2.0","id":1,"method":"a"}', -32700),
        ('{"jsonrpc":"2.0","id":1,"method":"a"}'.encode("utf-16"), -32700),
        (gzipped(b'{"jsonrpc":"2.0","id":1,"method":"a"}'), -32700),
        (b'{"jsonrpc":"2.0","id":1,"method":"a","params":{"x":"\\ud800"}}', -32700),
        (b'{"jsonrpc":"2.0","id":1,"method":"a","params":' + b'{"a":' * 80 + b"1" + b"}" * 80 + b"}", -32700),
        (b'"text"', -32600),
        (b'{"jsonrpc":"2.0","id":1.5,"method":"a"}', -32600),
        (b'{"jsonrpc":"2.0","id":1,"method":"a","result":{}}', -32600),
        (b'{"jsonrpc":"2.0","id":1,"method":"a","Method":"tools/call"}', -32700),
        (b"[]", -32600),
    ],
)
async def test_G_04_ambiguous_bodies_are_refused_and_never_forwarded(body: bytes, code: int) -> None:
    async with wire(echo) as (client, upstream, proxy):
        answer = await client.post(body)
        assert answer.status_code == 400
        assert answer.json()["error"]["code"] == code
        assert upstream.requests == []
        assert proxy.records[0].outcome == "refused"


async def test_G_04_big_integers_and_key_order_survive() -> None:
    async with wire(echo) as (client, upstream, _proxy):
        session = await client.initialize()
        arguments = {"z": 2**70, "a": -(2**63), "m": 1.5}
        await client.post(request("tools/call", name="t", arguments=arguments), session=session)
    assert b'"arguments":{"z":1180591620717411303424,"a":-9223372036854775808,"m":1.5}' in upstream.requests[-1].body


async def test_too_large_a_body_is_refused_with_413() -> None:
    async with wire(echo, limits=Limits(max_body_bytes=1000)) as (client, upstream, _proxy):
        answer = await client.post(request("tools/call", name="t", arguments={"x": "y" * 2000}))
    assert answer.status_code == 413
    assert answer.json()["error"]["code"] == -32600
    assert upstream.requests == []


async def test_G_05_compressed_requests_are_refused() -> None:
    async with wire(echo) as (client, upstream, _proxy):
        answer = await client.post(gzipped(b"{}"), content_encoding="gzip")
    assert answer.status_code == 415
    assert upstream.requests == []


async def test_G_05_a_compressed_answer_is_decoded_before_it_is_inspected() -> None:
    async def compressed(raw: RawMessage, _peer: UpstreamPeer) -> bytes | None:
        if rpc(raw)["method"] == "initialize":
            return initialize_answer(raw)
        body = gzipped(json.dumps(text_result(rpc(raw)["id"], RESPONSE_BLOCKED)).encode())
        return http_response(200, body, headers=("Content-Type: application/json", "Content-Encoding: gzip"))

    async with wire(compressed) as (client, _upstream, _proxy):
        session = await client.initialize()
        answer = await client.post(request("tools/call", name="t"), session=session)
    assert answer.json()["error"]["code"] == -32010


async def test_G_05_a_compressed_stream_is_not_relayed() -> None:
    async def compressed(raw: RawMessage, _peer: UpstreamPeer) -> bytes | None:
        if rpc(raw)["method"] == "initialize":
            return initialize_answer(raw)
        return stream_answer(text_result(rpc(raw)["id"], "ok"), headers=("Content-Encoding: gzip",))

    async with wire(compressed) as (client, _upstream, _proxy):
        session = await client.initialize()
        answer = await client.post(request("tools/call", 5, name="t"), session=session)
    (message,) = messages_of(answer.text)
    assert (message["id"], message["error"]["code"]) == (5, -32012)


@pytest.mark.parametrize(
    "name", ["authorization", "content-type", "mcp-session-id", "mcp-protocol-version", "last-event-id", "x-api-key"]
)
async def test_G_06_repeated_fields_that_decide_something_are_refused(name: str) -> None:
    body = json.dumps(request("tools/list")).encode()
    async with wire(echo) as (_client, upstream, proxy):
        port = int(proxy.url.rpartition(":")[2])
        fields = {**legacy_headers(), "authorization": f"Bearer {CLIENT_KEY}"}
        lines = [f"{key}: {value}" for key, value in fields.items()]
        value = fields.get(name, "2025-11-25")
        lines += [f"{name}: {value}"] * (1 if name in fields else 2)
        head = "\r\n".join(["POST /mcp HTTP/1.1", f"Host: 127.0.0.1:{port}", *lines, f"Content-Length: {len(body)}"])
        async with await RawClient.connect("127.0.0.1", port) as raw:
            await raw.send(head.encode() + b"\r\n\r\n" + body)
            answer = await raw.read_response()
    assert answer.status in (400, 401)
    assert upstream.requests == []


async def test_G_07_only_listed_headers_cross() -> None:
    async with wire(echo) as (client, upstream, _proxy):
        session = await client.initialize()
        answer = await client.post(
            request("tools/call", name="t"),
            session=session,
            cookie="secret=1",
            x_forwarded_for="10.0.0.1",
            proxy_authorization="Basic eA==",
            x_custom="no",
            x_hop="no",
            connection="x-hop",
            traceparent="00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        )
    seen = upstream.requests[-1]
    assert seen.header("authorization") == f"Bearer {UPSTREAM_KEY}"
    assert seen.header("traceparent") is not None
    names = {name for name, _ in seen.fields}
    assert names == {
        "host",
        "accept",
        "accept-encoding",
        "authorization",
        "content-length",
        "content-type",
        "mcp-protocol-version",
        "mcp-session-id",
        "traceparent",
        "via",
    }
    assert CLIENT_KEY not in str(seen)
    assert "set-cookie" not in answer.headers
    assert "www-authenticate" not in answer.headers


@pytest.mark.parametrize("status", [301, 307, 308])
async def test_G_09_redirects_are_an_upstream_error(status: int) -> None:
    async def redirect(_raw: RawMessage, _peer: UpstreamPeer) -> bytes | None:
        return http_response(status, headers=("Location: http://evil.example/",))

    async with wire(redirect) as (client, upstream, _proxy):
        answer = await client.post(request("initialize", 3, protocolVersion="2025-11-25"))
    assert (answer.status_code, answer.json()["id"]) == (502, 3)
    assert "location" not in answer.headers
    assert len(upstream.requests) == 1


async def test_G_10_a_preflight_is_answered_without_a_credential() -> None:
    async with wire(echo, allowed_origins=("https://app.example",)) as (client, _upstream, _proxy):
        preflight = await client.http.options(
            "/mcp",
            headers={
                "origin": "https://app.example",
                "access-control-request-method": "POST",
                "access-control-request-headers": "content-type, mcp-param-region, x-evil",
                "authorization": "",
            },
        )
        answer = await client.post(request("initialize", protocolVersion="2025-11-25"), origin="https://app.example")
    assert preflight.status_code == 204
    assert preflight.headers["access-control-allow-origin"] == "https://app.example"
    allowed = preflight.headers["access-control-allow-headers"].lower()
    assert "mcp-session-id" in allowed
    assert "mcp-param-region" in allowed
    assert "x-evil" not in allowed
    assert answer.headers["access-control-allow-origin"] == "https://app.example"
    assert "Mcp-Session-Id" in answer.headers["access-control-expose-headers"]


@pytest.mark.parametrize("path", ["/.well-known/oauth-protected-resource", "/.well-known/anything/mcp"])
async def test_G_12_well_known_documents_are_a_plain_404_without_a_credential(path: str) -> None:
    async with wire(echo, key="nobody-has-this-key") as (client, upstream, _proxy):
        answer = await client.http.get(path)
    assert (answer.status_code, answer.json()) == (404, {"error": "not_found"})
    assert answer.headers["content-type"] == "application/json"
    assert upstream.requests == []


async def test_G_12_unknown_paths_are_a_plain_404_and_the_endpoint_has_three_names() -> None:
    async with wire(echo) as (client, upstream, _proxy):
        unknown = await client.http.post("/other", content=b"{}", headers=legacy_headers())
        body = json.dumps(request("initialize", protocolVersion="2025-11-25"))
        known = [
            (await client.http.post(path, content=body, headers=legacy_headers())).status_code
            for path in ("/mcp", "/mcp/", "/")
        ]
    assert (unknown.status_code, unknown.json()) == (404, {"error": "not_found"})
    assert known == [200, 200, 200]
    assert {seen.target for seen in upstream.requests} == {"/mcp"}


@pytest.mark.parametrize("method", ["PUT", "PATCH", "HEAD", "OPTIONS"])
async def test_other_methods_are_405(method: str) -> None:
    async with wire(echo) as (client, upstream, _proxy):
        answer = await client.http.request(method, "/mcp")
    assert (answer.status_code, answer.headers["allow"]) == (405, "POST")
    assert upstream.requests == []


@pytest.mark.parametrize("status", [400, 401, 403, 500, 503])
async def test_D_05_a_failing_upstream_is_a_502_with_the_id_and_nothing_of_its_body(status: int) -> None:
    async def failing(raw: RawMessage, _peer: UpstreamPeer) -> bytes | None:
        if rpc(raw)["method"] == "initialize":
            return initialize_answer(raw)
        return http_response(status, b"internal secret", headers=("WWW-Authenticate: Bearer evil",))

    async with wire(failing) as (client, _upstream, proxy):
        session = await client.initialize()
        answer = await client.post(request("tools/list", "c-7"), session=session)
    assert answer.status_code == 502
    assert (answer.json()["id"], answer.json()["error"]["code"]) == ("c-7", -32012)
    assert "secret" not in answer.text
    assert "www-authenticate" not in answer.headers
    assert proxy.records[-1].outcome == "upstream_error"


async def test_D_05_a_rate_limit_of_the_upstream_is_passed_on() -> None:
    async def limiting(_raw: RawMessage, _peer: UpstreamPeer) -> bytes | None:
        return http_response(429, b"slow down", headers=("Retry-After: 7",))

    async with wire(limiting) as (client, _upstream, _proxy):
        answer = await client.post(request("initialize", protocolVersion="2025-11-25"))
    assert (answer.status_code, answer.headers["retry-after"]) == (429, "7")
    assert "slow down" not in answer.text


async def test_D_05_an_upstream_that_hangs_up_is_a_502() -> None:
    async def hanging_up(_raw: RawMessage, peer: UpstreamPeer) -> bytes | None:
        await peer.close()
        return None

    async with wire(hanging_up) as (client, _upstream, _proxy):
        answer = await client.post(request("initialize", 3, protocolVersion="2025-11-25"))
    assert (answer.status_code, answer.json()["id"], answer.json()["error"]["code"]) == (502, 3, -32012)


async def test_G_11_an_upstream_that_does_not_answer_is_a_504() -> None:
    async def silent(_raw: RawMessage, peer: UpstreamPeer) -> bytes | None:
        await peer.wait_gone()
        return None

    async with wire(silent, limits=Limits(first_byte_timeout_seconds=0.1)) as (client, _upstream, _proxy):
        answer = await client.post(request("initialize", 3, protocolVersion="2025-11-25"))
    assert (answer.status_code, answer.json()["id"]) == (504, 3)


@pytest.mark.parametrize(
    "answer",
    [
        http_response(200, b"<html>", headers=("Content-Type: text/html",)),
        http_response(200, b"{", headers=("Content-Type: application/json",)),
        http_response(200, b'{"jsonrpc":"2.0","id":1,"id":2,"result":{}}', headers=("Content-Type: application/json",)),
        http_response(202),
        json_answer({"jsonrpc": "2.0", "id": 1}),
        json_answer(result(99)),
        json_answer([result(1)]),
        json_answer({"jsonrpc": "2.0", "method": "notifications/progress"}),
    ],
    ids=["HTML", "no JSON", "duplicate key", "202", "neither", "other id", "array", "no response"],
)
async def test_an_upstream_that_speaks_nonsense_is_a_502(answer: bytes) -> None:
    async def nonsense(raw: RawMessage, _peer: UpstreamPeer) -> bytes | None:
        return initialize_answer(raw) if rpc(raw)["method"] == "initialize" else answer

    async with wire(nonsense) as (client, _upstream, _proxy):
        session = await client.initialize()
        refused = await client.post(request("tools/list"), session=session)
    assert (refused.status_code, refused.json()["error"]["code"], refused.json()["id"]) == (502, -32012, 1)


async def test_in_log_only_mode_a_block_passes_as_an_alert() -> None:
    async def poisoned(raw: RawMessage, _peer: UpstreamPeer) -> bytes | None:
        if rpc(raw)["method"] == "initialize":
            return initialize_answer(raw)
        return json_answer(text_result(rpc(raw)["id"], RESPONSE_BLOCKED))

    async with wire(poisoned, enforcement="log_only") as (client, _upstream, proxy):
        session = await client.initialize()
        answer: Any = await client.post(request("tools/call", name="t"), session=session)
    assert answer.json()["result"]["content"][0]["text"] == RESPONSE_BLOCKED
    assert (proxy.records[-1].action, proxy.records[-1].outcome) == (Action.ALERT, "allowed")


async def test_an_inspection_that_fails_is_never_an_allow(monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(*_arguments: Any, **_options: Any) -> Any:
        raise RuntimeError("internal secret")

    async with wire(echo) as (client, upstream, proxy):
        session = await client.initialize()
        monkeypatch.setattr("rules.engine.Ruleset.recall", failing)
        answer = await client.post(request("tools/call", 5, name="t"), session=session)
    assert (answer.status_code, answer.json()["id"], answer.json()["error"]["code"]) == (200, 5, -32603)
    assert "secret" not in answer.text
    assert len(upstream.requests) == 1
    assert (proxy.records[-1].outcome, proxy.records[-1].error_code) == ("failed", "inspection_failed")


@pytest.mark.interpreted
async def test_a_fault_of_the_gateway_reveals_nothing_and_is_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(*_arguments: Any, **_options: Any) -> Any:
        raise RuntimeError("internal secret")

    async with wire(echo) as (client, upstream, proxy):
        session = await client.initialize()
        monkeypatch.setattr("proxies.mcp.legacy_requests.check_params", failing)
        answer = await client.post(request("tools/call", 5, name="t"), session=session)
        monkeypatch.setattr("proxies.mcp.endpoint.parse", failing)
        unparsed = await client.post(request("tools/call", 5, name="t"), session=session)
    assert (answer.status_code, answer.json()["id"], answer.json()["error"]["code"]) == (200, 5, -32603)
    assert (unparsed.status_code, unparsed.json()["error"]["code"]) == (500, -32603)
    assert "secret" not in answer.text + unparsed.text
    assert len(upstream.requests) == 1
    assert proxy.records[-1].outcome == "failed"
