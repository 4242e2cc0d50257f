"""The live stream of the pages: what it says, when it ends, and that it never says too much."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest
from litestar.testing import RequestFactory

from app.http.events import QUEUE_EVENTS, EventBus, Subscription
from app.http.live import BEAT, RESYNC_MESSAGE, message, partial, stream
from app.http.page import Badges, Pages
from app.overview.live import MAX_CALL_ROWS, VIEWS
from app.security.permissions import Actor, Role
from tests.support.console import Console
from tests.support.tab import alert_id, blocked, call_of, ingest, make_proxy

ADMIN = Actor(user_id="usr_1", username="admin", role=Role.ADMIN, via="session", ip="127.0.0.1", credential="x")


class Listener:
    """One page's stream, read event by event."""

    def __init__(self, console: Console, show: str, **query: str) -> None:
        state = console.app.state
        self.bus: EventBus = state.bus
        self.pages: Pages = state.pages
        self.allowed = True
        view = VIEWS[show]
        self.subscription: Subscription = self.bus.subscribe(view.topics)
        request: Any = RequestFactory().get("/events")
        request.scope["user"] = ADMIN
        request.scope["state"] = {"csrf_token": "token"}
        self.stream: AsyncIterator[bytes] = stream(
            request,
            ADMIN,
            self.pages,
            self.bus,
            self.subscription,
            view.draw(query),
            self._is_allowed,
            self._count,
        )

    async def _is_allowed(self) -> bool:
        return self.allowed

    async def _count(self, _actor: Actor) -> Badges:
        return Badges(urgent_alerts=7, failed_proxies=0)

    async def next(self) -> str:
        return (await anext(self.stream)).decode()


async def test_a_stream_begins_with_a_beat_and_tells_of_a_new_alert(console: Console) -> None:
    listener = Listener(console, "alerts")
    assert await listener.next() == BEAT.decode()
    await ingest(console, blocked(await make_proxy(console)))
    said = await listener.next()
    assert f'<tr id="alert-{await alert_id(console)}"' in said
    assert 'hx-target="#alert-rows" hx-swap="afterbegin"' in said
    assert 'aria-label="7 open critical and high alerts"' in said
    assert all(line.startswith(("id: ", "data: ")) for line in said.strip().splitlines())


async def test_an_alert_that_no_longer_fits_the_filter_changes_in_its_place(console: Console) -> None:
    await ingest(console, blocked(await make_proxy(console)))
    found = await alert_id(console)
    listener = Listener(console, "alerts")
    await listener.next()
    await console.client.post(f"/api/v1/system/alerts/{found}/resolve", json={}, headers=console.admin)
    said = await listener.next()
    assert f'hx-target="#alert-{found}" hx-swap="outerMorph"' in said
    assert "#alert-rows" not in said


async def test_calls_are_told_where_they_fit_and_not_more_than_a_screenful(console: Console) -> None:
    one, other = await make_proxy(console), await make_proxy(console, "other", 4001)
    listener = Listener(console, "proxy", proxy_id=one)
    await listener.next()
    await ingest(console, *(call_of(one if number % 2 else other, number) for number in range(1, 81)))
    said = await listener.next()
    assert said.count("<tr id=") <= MAX_CALL_ROWS
    assert said.count("<tr id=") > 0
    assert other not in said


async def test_the_filter_of_the_traffic_page_applies(console: Console) -> None:
    proxy_id = await make_proxy(console)
    listener = Listener(console, "traffic", verdict="blocked")
    await listener.next()
    await ingest(console, call_of(proxy_id, 1), blocked(proxy_id, 2))
    said = await listener.next()
    assert "call-call_2" in said
    assert "call-call_1" not in said


@pytest.mark.parametrize("show", ["", "overview", "proxies", "proxy"])
async def test_a_proxy_that_changes_state_changes_its_badge(console: Console, show: str) -> None:
    proxy_id = await make_proxy(console)
    listener = Listener(console, show, proxy_id=proxy_id)
    await listener.next()
    await console.client.post(f"/api/v1/proxies/{proxy_id}/start", headers=console.admin)
    said = await listener.next()
    assert f'hx-target="#state-{proxy_id}"' in said
    assert "running" in said
    assert (f'hx-target="#actions-{proxy_id}"' in said) == (show == "proxies")
    assert ('hx-target="#proxy-actions"' in said) == (show == "proxy")


async def test_the_overview_redraws_its_figures(console: Console) -> None:
    listener = Listener(console, "overview")
    await listener.next()
    live = await console.app.state.overview.live(ADMIN.tenant_id)
    listener.bus.publish("stats", msgspec.to_builtins(live))
    assert 'hx-target="#overview-strip"' in await listener.next()


async def test_a_deleted_proxy_and_a_lost_event_break_nothing(console: Console) -> None:
    listener = Listener(console, "proxies")
    await listener.next()
    listener.bus.publish("proxy", {"id": "prx_gone", "deleted": True})
    assert "badge-proxies" in await listener.next()
    for number in range(QUEUE_EVENTS + 1):
        listener.bus.publish("proxy", {"id": f"prx_{number}", "deleted": True})
    assert await listener.next() == RESYNC_MESSAGE.decode()


async def test_ADM_09_the_stream_ends_with_the_session(console: Console, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.http.live.RECHECK_SECONDS", 0.0)
    listener = Listener(console, "alerts")
    await listener.next()
    listener.allowed = False
    assert [said async for said in listener.stream] == []
    assert listener.subscription.closed


async def test_the_stream_beats_while_it_is_quiet(console: Console, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.http.live.RECHECK_SECONDS", 0.0)
    monkeypatch.setattr("app.http.live.HEARTBEAT_SECONDS", 0.0)
    listener = Listener(console, "")
    assert [await listener.next(), await listener.next()] == [BEAT.decode()] * 2


async def test_the_route_needs_a_login_and_an_unknown_page_gets_only_badges(console: Console) -> None:
    assert (await console.client.get("/events", follow_redirects=False)).status_code == 303
    assert VIEWS[""].topics == {"alert", "proxy", "tools"}


def test_a_message_cannot_be_ended_by_its_content() -> None:
    assert message("<p>a</p>\n\nid: 9\n<p>b</p>", "x-1") == b"id: x-1\ndata: <p>a</p>\ndata: id: 9\ndata: <p>b</p>\n\n"
    assert partial("#a", "innerHTML", "x") == '<hx-partial hx-target="#a" hx-swap="innerHTML">x</hx-partial>'
