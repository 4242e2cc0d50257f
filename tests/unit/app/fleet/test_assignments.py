"""Which policies apply: the key's, else the proxy's, else those of all proxies."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from app.access.errors import KeyAlreadyRevoked
from app.access.schemas import CreateKey, UpdateKey
from app.errors import ValidationFailed
from app.fleet.assignments import Assignments
from app.fleet.snapshot import Configuration, build, fall_back
from app.policies.errors import PolicyInUse, PolicyNotFound
from proxies.contract import Assignment
from tests.support.console import Console
from tests.support.features import ADMIN, Bench
from tests.support.library import small_library
from tests.support.tab import Tab
from tests.unit.app.fleet.test_snapshot import CONFIGURATION


async def key_of(bench: Bench, *names: str) -> dict[str, Assignment]:
    await bench.features.keys.create(ADMIN, CreateKey(name="app", policy_names=list(names)))
    (key,) = bench.fleet.configuration.api_keys
    return dict(key.assignments)


async def test_AG_PE_3_a_key_brings_its_policies_for_the_proxies_that_they_are_meant_for(bench: Bench) -> None:
    await bench.proxy()
    assigned = await key_of(bench, "mcp-standard-security", "monitor-only")
    assert assigned["llm"].policy_names == ("monitor-only",)
    assert assigned["mcp"].policy_names == ("mcp-standard-security", "monitor-only")
    found = bench.fleet.configuration
    digests = {source.digest for source in found.rulesets}
    assert {assignment.ruleset for assignment in assigned.values()} <= digests
    assert {policy.document.name for policy in found.policies} == {
        "llm-standard-security",
        "mcp-standard-security",
        "monitor-only",
    }


async def test_AG_PE_3_a_key_without_policies_comes_under_those_of_the_proxy(bench: Bench) -> None:
    await bench.proxy()
    assert await key_of(bench) == {}
    key = (await bench.features.keys.page(ADMIN)).items[0]
    changed = await bench.features.keys.update(ADMIN, key.id, UpdateKey(policy_names=["monitor-only"]))
    assert changed.policy_names == ["monitor-only"]
    assert bench.fleet.configuration.api_keys[0].assignments["llm"].policy_names == ("monitor-only",)
    await bench.features.keys.update(ADMIN, key.id, UpdateKey(policy_names=[]))
    assert bench.fleet.configuration.api_keys[0].assignments == {}
    await bench.features.keys.revoke(ADMIN, key.id)
    with pytest.raises(KeyAlreadyRevoked):
        await bench.features.keys.update(ADMIN, key.id, UpdateKey(policy_names=[]))


async def test_policies_that_cannot_be_had_never_mean_less_protection(bench: Bench) -> None:
    await bench.proxy()
    assigned = await key_of(bench, "llm-incomplete")
    assert assigned["llm"].ruleset == ""
    assert "jailbreak" in assigned["llm"].problem
    plans = Assignments(small_library(), []).of_key(["retired"])
    assert set(plans) == {"llm", "mcp"}
    assert all("retired" in plan.problem for plan in plans.values())


async def test_a_key_names_only_policies_that_there_are(bench: Bench) -> None:
    with pytest.raises(PolicyNotFound):
        await bench.features.keys.create(ADMIN, CreateKey(name="app", policy_names=["none-such"]))
    with pytest.raises(ValidationFailed):
        await bench.features.keys.create(ADMIN, CreateKey(name="app", policy_names=["monitor-only"] * 2))


async def test_AG_PE_3_the_policies_of_all_proxies_apply_where_a_proxy_names_none(bench: Bench) -> None:
    await bench.proxy("Own", 4001)
    await bench.proxy("None", 4002, policy_names=[])
    await bench.proxy("Tools", 4003, type="mcp", policy_names=[])
    view = await bench.features.global_policies.put(ADMIN, ["llm-standard-security", "monitor-only"])
    assert (view.policy_names, view.updated_by) == (["llm-standard-security", "monitor-only"], "admin")
    levels = {proxy.name: (proxy.policy_level, proxy.policy_names) for proxy in bench.fleet.configuration.proxies}
    assert levels == {
        "Own": ("proxy", ("llm-standard-security",)),
        "None": ("global", ("llm-standard-security", "monitor-only")),
        "Tools": ("global", ("monitor-only",)),
    }
    await bench.features.global_policies.put(ADMIN, [])
    levels = {proxy.name: (proxy.policy_level, proxy.policy_names) for proxy in bench.fleet.configuration.proxies}
    assert levels["None"] == ("global", ())


async def test_SYP_POL_5_policies_of_a_tag_apply_to_all_its_proxies_beside_their_own(bench: Bench) -> None:
    await bench.proxy("Own", 4001, tags=["prod", "eu"])
    await bench.proxy("None", 4002, policy_names=[], tags=["prod"])
    await bench.proxy("Tools", 4003, type="mcp", policy_names=[], tags=["prod"])
    await bench.proxy("Other", 4004, policy_names=[], tags=["test"])
    await bench.features.global_policies.put(ADMIN, ["mcp-standard-security"])
    view = await bench.features.tag_policies.put(ADMIN, "prod", ["monitor-only", "llm-standard-security"])
    assert (view.tag, view.policy_names, view.proxies, view.updated_by) == (
        "prod",
        ["monitor-only", "llm-standard-security"],
        3,
        "admin",
    )
    levels = {proxy.name: (proxy.policy_level, proxy.policy_names) for proxy in bench.fleet.configuration.proxies}
    assert levels == {
        "Own": ("proxy", ("llm-standard-security", "monitor-only")),
        "None": ("proxy", ("monitor-only", "llm-standard-security")),
        "Tools": ("proxy", ("monitor-only",)),
        "Other": ("global", ()),
    }
    with pytest.raises(PolicyInUse, match="the tag prod"):
        await in_use(bench)
    views = await bench.features.tag_policies.views(ADMIN)
    assert [(one.tag, one.proxies, bool(one.policy_names)) for one in views] == [
        ("eu", 1, False),
        ("prod", 3, True),
        ("test", 1, False),
    ]
    await bench.features.tag_policies.put(ADMIN, "prod", [])
    levels = {proxy.name: (proxy.policy_level, proxy.policy_names) for proxy in bench.fleet.configuration.proxies}
    assert (levels["None"], levels["Tools"]) == (("global", ()), ("global", ("mcp-standard-security",)))


async def in_use(bench: Bench) -> None:
    """Deletes a policy that a tag names."""
    await bench.features.policies.create(ADMIN, {"name": "ours", "type": "llm", "packs": ["secrets"]})
    await bench.features.policies.publish(ADMIN, "ours")
    await bench.features.tag_policies.put(ADMIN, "prod", ["monitor-only", "llm-standard-security", "ours"])
    await bench.features.policies.delete(ADMIN, "ours")


async def test_SYP_POL_5_policies_of_a_tag_over_the_api_and_on_the_pages(console: Console, tab: Tab) -> None:
    address = "/api/v1/policies/tags"
    assert (await console.client.get(address, headers=console.admin)).json()["data"] == []
    body = {"name": "p", "type": "llm", "target_url": "http://127.0.0.1:9", "port": 4999, "tags": ["prod"]}
    made = await console.client.post("/api/v1/proxies", json=body, headers=console.admin)
    proxy_id = made.json()["data"]["id"]
    done = await console.client.put(
        address, headers=console.admin, json={"tag": "prod", "policy_names": ["monitor-only"]}
    )
    assert (done.json()["data"]["policy_names"], done.json()["data"]["proxies"]) == (["monitor-only"], 1)
    for wrong, status in (
        ({"tag": "prod", "policy_names": ["none-such"]}, 404),
        ({"tag": "prod", "policy_names": ["monitor-only"] * 2}, 422),
        ({"tag": "a,b", "policy_names": []}, 422),
    ):
        assert (await console.client.put(address, headers=console.admin, json=wrong)).status_code == status
    audit = (await console.client.get("/api/v1/audit", headers=console.admin)).text
    assert "policies.assigned" in audit
    page = (await tab.get("/policies")).text
    assert "For proxies with a tag" in page
    assert 'action="/policies/tags"' not in page
    form = (await tab.get("/policies?tag=prod")).text
    assert '<input type="hidden" name="tag" value="prod">' in form
    assert "by the tag prod" in (await tab.get(f"/proxies/{proxy_id}?tab=policy")).text
    saved = await tab.post("/policies/tags", {"tag": "prod", "policy_names": ["mcp-standard-security"]})
    assert saved.headers["location"] == "/policies"
    assert "by the tag prod" not in (await tab.get(f"/proxies/{proxy_id}?tab=policy")).text, "it is for MCP"
    assert (await tab.post("/policies/tags", {"tag": "a,b", "policy_names": []})).status_code == 303


async def test_the_policies_of_all_proxies_stand_on_the_page_of_a_proxy_that_names_none(
    console: Console, tab: Tab
) -> None:
    body = {"name": "p", "type": "llm", "target_url": "http://127.0.0.1:9", "port": 4999, "policy_names": []}
    made = await console.client.post("/api/v1/proxies", json=body, headers=console.admin)
    page = f"/proxies/{made.json()['data']['id']}?tab=policy"
    assert "everything passes uninspected" in (await tab.get(page)).text
    await console.client.put("/api/v1/policies/global", headers=console.admin, json={"policy_names": ["monitor-only"]})
    shown = (await tab.get(page)).text
    assert "as for all proxies" in shown
    assert "everything passes uninspected" not in shown


async def test_SYP_POL_5_policies_of_all_proxies_over_the_api(console: Console, tmp_path: Path) -> None:
    address = "/api/v1/policies/global"
    before = (await console.client.get(address, headers=console.admin)).json()["data"]
    assert before == {"policy_names": [], "updated_at": None, "updated_by": ""}
    done = await console.client.put(address, headers=console.admin, json={"policy_names": ["monitor-only"]})
    assert done.json()["data"]["policy_names"] == ["monitor-only"]
    unknown = await console.client.put(address, headers=console.admin, json={"policy_names": ["none-such"]})
    assert unknown.status_code == 404
    twice = await console.client.put(address, headers=console.admin, json={"policy_names": ["monitor-only"] * 2})
    assert twice.status_code == 422
    audit = (await console.client.get("/api/v1/audit", headers=console.admin)).text
    assert "policies.assigned" in audit


def with_key_policies(configuration: Configuration) -> Configuration:
    assignments = {"llm": Assignment(("p",), "r9"), "mcp": Assignment(("q",), "r8")}
    keys = (msgspec.structs.replace(configuration.api_keys[0], assignments=assignments), *configuration.api_keys[1:])
    return msgspec.structs.replace(configuration, api_keys=keys)


def test_a_snapshot_brings_the_rules_of_keys_for_the_types_that_it_serves() -> None:
    snapshot = build(with_key_policies(CONFIGURATION), {"prx_a"}, 1, drain_timeout_seconds=1.0)
    assert set(snapshot.api_keys[0].assignments) == {"llm"}


def test_while_workers_refuse_the_newest_rules_a_key_keeps_those_it_had() -> None:
    accepted, newest = with_key_policies(CONFIGURATION), CONFIGURATION
    back = fall_back(newest, accepted)
    assert back.api_keys[0].assignments == accepted.api_keys[0].assignments
    assert back.policies == accepted.policies
    assert fall_back(accepted, newest).api_keys[0].assignments == {}


async def test_the_form_of_a_key_wants_a_policy_where_it_has_its_own(console: Console, tab: Tab) -> None:
    refused = await tab.post("/access/new", {"name": "one", "scope": "all", "level": "key"})
    assert refused.status_code == 422
    assert "Choose at least one policy." in refused.text
    form = {"name": "one", "scope": "all", "level": "key", "policy_names": "monitor-only"}
    assert (await tab.post("/access/new", form)).status_code == 201
    assert 'under <a class="tag" href="/policies/monitor-only">' in (await tab.get("/access")).text
    plain = {"name": "two", "scope": "all", "level": "proxy", "policy_names": "monitor-only"}
    assert (await tab.post("/access/new", plain)).status_code == 201
    listed = (await console.client.get("/api/v1/api-keys", headers=console.admin)).json()["data"]["items"]
    assert {key["name"]: key["policy_names"] for key in listed} == {"one": ["monitor-only"], "two": []}
