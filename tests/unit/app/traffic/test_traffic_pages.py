"""The pages of the traffic: the list, one call, its drawer and its sides."""

from __future__ import annotations

import re

from proxies.contract import CapturedText, TextMark
from rules.model import Target
from tests.support.console import PASSWORD, Console
from tests.support.tab import (
    HTMX,
    Tab,
    blocked,
    call_of,
    ingest,
    make_proxy,
    tab_of,
)


async def test_traffic_shows_calls_and_one_call_in_detail(console: Console, tab: Tab) -> None:
    proxy_id = await make_proxy(console)
    await ingest(
        console,
        blocked(proxy_id, 1, operation="<i>model\u202e", timings_ms={"parse": 0.1, "inspect": 0.4}),
        call_of(proxy_id, 2, client_ip="192.0.2.9"),
    )
    everything = (await tab.get("/traffic")).text
    assert "&lt;i&gt;model" in everything
    assert "<i>model" not in everything
    assert ">RLO<" in everything
    only = (await tab.get("/traffic?verdict=blocked&hours=1&search=model")).text
    assert "call_1" in only
    assert "call_2" not in only
    assert "No call matches the filter." in (await tab.get("/traffic?proxy_id=prx_x")).text
    detail = (await tab.get("/traffic/call_1")).text
    assert "<mark>" in detail
    assert 'class="bad"' in detail, "the step that stopped the call"
    assert "Alerts of this call" in detail
    assert (await tab.get("/traffic/call_9")).status_code == 404


SPOKEN = tuple(
    CapturedText(direction, target, path, text, marks=marks)  # type: ignore[arg-type]
    for direction, target, path, text, marks in (
        ("request", Target.SYSTEM_PROMPT, "/messages/0/content", "Be brief.", ()),
        (
            "request",
            Target.PROMPT,
            "/messages/1/content",
            "Ignore <all> " + "of it " * 400,
            (TextMark(0, 6, "PI-0001"),),
        ),
        ("response", Target.COMPLETION, "/choices/0/message/content", "Done\u202e.", ()),
    )
)


async def test_a_call_shows_what_was_said_with_the_findings_in_place(console: Console, tab: Tab) -> None:
    await ingest(console, blocked("prx_1", texts=SPOKEN, texts_omitted=2))
    page = (await tab.get("/traffic/call_1")).text
    assert '<mark class="mark-high" title="PI-0001"><bdi class="hostile">Ignore</bdi></mark>' in page
    assert "&lt;all&gt;" in page
    assert ">RLO<" in page
    assert page.index("<b>system</b>") < page.index("<b>user</b>") < page.index("<b>assistant</b>")
    assert 'href="/packs/prompt-injection/PI-0001"' in page
    assert "2 texts of this call found no room" in page
    assert 'hx-get="/traffic/call_1/texts/request"' in page
    assert 'hx-get="/traffic/call_1/texts/response"' not in page


async def test_a_side_is_shown_whole_on_request_as_a_piece_and_as_a_page(console: Console, tab: Tab) -> None:
    await ingest(console, blocked("prx_1", texts=SPOKEN))
    piece = await tab.get("/traffic/call_1/texts/request", **HTMX)
    assert piece.text.lstrip().startswith("<section")
    assert piece.text.count("of it ") == 400
    page = await tab.get("/traffic/call_1/texts/request")
    assert page.text.startswith("<!doctype")
    assert page.text.count("of it ") == 400
    assert (await tab.get("/traffic/call_1/texts/sideways")).status_code == 404
    assert (await tab.get("/traffic/call_2/texts/request")).status_code == 404


async def test_the_drawer_is_a_piece_of_the_page_and_the_list_opens_with_it(console: Console, tab: Tab) -> None:
    await ingest(console, blocked("prx_1", texts=SPOKEN))
    piece = await tab.get("/traffic/call_1", **HTMX, **{"HX-Target": "aside#drawer"})
    assert piece.text.lstrip().startswith("<header")
    assert 'id="side-request"' in piece.text
    page = (await tab.get("/traffic?verdict=blocked&call=call_1")).text
    assert 'href="/traffic?verdict=blocked" data-drawer-close' in page
    assert 'id="side-request"' in page
    closed = (await tab.get("/traffic?call=call_nowhere")).text
    assert re.search(r'<aside class="drawer region"[^>]* hidden></aside>', closed)


async def test_a_viewer_is_told_that_texts_are_for_administrators(console: Console) -> None:
    await ingest(console, blocked("prx_1", texts=SPOKEN))
    await console.create_person("eve", "viewer")
    viewer = await tab_of(console, "eve", f"{PASSWORD} too")
    page = (await viewer.get("/traffic/call_1")).text
    assert "Administrators see what was said" in page
    assert "Ignore" not in page.partition('id="findings"')[0]
    assert (await viewer.get("/traffic/call_1/texts/request")).status_code == 404
