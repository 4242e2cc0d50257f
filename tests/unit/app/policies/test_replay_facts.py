"""What a record keeps of a call decides conditions as the running call did; where it does not, that is said."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from app.policies.recorded_facts import facts_of
from app.traffic.captured import CapturedCall
from proxies.contract import CapturedText, RecordedFacts
from proxies.llm.facts import messages_and_calls
from proxies.llm.request_texts import request_texts
from proxies.llm.surfaces import Surface
from proxies.recorded_facts import MAX_TOOLS, CallNotes, Turns
from proxies.transport.headers import Headers
from rules.conditions import CompiledConditions
from rules.facts import Facts
from rules.model import Target
from rules.policy import Conditions

NOW = datetime(2026, 1, 1, tzinfo=UTC)
ARGUMENTS = {"path": "/etc/shadow", "depth": 3, "force": True, "none": None, "list": [1, "b", {"c": 2.5}], "empty": []}
OPENAI = {
    "model": "m",
    "messages": [
        {"role": "system", "content": "be kind"},
        {"role": "user", "content": "hello"},
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [
                {"id": "a", "type": "function", "function": {"name": "read", "arguments": json.dumps(ARGUMENTS)}}
            ],
        },
        {"role": "tool", "tool_call_id": "a", "content": "42"},
        {"role": "user", "content": "and?"},
    ],
}
ANTHROPIC = {
    "model": "m",
    "system": "be kind",
    "messages": [
        {"role": "user", "content": "hello"},
        {"role": "assistant", "content": [{"type": "tool_use", "id": "a", "name": "read", "input": ARGUMENTS}]},
        {
            "role": "user",
            "content": [
                {"type": "tool_result", "tool_use_id": "a", "content": "42"},
                {"type": "tool_result", "tool_use_id": "b", "content": [{"type": "text", "text": "43"}]},
                {"type": "text", "text": "and?"},
            ],
        },
    ],
}
GEMINI = {
    "contents": [
        {"role": "user", "parts": [{"text": "hello"}]},
        {"role": "model", "parts": [{"functionCall": {"name": "read", "args": ARGUMENTS}}]},
        {"role": "user", "parts": [{"functionResponse": {"name": "read", "response": {"x": "42"}}}]},
    ],
    "systemInstruction": {"parts": [{"text": "be kind"}]},
}
RESPONSES = {
    "model": "m",
    "instructions": "be kind",
    "input": [
        {"role": "user", "content": "hello"},
        {"type": "function_call", "call_id": "a", "name": "read", "arguments": json.dumps(ARGUMENTS)},
        {"type": "function_call_output", "call_id": "a", "output": "42"},
        {"type": "local_shell_call", "call_id": "b", "action": {"command": ["ls"], "timeout_ms": 10}},
    ],
}
BODIES = {
    Surface.OPENAI_CHAT: OPENAI,
    Surface.ANTHROPIC_MESSAGES: ANTHROPIC,
    Surface.GEMINI: GEMINI,
    Surface.OPENAI_RESPONSES: RESPONSES,
}
CONDITIONS: list[dict[str, Any]] = [
    *({"message_count": {"gt": count}} for count in range(6)),
    *({"role_count": {role: {"gt": count}}} for role in ("user", "assistant", "tool", "system") for count in range(3)),
    *({"token_estimate": {"gt": count}} for count in range(0, 120, 3)),
    {"header": {"x-team": "blue"}},
    {"header": {"x-team": "red"}},
    {"header": {"x-floor": "3"}},
    {"header": {"x-absent": "*"}},
    {"tool_name": "read"},
    {"tool_name": "local_shell"},
    {"tool_name": "other"},
    {"tool_arguments": [{"path": "$.path", "equals": "/etc/shadow"}]},
    {"tool_arguments": [{"path": "$.depth", "gt": 2}]},
    {"tool_arguments": [{"path": "$.depth", "gt": 3}]},
    {"tool_arguments": [{"path": "$.force", "equals": True}]},
    {"tool_arguments": [{"path": "$.none", "exists": True}]},
    {"tool_arguments": [{"path": "$.empty", "exists": False}]},
    {"tool_arguments": [{"path": "$.list[2].c", "lt": 3}]},
    {"tool_arguments": [{"path": "$.list[1]", "in": ["b"]}]},
    {"tool_name": "local_shell", "tool_arguments": [{"path": "$.timeout_ms", "lt": 20}]},
    {"tool_name": "local_shell", "tool_arguments": [{"path": "$.command[0]", "matches": "^ls"}]},
    {"message_content": {"pattern": "hello", "roles": ["user"]}},
    {"message_content": {"pattern": "42", "roles": ["user"]}},
    {"message_content": {"pattern": "42", "roles": ["tool"]}},
]
HEADERS = Headers([("x-team", "blue"), ("x-floor", "3"), ("authorization", "Bearer x"), ("user-agent", "python/3")])
NAMED = frozenset({"x-floor", "x-absent", "authorization"})


def compiled(match: dict[str, Any]) -> CompiledConditions:
    return CompiledConditions(msgspec.convert(match, Conditions), exact=False)


def recorded(surface: Surface, body: dict[str, Any], **changes: Any) -> CapturedCall:
    """The call as the console reads it."""
    texts = request_texts(surface, body)
    messages, calls = messages_and_calls(body)
    roles: dict[str, int] = {}
    for message in messages:
        roles[message.role] = roles.get(message.role, 0) + 1
    notes = CallNotes(Turns(sum(message.counts for message in messages), len(messages), roles), calls, texts)
    call = CapturedCall(
        call_id="c",
        proxy_id="p",
        started_at=NOW,
        protocol=surface.value,
        operation="m",
        principal_id="",
        principal_name="",
        level="proxy",
        client_ip="10.0.0.1",
        verdict="allowed",
        findings=(),
        omitted=0,
        texts=tuple(CapturedText("request", text.target, text.path, text.text) for text in texts),
        facts=msgspec.msgpack.decode(msgspec.msgpack.encode(notes.facts(HEADERS, NAMED)), type=RecordedFacts),
    )
    return msgspec.structs.replace(call, **changes)


def asked(call: CapturedCall) -> Facts:
    return facts_of(call, call.texts, "request", "llm", {"x-team", *NAMED})


@pytest.mark.parametrize("surface", BODIES, ids=lambda surface: surface.value)
@pytest.mark.parametrize("match", CONDITIONS, ids=json.dumps)
def test_conditions_hold_for_the_record_as_for_the_call(surface: Surface, match: dict[str, Any]) -> None:
    body = BODIES[surface]
    texts = request_texts(surface, body)
    messages, calls = messages_and_calls(body)
    wanted = {"x-team", *NAMED}
    live = Facts(
        model="m",
        messages=messages,
        tool_calls=calls,
        texts=texts,
        headers={name: value for name, value in HEADERS.items() if name in wanted},
        now=NOW,
    )
    conditions, known = compiled(match), asked(recorded(surface, body))
    assert conditions.undecided(known) == frozenset()
    assert conditions.hold(known) is conditions.hold(live)
    assert conditions.undecided(live) == frozenset()


@pytest.mark.parametrize(
    ("match", "missing"),
    [
        ({"message_count": {"gt": 0}}, {"message_count"}),
        ({"role_count": {"user": {"gt": 0}}}, {"role_count"}),
        ({"token_estimate": {"gt": 0}}, {"token_estimate"}),
        ({"header": {"X-Team": "blue"}}, {"header x-team"}),
        ({"tool_name": "read"}, set()),
        ({"tool_name": "read", "tool_arguments": [{"path": "$.depth", "gt": 2}]}, {"tool_arguments"}),
        ({"tool_name": "other", "tool_arguments": [{"path": "$.depth", "gt": 2}]}, set()),
        ({"message_count": {"gt": 0}, "model": "other"}, set()),
        ({"message_count": {"gt": 0}, "message_content": {"pattern": "hello"}}, {"message_count"}),
        ({"message_count": {"gt": 0}, "message_content": {"pattern": "nowhere"}}, set()),
    ],
)
def test_what_an_older_record_does_not_hold_is_named_and_not_guessed(match: dict[str, Any], missing: set[str]) -> None:
    older = asked(recorded(Surface.OPENAI_CHAT, OPENAI, facts=None))
    assert compiled(match).undecided(older) == missing


def test_texts_that_were_left_out_or_masked_leave_conditions_on_them_undecided() -> None:
    match = compiled({"message_content": {"pattern": "hello you"}})
    call = recorded(Surface.OPENAI_CHAT, OPENAI)
    assert match.undecided(asked(call)) == frozenset()
    assert match.undecided(asked(msgspec.structs.replace(call, omitted=1))) == {"message_content"}
    text = CapturedText("request", Target.PROMPT, "/messages/1/content", "hello …(3)")
    assert match.undecided(asked(msgspec.structs.replace(call, texts=(text,)))) == {"message_content"}
    assert compiled({"message_content": {"pattern": "hello"}}).undecided(asked(call)) == frozenset()


def test_no_credential_and_no_number_of_a_person_is_recorded() -> None:
    secret = "k" + "3x9" * 12
    body: dict[str, Any] = {
        "model": "m",
        "messages": [
            {
                "role": "assistant",
                "content": [
                    {"type": "tool_use", "id": "a", "name": "pay", "input": {"card": 4111111111111111, "n": 12}},
                    {"type": "tool_use", "id": "b", "name": secret, "input": {}},
                ],
            },
            {"role": secret * 3, "content": "x"},
        ],
    }
    call = recorded(Surface.ANTHROPIC_MESSAGES, body)
    notes = CallNotes(Turns(), (), ())
    headers = Headers(
        [
            ("authorization", f"Bearer {secret}"),
            ("x-floor", secret),
            ("cookie", "a=b"),
            ("x-team", "é" * 999),
            ("x-client", "ann@example.com"),
        ]
    )
    facts = notes.facts(headers, NAMED | {"cookie"})
    kept = repr(facts) + repr(call.facts)
    assert secret not in kept
    assert "4111111111111111" not in kept
    assert facts.headers == {}
    assert not {"authorization", "cookie", "x-floor", "x-team", "x-client"} & set(facts.header_names)
    known = facts_of(call, (), "request", "llm", {"authorization"})
    assert known.unknown == {"tool_arguments", "header authorization"}
    assert known.tool_calls[0].arguments == {"n": 12}


def test_records_stay_small_whatever_the_call_is() -> None:
    calls = [
        {
            "type": "tool_use",
            "id": "a",
            "name": "n" * 5_000,
            "input": {f"{'k' * 150}{index}": index for index in range(500)},
        }
        for _ in range(500)
    ]
    body: dict[str, Any] = {
        "model": "m",
        "messages": [
            {"role": "assistant", "content": calls},
            *({"role": f"r{index}", "content": "x"} for index in range(500)),
        ],
    }
    call = recorded(Surface.ANTHROPIC_MESSAGES, body)
    assert call.facts is not None
    assert len(call.facts.tools) == MAX_TOOLS
    deep: dict[str, Any] = {}
    for _ in range(100):
        deep = {"a": deep}
    many = {"n": 1, "texts": ["x"] * 5_000}
    calls = [{"type": "tool_use", "id": "a", "name": "n", "input": value} for value in (deep, many)]
    nested = recorded(Surface.ANTHROPIC_MESSAGES, {"model": "m", "messages": [{"role": "assistant", "content": calls}]})
    assert nested.facts is not None
    assert [tool.is_whole for tool in nested.facts.tools] == [False, False]
    assert len(msgspec.msgpack.encode(call.facts)) < 80_000
    assert {"tool_name", "tool_arguments", "role_count"} <= asked(call).unknown
