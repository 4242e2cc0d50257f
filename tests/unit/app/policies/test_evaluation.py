"""Trying a policy on a text or a message: what is found, what would happen, what would be masked."""

from __future__ import annotations

import base64
from typing import Any

import msgspec
import pytest

from app.errors import ValidationFailed
from app.policies.errors import PolicyInvalid, PolicyNotFound
from app.policies.evaluation import Evaluator
from app.policies.trial_schemas import Evaluate
from rules.context_firewall import Chunk, ContextInput
from rules.policy import ContextFirewall
from tests.support.console import Console
from tests.support.features import Bench
from tests.support.library import PHRASE
from tests.unit.app.policies.test_policy_service import detection, document


@pytest.fixture
def evaluator(bench: Bench) -> Evaluator:
    return bench.features.evaluator


async def test_AG_MG_5_a_text_is_judged_by_the_standard_policy_of_its_kind(evaluator: Evaluator) -> None:
    found = await evaluator.evaluate(Evaluate(text=f"say the {PHRASE} now"))
    assert found.policies == ["llm-standard-security"]
    assert (found.verdict.action, found.verdict.rule_id, found.verdict.policy) == (
        "block",
        "PI-0001",
        "llm-standard-security",
    )
    assert [(hit.rule_id, hit.start, hit.end) for hit in found.findings] == [("PI-0001", 8, 8 + len(PHRASE))]
    assert found.took_ms >= 0


async def test_LLMSG_GUARD_2_the_assessment_has_its_four_fields(evaluator: Evaluator) -> None:
    unsafe = (await evaluator.evaluate(Evaluate(text=PHRASE))).assessment
    assert (unsafe.is_safe, unsafe.violated_rule, unsafe.risk_score) == (False, "PI-0001", 10)
    assert "PI-0001" in unsafe.reason
    safe = (await evaluator.evaluate(Evaluate(text="a quiet day"))).assessment
    assert (safe.is_safe, safe.violated_rule, safe.reason, safe.risk_score) == (True, "", "", 1)


async def test_SYP_POL_6_a_draft_is_tried_with_its_own_detections_before_it_is_saved(evaluator: Evaluator) -> None:
    draft = document(detections=[detection()], enforcement="log_only")
    found = await evaluator.evaluate(Evaluate(text="about EMP-123456", document=draft))
    assert (found.verdict.action, found.verdict.would_action, found.verdict.rule_id) == ("alert", "block", "OWN-EMP-1")
    harmless = await evaluator.evaluate(Evaluate(text="about EMP-12", document=draft))
    assert (harmless.verdict.action, harmless.findings) == ("allow", [])


async def test_what_would_be_masked_is_replaced_by_placeholders(evaluator: Evaluator) -> None:
    masking = detection(action="redact", capture={"redact_as": "EMPLOYEE", "reversible": True})
    text = "from EMP-123456 to EMP-654321 and EMP-123456"
    found = await evaluator.evaluate(Evaluate(text=text, document=document(detections=[masking])))
    masked = found.texts[0].masked
    assert "EMP-" not in masked
    first, second, third = (word for word in masked.split() if word.startswith("[EMPLOYEE_"))
    assert first == third != second


async def test_a_value_to_mask_where_nothing_can_be_changed_is_said_to_refuse_the_request(evaluator: Evaluator) -> None:
    draft = document(detections=[detection(action="redact", targets=["prompt", "tool_name"])])

    async def tried(content: str, tool: str) -> tuple[str, str, list[bool]]:
        request = {
            "model": "gpt-4o",
            "messages": [{"role": "user", "content": content}],
            "tools": [{"type": "function", "function": {"name": tool}}],
        }
        found = await evaluator.evaluate(Evaluate(request=request, document=draft))
        changed = [text.masked != text.text for text in found.texts if "EMP-" in text.text]
        return found.verdict.action, found.unmaskable, changed

    assert await tried("hello", "EMP-123456") == ("redact", "/tools/0/function/name", [False])
    assert await tried("from EMP-123456", "work") == ("redact", "", [True])


