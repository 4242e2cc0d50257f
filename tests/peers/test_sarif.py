"""Reports of scans against the schema of SARIF 2.1.0, as Microsoft ships it with its tools."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft4Validator, FormatChecker

from rules.scanning.sarif import sarif
from tests.conformance.tools import PACKAGES, ROOT, need
from tests.support.hostile import STDIO, hostile_server

pytestmark = [pytest.mark.peers, pytest.mark.timeout(120)]

SCHEMA = PACKAGES / "@microsoft" / "jest-sarif" / "lib" / "schemas" / "sarif-2.1.0-rtm.5.json"
FORMATS = FormatChecker(formats=())
NOW = datetime(2026, 11, 29, 1, 2, 3, tzinfo=UTC)


@FORMATS.checks("uri-reference")
@FORMATS.checks("uri")
def _is_reference(value: object) -> bool:
    """The characters of RFC 3986, with whole escapes: what readers trip over."""
    return re.fullmatch(r"(?:[A-Za-z0-9\-._~:/?#\[\]@!$&'()*+,;=]|%[0-9A-Fa-f]{2})*", str(value)) is not None


@FORMATS.checks("date-time")
def _is_time(value: object) -> bool:
    return datetime.fromisoformat(str(value)).tzinfo is not None


def problems(log: Any) -> list[str]:
    """What the schema says against a log."""
    need(SCHEMA)
    validator = Draft4Validator(json.loads(SCHEMA.read_text()), format_checker=FORMATS)
    return [f"{list(error.absolute_path)}: {error.message}" for error in validator.iter_errors(log)]


def scanned(report: Path, *arguments: str) -> Any:
    done = subprocess.run(
        [sys.executable, "-m", "app", "scan", "--format", "sarif", "--output", str(report), *arguments],
        cwd=ROOT,
        env=os.environ,
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert done.returncode == 3, done.stderr
    return json.loads(report.read_text())


def test_SYP_SCAN_7_the_report_of_every_trick_of_a_hostile_server_is_valid_sarif(tmp_path: Path) -> None:
    with hostile_server() as url:
        log = scanned(tmp_path / "url.sarif", "--active", "--yes", url)
    assert len(log["runs"][0]["results"]) > 20
    assert problems(log) == []
    process = scanned(tmp_path / "stdio.sarif", "--", *STDIO)
    assert problems(process) == []


@pytest.mark.parametrize("target", ["https://a.example/mcp?q=ü|^", "npx -y @a/b C:\\c 'd e' %zz", "", "\x00\u202e"])
def test_SYP_SCAN_7_whatever_the_target_is_called_the_report_is_valid(target: str) -> None:
    empty = sarif([], target=target, version="2026.11.0", started_at=NOW, finished_at=NOW)
    failed = sarif([], target=target, version="2026.11.0", started_at=NOW, finished_at=NOW, failure="It was not there.")
    assert problems(empty) == problems(failed) == []


def test_the_schema_is_really_asked() -> None:
    log = sarif([], target="a", version="1", started_at=NOW, finished_at=NOW)
    assert problems({**log, "runs": [{**log["runs"][0], "results": [{"level": "catastrophe"}]}]}) != []
