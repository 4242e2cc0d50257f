"""Lists on pages: searched and sorted by their address, and helpful when nothing is found."""

from __future__ import annotations

import re
from typing import Any

import pytest

from tests.support.console import Console
from tests.support.tab import Tab, make_proxy


async def make(console: Console, path: str, **body: Any) -> None:
    answer = await console.client.post(f"/api/v1/{path}", json=body, headers=console.admin)
    assert answer.status_code == 201, answer.text


async def fill(console: Console) -> None:
    """Two of each."""
    for name, role in (("alice", "viewer"), ("bob", "admin")):
        await make(console, "users", username=name, role=role)
    for name in ("alpha", "beta"):
        await make(console, "tokens", name=name)
        await make(console, "canaries", name=name, note="on the wiki")
        await make(console, "launch-programs", program=name, first_arguments=["-y"])


LISTS = {
    "/settings?tab=users": ("alice", "bob", "username", "No user matches the search."),
    "/settings?tab=tokens": ("alpha", "beta", "name", "No token matches the search."),
    "/settings?tab=launch": ("alpha", "beta", "program", "No program matches the search."),
    "/canaries": ("alpha", "beta", "name", "No canary matches the search."),
}


async def test_lists_are_searched_sorted_and_say_when_nothing_matches(console: Console, tab: Tab) -> None:
    await fill(console)
    for address, (first, second, column, nothing) in LISTS.items():
        joint = "&" if "?" in address else "?"

        async def rows(query: str, address: str = address, joint: str = joint) -> str:
            page = (await tab.get(f"{address}{joint}{query}")).text
            table = re.search(r"<tbody.*</tbody>", page, re.DOTALL)
            return table[0] if table else page

        found = await rows(f"search={first.upper()}")
        assert first in found, address
        assert second not in found, address
        ascending, descending = await rows(f"sort={column}"), await rows(f"sort=-{column}")
        assert ascending.index(first) < ascending.index(second), address
        assert descending.index(second) < descending.index(first), address
        page = (await tab.get(f"{address}{joint}search=%3Cnothing%25")).text
        assert nothing in page
        assert "&lt;nothing%" in page, "what was typed stands in the field"
        assert "Clear the search" in page


@pytest.mark.parametrize("path", ["users", "tokens", "canaries", "launch-programs"])
async def test_the_api_searches_and_pages_the_same_lists(console: Console, path: str) -> None:
    await fill(console)
    wanted = "bob" if path == "users" else "beta"

    async def found(query: str) -> dict[str, Any]:
        answer = await console.client.get(f"/api/v1/{path}?{query}", headers=console.admin)
        data: dict[str, Any] = answer.json()["data"]
        return data

    assert (await found(f"search={wanted}"))["total"] == 1
    assert (await found("search=%25"))["total"] == 0, "a sign of the pattern language is only a sign"
    everything = await found("")
    page = await found("limit=1&offset=1")
    assert (page["limit"], page["offset"], page["total"]) == (1, 1, everything["total"])
    assert page["items"] == everything["items"][1:2]


async def test_proxies_sort_by_state_and_a_filtered_list_of_policies_keeps_what_applies_everywhere(
    console: Console, tab: Tab
) -> None:
    await make_proxy(console, "idle", 4000)
    running = await make_proxy(console, "busy", 4001)
    await console.client.post(f"/api/v1/proxies/{running}/start", headers=console.admin)
    page = (await tab.get("/proxies?sort=-state")).text
    assert page.index("idle") < page.index("busy")
    policies = (await tab.get("/policies?search=nothing-has-this-name&change=everywhere")).text
    assert "None of yours matches the filter." in policies
    assert 'name="policy_names" value="llm-standard-security"' in policies, "saving must not drop what is filtered out"
    names = re.findall(r'class="name" href="/policies/([^"]+)"', (await tab.get("/policies?sort=-title")).text)
    assert names == sorted(names, reverse=True)
    assert 'aria-sort="descending"' in (await tab.get("/policies?pack_sort=-hits")).text


async def test_lists_that_are_full_stay_below_60_KB_and_lead_on(console: Console, tab: Tab) -> None:
    for item in range(30):
        await make(console, "users", username=f"user{item:02}")
        await make(console, "tokens", name=f"token {item:02}")
        await make(console, "canaries", name=f"canary {item:02}", note="planted somewhere " * 20)
        await make(console, "launch-programs", program=f"program{item:02}", first_arguments=["-y", "@example/server"])
    for address in LISTS:
        page = await tab.get(address)
        assert len(page.content) < 60 * 1024, address
        assert "1–25 of 3" in page.text, address
        assert "offset=25" in page.text, address
        following = await tab.get(f"{address}{'&' if '?' in address else '?'}offset=25")
        assert "26–3" in following.text, address
        assert (await tab.get(f"{address}{'&' if '?' in address else '?'}sort=nonsense")).status_code == 200
