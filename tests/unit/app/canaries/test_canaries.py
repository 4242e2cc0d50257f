"""Canaries in the console: sealed, rolled out at once, counted when they are seen."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import httpx
import pytest

from app.canaries.schemas import CreateCanary
from app.canaries.service import new_value, watched
from app.security.vault import Vault
from rules.canaries import CanaryWatch
from rules.model import Action, Target, Text
from tests.support.console import Console
from tests.support.features import ADMIN, Bench
from tests.support.memory_fleet import MemoryFleet
from tests.support.tab import tab_of

VALUE = "Project Halcyon ledger 7731"


async def send(console: Console, method: str, path: str, body: Any = None) -> httpx.Response:
    return await console.client.request(method, f"/api/v1/{path}", headers=console.admin, json=body)


def test_a_made_value_is_random_and_looks_like_no_credential() -> None:
    values = {new_value() for _ in range(200)}
    assert len(values) == 200
    assert all(re.fullmatch(r"REF-[2-9B-Z]{16}", value) for value in values)


async def test_a_canary_is_shown_at_its_creation_sealed_at_rest_and_rolled_out(
    console: Console, fleet: MemoryFleet, tmp_path: Path
) -> None:
    answer = await send(console, "POST", "canaries", {"name": "payroll", "value": VALUE, "action": "block"})
    assert answer.status_code == 201
    made = answer.json()["data"]
    assert made["value"] == VALUE
    assert made["canary"]["sightings"] == 0
    for path in ("canaries", "audit"):
        assert VALUE not in (await send(console, "GET", path)).text
    for file in (tmp_path / "data").glob("ostiary.db*"):
        assert VALUE.encode() not in file.read_bytes()
    [canary] = fleet.configuration.canaries
    assert (canary.value, canary.action) == (VALUE, Action.BLOCK)


async def test_revealing_shows_the_value_and_is_audited(console: Console) -> None:
    made = (await send(console, "POST", "canaries", {"name": "wiki"})).json()["data"]
    shown = await send(console, "POST", f"canaries/{made['canary']['id']}/reveal")
    assert shown.json()["data"]["value"] == made["value"]
    events = [entry["event_type"] for entry in (await send(console, "GET", "audit")).json()["data"]["items"]]
    assert events[:2] == ["canary.revealed", "canary.created"]


async def test_a_deleted_canary_is_looked_for_no_more(console: Console, fleet: MemoryFleet) -> None:
    made = (await send(console, "POST", "canaries", {"name": "wiki"})).json()["data"]["canary"]
    assert (await send(console, "DELETE", f"canaries/{made['id']}")).status_code == 200
    assert fleet.configuration.canaries == ()
    for method, path in (("DELETE", f"canaries/{made['id']}"), ("POST", f"canaries/{made['id']}/reveal")):
        gone = await send(console, method, path)
        assert gone.status_code == 404
        assert gone.json()["error_code"] == "canary_not_found"


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"name": ""}, "name"),
        ({"name": "a", "value": "short"}, "value"),
        ({"name": "a", "value": "x" * 201}, "value"),
        ({"name": "a", "value": "two lines\nare not one"}, "value"),
        ({"name": "a", "value": "aaaaaaaaaaaaaaaaaaaa"}, "value"),
    ],
)
async def test_a_canary_that_cannot_work_is_refused_by_field(
    console: Console, body: dict[str, str], field: str
) -> None:
    refused = await send(console, "POST", "canaries", body)
    assert refused.status_code == 422
    assert field in refused.text


async def test_unknown_homes_and_taken_names_are_refused(console: Console) -> None:
    assert (await send(console, "POST", "canaries", {"name": "a", "proxy_ids": ["prx_none"]})).status_code == 404
    assert (await send(console, "POST", "canaries", {"name": "a", "key_ids": ["key_none"]})).status_code == 404
    assert (await send(console, "POST", "canaries", {"name": "a"})).status_code == 201
    taken = await send(console, "POST", "canaries", {"name": "a"})
    assert (taken.status_code, taken.json()["error_code"]) == (409, "canary_name_taken")


async def test_the_number_of_canaries_is_bounded(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rules.canaries.MAX_CANARIES", 1)
    await bench.features.canaries.create(ADMIN, CreateCanary(name="one"))
    with pytest.raises(Exception, match="canaries already"):
        await bench.features.canaries.create(ADMIN, CreateCanary(name="two"))


async def test_its_home_travels_to_the_workers(bench: Bench) -> None:
    proxy = await bench.proxy()
    wanted = CreateCanary(name="prompt", value=VALUE, proxy_ids=[proxy.id], direction="request")
    await bench.features.canaries.create(ADMIN, wanted)
    watch = CanaryWatch(bench.fleet.configuration.canaries)
    texts = [Text(Target.SYSTEM_PROMPT, "/messages/0", f"... {VALUE} ...")]
    assert watch.scan(texts, proxy_id=proxy.id, principal_id="key_1", direction="request") == []
    assert len(watch.scan(texts, proxy_id=proxy.id, principal_id="key_1", direction="response")) == 1


async def test_a_value_sealed_with_another_key_is_left_out_and_named(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    made = await bench.features.canaries.create(ADMIN, CreateCanary(name="one"))
    async with bench.database.reader() as session:
        from app.canaries.repository import CanaryRepository

        rows = list(await CanaryRepository(session).all())
    assert watched(rows, Vault(b"k" * 32)) == ()
    assert made.canary.id in caplog.text
    assert made.value not in caplog.text


async def test_the_pages_make_show_and_delete_a_canary(console: Console) -> None:
    pages = await tab_of(console)
    empty = await pages.get("/canaries")
    assert "No canary yet" in empty.text
    made = await pages.post("/canaries/new", {"name": "help desk prompt", "action": "alert", "direction": "request"})
    assert made.status_code == 201
    value = re.search(r"REF-[2-9B-Z]{16}", made.text)
    assert value
    assert "nowhere" in made.text
    listed = await pages.get("/canaries")
    assert value[0] not in listed.text
    [canary_id] = set(re.findall(r"canary-(can_[0-9a-zA-Z]+)", listed.text))
    shown = await pages.post(f"/canaries/{canary_id}/reveal", {})
    assert value[0] in shown.text
    asked = await pages.post(f"/canaries/{canary_id}/delete", {})
    assert "Delete canary “help desk prompt”?" in asked.text
    deleted = await pages.post(f"/canaries/{canary_id}/delete", {"confirmed": "yes"})
    assert deleted.status_code in (200, 303)
    assert "No canary yet" in (await pages.get("/canaries")).text


async def test_a_refused_form_keeps_what_was_typed(console: Console) -> None:
    form = {"name": "wiki", "value": "short", "action": "alert", "direction": "request"}
    refused = await (await tab_of(console)).post("/canaries/new", form)
    assert refused.status_code == 422
    assert 'value="wiki"' in refused.text
    assert "10 to 200 characters" in refused.text
