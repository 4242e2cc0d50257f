"""Pages of the traffic: the log of calls and one call in detail."""

from datetime import timedelta
from typing import Any, cast, get_args

import msgspec
from litestar import Request, Response, get
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery

from app import clock
from app.alerts.service import AlertService
from app.errors import NotFound
from app.fleet.service import ProxyService
from app.http.envelope import MAX_LIMIT, page_of
from app.http.filters import search_text
from app.http.formats import short_id
from app.http.htmx import is_htmx, target_id
from app.http.page import Pages, with_query
from app.policies.feedback import Feedback, evidence_hash
from app.security.permissions import Actor
from app.traffic.errors import CallNotFound
from app.traffic.models import VERDICTS
from app.traffic.repository import SORTS, CallFilter
from app.traffic.schemas import CallView
from app.traffic.service import TrafficService
from app.traffic.sides import Direction, side_of

VIEWER = {"role": "viewer"}
HOME = (("/traffic", "Traffic"),)
HOURS = ("1", "24", "168")
PAGE_ROWS = 30
"""Rows of a page, so that it stays below 60 KB."""
TIMELINE_WIDTH = 1000
WAITING = ("upstream", "forward")
"""Steps whose time is the upstream's, not ours."""


class TimelineStep(msgspec.Struct, frozen=True):
    """One pipeline step as a bar in a box 1000 wide. `kind` is `bad` where the call was stopped, `wait` upstream."""

    name: str
    kind: str
    x: float
    width: float
    ms: float


@get("/traffic", opt=VIEWER, include_in_schema=False)
async def traffic_page(
    request: Request[Any, Any, Any],
    actor: NamedDependency[Actor],
    pages: NamedDependency[Pages],
    traffic: NamedDependency[TrafficService],
    proxies: NamedDependency[ProxyService],
    alerts: NamedDependency[AlertService],
    feedback: NamedDependency[Feedback],
    search: FromQuery[str] = "",
    proxy_id: FromQuery[str] = "",
    verdict: FromQuery[str] = "",
    hours: FromQuery[str] = "",
    call: FromQuery[str] = "",
    sort: FromQuery[str] = "",
    offset: FromQuery[int] = 0,
) -> Response[str]:
    """Calls, newest first; the address holds the filter, and the call that stands open beside the list."""
    limit, offset = page_of(PAGE_ROWS, offset)
    filters = {
        "search": search_text(search),
        "proxy_id": proxy_id[:64],
        "verdict": verdict if verdict in VERDICTS else "",
        "hours": hours if hours in HOURS else "",
    }
    order = SORTS.order(sort)
    found = await traffic.page(actor, filter_of(filters), limit=limit, offset=offset, sort=order.sort)
    known = await proxies.page(actor, limit=MAX_LIMIT)
    stream = with_query("?show=traffic", **filters) if not offset and not order.param else ""
    base = with_query("/traffic", **filters, sort=order.param)
    opened = await _shown(actor, traffic, alerts, feedback, call) if call else {}
    return await pages.page(
        request,
        "traffic/list.html",
        title="Traffic",
        active="traffic",
        stream=stream,
        filters=filters,
        filtered=any(filters.values()),
        base=base,
        order=order,
        list=found,
        calls=found.items,
        hide_proxy=False,
        proxy_options=[(proxy.id, proxy.name) for proxy in known.items],
        close_url=with_query(base, offset=offset or None),
        **(opened or {"call": None}),
    )


@get("/traffic/{call_id:str}", opt=VIEWER, include_in_schema=False)
async def call_page(
    request: Request[Any, Any, Any],
    call_id: FromPath[str],
    actor: NamedDependency[Actor],
    pages: NamedDependency[Pages],
    traffic: NamedDependency[TrafficService],
    alerts: NamedDependency[AlertService],
    feedback: NamedDependency[Feedback],
) -> Response[str]:
    """What happened in this call, and why: a page, or the drawer beside a list."""
    shown = await _shown(actor, traffic, alerts, feedback, call_id)
    if not shown:
        raise CallNotFound
    if target_id(request) == "drawer":
        return pages.answer(request, "traffic/_drawer.html", close_url="/traffic", **shown)
    title = short_id(call_id)
    return await pages.page(request, "traffic/detail.html", title=title, active="traffic", crumbs=HOME, **shown)


