"""What is deleted or revoked is gone at once and, for ten seconds, can be had back whole."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import func, select

from app import clock, undo
from app.canaries.models import Canary
from app.canaries.schemas import CreateCanary
from app.fleet.models import Proxy
from app.jobs.deletions import KINDS, Deletions
from app.policies.models import PolicyVersion, StoredPolicy
from tests.support.console import Console
from tests.support.features import ADMIN, Bench, features_on
from tests.support.memory_fleet import MemoryFleet
from tests.support.tab import Tab, make_proxy

POLICY: dict[str, Any] = {"name": "ours", "title": "Ours", "type": "llm", "packs": ["prompt-injection"]}


async def send(console: Console, method: str, path: str, body: Any = None) -> httpx.Response:
    return await console.client.request(method, f"/api/v1/{path}", headers=console.admin, json=body)


async def make(console: Console, path: str, **body: Any) -> dict[str, Any]:
    answer = await send(console, "POST", path, body)
    assert answer.status_code == 201, answer.text
    data: dict[str, Any] = answer.json()["data"]
    return data


def ages(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    """Let this much time pass."""
    later = clock.utcnow() + timedelta(seconds=seconds)
    monkeypatch.setattr(clock, "utcnow", lambda: later)


async def events(console: Console, prefix: str) -> list[str]:
    found = (await send(console, "GET", f"audit?event_type={prefix}")).json()["data"]["items"]
    return [entry["event_type"] for entry in found]


async def test_a_deleted_proxy_comes_back_whole(console: Console, fleet: MemoryFleet) -> None:
    secret = {"type": "bearer", "value": "sk-upstream"}
    proxy_id = await make_proxy(console, tags=["prod"], description="main", upstream_auth=secret)
    before = (await send(console, "GET", f"proxies/{proxy_id}")).json()["data"]
    assert (await send(console, "DELETE", f"proxies/{proxy_id}")).status_code == 200
    assert not list(fleet.configuration.proxies)
    assert (await send(console, "GET", f"proxies/{proxy_id}")).status_code == 404
    assert (await send(console, "GET", "proxies")).json()["data"]["total"] == 0
    assert (await send(console, "POST", f"proxies/{proxy_id}/start")).status_code == 404
    restored = await send(console, "POST", f"proxies/{proxy_id}/restore")
    assert restored.json()["data"] == before
    assert fleet.configuration.proxies[0].upstream_auth.value == "sk-upstream"
    assert (await send(console, "POST", f"proxies/{proxy_id}/restore")).status_code == 200, "twice changes nothing"
    assert await events(console, "proxy.") == ["proxy.restored", "proxy.deleted", "proxy.created"]


async def test_name_and_port_of_a_deleted_proxy_are_free_and_an_undo_says_who_has_them(console: Console) -> None:
    proxy_id = await make_proxy(console)
    await send(console, "DELETE", f"proxies/{proxy_id}")
    heir = await make_proxy(console, name="OpenAI", port=4000)
    refused = await send(console, "POST", f"proxies/{proxy_id}/restore")
    assert (refused.status_code, refused.json()["error_code"]) == (409, "proxy_name_taken")
    await send(console, "PATCH", f"proxies/{heir}", {"name": "heir"})
    refused = await send(console, "POST", f"proxies/{proxy_id}/restore")
    assert (refused.status_code, refused.json()["error_code"]) == (409, "port_taken")
    assert "heir" in refused.json()["error"]
    await send(console, "PATCH", f"proxies/{heir}", {"port": 4001})
    assert (await send(console, "POST", f"proxies/{proxy_id}/restore")).status_code == 200


async def test_a_revoked_key_works_again_after_an_undo(console: Console, fleet: MemoryFleet) -> None:
    key = (await make(console, "api-keys", name="app"))["api_key"]
    for verb, path in (("POST", f"api-keys/{key['id']}/revoke"), ("DELETE", f"api-keys/{key['id']}")):
        assert (await send(console, verb, path)).status_code == 200
        assert not list(fleet.configuration.api_keys)
        restored = await send(console, "POST", f"api-keys/{key['id']}/restore")
        assert restored.json()["data"] == key
        assert [known.id for known in fleet.configuration.api_keys] == [key["id"]]
    await send(console, "POST", f"api-keys/{key['id']}/revoke")
    await make(console, "api-keys", name="app")
    refused = await send(console, "POST", f"api-keys/{key['id']}/restore")
    assert (refused.status_code, refused.json()["error_code"]) == (409, "api_key_name_taken")
    assert (await events(console, "apikey."))[:1] == ["apikey.created"], "what was refused is not on record as done"


async def test_a_deleted_canary_is_looked_for_again_after_an_undo(console: Console, fleet: MemoryFleet) -> None:
    canary = (await make(console, "canaries", name="wiki", value="Project Halcyon ledger 7731"))["canary"]
    await send(console, "DELETE", f"canaries/{canary['id']}")
    assert not list(fleet.configuration.canaries)
    assert (await send(console, "GET", "canaries")).json()["data"]["total"] == 0
    heir = (await make(console, "canaries", name="wiki"))["canary"]
    refused = await send(console, "POST", f"canaries/{canary['id']}/restore")
    assert (refused.status_code, refused.json()["error_code"]) == (409, "canary_name_taken")
    await send(console, "DELETE", f"canaries/{heir['id']}")
    assert (await send(console, "POST", f"canaries/{canary['id']}/restore")).json()["data"] == canary
    assert [known.value for known in fleet.configuration.canaries] == ["Project Halcyon ledger 7731"]


async def test_a_removed_program_and_a_revoked_token_come_back(console: Console) -> None:
    program = await make(console, "launch-programs", program="npx", first_arguments=["-y"])
    await send(console, "DELETE", f"launch-programs/{program['id']}")
    assert (await send(console, "POST", f"launch-programs/{program['id']}/restore")).status_code == 200
    assert (await send(console, "GET", "launch-programs")).json()["data"]["items"] == [program]
    await send(console, "DELETE", f"launch-programs/{program['id']}")
    await make(console, "launch-programs", program="npx", first_arguments=["-y"])
    assert (await send(console, "POST", f"launch-programs/{program['id']}/restore")).status_code == 409
    token = await make(console, "tokens", name="ci")
    headers = {"Authorization": f"Bearer {token['token']}"}
    await send(console, "POST", f"tokens/{token['details']['id']}/revoke")
    assert (await console.client.get("/api/v1/auth/me", headers=headers)).status_code == 401
    await send(console, "POST", f"tokens/{token['details']['id']}/restore")
    assert (await console.client.get("/api/v1/auth/me", headers=headers)).status_code == 200


async def test_a_deleted_policy_comes_back_with_its_versions(bench: Bench) -> None:
    policies, library = bench.features.policies, bench.features.library
    await policies.create(ADMIN, POLICY, "first")
    await policies.publish(ADMIN, "ours")
    before = await policies.versions(ADMIN, "ours")
    await policies.delete(ADMIN, "ours")
    assert library.unknown(["ours"])
    await policies.restore(ADMIN, "ours")
    assert not library.unknown(["ours"])
    assert await policies.versions(ADMIN, "ours") == before
    await policies.delete(ADMIN, "ours")
    await policies.create(ADMIN, POLICY, "another")
    with pytest.raises(Exception, match="There is a new policy named ours"):
        await policies.restore(ADMIN, "ours")


async def test_a_policy_that_went_with_its_only_draft_comes_back_with_it(console: Console, tab: Tab) -> None:
    await make(console, "policies", policy=POLICY)
    gone = await tab.post("/policies/ours/discard", {"confirmed": "yes"})
    assert gone.headers["location"] == "/policies"
    tab.headers["Cookie"] += f"; {gone.headers['set-cookie'].partition(';')[0]}"
    assert 'action="/policies/ours/restore"' in (await tab.get("/policies")).text
    assert (await tab.post("/policies/ours/restore")).headers["location"] == "/policies/ours"
    draft = (await send(console, "GET", "policies/ours/draft")).json()["data"]
    assert draft is not None


async def test_a_discarded_draft_comes_back_until_a_new_version_takes_its_number(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    policies, changed = bench.features.policies, {**POLICY, "description": "No more than that."}
    await policies.create(ADMIN, POLICY, "first")
    await policies.publish(ADMIN, "ours")
    before = await policies.save_draft(ADMIN, "ours", changed, revision=0)
    await policies.discard(ADMIN, "ours")
    assert await policies.draft(ADMIN, "ours") is None
    assert [version.number for version in await policies.versions(ADMIN, "ours")] == [1]
    assert await policies.restore(ADMIN, "ours") == "draft"
    assert await policies.draft(ADMIN, "ours") == before
    await policies.delete(ADMIN, "ours")
    assert await policies.restore(ADMIN, "ours") == "policy"

    await policies.discard(ADMIN, "ours")
    new = await policies.save_draft(ADMIN, "ours", POLICY, revision=0)
    assert new.version == 2
    await policies.restore(ADMIN, "ours")
    assert await policies.draft(ADMIN, "ours") == new

    await policies.discard(ADMIN, "ours")
    ages(monkeypatch, undo.WINDOW.total_seconds() + 1)
    await policies.restore(ADMIN, "ours")
    assert await policies.draft(ADMIN, "ours") is None
    await Deletions(bench.database).run()
    async with bench.database.reader() as session:
        assert await session.scalar(select(func.count()).select_from(PolicyVersion)) == 1
        assert await session.scalar(select(func.count()).select_from(StoredPolicy)) == 1


async def test_an_earlier_version_in_force_again_takes_the_number_of_a_discarded_draft(bench: Bench) -> None:
    policies = bench.features.policies
    await policies.create(ADMIN, POLICY, "first")
    await policies.publish(ADMIN, "ours")
    await policies.save_draft(ADMIN, "ours", POLICY, revision=0)
    await policies.publish(ADMIN, "ours")
    await policies.save_draft(ADMIN, "ours", POLICY, revision=0)
    await policies.discard(ADMIN, "ours")
    assert (await policies.roll_back(ADMIN, "ours", 1)).version == 3


async def test_the_page_offers_a_discarded_draft(console: Console, tab: Tab) -> None:
    await make(console, "policies", policy=POLICY, publish=True)
    await send(console, "PUT", "policies/ours", {"policy": {**POLICY, "description": "Draft."}, "revision": 0})
    gone = await tab.post("/policies/ours/discard", {"confirmed": "yes"})
    tab.headers["Cookie"] += f"; {gone.headers['set-cookie'].partition(';')[0]}"
    assert 'action="/policies/ours/restore"' in (await tab.get("/policies/ours")).text
    assert (await tab.post("/policies/ours/restore")).headers["location"] == "/policies/ours?tab=builder"


RESTORED = (
    "proxies/prx_1",
    "api-keys/key_1",
    "canaries/can_1",
    "tokens/tok_1",
    "launch-programs/lau_1",
    "policies/mine",
)


@pytest.mark.parametrize("path", RESTORED)
async def test_what_was_never_there_cannot_be_restored(shared: tuple[Any, dict[str, str]], path: str) -> None:
    client, headers = shared
    answer = client.post(f"/api/v1/{path}/restore", headers=headers)
    assert (answer.status_code, answer.json()["error_code"]) == (404, "nothing_to_restore")
    assert "10 seconds" in answer.json()["remediation"]


async def test_after_the_time_nothing_comes_back_and_the_rows_go(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    proxy = await bench.proxy()
    canary = (await bench.features.canaries.create(ADMIN, CreateCanary(name="wiki"))).canary
    await bench.features.policies.create(ADMIN, POLICY, "first")
    await bench.features.proxies.delete(ADMIN, proxy.id)
    await bench.features.canaries.delete(ADMIN, canary.id)
    await bench.features.policies.delete(ADMIN, "ours")
    job = Deletions(bench.database)
    kinds = (Proxy, Canary, StoredPolicy, PolicyVersion)

    async def rows() -> list[int | None]:
        async with bench.database.reader() as session:
            return [await session.scalar(select(func.count()).select_from(kind)) for kind in kinds]

    await job.run()
    assert await rows() == [1, 1, 1, 1]
    ages(monkeypatch, undo.WINDOW.total_seconds() + 1)
    with pytest.raises(undo.NothingToRestore):
        await bench.features.proxies.restore(ADMIN, proxy.id)
    await job.run()
    assert await rows() == [0, 0, 0, 0]
    assert len(KINDS) == 7


async def test_a_key_or_token_that_was_revoked_long_ago_stays_revoked(
    console: Console, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = (await make(console, "api-keys", name="app"))["api_key"]
    token = (await make(console, "tokens", name="ci"))["details"]
    for path in (f"api-keys/{key['id']}", f"tokens/{token['id']}"):
        await send(console, "POST", f"{path}/revoke")
    ages(monkeypatch, undo.WINDOW.total_seconds() + 1)
    for path in (f"api-keys/{key['id']}", f"tokens/{token['id']}"):
        refused = await send(console, "POST", f"{path}/restore")
        assert (refused.status_code, refused.json()["error_code"]) == (404, "nothing_to_restore")
        assert "too long ago" in refused.json()["error"]


async def test_pages_offer_the_way_back_until_its_time_is_over(
    console: Console, tab: Tab, monkeypatch: pytest.MonkeyPatch
) -> None:
    proxy_id = await make_proxy(console)
    deleted = await tab.post(f"/proxies/{proxy_id}/delete", {"confirmed": "yes"})
    assert (deleted.status_code, deleted.headers["location"]) == (303, "/proxies")
    session = tab.headers["Cookie"]
    tab.headers["Cookie"] = f"{session}; {deleted.headers['set-cookie'].partition(';')[0]}"
    for _ in range(2):
        page = await tab.get("/alerts")
        assert f'action="/proxies/{proxy_id}/restore"' in page.text, "on every page, also after a reload"
        assert "Max-Age=30" in page.headers["set-cookie"]
    restored = await tab.post(f"/proxies/{proxy_id}/restore")
    assert "Max-Age=30" in restored.headers["set-cookie"]
    tab.headers["Cookie"] = f"{session}; {restored.headers['set-cookie'].partition(';')[0]}"
    page = await tab.get("/proxies")
    assert "openai is restored" in page.text
    assert f'action="/proxies/{proxy_id}/restore"' not in page.text
    tab.headers["Cookie"] = f"{session}; {deleted.headers['set-cookie'].partition(';')[0]}"
    ages(monkeypatch, undo.UNDO_SECONDS + 1)
    assert "/restore" not in (await tab.get("/proxies")).text


async def test_a_restart_takes_no_way_back_and_finishes_what_is_over(
    tmp_path: Path, used_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "first").mkdir()
    (tmp_path / "second").mkdir()
    async with features_on(tmp_path / "first", used_data) as before:
        kept, lost = await before.proxy("kept", 4000), await before.proxy("lost", 4001)
        for proxy in (kept, lost):
            await before.features.proxies.delete(ADMIN, proxy.id)
    async with features_on(tmp_path / "second", tmp_path / "first" / "data") as after:
        assert (await after.features.proxies.restore(ADMIN, kept.id)).name == "kept"
        ages(monkeypatch, undo.WINDOW.total_seconds() + 1)
        [job] = [job for job in after.features.scheduler.jobs if job.name == "deletions"]
        assert job.first_after_seconds == 0, "the next start finishes what the last one left"
        await job.run()
        async with after.database.reader() as session:
            assert [row.name for row in await session.scalars(select(Proxy))] == ["kept"]
