"""The overview page."""

from collections import Counter
from datetime import timedelta
from typing import Any
from urllib.parse import quote

import msgspec
from litestar import Request, Response, get
from litestar.di import NamedDependency

from app.http.chart import Chart, Point, stacked_bars
from app.http.page import Pages
from app.overview.schemas import AttentionItem, OverviewView
from app.overview.service import OverviewService
from app.security.permissions import Actor
from app.traffic.schemas import TrafficPoint
from app.traffic.service import TrafficService

VIEWER = {"role": "viewer"}
PLACES = {"proxy_failed": "/proxies/", "proxy_degraded": "/proxies/", "alert": "/alerts/"}
MAX_ATTENTION = 8
MAX_PROXIES = 12
"""Failed and degraded proxies come first; the others are a click away."""


class Step(msgspec.Struct, frozen=True):
    """One of the first steps."""

    done: bool
    title: str
    text: str
    url: str
    label: str
    next: bool = False


@get("/", opt=VIEWER, include_in_schema=False)
async def overview_page(
    request: Request[Any, Any, Any],
    actor: NamedDependency[Actor],
    pages: NamedDependency[Pages],
    overview: NamedDependency[OverviewService],
    traffic: NamedDependency[TrafficService],
) -> Response[str]:
    """Is everything all right, and what needs me."""
    view = await overview.overview(actor)
    shown = sorted(view.proxies, key=lambda proxy: proxy.state not in ("failed", "degraded"))[:MAX_PROXIES]
    sparks = {proxy.id: await last_hour(traffic, actor, proxy.id) for proxy in shown if proxy.calls}
    return await pages.page(
        request,
        "overview/index.html",
        title="Overview",
        active="overview",
        stream="?show=overview",
        numbers=view,
        chart=traffic_chart(view.points, view.step_seconds),
        proxies=shown,
        proxies_total=len(view.proxies),
        sparks=sparks,
        attention=folded(view.attention)[:MAX_ATTENTION],
        attention_total=len(view.attention),
        rules=view.rules_today,
        clients=view.top_clients,
        start_steps=first_steps(view),
    )


def traffic_chart(points: list[TrafficPoint], step_seconds: int) -> Chart:
    """The chart of calls by verdict; refused and failed calls share a colour."""
    shown = [
        Point(
            point.at,
            {
                "allowed": point.allowed,
                "alerted": point.alerted,
                "blocked": point.blocked,
                "error": point.refused + point.error,
            },
        )
        for point in points
    ]
    return stacked_bars(shown, timedelta(seconds=step_seconds))


async def last_hour(traffic: TrafficService, actor: Actor, proxy_id: str) -> list[int]:
    """Calls a minute of one proxy over the last hour."""
    points, _ = await traffic.points(actor, hours=1, proxy_id=proxy_id)
    return [point.allowed + point.alerted + point.blocked + point.refused + point.error for point in points]


def place_of(item: AttentionItem) -> str:
    """Where the item is dealt with; empty when there is no such page."""
    if item.kind == "approvals":
        return "/approvals"
    return PLACES[item.kind] + item.id if item.kind in PLACES and item.id else ""


def folded(items: list[AttentionItem]) -> list[tuple[AttentionItem, str, int]]:
    """Each thing once: (item, place where it is dealt with, how often).

    Thirty hits of one rule at one proxy are one line, which leads to all of them.
    """
    counts = Counter((item.title, item.detail) for item in items)
    found = []
    for item in items:
        if count := counts.pop((item.title, item.detail), 0):
            is_many = count > 1 and item.kind == "alert"
            place = f"/alerts?rule_id={quote(item.detail.partition(' ')[0])}" if is_many else place_of(item)
            found.append((item, place, count))
    return found


def first_steps(view: OverviewView) -> list[Step]:
    """The first steps with the next one marked; none once all are done."""
    done = view.get_started
    only = view.proxies[0].id if view.proxies else ""
    steps = [
        Step(
            done.has_proxy,
            "Create a proxy",
            "It stands in front of one LLM API or MCP server and inspects what passes.",
            "/proxies/new",
            "New proxy",
        ),
        Step(
            done.has_running_proxy,
            "Start it",
            "A proxy listens on a port of its own and can be stopped at any time.",
            f"/proxies/{only}" if only else "",
            "Open the proxy",
        ),
        Step(
            done.has_api_key,
            "Create an API key",
            "Clients send it instead of the provider's key, which they no longer need to know.",
            "/access/new",
            "Create key",
        ),
        Step(
            done.has_call,
            "Send a call",
            "The Connect tab has the lines for your client, ready to copy.",
            f"/proxies/{only}?tab=connect" if only else "",
            "Connect a client",
        ),
    ]
    if all(step.done for step in steps):
        return []
    upcoming = next(step for step in steps if not step.done)
    return [msgspec.structs.replace(step, next=step is upcoming) for step in steps]


routes = [overview_page]
