"""`ostiary scan`: a scan in this process, with its report on the standard output and an exit status for CI."""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path

from app import clock
from app.errors import AppError
from app.policies.library import PolicyLibrary
from app.scanner.reading import default_policy, scan_policy
from app.scanner.report import Format, render
from app.scanner.result import FindingView, ScanResult, build_result
from proxies.contract import ScanTarget, StdioServer
from proxies.scan.run import ScanFailed, gather
from rules.engine import Ruleset
from rules.model import Finding, Severity, Text
from rules.ruleset_cache import cached_ruleset
from rules.scanning import assess
from rules.scanning.facts import ServerFacts

EXIT_FAILED = 1
EXIT_UNUSABLE = 2
EXIT_FINDINGS = 3
"""Neither 1, for a scan that came to nothing, nor 2, for a command line that is wrong."""


class Unusable(Exception):
    """The command line cannot be followed; the message says why."""


def run(given: argparse.Namespace, separated: Sequence[str] | None) -> int:
    """Scan and report. `separated` is what followed `--`: a command."""
    try:
        target = _target(given, separated)
        headers = _headers(given.header, os.environ)
        if given.active and not given.yes and not _confirmed(target):
            raise ScanFailed("Active probes were not confirmed. Nothing was sent.")
        result = asyncio.run(_scan(given, target, headers))
        _write(given, result)
    except Unusable as error:
        print(f"ostiary: {error}", file=sys.stderr)
        return EXIT_UNUSABLE
    except (ScanFailed, AppError) as error:
        print(f"ostiary: {error}", file=sys.stderr)
        return EXIT_FAILED
    except OSError as error:
        print(f"ostiary: {error.filename or 'the report'}: {error.strerror}", file=sys.stderr)
        return EXIT_FAILED
    return EXIT_FINDINGS if is_failing(result, given.fail_on) else 0


def is_failing(result: ScanResult, fail_on: str) -> bool:
    """Whether the worst finding is of the given severity or worse."""
    if fail_on == "never":
        return False
    return any(Severity.parse(finding.severity) >= Severity.parse(fail_on) for finding in result.findings)


def _target(given: argparse.Namespace, separated: Sequence[str] | None) -> ScanTarget:
    if separated:
        if given.target:
            raise Unusable("Give either a URL or, after --, a command.")
        return ScanTarget(transport="stdio", stdio=StdioServer(tuple(separated), _environment(given.env, os.environ)))
    if not given.target:
        raise Unusable("Give the URL of the server, or its command after --.")
    return ScanTarget(target_url=given.target.rstrip("/"), ca_path=given.ca)


def _headers(given: Sequence[str], environ: Mapping[str, str]) -> list[tuple[str, str]]:
    fields = []
    for text in given:
        name, colon, value = text.partition(":")
        name, value = name.strip().lower(), value.strip()
        if not colon or not name or not value:
            raise Unusable("A header is NAME:VALUE.")
        if value.startswith("env:"):
            variable = value.removeprefix("env:")
            if variable not in environ:
                raise Unusable(f"The variable {variable} for the header {name} is not set.")
            value = environ[variable]
        if not f"{name}{value}".isascii() or not f"{name}{value}".isprintable():
            raise Unusable(f"The header {name} holds characters that must not be sent.")
        fields.append((name, value))
    return fields


def _environment(given: Sequence[str], environ: Mapping[str, str]) -> dict[str, str]:
    chosen = {}
    for text in given:
        name, equals, value = text.partition("=")
        if not equals and name not in environ:
            raise Unusable(f"The variable {name} is not set.")
        chosen[name] = value if equals else environ[name]
    return chosen


def _confirmed(target: ScanTarget) -> bool:
    if not sys.stdin.isatty():
        return False
    name = target.target_url or " ".join(target.stdio.argv if target.stdio else ())
    print(f"Active probes call tools of {name} with harmless and with unusual arguments.", file=sys.stderr)
    print("Tools that can delete, write, run, pay or send are left out, as far as their texts say so.", file=sys.stderr)
    try:
        return input("Type yes to go on: ").strip().lower() == "yes"
    except EOFError:
        return False


