"""The decisions of tool control without I/O: what is read, kept, compared and checked."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import msgspec
import pytest

from proxies.contract import EntryRule, MCPControl, Observation, Observed
from proxies.mcp.control.catalogue import Catalogue
from proxies.mcp.control.declarations import Declaration, Listing
from proxies.mcp.control.judgements import Judgements
from proxies.mcp.control.known_lists import FinishedList, FinishedLists, KnownPage
from proxies.mcp.control.passing import accepts_instructions, filtered_result, is_accepted, passing, visible, why_not
from proxies.mcp.control.schemas import check_arguments, check_result
from proxies.mcp.messages import Message
from proxies.mcp.param_headers import InvalidAnnotation
from proxies.mcp.refusals import RPCRefusal
from rules.pinning.canonical import hash_json, sha256
from tests.mcp_control import accepting, tool


def listing(*documents: Any, kind: Any = "tool", **more: Any) -> Listing:
    return Listing.read(kind, documents, **more)


def declaration(**members: Any) -> Declaration:
    return listing(tool("one", **members)).entries["one"]


# --- Lists ------------------------------------------------------------------------------------------------------------


def test_T_02_the_hash_is_that_of_the_whole_object_and_of_nothing_else() -> None:
    document = tool("one", **{"x-unknown": [1, {"b": 2, "a": 1}]})
    reordered = json.loads(json.dumps(document, sort_keys=True))
    first = listing(document).entries["one"]
    assert first.h_raw == hash_json(document) == listing(reordered).entries["one"].h_raw
    assert listing({**document, "x-unknown": [True, {"b": 2, "a": 1}]}).entries["one"].h_raw != first.h_raw


def test_T_02_what_python_takes_for_equal_is_not_taken_over() -> None:
    before = listing(tool("one", annotations={"readOnlyHint": True}))
    after = listing(tool("one", annotations={"readOnlyHint": 1}), before=before)
    again = listing(tool("one", annotations={"readOnlyHint": True}), before=before)
    assert again.entries["one"] is before.entries["one"]
    assert after.entries["one"].h_raw != before.entries["one"].h_raw
    assert after.digest != before.digest == again.digest


def test_T_05_names_that_come_twice_have_no_entry_however_often_they_come() -> None:
    found = listing(tool("a"), tool("b"), tool("a"), tool("a", "other"))
    assert list(found.entries) == ["b"]
    assert found.problems == ["The tool a is declared more than once; none of them is offered."]


def test_what_cannot_be_pinned_is_no_entry() -> None:
    deep: Any = 1
    for _ in range(200):
        deep = [deep]
    found = listing(
        tool("deep", x=deep), {"name": 7}, "text", tool("long" * 2000), tool("large", "x" * 1_100_000), tool("ok")
    )
    assert list(found.entries) == ["ok"]
    assert len(found.problems) == 3


def test_M_18_entries_are_ordered_by_name_and_the_digest_knows_no_order() -> None:
    one, other = listing(tool("b"), tool("a")), listing(tool("a"), tool("b"))
    assert list(one.entries) == ["a", "b"]
    assert one.digest == other.digest
    assert "Listing tool 2" in repr(one)
    assert "Declaration tool a" in repr(one.entries["a"])


def test_M_05_annotations_are_read_once_and_invalid_ones_are_remembered() -> None:
    bad = declaration(inputSchema={"properties": {"r": {"type": "string", "x-mcp-header": "a b"}}})
    for _ in range(2):
        with pytest.raises(InvalidAnnotation):
            bad.headers  # noqa: B018
    good = declaration(inputSchema={"properties": {"r": {"type": "string", "x-mcp-header": "R"}}})
    assert [one.header for one in good.headers] == ["mcp-param-r"]


# --- Catalogue --------------------------------------------------------------------------------------------------------


def test_T_04_a_list_is_stale_from_the_moment_in_which_the_server_says_so() -> None:
    catalogue = Catalogue()
    assert not catalogue.was_listed("tool", catalogue.changed_at("tool"))
    moment = catalogue.moment
    catalogue.keep(listing(tool("one")), moment)
    assert catalogue.was_listed("tool", catalogue.changed_at("tool"))
    assert not catalogue.note_change("notifications/progress")
    assert catalogue.note_change("notifications/tools/list_changed")
    assert not catalogue.was_listed("tool", catalogue.changed_at("tool"))
    # A list that was asked for before the notice changes nothing about that, and an older one replaces no newer one.
    catalogue.keep(listing(tool("two")), moment)
    assert not catalogue.was_listed("tool", catalogue.changed_at("tool"))
    catalogue.keep(listing(tool("three")), catalogue.moment)
    catalogue.keep(listing(tool("one")), moment)
    assert catalogue.was_listed("tool", catalogue.changed_at("tool"))
    assert catalogue.find("tool", "three") is not None
    assert catalogue.find("prompt", "three") is None
    assert "tool=1" in repr(catalogue)
    catalogue.forget()
    assert catalogue.listing("tool") is None


def test_M_03_the_headers_of_a_call_are_those_of_the_newest_list() -> None:
    catalogue = Catalogue()
    annotated = tool("one", inputSchema={"properties": {"r": {"type": "string", "x-mcp-header": "R"}}})
    broken = tool("bad", inputSchema={"properties": {"r": {"type": "string", "x-mcp-header": ""}}})
    catalogue.keep(listing(annotated, broken), 0)
    assert [one.header for one in catalogue.wanted_headers("one")] == ["mcp-param-r"]
    assert catalogue.wanted_headers("bad") == catalogue.wanted_headers("none") == ()


# --- Passing ----------------------------------------------------------------------------------------------------------


def test_T_01_name_and_hash_decide_and_a_key_loosens_nothing() -> None:
    one = declaration()
    approved = accepting(tool("one"))
    assert why_not(approved, one, "") == ""
    assert why_not(MCPControl(), one, "") == "pending"
    assert why_not(accepting(tool("one", "other")), one, "") == "changed"
    assert why_not(accepting(tool("one"), enabled=False), one, "") == "disabled"
    assert why_not(accepting(tool("one"), enabled=False, reason="scan"), one, "") == "scan"
    for enabled in (True, False):
        control = MCPControl(tools=approved.tools, tool_overrides={"key": {"one": enabled}})
        assert (why_not(control, one, "key") == "") is enabled
        assert why_not(control, one, "other") == ""
    loose = MCPControl(tool_overrides={"key": {"one": True}})
    assert why_not(loose, one, "key") == "pending"
    opened = MCPControl(
        tools={"one": EntryRule(accepted=(one.h_raw,), enabled=False)}, tool_overrides={"key": {"one": True}}
    )
    assert why_not(opened, one, "key") == ""


def test_T_07_prompts_and_templates_have_rules_of_their_own_and_resources_none() -> None:
    prompts = listing({"name": "p"}, kind="prompt")
    templates = listing({"uriTemplate": "x://{a}", "name": "t"}, kind="template")
    resources = listing({"uri": "x://a", "name": "r"}, kind="resource")
    control = MCPControl(
        prompts={"p": EntryRule(accepted=(prompts.entries["p"].h_raw,))},
        templates={"x://{a}": EntryRule(accepted=(templates.entries["x://{a}"].h_raw,))},
    )
    for one in (prompts, templates, resources):
        assert is_accepted(control, one)
        assert len(passing(control, one, "")) == 1
    assert not is_accepted(MCPControl(), prompts)
    assert is_accepted(MCPControl(), resources)
    assert visible(None, prompts, "") == visible(control, prompts, "") != visible(MCPControl(), prompts, "")


def test_T_07_instructions_pass_by_their_hash() -> None:
    control = MCPControl(instructions=(sha256(b"Be kind."),))
    assert accepts_instructions(control, None)
    assert accepts_instructions(control, "Be kind.")
    assert not accepts_instructions(control, "Be kind. ")
    assert not accepts_instructions(control, ["Be kind."])


def test_L_09_a_page_that_comes_late_is_filtered_as_of_now() -> None:
    page = {"tools": [tool("one"), tool("two"), 7], "nextCursor": "x"}
    assert filtered_result(accepting(tool("two")), "tools/list", page, "") == {
        "tools": [tool("two")],
        "nextCursor": "x",
    }
    assert filtered_result(accepting(tool("two")), "tools/list", {"tools": 7}, "") == {"tools": []}
    assert filtered_result(None, "tools/list", page, "") is page
    assert filtered_result(MCPControl(), "tools/call", page, "") is page


# --- Schemas ----------------------------------------------------------------------------------------------------------


def test_T_10_a_schema_that_is_none_lets_nothing_pass() -> None:
    for schema in ({"type": "what"}, 7, {"properties": []}):
        one = declaration(inputSchema=schema, outputSchema=schema)
        for _ in range(2):
            with pytest.raises(RPCRefusal, match="not usable"):
                check_arguments(one, {})
            with pytest.raises(RPCRefusal, match="not usable"):
                check_result(one, {"structuredContent": {}})


def test_T_10_what_has_no_schema_or_no_structure_passes() -> None:
    bare = listing({"name": "one"}).entries["one"]
    check_arguments(bare, {"anything": 1})
    check_result(bare, {"structuredContent": 1})
    strict = declaration(outputSchema=False)
    check_result(strict, {"content": []})
    check_result(strict, {"structuredContent": 1, "isError": True})
    with pytest.raises(RPCRefusal):
        check_result(strict, {"structuredContent": 1})


# --- Known lists ------------------------------------------------------------------------------------------------------


def answer(id: Any, result: Any) -> bytes:
    return json.dumps({"jsonrpc": "2.0", "id": id, "result": result}).encode()


def test_a_known_page_is_recalled_for_the_same_bytes_and_the_right_id_only() -> None:
    page, result = KnownPage(), {"tools": [tool("one")]}
    assert page.recall(answer(1, result), 1) is None
    page.keep(answer(1, result), Message(kind="response", id=1, result=result))
    recalled = page.recall(answer(2, result), 2)
    assert recalled is not None
    assert recalled.result is result
    assert page.recall(answer("2", result), 2) is None
    assert page.recall(answer(2, {"tools": [tool("one", "A tool!")]}), 2) is None
    assert page.recall(b"\xff", 2) is None
    assert page.recall(b'{"id": 2, "error": {}}', 2) is None
    page.keep(b"[]", Message(kind="response", id=1, result=result))
    assert page.recall(answer(2, result), 2) is not None


def test_finished_lists_are_bounded() -> None:
    lists = FinishedLists(max_answers=2)
    for key in ("a", "b"):
        lists.keep(key, FinishedList(msgspec.Raw(b"{}"), [], "", ()))
    assert lists.find("a") is not None
    lists.keep("c", FinishedList(msgspec.Raw(b"{}"), [], "", ()))
    assert (lists.find("b"), len(lists)) == (None, 2)
    lists.clear()
    assert len(lists) == 0


# --- Judgements -------------------------------------------------------------------------------------------------------


async def test_T_01_whoever_waits_hears_of_the_judgement_or_goes_on_without() -> None:
    sent: list[Any] = []
    judgements = Judgements(sent.append, wait_seconds=0.01)
    judgements.report(Observation("obs_1", "prx", 0.0, "list"))
    assert isinstance(sent[0], Observed)
    assert not await judgements.wait("obs_1")
    waiting = asyncio.create_task(judgements.wait("obs_1"))
    await asyncio.sleep(0)
    judgements.judged("obs_1")
    judgements.judged("obs_1")
    assert await waiting
    assert await judgements.wait("unknown")
    assert repr(judgements) == "<Judgements awaited=0>"
