"""The pages over HTTP: what they show, what their forms do, and who may open them."""

from __future__ import annotations

import re
import time
from typing import Any

import httpx
import msgspec
import pytest

from app.http.page import TOAST_COOKIE
from app.version import __version__
from proxies.contract import CallRecord, Usage
from rules.model import Action
from tests.support.console import PASSWORD, Console
from tests.support.memory_fleet import MemoryFleet
from tests.support.records import CALL, FINDING
from tests.support.tab import SAME_ORIGIN, Tab, tab_of

HTMX = {"HX-Request": "true"}


@pytest.fixture
async def tab(console: Console) -> Tab:
    """The administrator's tab."""
    return await tab_of(console)


async def make_proxy(console: Console, name: str = "openai", port: int = 4000, **fields: Any) -> str:
    body = {"name": name, "type": "llm", "target_url": "https://api.example.org", "port": port, **fields}
    answer = await console.client.post("/api/v1/proxies", json=body, headers=console.admin)
    assert answer.status_code == 201, answer.text
    return str(answer.json()["data"]["id"])


def call_of(proxy_id: str, number: int = 1, **changes: Any) -> CallRecord:
    started_at = time.time() - number
    return msgspec.structs.replace(CALL, id=f"call_{number}", proxy_id=proxy_id, started_at=started_at, **changes)


async def ingest(console: Console, *records: CallRecord) -> None:
    await console.app.state.ingest(list(records))


def blocked(proxy_id: str, number: int = 1, **changes: Any) -> CallRecord:
    return call_of(
        proxy_id,
        number,
        findings=(FINDING,),
        outcome="blocked",
        action=Action.BLOCK,
        status=403,
        reason="Blocked: the prompt drops its instructions (rule PI-0001).",
        error_code="blocked_by_policy",
        **changes,
    )


async def alert_id(console: Console) -> str:
    answer = await console.client.get("/api/v1/system/alerts", headers=console.admin)
    return str(answer.json()["data"]["items"][0]["id"])


def toast_follows(answer: httpx.Response) -> bool:
    return TOAST_COOKIE in answer.headers.get("set-cookie", "")


# --- Logging in -----------------------------------------------------------------------------------------------------


async def test_a_page_asks_for_a_login_and_comes_back_to_where_it_was(console: Console) -> None:
    refused = await console.client.get("/alerts?status=any", follow_redirects=False)
    assert (refused.status_code, refused.headers["location"]) == (303, "/login?next=/alerts%3Fstatus%3Dany")
    form = {"username": "admin", "password": PASSWORD, "next": "/alerts?status=any"}
    answer = await console.client.post("/login", data=form, headers=SAME_ORIGIN, follow_redirects=False)
    assert (answer.status_code, answer.headers["location"]) == (303, "/alerts?status=any")
    assert "HttpOnly" in answer.headers["set-cookie"]


async def test_ADM_25_a_login_does_not_lead_to_another_site(console: Console) -> None:
    form = {"username": "admin", "password": PASSWORD, "next": "//evil.test/x"}
    answer = await console.client.post("/login", data=form, headers=SAME_ORIGIN, follow_redirects=False)
    assert answer.headers["location"] == "/"


async def test_a_wrong_password_shows_the_form_again_without_it(console: Console) -> None:
    form = {"username": "admin", "password": "wrong guess 123"}
    answer = await console.client.post("/login", data=form, headers=SAME_ORIGIN)
    assert answer.status_code == 401
    assert 'value="admin"' in answer.text
    assert "wrong guess" not in answer.text


async def test_a_logged_in_person_needs_no_login_page(tab: Tab) -> None:
    assert (await tab.get("/login?next=/audit")).headers["location"] == "/audit"


async def test_ADM_09_logging_out_ends_the_session_on_the_server(tab: Tab) -> None:
    answer = await tab.post("/logout")
    assert answer.headers["location"] == "/login"
    assert (await tab.get("/")).status_code == 303


async def test_changing_the_password_needs_it_twice_and_the_old_one(tab: Tab) -> None:
    new = "a wholly different passphrase 9"
    differing = await tab.post(
        "/password", {"current_password": PASSWORD, "new_password": new, "repeat_password": "other"}
    )
    assert differing.status_code == 422
    assert "The two new passwords differ." in differing.text
    wrong = await tab.post("/password", {"current_password": "x", "new_password": new, "repeat_password": new})
    assert wrong.status_code == 422
    assert 'id="current_password-error"' in wrong.text
    done = await tab.post("/password", {"current_password": PASSWORD, "new_password": new, "repeat_password": new})
    assert (done.status_code, done.headers["location"]) == (303, "/")
    assert new not in done.text


