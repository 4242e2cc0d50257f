"""Checks of what a server does: stable lists, the same for everybody, quiet errors, harmless answers, active probes."""

from __future__ import annotations

import re
from typing import Final

from rules.scanning.collector import Collector, listed, shown
from rules.scanning.facts import ErrorAnswer, ListDifference, ServerFacts, ToolAnswer

MAX_LIST_BYTES: Final = 1_048_576
MAX_TOOLS: Final = 128
MAX_LEAK_CHARS: Final = 16_384

LEAKS: Final = tuple(
    (name, re.compile(pattern))
    for name, pattern in (
        ("a Python traceback", r"Traceback \(most recent call last\)|File \"[^\"\n]{1,200}\", line \d+"),
        ("a JavaScript stack", r"\n?\s{0,8}at [\w.$<>\[\] ]{1,80} \((?:/|file:|node:|[A-Z]:\\)[^)\n]{1,200}:\d+:\d+\)"),
        ("a Java stack", r"\bat [a-z][\w.]{2,100}\.[A-Z]\w{0,60}\.\w{1,60}\([A-Z]\w{0,60}\.java:\d+\)"),
        ("a Go stack", r"goroutine \d+ \[|\.go:\d+ \+0x"),
        ("a .NET stack", r"\bat [A-Z][\w.]{2,100}\([^)\n]{0,100}\) in [^\n]{1,200}:line \d+"),
        (
            "a path of the server",
            r"(?<![\w/.:])/(?:home|root|usr|var|opt|srv|app|etc|tmp|Users)/[\w.\-]+/[\w./\-]+"
            r"|\b[A-Z]:\\(?:Users|inetpub|Program Files)\\[^\s\"']+",
        ),
        (
            "a database error",
            r"SQLSTATE|sqlite3?\.\w*Error|psycopg2?\.|ORA-\d{5}|You have an error in your SQL syntax|PG::\w+Error",
        ),
        ("an address of a database", r"\b(?:postgres(?:ql)?|mysql|mongodb(?:\+srv)?|redis|amqp)://[^\s\"']+"),
        (
            "a variable of the environment",
            r"\b(?:AWS_SECRET_ACCESS_KEY|DATABASE_URL|OPENAI_API_KEY|GITHUB_TOKEN)\s*[=:]",
        ),
    )
)
"""What errors must not show."""


def leak_in(text: str) -> tuple[str, str] | None:
    """What an error shows of the server's inside, and the place where it does."""
    shown_text = text[:MAX_LEAK_CHARS]
    for name, pattern in LEAKS:
        if match := pattern.search(shown_text):
            return name, shown_text[max(0, match.start() - 20) : match.end() + 40]
    return None


def check_listing(facts: ServerFacts, found: Collector) -> None:
    """Whether lists hold still, are the same for everybody, and end."""
    if facts.repeated:
        found.add(
            "MCP-LIST-001", "The same client asked twice and was told different things.",
            evidence=_said(facts.repeated), location=_place(facts.repeated),
        )  # fmt: skip
    unstable = {(one.kind, one.name) for one in facts.repeated}
    for_others = [one for one in facts.other_client if (one.kind, one.name) not in unstable]
    if for_others:
        found.add(
            "MCP-LIST-002", f"A client that calls itself {shown(facts.other_client_name)} was told something else.",
            evidence=_said(tuple(for_others)), location=_place(tuple(for_others)),
        )  # fmt: skip
    problems = list(facts.list_problems)
    if facts.list_bytes > MAX_LIST_BYTES:
        problems.append(f"The lists have {facts.list_bytes} bytes.")
    if len(facts.description.tools) > MAX_TOOLS:
        problems.append(f"There are {len(facts.description.tools)} tools.")
    if problems:
        found.add("MCP-LIST-003", " ".join(problems), location="/tools")
    if "lists" in facts.gathered and facts.transport != "stdio" and not facts.is_loopback and not facts.rate_limit_seen:
        found.add("MCP-LIMIT-001", f"None of {facts.requests} requests in short order was refused or told of a limit.")


def check_errors(facts: ServerFacts, found: Collector) -> None:
    """What comes back for requests that cannot succeed."""
    for answer in facts.errors:
        if leak := leak_in(answer.text):
            found.add("MCP-ERROR-001", f"The answer to {_request(answer)} shows {leak[0]}.", evidence=leak[1])
        if answer.lost or answer.status >= 500:
            how = "ended the connection" if answer.lost else f"was answered with HTTP {answer.status}"
            found.add("MCP-ERROR-003", f"{_request(answer).capitalize()} {how}.", evidence=answer.text[:200])
    told = {
        name: value for name, value in facts.server_headers.items() if re.search(r"\d", value) or name == "x-powered-by"
    }
    if told:
        found.add(
            "MCP-ERROR-002",
            "Whoever looks for a known weakness knows where.",
            evidence=", ".join(f"{name}: {value}" for name, value in sorted(told.items())),
        )


def check_active(facts: ServerFacts, found: Collector) -> None:
    """What the active probes showed."""
    indexes = {tool.get("name"): index for index, tool in enumerate(facts.description.tools) if type(tool) is dict}
    for answer in facts.tool_answers:
        where = f"/tools/{indexes[answer.tool]}" if answer.tool in indexes else "/tools"
        _check_answer(answer, where, found)


def _check_answer(answer: ToolAnswer, where: str, found: Collector) -> None:
    name = shown(answer.tool)
    if answer.marker_seen and answer.probe in ("canary", "traversal"):
        found.add(
            "MCP-ACTIVE-001", f"{name} gave out a file that was planted or lies outside every tool's place.",
            evidence=f"{answer.arguments} → {answer.text}", location=where, kind="tool", subject=answer.tool,
        )  # fmt: skip
    if answer.marker_seen and answer.probe == "ssrf":
        found.add(
            "MCP-ACTIVE-002", f"{name} made a request to an address of the scanner on the server's own machine.",
            evidence=answer.arguments, location=where, kind="tool", subject=answer.tool,
        )  # fmt: skip
    if answer.probe in ("types", "nesting") and (leak := leak_in(answer.text)):
        found.add(
            "MCP-ACTIVE-003", f"An error of {name} shows {leak[0]}.",
            evidence=leak[1], location=where, kind="tool", subject=answer.tool,
        )  # fmt: skip
    if answer.lost and answer.probe == "nesting":
        found.add(
            "MCP-ACTIVE-004", f"{name} did not survive an argument of many levels.",
            evidence=answer.text[:200], location=where, kind="tool", subject=answer.tool,
        )  # fmt: skip


def _request(answer: ErrorAnswer) -> str:
    return {
        "malformed": "a body that is not JSON",
        "unknown_method": "a method that does not exist",
        "unknown_tool": "a call of a tool that does not exist",
    }.get(answer.probe, answer.probe)


def _said(differences: tuple[ListDifference, ...]) -> str:
    words = {what: [one.name for one in differences if one.what == what] for what in ("added", "removed", "changed")}
    return "; ".join(f"{what}: {listed(names)}" for what, names in words.items() if names)


def _place(differences: tuple[ListDifference, ...]) -> str:
    return next((one.pointer for one in differences if one.pointer), "")
