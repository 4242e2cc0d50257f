"""`ostiary scan` as people and CI run it."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from app import cli
from app.scanner import command
from tests.support.console import ROOT
from tests.support.hostile import STDIO, hostile_server


def scan(*arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "app", "scan", *arguments],
        cwd=ROOT,
        env={**os.environ, **environ},
        capture_output=True,
        text=True,
        timeout=50,
    )


def test_SYP_SCAN_7_the_table_names_risk_findings_and_remedies() -> None:
    with hostile_server() as url:
        done = scan(url)
    assert done.returncode == command.EXIT_FINDINGS, done.stderr
    assert "Risk      Critical (100/100), not passed" in done.stdout
    assert "TP-0001" in done.stdout
    assert "/tools/0/description" in done.stdout
    assert "remedy: Do not approve it." in done.stdout
    assert all(char.isprintable() or char == "\n" for char in done.stdout)


def test_a_process_gives_sarif_for_ci(tmp_path: Path) -> None:
    report = tmp_path / "scan.sarif"
    done = scan("--format", "sarif", "--output", str(report), "--fail-on", "never", "--", *STDIO)
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    log = json.loads(report.read_text())
    (run,) = log["runs"]
    assert "TP-0001" in {result["ruleId"] for result in run["results"]}
    assert run["results"][0]["locations"][0]["physicalLocation"]["artifactLocation"]["uri"].startswith("stdio:")


def test_json_has_the_documented_shape_and_html_stands_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.run(["scan", "--format", "json", "--quiet", "--", *STDIO]) == command.EXIT_FINDINGS
    result = json.loads(capsys.readouterr().out)
    assert {
        *("timestamp", "target", "policyUsed", "overallRisk", "riskScore", "findings", "mcpServer", "summary"),
        *("durationMs", "coveragePercent", "scannerVersion"),
    } <= set(result)
    assert {"name", "version", "protocol", "capabilities", "tools", "resources"} <= set(result["mcpServer"])
    assert {
        *("id", "ruleId", "severity", "category", "title", "description", "evidence", "location", "lineNumber"),
        *("codeLine", "codeContext", "remediation", "timestamp"),
    } <= set(result["findings"][0])
    page = tmp_path / "scan.html"
    assert cli.run(["scan", "--format", "html", "--output", str(page), "--fail-on", "never", "--", *STDIO]) == 0
    text = page.read_text()
    assert "<script" not in text
    assert "http" not in text.replace("https://attacker.example", "").replace("http-equiv", "")
    assert "&lt;IMPORTANT&gt;" in text


def test_a_credential_comes_from_the_environment(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with hostile_server("guarded") as url:
        monkeypatch.setenv("SCAN_TOKEN", "Bearer right")
        arguments = ["scan", url, "--header", "Authorization: env:SCAN_TOKEN", "--format", "json"]
        assert cli.run(arguments) == command.EXIT_FINDINGS
        out = capsys.readouterr().out
        assert json.loads(out)["surface"]["authenticationRequired"]
        assert "right" not in out
        assert cli.run(["scan", url, "--fail-on", "never"]) == 0
        assert "asks for a credential" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "words", "status"),
    [
        ([], "Give the URL", 2),
        (["http://127.0.0.1:9/mcp", "--", "server"], "either a URL or", 2),
        (["http://127.0.0.1:9/mcp"], "does not accept connections", 1),
        (["http://127.0.0.1:9/mcp", "--header", "nonsense"], "NAME:VALUE", 2),
        (["http://127.0.0.1:9/mcp", "--header", "A: env:NOT_THERE_AT_ALL"], "NOT_THERE_AT_ALL", 2),
        (["http://127.0.0.1:9/mcp", "--header", "A: ü"], "must not be sent", 2),
        (["http://127.0.0.1:9/mcp", "--active"], "not confirmed", 1),
        (["--env", "NOT_THERE_AT_ALL", "--", "server"], "NOT_THERE_AT_ALL", 2),
    ],
)
def test_what_cannot_be_done_is_said_on_one_line(
    arguments: list[str], words: str, status: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO())
    assert cli.run(["scan", *arguments]) == status
    error = capsys.readouterr().err
    assert words in error
    assert error.count("\n") == 1


def test_an_unknown_policy_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["scan", "--policy", "nobody", "--", *STDIO]) == command.EXIT_FAILED
    assert "There is no policy named nobody." in capsys.readouterr().err


def test_rules_are_kept_in_the_users_cache() -> None:
    assert command.cache_directory({"XDG_CACHE_HOME": "/c"}) == Path("/c/ostiary/rules")
    assert command.cache_directory({"OSTIARY_CACHE_DIR": "/d"}) == Path("/d")