async def test_ADM_05_a_form_without_its_token_changes_nothing(console: Console, tab: Tab) -> None:
    proxy_id = await make_proxy(console)
    tab.token = "0" * 64
    for path in (f"/proxies/{proxy_id}/start", f"/proxies/{proxy_id}", "/proxies/new", "/access/new", "/alerts/bulk"):
        assert (await tab.post(path)).status_code == 403, path


# --- Who may open what ----------------------------------------------------------------------------------------------


async def test_a_viewer_reads_everything_but_administration_and_changes_nothing(console: Console) -> None:
    proxy_id = await make_proxy(console)
    await console.create_person("eve", "viewer")
    viewer = await tab_of(console, "eve", f"{PASSWORD} too")
    for path in ("/", "/proxies", f"/proxies/{proxy_id}?tab=config", "/traffic", "/alerts", "/policies", "/access"):
        answer = await viewer.get(path)
        assert answer.status_code == 200, path
        assert 'href="/settings"' not in answer.text
        assert '<form method="post"' not in answer.text.replace('<form method="post" action="/logout">', "")
    for path in ("/audit", "/settings", "/proxies/new", "/access/new"):
        assert (await viewer.get(path)).status_code == 403, path
    assert (await viewer.post(f"/proxies/{proxy_id}/start")).status_code == 403


# --- Overview -------------------------------------------------------------------------------------------------------


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


# --- Proxies --------------------------------------------------------------------------------------------------------

WIZARD = {
    "type": "llm",
    "name": "openai",
    "target_url": "https://api.example.org",
    "host": "127.0.0.1",
    "port": "4000",
    "auth_type": "bearer",
    "auth_value": "sk-upstream-of-the-test",
    "policy_names": ["llm-standard-security", "mcp-standard-security"],
    "enforcement": "log_only",
    "require_auth": "on",
    "tags": "team, prod",
    "allowed_origins": "http://one.example\nhttp://two.example",
}


async def test_the_wizard_makes_and_starts_a_proxy(console: Console, tab: Tab, fleet: MemoryFleet) -> None:
    page = await tab.get("/proxies/new")
    assert 'value="4000"' in page.text
    made = await tab.post("/proxies/new", {**WIZARD, "then": "start"})
    assert made.status_code == 303, made.text
    assert toast_follows(made)
    proxy_id = made.headers["location"].rpartition("/")[2]
    proxy = (await console.client.get(f"/api/v1/proxies/{proxy_id}", headers=console.admin)).json()["data"]
    assert proxy["policy_names"] == ["llm-standard-security"], "policies of the other kind are left out"
    assert (proxy["enforcement"], proxy["tags"], proxy["auto_start"]) == ("log_only", ["team", "prod"], False)
    assert proxy["allowed_origins"] == ["http://one.example", "http://two.example"]
    assert proxy["upstream_auth"] == {"type": "bearer", "name": "", "reference": None, "set": True}
    assert proxy["state"] == "running"
    assert "sk-upstream" not in (await tab.get(f"/proxies/{proxy_id}?tab=config")).text
    assert 'value="4001"' in (await tab.get("/proxies/new")).text, "the next free port"


async def test_a_proxy_that_does_not_start_is_made_and_says_why(tab: Tab, fleet: MemoryFleet) -> None:
    fleet.fail_with = "Port 4000 is in use by another program."
    made = await tab.post("/proxies/new", {**WIZARD, "then": "start"})
    assert made.status_code == 303
    cookie = made.headers["set-cookie"].partition(";")[0]
    shown = await tab.get(made.headers["location"], Cookie=f"{tab.headers['Cookie']}; {cookie}")
    assert "did not start" in shown.text
    assert "Port 4000 is in use by another program." in shown.text


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"name": ""}, "name"),
        ({"port": "many"}, "port"),
        ({"port": ""}, "port"),
        ({"target_url": "ftp://x"}, "target_url"),
        ({"auth_value": ""}, "auth_value"),
        ({"auth_type": "header"}, "auth_name"),
        ({"host": "0.0.0.0", "require_auth": None}, "host"),
    ],
)
async def test_a_refused_wizard_names_the_field_and_keeps_the_rest(
    tab: Tab, changes: dict[str, Any], field: str
) -> None:
    form = {name: value for name, value in {**WIZARD, **changes}.items() if value is not None}
    answer = await tab.post("/proxies/new", form)
    assert answer.status_code == 422, answer.text
    assert f'id="{field}-error"' in answer.text
    assert 'value="team, prod"' in answer.text
    assert "sk-upstream" not in answer.text