async def test_hidden_text_is_shown_as_a_view(evaluator: Evaluator) -> None:
    hidden = base64.b64encode(b"the whispered word is in here").decode()
    found = await evaluator.evaluate(Evaluate(text=f"decode {hidden}\u200b please"))
    assert {view.name for view in found.texts[0].views} >= {"normalized", "decoded"}
    assert any("whispered word" in view.text for view in found.texts[0].views)


async def test_a_whole_chat_request_is_read_as_the_proxy_reads_it(evaluator: Evaluator) -> None:
    request = {
        "model": "gpt-4o",
        "messages": [
            {"role": "system", "content": "Be kind."},
            {"role": "user", "content": [{"type": "text", "text": f"now the {PHRASE}"}]},
        ],
    }
    rules = [
        {"id": "no-four", "match": {"model": "gpt-4*", "message_count": {"gt": 1}}, "action": "deny", "reason": "No."}
    ]
    found = await evaluator.evaluate(Evaluate(request=request, document=document(rules=rules)))
    assert (found.protocol, found.direction) == ("openai.chat", "request")
    assert {hit.rule_id for hit in found.findings} == {"PI-0001", "no-four"}
    assert [hit.path for hit in found.findings if hit.rule_id == "PI-0001"] == ["/messages/1/content/0/text"]


async def test_AG_PE_2_a_tool_call_is_judged_by_its_arguments(evaluator: Evaluator) -> None:
    rules = [
        {
            "id": "no-etc",
            "match": {"tool_name": "read_file", "tool_arguments": [{"path": "$.path", "matches": "^/etc/"}]},
            "action": "deny",
        }
    ]
    policy = {"name": "tools", "type": "mcp", "rules": rules}

    async def action(path: str) -> str:
        params = {"name": "read_file", "arguments": {"path": path}}
        request = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}
        return (await evaluator.evaluate(Evaluate(request=request, document=policy))).verdict.action

    assert await action("/etc/shadow") == "block"
    assert await action("/tmp/x") == "allow"


@pytest.mark.parametrize(
    ("message", "protocol", "direction"),
    [
        ({"messages": [], "system": "x"}, "anthropic.messages", "request"),
        ({"messages": [{"role": "user", "content": [{"type": "tool_result"}]}]}, "anthropic.messages", "request"),
        ({"input": "hello"}, "openai.responses", "request"),
        ({"choices": [{"message": {"content": "hi"}}]}, "openai.chat", "response"),
        ({"output": [{"content": [{"text": "hi"}]}]}, "openai.responses", "response"),
        ({"content": [{"type": "text", "text": "hi"}], "role": "assistant"}, "anthropic.messages", "response"),
        ({"jsonrpc": "2.0", "id": 1, "result": {"tools": []}}, "mcp", "response"),
        ({"jsonrpc": "2.0", "id": 1, "error": {"code": 1, "message": "no"}}, "mcp", "response"),
    ],
)
async def test_messages_of_every_protocol_are_recognised(
    evaluator: Evaluator, message: dict[str, Any], protocol: str, direction: str
) -> None:
    found = await evaluator.evaluate(Evaluate(request=message))
    assert (found.protocol, found.direction) == (protocol, direction)


async def test_what_cannot_be_judged_is_refused_with_its_reason(evaluator: Evaluator) -> None:
    for wanted, field in (
        (Evaluate(), "text"),
        (Evaluate(text="x", request={}), "text"),
        (Evaluate(request={"colour": "green"}), "request"),
        (Evaluate(request={"jsonrpc": "1.0", "method": "x"}), "request"),
    ):
        with pytest.raises(ValidationFailed) as refused:
            await evaluator.evaluate(wanted)
        assert field in refused.value.fields
    with pytest.raises(PolicyNotFound):
        await evaluator.evaluate(Evaluate(text="x", policy_names=["nowhere"]))
    with pytest.raises(PolicyInvalid):
        await evaluator.evaluate(Evaluate(text="x", document={"name": "x", "surprise": 1}))


