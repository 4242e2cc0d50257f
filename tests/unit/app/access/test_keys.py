"""API keys: shown once, kept as a digest, ended at once."""

from __future__ import annotations

import re
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from app import clock
from app.access import keytext
from app.access.repository import ApiKeyRepository
from app.access.schemas import CreateKey
from tests.support.console import Console
from tests.support.features import ADMIN, Bench
from tests.support.memory_fleet import MemoryFleet


async def send(console: Console, method: str, path: str, body: Any = None) -> httpx.Response:
    return await console.client.request(method, f"/api/v1/{path}", headers=console.admin, json=body)


def test_a_key_has_256_random_bits_behind_its_prefix() -> None:
    keys = {keytext.new_key() for _ in range(200)}
    assert len(keys) == 200
    for key in keys:
        assert re.fullmatch(r"ost_[0-9A-Za-z]{43}", key)
        assert keytext.shown_parts(key) == (key[:8], key[-4:])


def test_the_digest_is_the_sha_256_of_the_whole_key() -> None:
    assert keytext.digest("abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


async def test_a_key_is_shown_once_and_stored_as_a_digest(console: Console, fleet: MemoryFleet, tmp_path: Path) -> None:
    answer = await send(console, "POST", "api-keys", {"name": "app"})
    assert answer.status_code == 201
    key, view = answer.json()["data"]["key"], answer.json()["data"]["api_key"]
    assert view["prefix"] == key[:8]
    assert view["last4"] == key[-4:]
    assert view["state"] == "active"
    assert view["created_by"] == "admin"
    for path in ("api-keys", "audit"):
        assert key not in (await send(console, "GET", path)).text
    for file in (tmp_path / "data").glob("ostiary.db*"):
        assert key.encode() not in file.read_bytes()
    assert [item.digest for item in fleet.configuration.api_keys] == [keytext.digest(key)]


async def test_ADM_19_a_revoked_or_deleted_key_is_gone_from_the_workers_when_the_call_returns(
    console: Console, fleet: MemoryFleet
) -> None:
    first = (await send(console, "POST", "api-keys", {"name": "a"})).json()["data"]["api_key"]
    second = (await send(console, "POST", "api-keys", {"name": "b"})).json()["data"]["api_key"]
    revoked = await send(console, "POST", f"api-keys/{first['id']}/revoke")
    assert revoked.json()["data"]["state"] == "revoked"
    assert [key.id for key in fleet.configuration.api_keys] == [second["id"]]
    assert (await send(console, "POST", f"api-keys/{first['id']}/revoke")).status_code == 409
    assert (await send(console, "DELETE", f"api-keys/{second['id']}")).status_code == 200
    assert fleet.configuration.api_keys == ()
    listed = (await send(console, "GET", "api-keys")).json()["data"]
    assert [(item["name"], item["state"]) for item in listed["items"]] == [("a", "revoked")]
    types = [
        entry["event_type"]
        for entry in (await send(console, "GET", "audit?event_type=apikey.")).json()["data"]["items"]
    ]
    assert types == ["apikey.deleted", "apikey.revoked", "apikey.created", "apikey.created"]


async def test_a_key_can_be_bound_to_proxies_that_exist(console: Console, fleet: MemoryFleet) -> None:
    proxy = {"name": "P", "type": "llm", "target_url": "https://api.example.org", "port": 4000}
    proxy_id = (await send(console, "POST", "proxies", proxy)).json()["data"]["id"]
    unknown = await send(console, "POST", "api-keys", {"name": "k", "proxy_ids": [proxy_id, "prx_unknown"]})
    assert unknown.status_code == 404
    assert "prx_unknown" in unknown.json()["error"]
    assert (await send(console, "POST", "api-keys", {"name": "k", "proxy_ids": []})).status_code == 422
    bound = await send(console, "POST", "api-keys", {"name": "k", "proxy_ids": [proxy_id, proxy_id]})
    assert bound.json()["data"]["api_key"]["proxy_ids"] == [proxy_id]
    assert fleet.configuration.api_keys[0].proxy_ids == (proxy_id,)


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "name"),
        ({"name": ""}, "name"),
        ({"name": "a\u202eb"}, "name"),
        ({"name": "k", "expires_in_days": 0}, "expires_in_days"),
        ({"name": "k", "expires_in_days": 4000}, "expires_in_days"),
        ({"name": "k", "key": "ost_mine"}, "key"),
        ({"name": "k", "digest": "0" * 64}, "digest"),
    ],
)
async def test_ADM_15_a_bad_or_unknown_field_is_422_and_named(
    console: Console, body: dict[str, Any], field: str
) -> None:
    answer = await send(console, "POST", "api-keys", body)
    assert answer.status_code == 422
    assert list(answer.json()["fields"]) == [field]


