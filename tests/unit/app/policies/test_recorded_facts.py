"""What a record of a call tells about it to the conditions of a policy."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from app.policies.recorded_facts import facts_of
from app.traffic.captured import CapturedCall
from proxies.contract import CapturedText
from rules.facts import Message, ToolCall
from rules.model import Target


def captured(kind: str, operation: str, *texts: CapturedText) -> CapturedCall:
    return CapturedCall(
        call_id="c",
        proxy_id="p",
        started_at=datetime(2026, 1, 1, tzinfo=UTC),
        protocol=kind,
        operation=operation,
        principal_id="key_1",
        principal_name="bob",
        level="proxy",
        client_ip="10.0.0.1",
        verdict="allowed",
        findings=(),
        omitted=0,
        texts=texts,
    )


def test_facts_are_put_together_from_what_was_recorded() -> None:
    texts = (
        CapturedText("request", Target.SYSTEM_PROMPT, "/messages/0/content", "be kind"),
        CapturedText("request", Target.PROMPT, "/messages/1/content/0/text", "hello"),
        CapturedText("request", Target.PROMPT, "/messages/1/content/1/text", "again"),
        CapturedText("request", Target.TOOL_RESULT, "/messages/2/content", "42"),
    )
    facts = facts_of(captured("openai.chat", "gpt-4o", *texts), texts, "request", "llm")
    assert facts.model == "gpt-4o"
    assert facts.messages == (
        Message("system", "/messages/0"),
        Message("user", "/messages/1"),
        Message("tool", "/messages/2"),
    )
    arguments = (
        CapturedText("request", Target.TOOL_NAME, "/params/name", "run"),
        CapturedText("request", Target.TOOL_ARGS, "/params/arguments/paths/0", "/a"),
        CapturedText("request", Target.TOOL_ARGS, "/params/arguments/paths/1", "/b"),
        CapturedText("request", Target.TOOL_ARGS, "/params/arguments/a~1b/c", "x"),
    )
    facts = facts_of(captured("mcp", "tools/call run", *arguments), arguments, "request", "mcp")
    assert (facts.method, facts.acts) == ("tools/call", True)
    assert facts.tool_calls == (ToolCall("run", {"paths": ["/a", "/b"], "a/b": {"c": "x"}}, "/params"),)


def test_messages_that_hold_results_of_tools_count_as_on_the_wire() -> None:
    texts = (
        CapturedText("request", Target.SYSTEM_PROMPT, "/system", "be kind"),
        CapturedText("request", Target.PROMPT, "/messages/0/content", "hello"),
        CapturedText("request", Target.TOOL_RESULT, "/messages/1/content/0/content", "42"),
        CapturedText("request", Target.TOOL_RESULT, "/messages/1/content/1/content", "43"),
        CapturedText("request", Target.PROMPT, "/messages/1/content/2/text", "and?"),
        CapturedText("request", Target.TOOL_RESULT, "/messages/2/content/0/content", "44"),
    )
    facts = facts_of(captured("anthropic.messages", "m", *texts), texts, "request", "llm")
    assert [(message.role, message.path, message.counts) for message in facts.messages] == [
        ("system", "/system", False),
        ("user", "/messages/0", True),
        ("user", "/messages/1", True),
        ("tool", "/messages/1/content/0", False),
        ("tool", "/messages/1/content/1", False),
        ("tool", "/messages/2", True),
    ]
    assert (facts.client_id, facts.client_name) == ("key_1", "bob")


CHAT = "/choices/0/delta/tool_calls/0/function"


@pytest.mark.parametrize(
    ("texts", "calls"),
    [
        (
            [
                ("tool_name", "/messages/1/tool_calls/0/function/name", "a"),
                ("tool_name", "/tools/0/function/name", "b"),
            ],
            [("a", None)],
        ),
        (
            [
                ("tool_name", "/messages/1/content/0/name", "a"),
                ("tool_args", "/messages/1/content/0/input/x/0", "y"),
                ("tool_args", "/messages/1/content/0/input/x/1", "z"),
            ],
            [("a", {"x": ["y", "z"]})],
        ),
        (
            [
                ("tool_name", "/contents/1/parts/0/functionCall/name", "a"),
                ("tool_args", "/contents/1/parts/0/functionCall/args/x", "y"),
                ("tool_name", "/contents/2/parts/0/functionResponse/name", "a"),
            ],
            [("a", {"x": "y"})],
        ),
        (
            [
                ("tool_name", f"{CHAT}/name", "a"),
                ("tool_args", f"{CHAT}/arguments", '{"x": 1}'),
                ("tool_name", f"{CHAT}/name", "b"),
                ("tool_args", f"{CHAT}/arguments", '{"y": 2}'),
            ],
            [("a", {"x": 1}), ("b", {"y": 2})],
        ),
        (
            [
                ("tool_name", f"{CHAT}/name", "a"),
                ("tool_args", f"{CHAT}/arguments", "command"),
                ("tool_args", f"{CHAT}/arguments", '{"x": 1}'),
            ],
            [("a", None)],
        ),
        (
            [
                ("tool_name", "/content_block/name", "a"),
                ("tool_args", "/content/1/partial_json", '{"x": "y"}'),
            ],
            [("a", {"x": "y"})],
        ),
    ],
)
def test_tools_that_a_model_was_told_of_or_asks_for(
    texts: list[tuple[str, str, str]], calls: list[tuple[str, Any]]
) -> None:
    recorded = [CapturedText("request", Target(target), path, text) for target, path, text in texts]
    facts = facts_of(captured("openai.chat", "m", *recorded), recorded, "request", "llm")
    assert [(call.name, call.arguments) for call in facts.tool_calls] == calls