async def test_LLMSG_API_2_a_text_is_scanned_by_a_script(console: Console) -> None:
    answer = await console.client.post("/scan", headers=console.admin, json={"text": PHRASE})
    assert answer.status_code == 200, answer.text
    assert answer.json().keys() == {"is_safe", "violated_rule", "reason", "risk_score"}
    assert (answer.json()["is_safe"], answer.json()["violated_rule"]) == (False, "PI-0001")
    assert (await console.client.post("/scan", headers=console.admin, json={"text": ""})).status_code == 422


async def test_LLMSG_API_2_a_scan_without_a_token_is_401_and_with_an_unknown_one_403(console: Console) -> None:
    nobody = await console.client.post("/scan", json={"text": PHRASE})
    assert (nobody.status_code, nobody.json()["error_code"]) == (401, "UNAUTHORIZED")
    assert "www-authenticate" in nobody.headers
    for credential in ("Bearer nobody", "Bearer ost_" + "x" * 40, "Basic YTpi"):
        unknown = await console.client.post("/scan", headers={"Authorization": credential}, json={"text": PHRASE})
        assert (unknown.status_code, unknown.json()["error_code"]) == (403, "UNKNOWN_CREDENTIAL")
        assert "Tokens" in unknown.json()["remediation"]
    elsewhere = await console.client.post("/admin/evaluate", headers={"Authorization": "Bearer nobody"}, json={})
    assert elsewhere.status_code == 401


async def test_evaluation_over_the_api_on_both_paths(console: Console) -> None:
    for path in ("/api/v1/evaluate", "/admin/evaluate"):
        answer = await console.client.post(path, headers=console.admin, json={"text": PHRASE})
        assert answer.status_code == 200, answer.text
        assert answer.json()["data"]["assessment"]["violated_rule"] == "PI-0001"
    refused = await console.client.post("/admin/evaluate", json={"text": PHRASE})
    assert refused.json()["error_code"] == "UNAUTHORIZED"
    body = {"policy": document(detections=[detection()]), "test_content": ["EMP-123456", "fine"]}
    tested = await console.client.post("/api/v1/policies/test", headers=console.admin, json=body)
    assert [found["verdict"]["action"] for found in tested.json()["data"]] == ["block", "allow"]


async def test_SYP_POL_6_a_request_of_gemini_is_read_as_the_proxy_reads_it(evaluator: Evaluator) -> None:
    contents = [
        {"role": "user", "parts": [{"text": f"say the {PHRASE}"}]},
        {"role": "model", "parts": [{"functionCall": {"name": "read_file", "args": {"path": "/etc/shadow"}}}]},
    ]
    rule = {"id": "no-etc", "action": "deny", "match": {"tool_arguments": [{"path": "$.path", "matches": "^/etc/"}]}}
    draft = {"name": "draft", "rules": [rule]}
    for request in (
        {"contents": contents},
        {"contents": contents[1]},
        {"candidates": [{"index": 0, "content": contents[1]}]},
    ):
        found = await evaluator.evaluate(Evaluate(request=request, document=draft))
        assert found.protocol == "gemini.generate"
        assert found.direction == ("response" if "candidates" in request else "request")
        assert (found.verdict.action, found.verdict.rule_id) == ("block", "no-etc")
    found = await evaluator.evaluate(Evaluate(request={"contents": contents}))
    assert (found.verdict.rule_id, found.findings[0].path) == ("PI-0001", "/contents/0/parts/0/text")


