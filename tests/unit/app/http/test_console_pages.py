"""The pages over HTTP that are nobody else's: what they show, and what their forms do."""

from __future__ import annotations

import re
from collections import Counter

import pytest

from app.version import __version__
from tests.support.console import Console
from tests.support.tab import (
    Tab,
    alert_id,
    blocked,
    call_of,
    ingest,
    make_proxy,
    toast_follows,
)


async def test_the_overview_leads_through_the_first_steps(console: Console, tab: Tab) -> None:
    empty = (await tab.get("/")).text
    assert "0 of 4 done" in empty
    proxy_id = await make_proxy(console)
    await console.client.post(f"/api/v1/proxies/{proxy_id}/start", headers=console.admin)
    await console.client.post("/api/v1/api-keys", json={"name": "laptop"}, headers=console.admin)
    assert "3 of 4 done" in (await tab.get("/")).text
    await ingest(console, call_of(proxy_id))
    assert "Get started" not in (await tab.get("/")).text


async def test_the_overview_folds_many_hits_of_one_rule_into_one_line(console: Console, tab: Tab) -> None:
    proxy_id = await make_proxy(console)
    await ingest(console, *(blocked(proxy_id, number) for number in range(1, 6)))
    text = (await tab.get("/")).text
    assert "5 times" in text
    assert text.count('class="bar-blocked"') >= 2, "a bar and the key of the chart"
    assert 'href="/alerts?rule_id=PI-0001"' in text
    assert 'aria-label="5 open critical and high alerts"' in text
    assert "Busiest clients today" in text
    assert "5 blocked" in text


async def test_the_list_of_proxies_counts_their_errors_and_leads_to_them(console: Console, tab: Tab) -> None:
    proxy_id = await make_proxy(console)
    assert "verdict=error" not in (await tab.get("/proxies")).text
    await ingest(console, *(call_of(proxy_id, number, outcome="upstream_error", status=502) for number in (1, 2)))
    assert f'<a href="/traffic?proxy_id={proxy_id}&amp;verdict=error">2</a>' in (await tab.get("/proxies")).text


async def test_policies_and_packs(console: Console, tab: Tab) -> None:
    await make_proxy(console)
    assert "llm-standard-security" in (await tab.get("/policies")).text
    policy = (await tab.get("/policies/llm-standard-security")).text
    assert "openai" in policy
    pack = (await tab.get("/packs/prompt-injection")).text
    assert "PI-0001" in pack
    assert "No rule matches" in (await tab.get("/packs/prompt-injection?search=zzz")).text
    assert "No rule matches" in (await tab.get("/packs/prompt-injection?severity=info")).text
    rule = (await tab.get("/packs/prompt-injection/PI-0001")).text
    assert "forbidden incantation" in rule
    assert "Must not match" in rule
    assert "The text holds this. Each place where it does is a match." in rule
    assert 'href="/policies/llm-standard-security"' in rule, "what it does in policies"
    assert (await tab.get("/packs/prompt-injection/PI-9999")).status_code == 404
    assert (await tab.get("/policies/unknown")).status_code == 404
    assert (await tab.get("/packs/unknown")).status_code == 404


@pytest.mark.parametrize(
    ("path", "section"),
    [("/traffic/call_x", "Traffic"), ("/policies/x", "Policies"), ("/approvals/changes/x", "Approvals")],
)
async def test_what_is_not_there_leads_to_its_section_and_speaks_of_no_calls_of_the_api(
    tab: Tab, path: str, section: str
) -> None:
    answer = await tab.get(path)
    assert answer.status_code == 404
    assert f"{section} shows what there is." in answer.text
    assert f'<a class="btn btn-primary" href="/{section.lower()}">{section}</a>' in answer.text
    assert "/api/v1" not in answer.text


async def test_an_unknown_address_is_refused_inside_the_console(console: Console, tab: Tab) -> None:
    answer = await tab.get("/nothing/here")
    assert answer.status_code == 404
    assert 'aria-label="Main"' in answer.text
    stranger = await console.client.get("/nothing/here")
    assert stranger.status_code == 404
    assert 'aria-label="Main"' not in stranger.text
    told = await console.client.get("/api/v1/nothing", headers=console.admin)
    assert told.status_code == 404
    assert told.json()["error_code"] == "NOT_FOUND"
    assert (await console.client.post("/nothing/here")).status_code == 405