async def test_a_taken_name_is_a_conflict_in_the_form(console: Console, tab: Tab) -> None:
    await make_proxy(console, port=5000)
    answer = await tab.post("/proxies/new", WIZARD)
    assert answer.status_code == 409
    assert 'id="name-error"' in answer.text


async def test_ADM_16_test_connection_has_the_same_checks_as_saving(tab: Tab) -> None:
    answer = await tab.post("/proxies/test-connection", {"target_url": "file:///etc/passwd"}, **HTMX)
    assert "probe-bad" in answer.text
    closed = await tab.post("/proxies/test-connection", {"target_url": "http://127.0.0.1:1"}, **HTMX)
    assert "cannot be reached" in closed.text


async def test_starting_answers_with_what_asked(console: Console, tab: Tab, fleet: MemoryFleet) -> None:
    proxy_id = await make_proxy(console)
    plain = await tab.post(f"/proxies/{proxy_id}/start")
    assert (plain.status_code, plain.headers["location"]) == (303, f"/proxies/{proxy_id}")
    row = await tab.post(f"/proxies/{proxy_id}/stop", **HTMX, **{"HX-Target": f"tr#proxy-{proxy_id}"})
    assert row.text.lstrip().startswith(f'<tr id="proxy-{proxy_id}"')
    assert "stopped" in row.text
    assert 'hx-target="#toasts"' in row.text
    buttons = await tab.post(f"/proxies/{proxy_id}/start", **HTMX, **{"HX-Target": "span#proxy-actions"})
    assert f'hx-target="#state-{proxy_id}"' in buttons.text
    fleet.refuse_with = "Port 4000 is taken."
    refused = await tab.post(f"/proxies/{proxy_id}/restart", **HTMX)
    assert refused.status_code == 409
    assert "Port 4000 is taken." in refused.text
    assert (await tab.post(f"/proxies/{proxy_id}/explode")).status_code == 404


async def test_a_proxy_is_saved_and_keeps_its_credential(console: Console, tab: Tab) -> None:
    made = await tab.post("/proxies/new", WIZARD)
    proxy_id = made.headers["location"].rpartition("/")[2]
    kept = {**WIZARD, "auth_value": "", "policy_names": ["llm-standard-security"]}
    saved = await tab.post(f"/proxies/{proxy_id}", {**kept, "description": "Team growth"})
    assert saved.status_code == 303, saved.text
    proxy = (await console.client.get(f"/api/v1/proxies/{proxy_id}", headers=console.admin)).json()["data"]
    assert (proxy["description"], proxy["upstream_auth"]["set"]) == ("Team growth", True)
    refused = await tab.post(f"/proxies/{proxy_id}", {**kept, "port": "70000"})
    assert refused.status_code == 422
    assert 'id="port-error"' in refused.text


async def test_deleting_asks_first_and_refuses_a_running_proxy(console: Console, tab: Tab) -> None:
    proxy_id = await make_proxy(console)
    asked = await tab.post(f"/proxies/{proxy_id}/delete")
    assert "Delete openai?" in asked.text
    await tab.post(f"/proxies/{proxy_id}/start")
    refused = await tab.post(f"/proxies/{proxy_id}/delete", {"confirmed": "yes"})
    assert refused.headers["location"] == f"/proxies/{proxy_id}?tab=config"
    await tab.post(f"/proxies/{proxy_id}/stop")
    done = await tab.post(f"/proxies/{proxy_id}/delete", {"confirmed": "yes"})
    assert done.headers["location"] == "/proxies"
    assert (await tab.get(f"/proxies/{proxy_id}")).status_code == 404


async def test_every_tab_of_a_proxy_opens(console: Console, tab: Tab) -> None:
    llm, mcp = await make_proxy(console), await make_proxy(console, "github tools!", 4001, type="mcp")
    await ingest(console, blocked(llm), call_of(llm, 2, usage=Usage(input_tokens=5, output_tokens=7)))
    for name in ("live", "policy", "connect", "config", "logs", "nonsense"):
        for proxy_id in (llm, mcp):
            assert (await tab.get(f"/proxies/{proxy_id}?tab={name}")).status_code == 200
    assert "http://127.0.0.1:4000/v1" in (await tab.get(f"/proxies/{llm}?tab=connect")).text
    connect = (await tab.get(f"/proxies/{mcp}?tab=connect")).text
    assert "claude mcp add --transport http github-tools http://127.0.0.1:4001/mcp" in connect
    assert "proxy.created" in (await tab.get(f"/proxies/{llm}?tab=logs")).text
    assert "PI-0001" in (await tab.get(f"/proxies/{llm}?tab=policy")).text


