"""How each page draws what happens while it is open. One function a page; `views` names them for the stream."""

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

import msgspec
from litestar import Request, get
from litestar.di import NamedDependency
from litestar.response import Stream
from markupsafe import escape

from app.alerts import pages as alert_pages
from app.alerts.schemas import AlertView
from app.fleet.schemas import ProxyView
from app.http.events import BusEvent, EventBus
from app.http.live import View, Viewer, partial, stream
from app.http.page import Pages
from app.overview.badges import RailBadges
from app.overview.schemas import LiveStats
from app.security.permissions import Actor, Authenticator
from app.traffic import pages as traffic_pages
from app.traffic.schemas import CallView

MAX_CALL_ROWS = 30
"""Calls drawn from one batch; the others are a reload away."""

AnyRequest = Request[Any, Any, Any]


def latest(events: Sequence[BusEvent], topic: str) -> list[dict[str, Any]]:
    """The data of a topic's events, only the last of each id, in the order of their arrival."""
    found: dict[str, dict[str, Any]] = {}
    for event in events:
        if event.topic == topic:
            key = str(event.data.get("id", topic))
            found.pop(key, None)
            found[key] = event.data
    return list(found.values())


def proxy_views(events: Sequence[BusEvent]) -> list[ProxyView]:
    """The proxies that changed and still exist."""
    return [msgspec.convert(data, ProxyView) for data in latest(events, "proxy") if not data.get("deleted")]


def state_part(request: AnyRequest, pages: Pages, proxy: ProxyView) -> str:
    """The badge of one proxy, wherever a page shows it."""
    html = pages.fragment(request, "fleet/_badge.html", proxy=proxy)
    return partial(f"#state-{proxy.id}", "outerHTML", html)


def reason_part(request: AnyRequest, pages: Pages, proxy: ProxyView) -> str:
    """Why a proxy does not serve, in its row of a list."""
    html = pages.fragment(request, "fleet/_row_reason.html", proxy=proxy)
    return partial(f"#reason-{proxy.id}", "outerHTML", html)


def nothing_more(_query: Mapping[str, str]) -> Viewer:
    """A page without live parts of its own: only the badges of proxies it may mention."""

    def draw(request: AnyRequest, pages: Pages, events: Sequence[BusEvent]) -> list[str]:
        return [state_part(request, pages, proxy) for proxy in proxy_views(events)]

    return draw


def overview(_query: Mapping[str, str]) -> Viewer:
    """The strip of figures, and the badges and reasons of the proxies."""

    def draw(request: AnyRequest, pages: Pages, events: Sequence[BusEvent]) -> list[str]:
        parts = []
        for proxy in proxy_views(events):
            parts += [state_part(request, pages, proxy), reason_part(request, pages, proxy)]
        if stats := latest(events, "stats"):
            numbers = msgspec.convert(stats[-1], LiveStats)
            parts.append(
                partial(
                    "#overview-strip", "innerHTML", pages.fragment(request, "overview/_strip.html", numbers=numbers)
                )
            )
        return parts

    return draw


def proxies(_query: Mapping[str, str]) -> Viewer:
    """Badge, reason and buttons of each row of the list."""

    def draw(request: AnyRequest, pages: Pages, events: Sequence[BusEvent]) -> list[str]:
        parts = []
        for proxy in proxy_views(events):
            parts += [state_part(request, pages, proxy), reason_part(request, pages, proxy)]
            actions = pages.fragment(request, "fleet/_row_actions.html", proxy=proxy)
            parts.append(partial(f"#actions-{proxy.id}", "outerHTML", actions))
        return parts

    return draw


def proxy(query: Mapping[str, str]) -> Viewer:
    """One proxy: its badge, its buttons, why it failed, and its calls."""
    calls = traffic({"proxy_id": query.get("proxy_id", ""), "hide_proxy": "yes"})

    def draw(request: AnyRequest, pages: Pages, events: Sequence[BusEvent]) -> list[str]:
        parts = [
            pages.fragment(request, "fleet/_live.html", proxy=changed)
            for changed in proxy_views(events)
            if changed.id == query.get("proxy_id")
        ]
        return parts + calls(request, pages, events) + changed_servers(events)

    return draw


def traffic(query: Mapping[str, str]) -> Viewer:
    """New calls that fit the filter, at the top."""

    def draw(request: AnyRequest, pages: Pages, events: Sequence[BusEvent]) -> list[str]:
        calls = [msgspec.convert(data, CallView) for data in latest(events, "call")]
        fitting = [call for call in calls if traffic_pages.matches(call, dict(query))][-MAX_CALL_ROWS:]
        hide_proxy = "hide_proxy" in query
        return [
            partial(
                "#call-rows",
                "afterbegin",
                pages.fragment(request, "traffic/_row.html", call=call, hide_proxy=hide_proxy),
            )
            for call in fitting
        ]

    return draw


def alerts(query: Mapping[str, str]) -> Viewer:
    """New alerts that fit the filter, at the top; changed ones in their place."""
    given = {name: query.get(name, "") for name in ("search", "severity", "proxy_id", "rule_id")}
    filters = alert_pages.clean(status=query.get("status", "open"), **given)

    def draw(request: AnyRequest, pages: Pages, events: Sequence[BusEvent]) -> list[str]:
        parts = []
        for data in latest(events, "alert"):
            alert = msgspec.convert(data, AlertView)
            row = pages.fragment(request, "alerts/_row.html", alert=alert)
            if alert_pages.matches(alert, filters):
                parts.append(partial("#alert-rows", "afterbegin", row))
            else:
                parts.append(partial(f"#alert-{alert.id}", "outerMorph", row))
        return parts

    return draw


def tools(_query: Mapping[str, str]) -> Viewer:
    """Pages about tools fetch their parts anew when a server that they name has changed."""

    def draw(request: AnyRequest, pages: Pages, events: Sequence[BusEvent]) -> list[str]:
        return [state_part(request, pages, proxy) for proxy in proxy_views(events)] + changed_servers(events)

    return draw


def changed_servers(events: Sequence[BusEvent]) -> list[str]:
    """A note for tools.js about each server of which something has changed."""
    return [
        partial("#live-note", "beforeend", f'<i data-changed="{escape(str(data["proxy_id"]))}"></i>')
        for data in latest(events, "tools")
    ]


VIEWS = {
    "": View(frozenset(), nothing_more),
    "overview": View(frozenset({"stats"}), overview),
    "proxies": View(frozenset(), proxies),
    "proxy": View(frozenset({"call"}), proxy),
    "traffic": View(frozenset({"call"}), traffic),
    "alerts": View(frozenset(), alerts),
    "tools": View(frozenset({"tools"}), tools),
}


@get("/events", opt={"role": "viewer"}, include_in_schema=False)
async def live_page(
    request: Request[Any, Any, Any],
    actor: NamedDependency[Actor],
    pages: NamedDependency[Pages],
    bus: NamedDependency[EventBus],
    badges: NamedDependency[RailBadges],
) -> Stream:
    """The live stream of one page."""
    query = {name: value for name, value in request.query_params.items() if isinstance(value, str)}
    view = VIEWS.get(query.get("show", ""), VIEWS[""])
    subscription = bus.subscribe(view.topics, last_event_id=request.headers.get("last-event-id", ""))
    authenticator: Authenticator = request.app.state.authenticator

    async def is_still_allowed() -> bool:
        return await authenticator.is_still_valid(actor)

    body: AsyncIterator[bytes] = stream(
        request, actor, pages, bus, subscription, view.draw(query), is_still_allowed, badges
    )
    return Stream(
        body, media_type="text/event-stream", headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    )


routes = [live_page]