async def test_a_key_is_shown_once_and_revoked_after_a_question(console: Console, tab: Tab) -> None:
    proxy_id = await make_proxy(console)
    assert "checked" in (await tab.get(f"/access/new?proxy_id={proxy_id}")).text
    form = {"name": "laptop", "scope": "some", "proxy_ids": [proxy_id], "expires_in_days": "30"}
    made = await tab.post("/access/new", form)
    assert made.status_code == 201
    found = re.search(r"ost_[0-9A-Za-z]{43}", made.text)
    assert found
    listed = (await tab.get("/access")).text
    assert found[0] not in listed
    assert "laptop" in listed
    key = (await console.client.get("/api/v1/api-keys", headers=console.admin)).json()["data"]["items"][0]
    assert key["proxy_ids"] == [proxy_id]
    assert "Revoke key “laptop”?" in (await tab.post(f"/access/{key['id']}/revoke")).text
    assert (await tab.post("/access/key_x/revoke")).status_code == 404
    done = await tab.post(f"/access/{key['id']}/revoke", {"confirmed": "yes"})
    assert done.headers["location"] == "/access"
    assert "revoked" in (await tab.get("/access?search=lap&state=revoked")).text
    assert "No key matches the filter." in (await tab.get("/access?state=active")).text


async def test_a_key_form_with_a_mistake_comes_back_for_every_proxy_as_well(console: Console, tab: Tab) -> None:
    proxy_id = await make_proxy(console)
    for scope in ({"scope": "all"}, {"scope": "some", "proxy_ids": proxy_id}):
        refused = await tab.post("/access/new", {"name": "", **scope})
        assert refused.status_code == 422
        assert ('id="scope-all" name="scope" value="all" checked' in refused.text) is (scope["scope"] == "all")


@pytest.mark.parametrize("name", ["%F0%9F%98%80", "%FF", "%00", "%0D%0AX-Planted:%201"])
async def test_a_name_in_an_address_cannot_break_the_redirect_that_repeats_it(tab: Tab, name: str) -> None:
    for path in (f"/policies/{name}/publish", f"/inventory/{name}/revert"):
        answer = await tab.post(path)
        assert answer.status_code in (303, 404, 422)
        assert "x-planted" not in answer.headers
        assert answer.headers.get("location", "/").isascii()
        assert answer.headers.get("location", "/").isprintable()


@pytest.mark.parametrize(
    ("form", "field"),
    [({"name": ""}, "name"), ({"name": "x", "scope": "some"}, "proxy_ids")],
)
async def test_a_refused_key_names_the_field(tab: Tab, form: dict[str, str], field: str) -> None:
    answer = await tab.post("/access/new", form)
    assert answer.status_code == 422
    assert f'id="{field}-error"' in answer.text


async def test_the_audit_log_filters_and_verifies(tab: Tab) -> None:
    page = (await tab.get("/audit?event_type=auth.&username=admin&result=success")).text
    assert "auth.login" in page
    assert "user.created" not in page
    assert "No entry matches the filter." in (await tab.get("/audit?username=nobody&result=nonsense")).text
    verified = await tab.get("/audit/verify")
    assert verified.headers["location"] == "/audit"
    cookie = verified.headers["set-cookie"].partition(";")[0]
    assert "The chain holds" in (await tab.get("/audit", Cookie=f"{tab.headers['Cookie']}; {cookie}")).text


async def test_people_are_added_and_kept_out(console: Console, tab: Tab) -> None:
    made = await tab.post("/settings/users", {"username": "eve", "role": "viewer"})
    assert made.status_code == 201
    assert "One-time password of eve" in made.text
    assert (await tab.post("/settings/users", {"username": "eve", "role": "viewer"})).status_code == 409
    assert (await tab.post("/settings/users", {"username": "?", "role": "king"})).status_code == 422
    people = (await console.client.get("/api/v1/users", headers=console.admin)).json()["data"]["items"]
    by_name = {person["username"]: person["id"] for person in people}
    await tab.post(f"/settings/users/{by_name['eve']}", {"is_active": "no"})
    assert "disabled" in (await tab.get("/settings?tab=users")).text
    await tab.post(f"/settings/users/{by_name['eve']}", {"is_active": "yes"})
    assert "disabled" not in (await tab.get("/settings?tab=users")).text
    assert toast_follows(await tab.post(f"/settings/users/{by_name['admin']}", {"is_active": "no"}))


async def test_a_token_is_shown_once_and_revoked(console: Console, tab: Tab) -> None:
    made = await tab.post("/settings/tokens", {"name": "ci", "role": "viewer", "expires_in_days": ""})
    assert made.status_code == 201
    assert "Token “ci” is ready" in made.text
    token = (await console.client.get("/api/v1/tokens", headers=console.admin)).json()["data"]["items"][0]
    assert (await tab.post(f"/settings/tokens/{token['id']}/revoke")).headers["location"] == "/settings?tab=tokens"
    assert "revoked" in (await tab.get("/settings?tab=tokens")).text
    assert (await tab.post("/settings/tokens", {"name": "", "role": "viewer"})).status_code == 422