async def test_the_name_of_a_usable_key_is_taken_and_free_again_after_revocation(console: Console) -> None:
    first = (await send(console, "POST", "api-keys", {"name": "app"})).json()["data"]["api_key"]
    assert (await send(console, "POST", "api-keys", {"name": " app "})).status_code == 409
    await send(console, "POST", f"api-keys/{first['id']}/revoke")
    assert (await send(console, "POST", "api-keys", {"name": "app"})).status_code == 201


async def test_ADM_14_an_unknown_key_is_404(console: Console) -> None:
    for method, path in (("POST", "api-keys/key_x/revoke"), ("DELETE", "api-keys/key_x")):
        assert (await send(console, method, path)).json()["error_code"] == "api_key_not_found"


async def test_an_expired_key_is_shown_as_expired_and_not_handed_to_workers(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = await bench.features.keys.create(ADMIN, CreateKey(name="short", expires_in_days=1))
    assert made.api_key.expires_at is not None
    assert bench.fleet.configuration.api_keys[0].expires_at == made.api_key.expires_at.timestamp()
    later = clock.utcnow() + timedelta(days=2)
    monkeypatch.setattr(clock, "utcnow", lambda: later)
    assert (await bench.features.keys.page(ADMIN)).items[0].state == "expired"
    await bench.fleet.refresh()
    assert bench.fleet.configuration.api_keys == ()


async def test_keys_are_paged_newest_first(bench: Bench) -> None:
    for number in range(5):
        await bench.features.keys.create(ADMIN, CreateKey(name=f"k{number}"))
    page = await bench.features.keys.page(ADMIN, limit=2, offset=1)
    assert ([item.name for item in page.items], page.total) == (["k3", "k2"], 5)
    async with bench.database.reader() as session:
        foreign = ApiKeyRepository(session, "another-tenant")
        assert await foreign.page(clock.utcnow(), limit=10, offset=0) == ([], 0)


async def test_keys_are_found_by_name_ending_creator_and_state(
    console: Console, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def names(query: str) -> list[str]:
        answer = await console.client.get(f"/api/v1/api-keys?sort=name&{query}", headers=console.admin)
        return [key["name"] for key in answer.json()["data"]["items"]]

    made = {}
    for name in ("growth_team", "laptop", "old laptop"):
        body = {"name": name, "expires_in_days": 1 if name == "laptop" else None}
        answer = await console.client.post("/api/v1/api-keys", json=body, headers=console.admin)
        made[name] = answer.json()["data"]["api_key"]
    await console.client.post(f"/api/v1/api-keys/{made['old laptop']['id']}/revoke", headers=console.admin)
    assert await names("search=LAPTOP") == ["laptop", "old laptop"]
    assert await names("search=_team") == ["growth_team"]
    assert await names("search=%25") == [], "a wildcard of SQL is a character like any other"
    assert "growth_team" in await names(f"search={made['growth_team']['last4']}")
    assert await names("search=admin") == ["growth_team", "laptop", "old laptop"]
    assert await names("state=revoked") == ["old laptop"]
    assert await names("state=active&search=laptop") == ["laptop"]
    assert await names("state=nonsense") == []
    later = clock.utcnow() + timedelta(hours=25)
    monkeypatch.setattr("app.access.service.clock.utcnow", lambda: later)
    page = await console.app.state["keys"].page(ADMIN, state="expired")
    assert [key.name for key in page.items] == ["laptop"]
    assert [key.name for key in (await console.app.state["keys"].page(ADMIN, state="active")).items] == ["growth_team"]


def test_SEC_a_new_key_is_in_no_repr() -> None:
    from app.access.schemas import KeyView, NewKey

    view = KeyView(
        id="key_1",
        name="k",
        prefix="ost_aaaa",
        last4="zzzz",
        proxy_ids=None,
        policy_names=[],
        created_at=clock.utcnow(),
        created_by="admin",
        expires_at=None,
        last_used_at=None,
        revoked_at=None,
        state="active",
    )
    assert "secret" not in repr(NewKey(key="ost_secret", api_key=view))
