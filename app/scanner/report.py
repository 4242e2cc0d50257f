"""A result as a file: HTML to hand on, JSON and SARIF for programs."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, Literal

import jinja2
import msgspec

from app.http import formats
from app.http.hostile import hostile
from app.paths import TEMPLATES
from app.scanner.result import FindingView, ScanResult
from rules.model import Severity
from rules.scanning.finding import ScanFinding
from rules.scanning.sarif import sarif

Format = Literal["html", "json", "sarif"]
MEDIA_TYPES: dict[Format, str] = {
    "html": "text/html; charset=utf-8",
    "json": "application/json",
    "sarif": "application/sarif+json",
}
SEVERITIES = tuple(severity.word for severity in reversed(Severity))


def render(result: ScanResult, wanted: Format) -> bytes:
    """The report's bytes."""
    if wanted == "html":
        return _html(result).encode()
    value: Any = result if wanted == "json" else as_sarif(result)
    return msgspec.json.format(msgspec.json.encode(value), indent=2) + b"\n"


def as_sarif(result: ScanResult) -> dict[str, Any]:
    """The result as a SARIF log."""
    return sarif(
        [_back(finding) for finding in result.findings],
        target=result.target,
        version=result.scanner_version,
        started_at=result.timestamp - timedelta(milliseconds=result.duration_ms),
        finished_at=result.timestamp,
    )


def _back(view: FindingView) -> ScanFinding:
    values = {name: getattr(view, name) for name in ScanFinding.__struct_fields__}
    return ScanFinding(**{**values, "severity": Severity.parse(view.severity)})


def _html(result: ScanResult) -> str:
    """A page of its own: no script, no address, nothing to fetch."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"hostile": hostile, "moment": formats.moment, "number": formats.number}
    counts = msgspec.structs.asdict(result.summary)
    template = environment.get_template("scanner/report.html")
    return template.render(result=result, severities=SEVERITIES, counts=counts)
