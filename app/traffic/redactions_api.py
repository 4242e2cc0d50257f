"""The report of masked values, as JSON or CSV."""

from datetime import datetime, timedelta
from typing import Annotated, Literal

from litestar import MediaType, Response, get
from litestar.di import NamedDependency
from litestar.params import FromQuery, QueryParameter

from app import clock
from app.http.envelope import Envelope
from app.http.filters import moment
from app.security.permissions import Actor
from app.traffic.redactions import RedactionReport, as_csv
from app.traffic.service import TrafficService

DEFAULT_DAYS = 30


@get("/api/v1/redactions/report", opt={"role": "viewer"}, tags=["traffic"])
async def report_redactions(
    actor: NamedDependency[Actor],
    traffic: NamedDependency[TrafficService],
    since_at: Annotated[datetime | None, QueryParameter(name="from")] = None,
    until_at: Annotated[datetime | None, QueryParameter(name="to")] = None,
    format: FromQuery[Literal["json", "csv"]] = "json",
) -> Response[Envelope[RedactionReport] | str]:
    """Masked values by type, direction, policy, rule and proxy; `from` and `to` bound when the calls began, by default the
    last 30 days. `format=csv` gives the rows as a file. No value is in it."""
    until = moment("to", until_at) or clock.utcnow()
    since = moment("from", since_at) or until - timedelta(days=DEFAULT_DAYS)
    report = await traffic.redactions(actor, since_at=since, until_at=until)
    if format == "csv":
        name = f"redactions-{since:%Y%m%d}-{until:%Y%m%d}.csv"
        headers = {"content-disposition": f'attachment; filename="{name}"'}
        return Response(as_csv(report), media_type="text/csv; charset=utf-8", headers=headers)
    return Response(Envelope(report), media_type=MediaType.JSON)


routes = [report_redactions]
