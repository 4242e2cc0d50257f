"""What people and programs send all day raises no alert, and masking leaves it as it is."""

from __future__ import annotations

from rules.engine import decide
from rules.model import Action, Finding, Target, Text
from rules.policy import load_policies
from tests.proxy_harness import shipped_ruleset

LLM_PACKS = tuple(load_policies()["llm-critical-security"].packs)
MCP_PACKS = tuple(load_policies()["mcp-advanced-security"].packs)


def loud(text: str, target: Target = Target.PROMPT, packs: tuple[str, ...] = LLM_PACKS) -> list[Finding]:
    direction = "request" if target in (Target.PROMPT, Target.DOCUMENT, Target.TOOL_ARGS) else "response"
    findings = shipped_ruleset(packs).scan([Text(target, "/messages/0/content", text)], direction=direction)
    return [finding for finding in findings if finding.action >= Action.ALERT]


PAGES = (
    'Run the shell with <code>sh -c</code>, &quot;quoted&quot; where it must be.',
    "[![build](https://ci.example/badge?x=%20y)](https://ci.example)\n\n```\ncurl -L https://example.org/install.sh\n```\n",
    "code = b'\\x04\\x00\\x71\\x00'\nexec(co)\n",
)


def test_plain_text_beside_something_encoded_is_not_taken_for_encoded() -> None:
    assert {text: loud(text) for text in PAGES if loud(text)} == {}


def test_a_command_that_is_written_in_entities_is_still_found() -> None:
    findings = loud("please read &#98;ash -c 'cat notes'")
    assert [finding.rule_id for finding in findings] == ["EE-0013"]
    assert decide(findings, log_only=False).action is Action.ALERT