async def test_settings_and_about_tell_what_runs_and_no_secret(tab: Tab, console: Console) -> None:
    general = (await tab.get("/settings")).text
    assert "retention_alerts_days" in general
    assert f'<td data-label="Version">{__version__}</td>' in general
    about = (await tab.get("/settings?tab=about")).text
    assert "htmx.org" in about
    assert "litestar" in about
    assert 'href="/api/v1/system/sbom"' in about
    licence = re.search(r'href="(/static/vendor/htmx\.[0-9a-f]+\.LICENSE)"', about)
    assert licence
    assert (await console.client.get(licence[1])).status_code == 200


async def test_go_to_lists_what_there_is(console: Console, tab: Tab) -> None:
    proxy_id = await make_proxy(console)
    places = (await tab.get("/goto")).text
    assert f'data-href="/proxies/{proxy_id}"' in places
    assert 'data-href="/packs/secrets"' in places
    assert 'data-href="/proxies/new"' in places
    assert 'data-href="/policies/playground"' in places
    assert 'data-href="/canaries"' in places


async def test_library_playground_and_canaries_stand_beside_each_other(tab: Tab) -> None:
    addresses = ("/policies", "/policies/playground", "/canaries", "/guidelines")
    for address in addresses:
        tabs = re.search(r'<nav class="tabs" aria-label="Policies">.*?</nav>', (await tab.get(address)).text)
        assert tabs is not None
        assert re.findall(r'href="([^"]+)"', tabs[0]) == list(addresses)
        assert re.findall(r'href="([^"]+)" aria-current="page"', tabs[0]) == [address]


async def test_no_page_has_two_elements_of_one_id(console: Console, tab: Tab) -> None:
    proxy_id = await make_proxy(console)
    mcp_id = await make_proxy(console, "tools", 4001, type="mcp", target_url="https://mcp.example.org/mcp")
    await ingest(console, blocked(proxy_id))
    await console.client.post("/api/v1/guidelines", json={"name": "a", "content": "Be kind."}, headers=console.admin)
    addresses = f"""/ /proxies /proxies/new /traffic /alerts /alerts/{await alert_id(console)} /access /access/new /policies
    /policies/new /policies/import /policies/playground /canaries /canaries/new /guidelines /guidelines/new /redactions /approvals
    /inventory /scanner /audit""".split()
    addresses += [f"/settings?tab={name}" for name in ("general", "users", "tokens", "launch", "about")]
    tabs = ("live", "policy", "tools", "connect", "config", "logs")
    addresses += [f"/proxies/{id}?tab={name}" for id in (proxy_id, mcp_id) for name in tabs]
    twice = {}
    for address in addresses:
        page = await tab.get(address)
        assert page.status_code == 200, address
        ids = Counter(re.findall(r' id="([^"]+)"', page.text))
        if found := [id for id, count in ids.items() if count > 1]:
            twice[address] = found
    assert twice == {}


async def test_static_files_are_immutable_and_compressed(console: Console) -> None:
    page = (await console.client.get("/login")).text
    for path in re.findall(r'(?:href|src)="(/static/[^"#]+)"', page):
        answer = await console.client.get(path)
        assert answer.status_code == 200
        assert "immutable" in answer.headers["cache-control"]
        assert answer.headers["x-content-type-options"] == "nosniff"
    assert (await console.client.get("/static/app.css")).status_code == 404


async def test_full_pages_stay_below_60_KB(console: Console, tab: Tab) -> None:
    ids = [await make_proxy(console, f"proxy number {number}", 4000 + number) for number in range(30)]
    for number in range(30):
        await console.client.post("/api/v1/api-keys", json={"name": f"key {number}"}, headers=console.admin)
    await ingest(console, *(blocked(ids[number % 30], number) for number in range(1, 150)))
    paths = ("/", "/proxies", "/traffic", "/alerts", "/access", "/audit", "/policies", f"/proxies/{ids[0]}")
    sizes = {path: len((await tab.get(path)).content) for path in paths}
    assert {path: size for path, size in sizes.items() if size > 60 * 1024} == {}
    assert "All 30 proxies" in (await tab.get("/")).text
    assert "1–25 of 30" in (await tab.get("/proxies")).text
    assert "proxy number 29" not in (await tab.get("/proxies?offset=25&search=number+1")).text
    assert "21–40 of 149" in (await tab.get("/alerts?offset=20")).text
