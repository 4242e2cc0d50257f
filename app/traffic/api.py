"""JSON endpoints of the request log and of traffic over all proxies."""

from datetime import datetime
from typing import Annotated, get_args

import msgspec
from litestar import get
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery, QueryParameter

from app.http.envelope import DEFAULT_LIMIT, Envelope, page_of
from app.http.filters import moment, search_text, words
from app.security.permissions import Actor
from app.traffic.models import VERDICTS
from app.traffic.repository import SORTS, CallFilter
from app.traffic.schemas import CallDetail, CallList, TrafficPoint, TrafficTotals
from app.traffic.service import TrafficService
from proxies.contract import Outcome

VIEWER = {"role": "viewer"}
TAGS = ["traffic"]
MAX_HOURS = 24 * 30

Hours = Annotated[int, QueryParameter(ge=1, le=MAX_HOURS)]


class TrafficSummary(msgspec.Struct, frozen=True, kw_only=True):
    """Totals and chart over a time range; each point covers `step_seconds`."""

    hours: int
    totals: TrafficTotals
    step_seconds: int
    points: list[TrafficPoint]


@get("/api/v1/traffic", opt=VIEWER, tags=TAGS)
async def list_calls(
    actor: NamedDependency[Actor],
    traffic: NamedDependency[TrafficService],
    proxy_id: FromQuery[str] = "",
    verdict: FromQuery[list[str] | None] = None,
    outcome: FromQuery[list[str] | None] = None,
    protocol: FromQuery[str] = "",
    principal_id: FromQuery[str] = "",
    client_ip: FromQuery[str] = "",
    status: FromQuery[int | None] = None,
    search: FromQuery[str] = "",
    since_at: FromQuery[datetime | None] = None,
    until_at: FromQuery[datetime | None] = None,
    sort: FromQuery[str] = "",
    limit: FromQuery[int] = DEFAULT_LIMIT,
    offset: FromQuery[int] = 0,
) -> Envelope[CallList]:
    """Calls, newest first; `search` is found in path, operation, client, principal and id."""
    limit, offset = page_of(limit, offset)
    wanted = CallFilter(
        proxy_id=proxy_id,
        verdicts=words("verdict", verdict, VERDICTS),
        outcomes=words("outcome", outcome, get_args(Outcome)),
        protocol=protocol,
        principal_id=principal_id,
        client_ip=client_ip,
        status=status,
        search=search_text(search),
        since_at=moment("since_at", since_at),
        until_at=moment("until_at", until_at),
    )
    return Envelope(await traffic.page(actor, wanted, limit=limit, offset=offset, sort=SORTS.asked(sort)))


@get("/api/v1/traffic/summary", opt=VIEWER, tags=TAGS)
async def summarise_traffic(
    actor: NamedDependency[Actor], traffic: NamedDependency[TrafficService], hours: Hours = 24
) -> Envelope[TrafficSummary]:
    """Totals and a chart over all proxies."""
    points, step_seconds = await traffic.points(actor, hours=hours)
    totals = await traffic.totals(actor, hours=hours)
    return Envelope(TrafficSummary(hours=hours, totals=totals, step_seconds=step_seconds, points=points))


@get("/api/v1/traffic/{call_id:str}", opt=VIEWER, tags=TAGS)
async def get_call(
    call_id: FromPath[str], actor: NamedDependency[Actor], traffic: NamedDependency[TrafficService]
) -> Envelope[CallDetail]:
    """One call with its findings, the time of each step and, for admins, what was inspected in it."""
    return Envelope(await traffic.get(actor, call_id))


routes = [list_calls, summarise_traffic, get_call]
