"""Findings in what a server declares say which declaration they stand in, so that they are news once."""

from __future__ import annotations

import pytest

from proxies.contract import CallRecord, MCPSettings
from rules.model import Action
from tests.integration.mcp.test_tool_control import Scripted, scripted
from tests.mcp_control import ControlConsole, accepting, tool
from tests.mcp_rules import ALERTED, BLOCKED
from tests.mcp_wire import json_answer, request, result

ODD = {**tool("odd"), "description": f"Say {ALERTED}."}
ODD_PROMPT = {"name": "p", "description": ALERTED}


def marks(record: CallRecord) -> set[str]:
    return {finding.declaration for finding in record.findings}


@pytest.mark.parametrize("era", ["legacy", "modern"])
@pytest.mark.parametrize("controlled", [True, False])
async def test_every_list_marks_a_finding_with_the_same_declaration(era: str, controlled: bool) -> None:
    server = Scripted(tool("aaa"), ODD, era=era)
    mcp = MCPSettings(control=accepting(tool("aaa"), ODD)) if controlled else MCPSettings()
    async with scripted(server, ControlConsole(), mcp=mcp) as ends:
        session = await ends.client.initialize() if era == "legacy" else None

        async def listed() -> CallRecord:
            body = request("tools/list", 5)
            answer = await (ends.client.post(body, session=session) if session else ends.client.post_modern(body))
            assert ALERTED in answer.text
            record: CallRecord = ends.proxy.records[-1]
            assert record.findings
            return record

        first, second = await listed(), await listed()
        server.tools = [ODD]  # In another place of the list it is the same declaration.
        third = await listed()
        assert marks(first) == marks(second) == marks(third)
        assert first.findings[0].path != third.findings[0].path
        (mark,) = marks(first)
        assert len(mark) == 64
        if not controlled:
            server.tools = [{**ODD, "title": "Odd"}]
            assert marks(await listed()).isdisjoint({mark, ""})


@pytest.mark.parametrize("era", ["legacy", "modern"])
async def test_T_01_a_known_list_with_findings_is_judged_again_and_not_read_again(era: str) -> None:
    server = Scripted(tool("aaa"), ODD, era=era)
    async with scripted(server, ControlConsole(), mcp=MCPSettings(control=accepting(tool("aaa"), ODD))) as ends:
        session = await ends.client.initialize() if era == "legacy" else None
        answers, records = [], []
        for _ in range(3):
            body = request("tools/list", 5)
            answer = await (ends.client.post(body, session=session) if session else ends.client.post_modern(body))
            answers.append(answer.json())
            records.append(ends.proxy.records[-1])
        finished = ends.proxy.runtime.controlled.finished_lists
        assert len(finished) == 1
    assert answers[0] == answers[1] == answers[2]
    for record in records:
        assert record.findings == records[0].findings
        assert (record.action, record.outcome) == (Action.ALERT, "allowed")
    assert marks(records[2]) != {""}


async def test_a_list_in_which_something_is_masked_is_read_each_time() -> None:
    mask = {"name": "m", "packs": ["test-texts"], "overrides": [{"rules": "TEST-0002", "action": "redact"}]}
    mcp = MCPSettings(control=accepting(ODD))
    async with scripted(Scripted(ODD), ControlConsole(), mcp=mcp, policies=[mask]) as ends:
        session = await ends.client.initialize()
        for _ in range(2):
            answer = await ends.client.post(request("tools/list", 5), session=session)
            assert ALERTED not in answer.text
            assert ends.proxy.records[-1].action is Action.REDACT
        assert len(ends.proxy.runtime.controlled.finished_lists) == 0


async def test_instructions_and_prompts_are_declarations_and_answers_of_tools_are_not() -> None:
    prompts = json_answer(result(7, prompts=[ODD_PROMPT]))
    called = json_answer(result(8, content=[{"type": "text", "text": ALERTED}], tools=[ODD]))
    server = Scripted(ODD, instructions=f"Do {ALERTED}", prompts_list=prompts, tools_call=called)
    async with scripted(server, ControlConsole(), mcp=MCPSettings()) as ends:
        session = await ends.client.initialize()
        again = await ends.client.initialize()
        introductions = [one for one in ends.proxy.records if one.operation == "initialize"]
        await ends.client.post(request("prompts/list", 7), session=session)
        listed = ends.proxy.records[-1]
        await ends.client.post(request("tools/call", 8, name="odd"), session=again)
        call = ends.proxy.records[-1]
    assert marks(introductions[0]) == marks(introductions[1]) != {""}
    assert marks(listed) not in ({""}, marks(introductions[0]))
    assert marks(call) == {""}


async def test_a_list_that_is_refused_is_news_each_time() -> None:
    server = Scripted({**tool("odd"), "description": BLOCKED})
    async with scripted(server, ControlConsole(), mcp=MCPSettings()) as ends:
        session = await ends.client.initialize()
        answer = await ends.client.post(request("tools/list", 5), session=session)
        record = ends.proxy.records[-1]
    assert answer.json()["error"]["code"] == -32010
    assert (record.outcome, marks(record)) == ("blocked", {""})
