"""What was masked, added up and call by call, as JSON or CSV."""

from datetime import datetime, timedelta
from typing import Annotated, Any, Literal

from litestar import MediaType, Response, get
from litestar.di import NamedDependency
from litestar.params import FromQuery, QueryParameter

from app import clock
from app.http.envelope import DEFAULT_LIMIT, MAX_OFFSET, Envelope, Listing, page_of
from app.http.filters import moment
from app.security.permissions import Actor
from app.traffic.redaction_files import entries_csv, totals_csv
from app.traffic.redaction_report import MAX_REPORT_ROWS, RedactionEntry, RedactionFilter, RedactionReport
from app.traffic.service import TrafficService

VIEWER = {"role": "viewer"}
TAGS = ["traffic"]
DEFAULT_DAYS = 30

From = Annotated[datetime | None, QueryParameter(name="from")]
To = Annotated[datetime | None, QueryParameter(name="to")]
Format = Literal["json", "csv"]
Direction = Literal["", "request", "response"]


@get("/api/v1/redactions/report", opt=VIEWER, tags=TAGS)
async def report_redactions(
    actor: NamedDependency[Actor],
    traffic: NamedDependency[TrafficService],
    since_at: From = None,
    until_at: To = None,
    proxy_id: FromQuery[str] = "",
    type: FromQuery[str] = "",
    direction: FromQuery[Direction] = "",
    rule_id: FromQuery[str] = "",
    format: FromQuery[Format] = "json",
) -> Response[Envelope[RedactionReport] | str]:
    """Masked values by type, direction, policy, rule and proxy, by client and over time; `from` and `to` bound when the
    calls began, by default the last 30 days. `format=csv` gives the rows as a file. No value is in it."""
    wanted = filter_of(since_at, until_at, proxy_id=proxy_id, type=type, direction=direction, rule_id=rule_id)
    report = await traffic.redactions(actor, wanted)
    if format == "csv":
        return _file(totals_csv(report), "redactions", wanted)
    return Response(Envelope(report), media_type=MediaType.JSON)


@get("/api/v1/redactions", opt=VIEWER, tags=TAGS)
async def list_redactions(
    actor: NamedDependency[Actor],
    traffic: NamedDependency[TrafficService],
    since_at: From = None,
    until_at: To = None,
    proxy_id: FromQuery[str] = "",
    type: FromQuery[str] = "",
    direction: FromQuery[Direction] = "",
    rule_id: FromQuery[str] = "",
    limit: FromQuery[int] = DEFAULT_LIMIT,
    offset: FromQuery[int] = 0,
    format: FromQuery[Format] = "json",
) -> Response[Envelope[Listing[RedactionEntry]] | str]:
    """What was masked call by call, newest first. `format=csv` gives up to 10,000 of them from `offset` on as a file."""
    wanted = filter_of(since_at, until_at, proxy_id=proxy_id, type=type, direction=direction, rule_id=rule_id)
    if format == "csv":
        rows_from = min(max(offset, 0), MAX_OFFSET)
        entries = await traffic.redaction_entries(actor, wanted, limit=MAX_REPORT_ROWS, offset=rows_from)
        return _file(entries_csv(entries.items), "redactions-by-call", wanted)
    limit, offset = page_of(limit, offset)
    listing = await traffic.redaction_entries(actor, wanted, limit=limit, offset=offset)
    return Response(Envelope(listing), media_type=MediaType.JSON)


def filter_of(since_at: datetime | None, until_at: datetime | None, **restrictions: str) -> RedactionFilter:
    """The filter of a query; raises ValidationFailed for a range that is none."""
    until = moment("to", until_at) or clock.utcnow()
    since = moment("from", since_at) or until - timedelta(days=DEFAULT_DAYS)
    return RedactionFilter(since_at=since, until_at=until, **restrictions)


def _file(text: str, name: str, wanted: RedactionFilter) -> Response[Any]:
    name = f"{name}-{wanted.since_at:%Y%m%d}-{wanted.until_at:%Y%m%d}.csv"
    headers = {"content-disposition": f'attachment; filename="{name}"'}
    return Response(text, media_type="text/csv; charset=utf-8", headers=headers)


routes = [report_redactions, list_redactions]
