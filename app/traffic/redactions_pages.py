"""The report of masked values as a page: what was masked in a time range, and in which calls."""

from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Annotated, Any

import msgspec
from litestar import Request, Response, get
from litestar.di import NamedDependency
from litestar.params import FromQuery, QueryParameter

from app import clock
from app.errors import ValidationFailed
from app.fleet.service import ProxyService
from app.http.chart import Chart, Point, stacked_bars
from app.http.envelope import MAX_LIMIT, page_of
from app.http.page import Form, Pages, with_query
from app.security.permissions import Actor
from app.traffic.redaction_report import MAX_REPORT_ROWS, RedactionFilter, RedactionReport, RedactionSum, sums
from app.traffic.service import TrafficService

PRESETS = (("1", "24 hours"), ("7", "7 days"), ("30", "30 days"), ("90", "90 days"))
"""Days and their words."""
DEFAULT_DAYS = "30"
STACK = (("request", "in requests"), ("response", "in answers"))
PAGE_ROWS = 20
"""Rows of a page, so that it stays below 60 KB."""
TOP = 8
"""Lines of each table of totals; the file has all."""


class Range(msgspec.Struct, frozen=True):
    """The time range as the address names it: a preset, or two days that are both included."""

    days: str
    first_day: str
    last_day: str
    since_at: datetime
    until_at: datetime

    @property
    def words(self) -> str:
        """The range as part of a sentence."""
        return f"in the last {dict(PRESETS)[self.days]}" if self.days else f"from {self.first_day} to {self.last_day}"


class Totals(msgspec.Struct, frozen=True):
    """One table of totals: what it is by, its lines, and which query parameter narrows the report to a line."""

    title: str
    parameter: str
    lines: Sequence[RedactionSum]
    more: int


@get("/redactions", opt={"role": "viewer"}, include_in_schema=False)
async def redactions_page(
    request: Request[Any, Any, Any],
    actor: NamedDependency[Actor],
    pages: NamedDependency[Pages],
    traffic: NamedDependency[TrafficService],
    proxies: NamedDependency[ProxyService],
    days: FromQuery[str] = "",
    first_day: Annotated[str, QueryParameter(name="from")] = "",
    last_day: Annotated[str, QueryParameter(name="to")] = "",
    proxy_id: FromQuery[str] = "",
    type: FromQuery[str] = "",
    direction: FromQuery[str] = "",
    rule_id: FromQuery[str] = "",
    offset: FromQuery[int] = 0,
) -> Response[str]:
    """What was masked in a time range; the address holds the range and the filter."""
    limit, offset = page_of(PAGE_ROWS, offset)
    narrowed = {
        "proxy_id": proxy_id[:64],
        "type": type[:24],
        "direction": direction if direction in dict(STACK) else "",
        "rule_id": rule_id[:64],
    }
    form = Form({"from": first_day[:10], "to": last_day[:10]})
    try:
        covered = range_of(days, first_day, last_day, clock.utcnow())
        wanted = RedactionFilter(since_at=covered.since_at, until_at=covered.until_at, **narrowed)
    except ValidationFailed as error:
        form = form.refused(error)
        covered = range_of("", "", "", clock.utcnow())
        wanted = RedactionFilter(since_at=covered.since_at, until_at=covered.until_at, **narrowed)
    report = await traffic.redactions(actor, wanted)
    entries = await traffic.redaction_entries(actor, wanted, limit=limit, offset=offset)
    known = await proxies.page(actor, limit=MAX_LIMIT)
    types = sorted({row.type for row in report.rows} | ({narrowed["type"]} - {""}))
    asked = {"from": covered.first_day, "to": covered.last_day} if not covered.days else {"days": covered.days}
    exported = {"from": wanted.since_at.isoformat(), "to": wanted.until_at.isoformat(), **narrowed}
    return await pages.page(
        request,
        "redactions/report.html",
        title="Masked values",
        active="traffic",
        status=422 if form.errors else 200,
        form=form,
        covered=covered,
        presets=PRESETS,
        filters=narrowed,
        filtered=any(narrowed.values()),
        base=with_query("/redactions", **asked, **narrowed),
        report=report,
        chart=chart_of(report, covered),
        totals=totals_of(report, narrowed),
        list=entries,
        max_rows=MAX_REPORT_ROWS,
        proxy_options=[(proxy.id, proxy.name) for proxy in known.items],
        type_options=[(one, one) for one in types],
        files=[
            (with_query("/api/v1/redactions/report", format="csv", **exported), "Totals, CSV"),
            (with_query("/api/v1/redactions", format="csv", **exported), "Calls, CSV"),
            (with_query("/api/v1/redactions/report", **exported), "JSON"),
        ],
    )


def range_of(days: str, first_day: str, last_day: str, now: datetime) -> Range:
    """The range that an address asks for; raises ValidationFailed for days that are none."""
    if not first_day and not last_day:
        chosen = days if days in dict(PRESETS) else DEFAULT_DAYS
        since_at = now - timedelta(days=int(chosen))
        return Range(chosen, f"{since_at:%Y-%m-%d}", f"{now:%Y-%m-%d}", since_at, now)
    first, last = _day("from", first_day), _day("to", last_day) if last_day else now.date()
    since_at = datetime(first.year, first.month, first.day, tzinfo=UTC)
    until_at = datetime(last.year, last.month, last.day, tzinfo=UTC) + timedelta(days=1)
    return Range("", first.isoformat(), last.isoformat(), since_at, until_at)


def _day(field: str, text: str) -> date:
    try:
        found = date.fromisoformat(text)
    except ValueError:
        raise ValidationFailed(fields={field: "Write a day as 2026-11-20."}) from None
    if not 2000 <= found.year <= 2999:
        raise ValidationFailed(fields={field: "Choose a day between 2000 and 2999."})
    return found


def chart_of(report: RedactionReport, covered: Range) -> Chart:
    """The chart of masked values by direction."""
    points = [Point(point.at, {"request": point.request, "response": point.response}) for point in report.points]
    end = "now" if covered.days else covered.last_day
    return stacked_bars(points, timedelta(seconds=report.step_seconds), stack=STACK, none="nothing masked", end=end)


def totals_of(report: RedactionReport, narrowed: dict[str, str]) -> list[Totals]:
    """The tables of totals; what the report is narrowed to already needs no table."""
    words = dict(STACK)
    by = (
        ("By type", "type", sums(report.rows, lambda row: (row.type, row.type))),
        ("By rule", "rule_id", sums(report.rows, lambda row: (row.rule_id, row.rule_id))),
        ("By client", "", [RedactionSum(one.client, one.client, one.count, one.restored) for one in report.clients]),
        ("By proxy", "proxy_id", sums(report.rows, lambda row: (row.proxy_id, row.proxy_name))),
        ("By direction", "direction", sums(report.rows, lambda row: (row.direction, words[row.direction]))),
    )
    return [
        Totals(title, parameter, lines[:TOP], max(len(lines) - TOP, 0))
        for title, parameter, lines in by
        if not narrowed.get(parameter)
    ]


routes = [redactions_page]