async def test_the_list_of_proxies_filters(console: Console, tab: Tab) -> None:
    await make_proxy(console, "alpha")
    await make_proxy(console, "beta", 4001, type="mcp")
    assert "beta" not in (await tab.get("/proxies?type=llm")).text
    assert "alpha" not in (await tab.get("/proxies?search=bet")).text
    assert "No proxy matches" in (await tab.get("/proxies?state=running")).text


# --- Traffic and alerts ---------------------------------------------------------------------------------------------


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
    assert "No call matches." in (await tab.get("/traffic?proxy_id=prx_x")).text
    detail = (await tab.get("/traffic/call_1")).text
    assert "<mark>" in detail
    assert 'class="bad"' in detail, "the step that stopped the call"
    assert "Alerts of this call" in detail
    assert (await tab.get("/traffic/call_9")).status_code == 404


async def test_an_alert_is_triaged_with_a_note_and_a_way_back(console: Console, tab: Tab) -> None:
    await ingest(console, blocked(await make_proxy(console)))
    found = await alert_id(console)
    row = await tab.post(f"/alerts/{found}/acknowledge", **HTMX)
    assert "acknowledged" in row.text
    assert f'action="/alerts/{found}/reopen"' in row.text
    again = await tab.post(f"/alerts/{found}/acknowledge", **HTMX)
    assert again.status_code == 409
    plain = await tab.post(f"/alerts/{found}/acknowledge", {"back": "/alerts?status=any"})
    assert plain.headers["location"] == "/alerts?status=any"
    await tab.post(f"/alerts/{found}/resolve", {"note": "A drill.", "back": f"/alerts/{found}"})
    detail = (await tab.get(f"/alerts/{found}")).text
    assert "A drill." in detail
    assert (await tab.post(f"/alerts/{found}/explode")).status_code == 404


async def test_many_alerts_change_together(console: Console, tab: Tab) -> None:
    proxy_id = await make_proxy(console)
    await ingest(console, blocked(proxy_id, 1), blocked(proxy_id, 2))
    listed = await console.client.get("/api/v1/system/alerts", headers=console.admin)
    ids = [alert["id"] for alert in listed.json()["data"]["items"]]
    form = {"alert_ids": ids, "action": "resolve", "back": "/alerts"}
    answer = await tab.post("/alerts/bulk", form)
    assert answer.headers["location"] == "/alerts"
    assert "No open alert" in (await tab.get("/alerts")).text
    assert (await tab.post("/alerts/bulk", {**form, "action": "reopen"})).status_code == 303
    assert (await tab.post("/alerts/bulk", {"action": "resolve"})).headers["location"] == "/alerts"
    assert (await tab.post("/alerts/bulk", {**form, "action": "explode"})).status_code == 422


async def test_the_alerts_page_ignores_words_that_are_no_filter(console: Console, tab: Tab) -> None:
    await ingest(console, blocked(await make_proxy(console)))
    assert "PI-0001" in (await tab.get("/alerts?status=%27--&severity=none")).text
    assert "No alert matches" in (await tab.get("/alerts?severity=low")).text
    assert "PI-0001" in (await tab.get("/alerts?status=any&rule_id=PI-0001&search=ignore")).text


# --- Policies, keys, audit, settings --------------------------------------------------------------------------------


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
    assert (await tab.get("/packs/prompt-injection/PI-9999")).status_code == 404
    assert (await tab.get("/policies/unknown")).status_code == 404
    assert (await tab.get("/packs/unknown")).status_code == 404


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
    assert "revoked" in (await tab.get("/access")).text


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
    assert "No entry matches." in (await tab.get("/audit?username=nobody&result=nonsense")).text
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
    assert f"<td>{__version__}</td>" in general
    about = (await tab.get("/settings?tab=about")).text
    assert "htmx.org" in about
    assert "litestar" in about
    licence = re.search(r'href="(/static/vendor/htmx\.[0-9a-f]+\.LICENSE)"', about)
    assert licence
    assert (await console.client.get(licence[1])).status_code == 200


async def test_go_to_lists_what_there_is(console: Console, tab: Tab) -> None:
    proxy_id = await make_proxy(console)
    places = (await tab.get("/goto")).text
    assert f'data-href="/proxies/{proxy_id}"' in places
    assert 'data-href="/packs/secrets"' in places
    assert 'data-href="/proxies/new"' in places


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