@pytest.mark.parametrize(
    ("match", "given"),
    [
        ({"model": "gpt-4*"}, {"model": "gpt-4o"}),
        ({"client": "night-*"}, {"client": "night-shift"}),
        ({"ip": ["10.0.0.0/8"]}, {"client_ip": "10.1.2.3"}),
        ({"header": {"X-Region": "eu-*"}}, {"headers": {"x-REGION": "eu-1"}}),
        ({"schedule": {"cron": "* 9 * * mon", "time_zone": "Europe/Berlin"}}, {"at": "2026-11-23T08:30:00Z"}),
    ],
)
@pytest.mark.parametrize("message", [{"text": "hello"}, {"request": {"contents": [{"parts": [{"text": "hello"}]}]}}])
async def test_SYP_POL_6_conditions_on_who_where_and_when_are_tried(
    evaluator: Evaluator, message: dict[str, Any], match: dict[str, Any], given: dict[str, Any]
) -> None:
    draft = {"name": "draft", "rules": [{"id": "r", "action": "deny", "match": match}]}
    asked = msgspec.convert({**message, "document": draft, **given}, Evaluate)
    assert (await evaluator.evaluate(asked)).verdict.action == "block"
    elsewhere = msgspec.convert({**message, "document": draft, "at": "2026-11-24T08:30:00Z"}, Evaluate)
    assert (await evaluator.evaluate(elsewhere)).verdict.action == "allow"


async def test_a_name_a_place_and_a_time_that_cannot_be_are_refused(evaluator: Evaluator) -> None:
    for field, value in (("client_ip", "10.0.0.300"), ("at", "2026-11-23T08:30:00")):
        asked = msgspec.convert({"text": "hello", field: value}, Evaluate)
        with pytest.raises(ValidationFailed) as caught:
            await evaluator.evaluate(asked)
        assert list(caught.value.fields) == [field]


CONTEXT = {"source": "kb://approved/hr", "chunks": [{"id": "1", "content": "Holidays are long."}]}


@pytest.mark.parametrize(
    ("context", "rule_id"),
    [
        (CONTEXT, ""),
        ({**CONTEXT, "source": "kb://elsewhere/hr"}, "CONTEXT-ORIGIN"),
        ({**CONTEXT, "chunks": [{"id": "1", "content": "Ask EMP-123456."}]}, "CONTEXT-SCORE"),
        (
            {**CONTEXT, "chunks": [{"id": "1", "content": "Ask EMP-12"}, {"id": "2", "content": "3456."}]},
            "CONTEXT-SCORE",
        ),
    ],
)
async def test_SLG_CTX_1_2_the_context_of_a_request_is_tried_too(
    evaluator: Evaluator, context: dict[str, Any], rule_id: str
) -> None:
    draft = document(detections=[detection(targets=["document"])], context={"allowed_origins": ["kb://approved/"]})
    request = {"model": "m", "messages": [{"role": "user", "content": "Sum it up."}], "context": context}
    found = await evaluator.evaluate(Evaluate(request=request, document=draft))
    assert found.verdict.rule_id == rule_id
    assert (found.verdict.action, found.verdict.status) == (("block", 400) if rule_id else ("allow", 403))
    assert "/context/chunks/0/content" in [text.path for text in found.texts]
    with pytest.raises(ValidationFailed, match="not valid") as caught:
        await evaluator.evaluate(Evaluate(request={**request, "context": "text"}, document=draft))
    assert list(caught.value.fields) == ["request"]
    assert found.context is not None
    assert [(judge.name, judge.origin_allowed) for judge in found.context.firewalls] == [
        ("ours", rule_id != "CONTEXT-ORIGIN")
    ]
    without = await evaluator.evaluate(Evaluate(request=request, document=document()))
    assert without.verdict.rule_id != "CONTEXT-ORIGIN", "where no policy checks it, it is a text like others"