@get("/traffic/{call_id:str}/texts/{direction:str}", opt=VIEWER, include_in_schema=False)
async def side_page(
    request: Request[Any, Any, Any],
    call_id: FromPath[str],
    direction: FromPath[str],
    actor: NamedDependency[Actor],
    pages: NamedDependency[Pages],
    traffic: NamedDependency[TrafficService],
) -> Response[str]:
    """Everything that was kept of one direction of a call."""
    call = await traffic.get(actor, call_id)
    if direction not in get_args(Direction) or call.texts_state != "kept":
        raise NotFound
    shown: dict[str, Any] = {"call": call, "side": side_of(call, cast("Direction", direction), whole=True)}
    if is_htmx(request):
        return pages.answer(request, "traffic/_side.html", **shown)
    crumbs = (*HOME, (f"/traffic/{call.id}", short_id(call.id)))
    return await pages.page(
        request, "traffic/side.html", title=direction.capitalize(), active="traffic", crumbs=crumbs, **shown
    )


async def _shown(
    actor: Actor, traffic: TrafficService, alerts: AlertService, feedback: Feedback, call_id: str
) -> dict[str, Any]:
    """What the templates of a call take; nothing when there is no such call."""
    try:
        call = await traffic.get(actor, call_id)
    except CallNotFound:
        return {}
    raised = await alerts.of_call(actor, call_id)
    sides = [side_of(call, "request"), side_of(call, "response")] if call.texts_state == "kept" else []
    marks = {(mark.rule_id, mark.evidence_hash): mark for mark in await feedback.of_call(actor, call_id)}
    marked = [marks.get((finding.rule_id, evidence_hash(finding.evidence))) for finding in call.findings]
    return {"call": call, "steps": timeline(call), "alerts": raised, "sides": sides, "marked": marked}


def filter_of(filters: dict[str, str]) -> CallFilter:
    """The filter that the address names."""
    hours = filters.get("hours", "")
    return CallFilter(
        proxy_id=filters.get("proxy_id", ""),
        verdicts=(filters["verdict"],) if filters.get("verdict") else (),
        search=filters.get("search", ""),
        since_at=clock.utcnow() - timedelta(hours=int(hours)) if hours else None,
    )


def matches(call: CallView, filters: dict[str, str]) -> bool:
    """Whether a fresh call belongs into a list with this filter; the time range always fits."""
    text = filters.get("search", "").lower()
    searched = " ".join((call.path, call.operation, call.client_ip, call.principal_name, call.id)).lower()
    return (
        filters.get("proxy_id", "") in ("", call.proxy_id)
        and filters.get("verdict", "") in ("", call.verdict)
        and text in searched
    )


def timeline(call: CallView) -> list[TimelineStep]:
    """The steps in the order in which they ran. Every bar is wide enough to be seen."""
    total = sum(call.timings_ms.values()) or 1.0
    steps = []
    x = 0.0
    last = next(reversed(call.timings_ms), "")
    for name, spent_ms in call.timings_ms.items():
        width = max(spent_ms / total * TIMELINE_WIDTH * 0.94, 6.0)
        x = min(x, TIMELINE_WIDTH - width)
        stopped = call.verdict in ("blocked", "refused") and name == last
        kind = "bad" if stopped else "wait" if name in WAITING else ""
        steps.append(TimelineStep(name, kind, round(x, 1), round(width, 1), spent_ms))
        x += width
    return steps


routes = [traffic_page, call_page, side_page]
