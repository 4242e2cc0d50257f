"""Which calls the conditions of a policy rule hold for."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from rules.conditions import MAX_CONTENT_HITS, CompiledConditions, TooManyHits
from rules.facts import Facts, Message, ToolCall
from rules.json_path import TooManyValues
from rules.matching import MAX_VALUES_PER_RULE
from rules.model import Target, Text
from rules.policy import Conditions


def holds(match: dict[str, Any], *, exact: bool = False, **facts: Any) -> bool:
    return CompiledConditions(msgspec.convert(match, Conditions), exact=exact).hold(Facts(**facts))


def calls(*calls: ToolCall) -> dict[str, Any]:
    return {"tool_calls": calls}


def conversation(*roles_and_texts: tuple[str, str]) -> dict[str, Any]:
    messages = tuple(Message(role, f"/messages/{index}") for index, (role, _) in enumerate(roles_and_texts))
    texts = [Text(Target.PROMPT, f"/messages/{i}/content", text) for i, (_, text) in enumerate(roles_and_texts)]
    return {"messages": messages, "texts": texts}


def test_no_condition_always_holds() -> None:
    assert holds({})


@pytest.mark.parametrize(
    ("model", "name", "fits"),
    [("gpt-4*", "gpt-4o", True), (["a", "gpt-?"], "gpt-4", True), ("gpt-4*", "o3", False), ("*", "", False)],
)
def test_AG_STATE_3_models_by_glob(model: Any, name: str, fits: bool) -> None:
    assert holds({"model": model}, model=name) is fits


def test_AG_STATE_3_another_spelling_neither_opens_nor_slips_past() -> None:
    assert holds({"model": "gpt-4*"}, model="GPT-4o")
    assert not holds({"model": "gpt-4*"}, exact=True, model="GPT-4o")
    assert holds({"tool_name": "exec"}, **calls(ToolCall("EXEC")))
    assert not holds({"tool_name": "exec"}, exact=True, **calls(ToolCall("EXEC")))


@pytest.mark.parametrize(
    ("condition", "arguments", "fits"),
    [
        ({"path": "$.path", "matches": "^/etc/"}, {"path": "/etc/shadow"}, True),
        ({"path": "$.path", "matches": "^/etc/"}, {"path": "/tmp/x"}, False),
        ({"path": "$.path", "matches": "^/etc/"}, {"path": ["/etc/shadow"]}, False),
        ({"path": "$..path", "matches": "^/etc/"}, {"a": [{"path": "/etc/x"}]}, True),
        ({"path": "$.n", "matches": "^12$"}, {"n": 12}, True),
        ({"path": "$.s", "equals": "x"}, {"s": "x"}, True),
        ({"path": "$.n", "equals": 1}, {"n": 1.0}, True),
        ({"path": "$.n", "equals": 1}, {"n": True}, False),
        ({"path": "$.n", "equals": 1}, {"n": "1"}, False),
        ({"path": "$.n", "equals": True}, {"n": True}, True),
        ({"path": "$.n", "equals": None}, {"n": None}, True),
        ({"path": "$.n", "equals": None}, {}, False),
        ({"path": "$.n", "in": ["a", 2]}, {"n": 2}, True),
        ({"path": "$.n", "in": ["a", 2]}, {"n": "2"}, False),
        ({"path": "$.n", "gt": 5}, {"n": 6}, True),
        ({"path": "$.n", "gt": 5}, {"n": 5}, False),
        ({"path": "$.n", "gt": 5}, {"n": "6"}, False),
        ({"path": "$.n", "lt": 5.5}, {"n": 5}, True),
        ({"path": "$.n", "lt": 1}, {"n": False}, False),
        ({"path": "$.n", "exists": True}, {"n": None}, True),
        ({"path": "$.n", "exists": True}, {}, False),
        ({"path": "$.n", "exists": False}, {}, True),
        ({"path": "$.n", "exists": False}, {"n": 0}, False),
        ({"path": "$.a", "equals": 1}, "not an object", False),
    ],
)
def test_AG_PE_2_arguments_by_path(condition: dict[str, Any], arguments: Any, fits: bool) -> None:
    assert holds({"tool_arguments": [condition]}, **calls(ToolCall("t", arguments))) is fits


def test_AG_PE_2_name_and_arguments_must_fit_the_same_call() -> None:
    match = {"tool_name": "read_file", "tool_arguments": [{"path": "$.path", "matches": "^/etc/"}]}
    assert holds(match, **calls(ToolCall("x"), ToolCall("read_file", {"path": "/etc/shadow"})))
    split = calls(ToolCall("read_file", {"path": "/tmp"}), ToolCall("write_file", {"path": "/etc/x"}))
    assert not holds(match, **split)
    assert not holds(match)


def test_a_rule_that_allows_needs_every_call_to_fit() -> None:
    both = calls(ToolCall("search_web"), ToolCall("exec"))
    assert holds({"tool_name": "search_*"}, **both)
    assert not holds({"tool_name": "search_*"}, exact=True, **both)
    assert holds({"tool_name": ["search_*", "exec"]}, exact=True, **both)
    assert not holds({"tool_name": "*"}, exact=True)


def test_a_selection_that_is_too_large_is_no_answer() -> None:
    with pytest.raises(TooManyValues):
        holds(
            {"tool_arguments": [{"path": "$.*", "equals": 1}]},
            **calls(ToolCall("t", {"a": 0} | {str(n): n for n in range(20_000)})),
        )


def test_AG_PE_7_the_length_of_a_conversation() -> None:
    three = conversation(("system", "s"), ("user", "u"), ("user", "v"))
    assert holds({"message_count": {"gt": 2}}, **three)
    assert not holds({"message_count": {"gt": 3}}, **three)
    assert holds({"role_count": {"user": {"eq": 2}, "assistant": {"eq": 0}}}, **three)
    assert not holds({"role_count": {"user": {"lt": 2}}}, **three)
    assert not holds({"message_count": {"gte": 0}}, kind="mcp")
    beside = {"messages": (Message("system", "/system", counts=False), Message("user", "/messages/0"))}
    assert holds({"message_count": {"eq": 1}}, **beside)


def test_AG_PE_7_tokens_are_estimated_from_bytes_and_messages() -> None:
    one = conversation(("user", "x" * 400))
    assert Facts(**one).token_estimate == 103
    assert Facts(**conversation(("user", "é" * 200))).token_estimate == 103
    assert holds({"token_estimate": {"gt": 100}}, **one)
    assert not holds({"token_estimate": {"gt": 103}}, **one)


@pytest.mark.parametrize(
    ("match", "fits"),
    [
        ({"pattern": r"\b\d{3}-\d{2}-\d{4}\b"}, True),
        ({"pattern": r"\b\d{3}-\d{2}-\d{4}\b", "roles": ["user"]}, False),
        ({"pattern": r"\b\d{3}-\d{2}-\d{4}\b", "roles": ["user", "tool"]}, True),
        ({"pattern": "SECRET WORD"}, False),
        ({"pattern": "SECRET WORD", "flags": "i"}, True),
        ({"pattern": "SECRET WORD", "flags": "i", "roles": ["tool"]}, False),
        ({"pattern": "elsewhere", "roles": ["user"]}, True),
        ({"pattern": "elsewhere", "roles": ["tool"]}, False),
    ],
)
def test_AG_PE_1_content_of_messages_by_role(match: dict[str, Any], fits: bool) -> None:
    facts = conversation(("user", "the secret word"), ("tool", "number 123-45-6789"))
    facts["texts"].append(Text(Target.PROMPT, "/metadata/note", "elsewhere"))
    assert holds({"message_content": match}, **facts) is fits


def test_AG_PE_1_a_result_of_a_tool_is_not_what_the_user_said() -> None:
    """Some APIs put it into a message of the user: its kind says whose it is."""
    facts = conversation(("user", "hello"))
    facts["texts"].append(Text(Target.TOOL_RESULT, "/messages/0/content/1/content", "the found word"))
    for roles, fits in ((["tool"], True), (["user"], False), ([], True)):
        assert holds({"message_content": {"pattern": "found word", "roles": roles}}, **facts) is fits


def test_content_hits_are_places_in_characters_and_bounded() -> None:
    compiled = CompiledConditions(msgspec.convert({"message_content": {"pattern": "b+"}}, Conditions), exact=False)
    facts = Facts(texts=[Text(Target.PROMPT, "/a", "äbbä"), Text(Target.PROMPT, "/b", "b")])
    assert [(hit.text.path, hit.start, hit.end) for hit in compiled.content_hits(facts)] == [("/a", 1, 3), ("/b", 0, 1)]
    many = Text(Target.PROMPT, "/a", "b ä" * (MAX_VALUES_PER_RULE + 1))
    hits = compiled.content_hits(Facts(texts=[many]))
    assert len(hits) == MAX_VALUES_PER_RULE
    assert all(many.text[hit.start : hit.end] == "b" for hit in hits)
    with pytest.raises(TooManyHits):
        compiled.content_hits(Facts(texts=[many] * (MAX_CONTENT_HITS // MAX_VALUES_PER_RULE + 1)))


def test_only_the_first_hit_is_looked_for_where_one_is_enough() -> None:
    compiled = CompiledConditions(msgspec.convert({"message_content": {"pattern": "b"}}, Conditions), exact=False)
    hit = compiled.content_hit(Facts(texts=[Text(Target.PROMPT, "/a", "aab" * 9)]))
    assert hit is not None
    assert (hit.start, hit.end) == (2, 3)
    assert compiled.content_hit(Facts(texts=[Text(Target.PROMPT, "/a", "")])) is None


def test_a_pattern_that_matches_nothing_at_all_ends() -> None:
    compiled = CompiledConditions(msgspec.convert({"message_content": {"pattern": "x?"}}, Conditions), exact=False)
    assert len(compiled.content_hits(Facts(texts=[Text(Target.PROMPT, "", "ab")]))) == 3


@pytest.mark.parametrize(
    ("schedule", "fits"),
    [
        ({"cron": "* 9-17 * * mon-fri"}, True),
        ({"cron": "* 9-17 * * mon-fri", "outside": True}, False),
        ({"cron": "* 9-17 * * mon-fri", "time_zone": "Asia/Tokyo"}, False),
        ({"cron": "* 23 * * fri", "time_zone": "Asia/Tokyo"}, True),
    ],
)
def test_AG_PE_4_a_schedule_in_its_time_zone(schedule: dict[str, Any], fits: bool) -> None:
    friday = datetime(2026, 11, 20, 14, 30, tzinfo=UTC)
    assert holds({"schedule": schedule}, now=friday) is fits


def test_a_schedule_without_a_time_is_no_answer() -> None:
    with pytest.raises(ValueError, match="time"):
        holds({"schedule": {"cron": "* * * * *"}})


def test_AG_PE_3_clients_by_name_or_id() -> None:
    key = {"client_id": "key_1", "client_name": "Team A"}
    assert holds({"client": "team a"}, **key)
    assert holds({"client": ["x", "key_*"]}, **key)
    assert not holds({"client": "team b"}, **key)
    assert not holds({"client": "*"})
    assert not holds({"group": "*"}, **key)


@pytest.mark.parametrize(
    ("ip", "fits"),
    [
        ("10.1.2.3", True),
        ("11.0.0.1", False),
        ("::ffff:10.1.2.3", True),
        ("fe80::1%eth0", True),
        ("2001:db8::1", False),
        ("", False),
    ],
)
def test_addresses_by_network(ip: str, fits: bool) -> None:
    assert holds({"ip": ["10.0.0.0/8", "fe80::/10"]}, ip=ip) is fits


def test_AG_PE_3_headers_by_glob() -> None:
    assert CompiledConditions(Conditions(header={"X-Team": "a*"}), exact=False).header_names == {"x-team"}
    assert holds({"header": {"X-Team": "a*"}}, headers={"x-team": "Alpha"})
    assert not holds({"header": {"X-Team": "a*"}}, headers={"x-team": "beta"})
    assert not holds({"header": {"X-Team": "*"}})


def test_methods_by_glob() -> None:
    assert holds({"method": "tools/*"}, kind="mcp", method="tools/call")
    assert not holds({"method": "tools/*"}, kind="mcp", method="prompts/get")
    assert not holds({"method": "*"})


def test_every_condition_must_hold() -> None:
    match = {"model": "gpt-*", "client": "a"}
    assert holds(match, model="gpt-4", client_id="k", client_name="a")
    assert not holds(match, model="gpt-4", client_id="k", client_name="b")