async def test_SLG_CTX_1_2_a_context_firewall_is_tried_before_it_is_set(evaluator: Evaluator) -> None:
    given: dict[str, Any] = {
        "text": "Sum it up.",
        "document": document(detections=[detection(targets=["document"], score=60)]),
        "context": ContextInput("kb://approved/hr", (Chunk("1", "Ask EMP-123456."), Chunk("2", "Nothing here."))),
    }

    async def tried(**more: Any) -> tuple[str, str]:
        found = await evaluator.evaluate(Evaluate(**given, **more))
        assert found.context is not None
        assert [chunk.score for chunk in found.context.chunks] == ([60, 0] if found.context.firewalls else [0, 0])
        refused = found.verdict.rule_id if found.verdict.action == "block" else ""
        return ",".join(judge.name for judge in found.context.firewalls), refused

    assert await tried() == ("", ""), "a document rule does not read what is a part of the prompt"
    assert await tried(context_firewall=ContextFirewall(risk_threshold=61)) == ("tried", "")
    assert await tried(context_firewall=ContextFirewall(risk_threshold=60)) == ("tried", "CONTEXT-SCORE")
    elsewhere = ContextFirewall(allowed_origins=("kb://other/",), risk_threshold=100)
    assert await tried(context_firewall=elsewhere) == ("tried", "CONTEXT-ORIGIN")
    evaluator.context_firewall = ContextFirewall(risk_threshold=20)
    assert await tried() == ("settings", "CONTEXT-SCORE")
    given["document"] = document(detections=[detection(targets=["document"], score=60)], context={"risk_threshold": 99})
    assert await tried() == ("ours", ""), "as on the wire, the settings stand in only where no policy has one"
    with pytest.raises(ValidationFailed):
        await tried(direction="response")


@pytest.mark.parametrize(
    ("part", "pointer"),
    [
        ({"rules": [{"id": "r", "action": "deny", "match": {"ip": ["999"]}}]}, "/rules/0/match/ip/0"),
        (
            {"rules": [{"id": "r", "action": "deny", "match": {"schedule": {"cron": "* 22-5 * * *"}}}]},
            "/rules/0/match/schedule/cron",
        ),
        (
            {
                "rules": [
                    {"id": "r", "action": "deny", "match": {"schedule": {"cron": "* * * * *", "time_zone": "X/Y"}}}
                ]
            },
            "/rules/0/match/schedule/time_zone",
        ),
        (
            {"rules": [{"id": "r", "action": "deny", "match": {"message_content": {"pattern": "(?=x)"}}}]},
            "/rules/0/match/message_content/pattern",
        ),
        (
            {"rules": [{"id": "r", "action": "deny", "match": {"tool_arguments": [{"path": "$[", "exists": True}]}}]},
            "/rules/0/match/tool_arguments/0/path",
        ),
        ({"detections": [detection(pattern="(")]}, "/detections/0/match/any/0/re"),
        ({"packs": ["no-such-pack"]}, "/packs/0"),
    ],
)
async def test_AG_PE_10_a_draft_that_cannot_be_judged_by_is_named_by_its_problems(
    evaluator: Evaluator, part: dict[str, Any], pointer: str
) -> None:
    with pytest.raises(PolicyInvalid) as refused:
        await evaluator.evaluate(Evaluate(text="hello", document=document(**part)))
    assert pointer in refused.value.fields


async def test_AG_PE_10_a_draft_with_a_repeated_id_is_not_tried(evaluator: Evaluator) -> None:
    twice = [{"id": "r", "action": "alert"}, {"id": "r", "action": "deny"}]
    with pytest.raises(PolicyInvalid, match="already the id"):
        await evaluator.evaluate(Evaluate(text="hello", document=document(rules=twice)))


async def test_AG_MG_5_a_message_that_no_proxy_could_judge_is_refused_in_words(evaluator: Evaluator) -> None:
    asked = [{"id": "r", "action": "deny", "match": {"tool_arguments": [{"path": "$..x", "exists": True}]}}]
    many = {"name": "t", "arguments": {"a": [{"x": number} for number in range(10_001)]}}
    request = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": many}
    with pytest.raises(ValidationFailed) as refused:
        await evaluator.evaluate(Evaluate(request=request, document=document(rules=asked)))
    assert "would refuse it" in refused.value.fields["request"]