async def _scan(given: argparse.Namespace, target: ScanTarget, headers: list[tuple[str, str]]) -> ScanResult:
    started_at = clock.utcnow()
    facts = await gather(
        target,
        active=given.active,
        progress=_silent if given.quiet or not sys.stderr.isatty() else _progress,
        deadline_seconds=given.timeout,
        headers=headers,
    )
    return judge(facts, given.policy, given.active, started_at, clock.utcnow())


def judge(
    facts: ServerFacts, policy_name: str | None, active: bool, started_at: datetime, finished_at: datetime
) -> ScanResult:
    """The result for facts, by rules that are compiled once and kept in the user's cache."""
    library = PolicyLibrary.shipped()
    policy = scan_policy(library, policy_name or default_policy(library))
    files = cached_ruleset(library.packs_for(policy), cache_directory(os.environ))
    ruleset = Ruleset.load(files.packs_path.read_bytes(), files.database_path.read_bytes())

    def scan(texts: Sequence[Text]) -> list[Finding]:
        return ruleset.scan(texts, direction="response")

    return build_result(
        facts, assess(facts, scan), policy=policy.name, active=active, started_at=started_at, finished_at=finished_at
    )


def cache_directory(environ: Mapping[str, str]) -> Path:
    """Where compiled rules are kept between runs."""
    if given := environ.get("OSTIARY_CACHE_DIR"):
        return Path(given)
    return Path(environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "ostiary" / "rules"


def _silent(_percent: int, _stage: str) -> None:
    return None


def _progress(percent: int, stage: str) -> None:
    print(f"\r\x1b[K{percent:3d} %  {stage}", end="" if percent < 98 else "\n", file=sys.stderr, flush=True)


def _write(given: argparse.Namespace, result: ScanResult) -> None:
    wanted: Format | None = None if given.format == "table" else given.format
    data = table(result).encode() if wanted is None else render(result, wanted)
    if given.output is None:
        sys.stdout.write(data.decode())
        sys.stdout.flush()
    else:
        given.output.write_bytes(data)


def table(result: ScanResult) -> str:
    """The result for a terminal: nothing that the server said can move the cursor."""
    server = result.mcp_server
    summary = result.summary
    lines = [
        f"Target    {result.target}",
        f"Server    {server.name or 'unknown'} {server.version}  (protocol {server.protocol or 'unknown'})",
        f"Surface   {result.surface.tool_count} tools, {result.surface.prompt_count} prompts, "
        f"{result.surface.resource_count} resources; "
        f"{'login required' if result.surface.authentication_required else 'no login'}; "
        f"{'TLS' if result.surface.tls else 'no TLS'}",
        f"Risk      {result.overall_risk} ({result.risk_score}/100), {'passed' if result.passed else 'not passed'}; "
        f"{summary.critical} critical, {summary.high} high, {summary.medium} medium, {summary.low} low",
        f"Coverage  {result.coverage_percent} % of the checks, {result.surface.requests} requests, "
        f"{result.duration_ms / 1000:.1f} s",
        *(f"Note      {note}" for note in result.notes),
        "",
    ]
    for finding in result.findings:
        lines += _rows(finding)
    if not result.findings:
        lines.append("No findings.")
    return "\n".join(_plain(line) for line in lines) + "\n"


def _rows(finding: FindingView) -> list[str]:
    indent = " " * 10
    rows = [f"{finding.severity.upper():<9} {finding.score:4.1f}  {finding.rule_id:<18} {finding.title}"]
    where = " ".join(part for part in (finding.subject, finding.location) if part)
    rows += [f"{indent}{where}"] if where else []
    rows.append(f"{indent}{finding.description}")
    rows += [f"{indent}evidence: {finding.evidence[:200]}"] if finding.evidence else []
    return [*rows, f"{indent}remedy: {finding.remediation}", ""]


def _plain(line: str) -> str:
    return "".join(char if char.isprintable() else f"⟨U+{ord(char):04X}⟩" for char in line)
