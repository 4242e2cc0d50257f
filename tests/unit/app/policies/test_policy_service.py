"""Stored policies: draft, publish, roll back, delete; versions, conflicts, and what the proxies get to know of it."""

from __future__ import annotations

from typing import Any

import pytest

from app.errors import Unavailable, ValidationFailed
from app.fleet.rulesets import RulesetUnavailable
from app.policies.errors import (
    DraftOutdated,
    NothingToPublish,
    PolicyInUse,
    PolicyInvalid,
    PolicyNameTaken,
    PolicyNotFound,
    ShippedPolicy,
    VersionNotFound,
)
from app.policies.service import PolicyService
from tests.support.console import Console
from tests.support.features import ADMIN, Bench


def document(name: str = "ours", **fields: Any) -> dict[str, Any]:
    return {"name": name, "type": "llm", "packs": ["prompt-injection"], **fields}


def detection(pattern: str = r"\bEMP-\d{6}\b", **fields: Any) -> dict[str, Any]:
    return {
        "id": "OWN-EMP-1",
        "title": "Employee number",
        "category": "custom/employee",
        "severity": "high",
        "confidence": "high",
        "score": 60,
        "targets": ["prompt"],
        "match": {"any": [{"re": pattern}]},
        "action": "block",
        "examples": {"match": ["see EMP-123456"], "no_match": ["see EMP-12"]},
        **fields,
    }


@pytest.fixture
def policies(bench: Bench) -> PolicyService:
    return bench.features.policies


async def test_SYP_POL_6_a_policy_is_made_as_a_draft_and_is_in_force_once_it_is_published(
    bench: Bench, policies: PolicyService
) -> None:
    draft = await policies.create(ADMIN, document(detections=[detection()]))
    assert (draft.version, draft.status, draft.revision) == (1, "draft", 1)
    assert bench.features.library.unknown(["ours"]) == ["ours"]
    published = await policies.publish(ADMIN, "ours", revision=1, note="first")
    assert (published.version, published.status) == (1, "published")
    view = bench.features.library.policy("ours")
    assert (view.version, view.rule_count, view.detection_count, view.shipped) == (1, 2, 1, False)
    assert [pack.name for pack in bench.features.library.packs_of(["ours"])] == ["own-ours", "prompt-injection"]
    assert [pack.name for pack in bench.features.library.packs()] == ["prompt-injection", "secrets"]


async def test_a_proxy_that_uses_the_policy_gets_its_new_rules_at_once(bench: Bench, policies: PolicyService) -> None:
    await policies.create(ADMIN, document())
    await policies.publish(ADMIN, "ours")
    await bench.proxy(policy_names=["ours"])
    before = bench.fleet.configuration.proxies[0].ruleset
    await policies.save_draft(ADMIN, "ours", document(detections=[detection()]), revision=0)
    assert bench.fleet.configuration.proxies[0].ruleset == before
    await policies.publish(ADMIN, "ours")
    after = bench.fleet.configuration.proxies[0].ruleset
    assert after != before


async def test_versions_are_kept_and_an_earlier_one_comes_back_as_a_new_one(policies: PolicyService) -> None:
    await policies.create(ADMIN, document(description="one"))
    await policies.publish(ADMIN, "ours")
    await policies.save_draft(ADMIN, "ours", document(description="two"), revision=0)
    await policies.publish(ADMIN, "ours")
    await policies.save_draft(ADMIN, "ours", document(description="three"), revision=0)
    rolled = await policies.roll_back(ADMIN, "ours", 1)
    assert rolled.version == 3
    assert '"one"' in rolled.text
    found = [(version.number, version.status) for version in await policies.versions(ADMIN, "ours")]
    assert found == [(4, "draft"), (3, "published"), (2, "retired"), (1, "retired")]
    draft = await policies.draft(ADMIN, "ours")
    assert draft is not None
    assert '"three"' in draft.text
    changes = await policies.diff(ADMIN, "ours", 2, 3)
    assert [(change.pointer, change.before, change.after) for change in changes] == [("/description", '"two"', '"one"')]
    with pytest.raises(VersionNotFound, match="it is published"):
        await policies.roll_back(ADMIN, "ours", 3)
    with pytest.raises(VersionNotFound):
        await policies.roll_back(ADMIN, "ours", 9)


async def test_an_outdated_draft_is_neither_saved_nor_published(policies: PolicyService) -> None:
    await policies.create(ADMIN, document())
    await policies.save_draft(ADMIN, "ours", document(description="mine"), revision=1)
    with pytest.raises(DraftOutdated, match="revision 2"):
        await policies.save_draft(ADMIN, "ours", document(description="yours"), revision=1)
    with pytest.raises(DraftOutdated):
        await policies.publish(ADMIN, "ours", revision=1)
    assert (await policies.publish(ADMIN, "ours", revision=2)).status == "published"
    with pytest.raises(NothingToPublish):
        await policies.publish(ADMIN, "ours")


async def test_a_draft_with_problems_is_kept_but_not_published(policies: PolicyService) -> None:
    bad = document(packs=["nowhere"], detections=[detection("(?=look)ahead")])
    await policies.create(ADMIN, bad)
    with pytest.raises(PolicyInvalid) as refused:
        await policies.publish(ADMIN, "ours")
    assert set(refused.value.fields) == {"/packs/0", "/detections/0/match/any/0/re"}
    unreadable = document(surprise=1)
    saved = await policies.save_draft(ADMIN, "ours", unreadable, revision=1)
    assert '"surprise": 1' in saved.text
    with pytest.raises(PolicyInvalid, match="surprise"):
        await policies.publish(ADMIN, "ours")


async def test_rules_that_cannot_be_compiled_leave_the_draft_and_say_why(
    policies: PolicyService, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def full(packs: object) -> object:
        raise RulesetUnavailable("The rules cannot be compiled: [Errno 28] No space left on device")

    await policies.create(ADMIN, document())
    monkeypatch.setattr(policies, "_prepare_packs", full)
    with pytest.raises(Unavailable, match="No space left on device") as refused:
        await policies.publish(ADMIN, "ours")
    assert "disk has room" in refused.value.remediation
    draft = await policies.draft(ADMIN, "ours")
    assert draft is not None
    assert draft.status == "draft"


async def test_a_policy_in_use_is_not_deleted_and_says_who_uses_it(bench: Bench, policies: PolicyService) -> None:
    await policies.create(ADMIN, document())
    await policies.publish(ADMIN, "ours")
    proxy = await bench.proxy("Front desk", policy_names=["ours"])
    with pytest.raises(PolicyInUse, match="the proxy Front desk"):
        await policies.delete(ADMIN, "ours")
    await policies.save_draft(ADMIN, "ours", document(type="mcp"), revision=0)
    with pytest.raises(PolicyInUse, match="Front desk"):
        await policies.publish(ADMIN, "ours")
    await bench.features.proxies.delete(ADMIN, proxy.id)
    await policies.delete(ADMIN, "ours")
    assert bench.features.library.unknown(["ours"]) == ["ours"]
    with pytest.raises(PolicyNotFound):
        await policies.versions(ADMIN, "ours")


async def test_SYP_POL_8_shipped_policies_are_templates_that_nobody_changes(policies: PolicyService) -> None:
    template = await policies.document(ADMIN, "llm-standard-security")
    assert (template.shipped, template.status) == (True, "shipped")
    for attempt in (
        policies.save_draft(ADMIN, "llm-standard-security", document("llm-standard-security"), revision=None),
        policies.publish(ADMIN, "llm-standard-security"),
        policies.delete(ADMIN, "llm-standard-security"),
        policies.discard(ADMIN, "llm-standard-security"),
        policies.roll_back(ADMIN, "llm-standard-security", 1),
    ):
        with pytest.raises(ShippedPolicy):
            await attempt
    with pytest.raises(PolicyNameTaken):
        await policies.create(ADMIN, document("llm-standard-security"))


async def test_names_are_checked_when_the_draft_is_made(policies: PolicyService) -> None:
    for name in ("Ours", "", "a b", "x" * 61, None, "playground"):
        with pytest.raises(ValidationFailed):
            await policies.create(ADMIN, document(name))  # type: ignore[arg-type]
    await policies.create(ADMIN, document())
    with pytest.raises(PolicyNameTaken):
        await policies.create(ADMIN, document())
    with pytest.raises(ValidationFailed, match=r"not valid"):
        await policies.save_draft(ADMIN, "ours", document("theirs"), revision=1)


async def test_discarding_the_only_draft_removes_the_policy(policies: PolicyService) -> None:
    await policies.create(ADMIN, document())
    await policies.discard(ADMIN, "ours")
    assert await policies.stored(ADMIN) == {}
    await policies.create(ADMIN, document())
    await policies.publish(ADMIN, "ours")
    await policies.save_draft(ADMIN, "ours", document(description="no"), revision=0)
    assert (await policies.stored(ADMIN))["ours"].draft_version == 2
    await policies.discard(ADMIN, "ours")
    assert (await policies.stored(ADMIN))["ours"].draft_version is None
    with pytest.raises(NothingToPublish):
        await policies.discard(ADMIN, "ours")


async def test_published_policies_are_in_force_again_after_a_restart(bench: Bench, policies: PolicyService) -> None:
    await policies.create(ADMIN, document(detections=[detection()]))
    await policies.publish(ADMIN, "ours")
    bench.features.library.remove("ours")
    await policies.reload()
    assert bench.features.library.version_of("ours") == 1
    assert bench.features.library.policy("ours").detection_count == 1


async def test_the_life_of_a_policy_over_the_api(console: Console) -> None:
    async def call(method: str, path: str, status: int, **body: Any) -> Any:
        options = {"json": body} if body else {}
        answer = await console.client.request(method, f"/api/v1/policies{path}", headers=console.admin, **options)
        assert answer.status_code == status, answer.text
        return answer.json().get("data", answer.json())

    made = await call("POST", "", 201, policy=document(detections=[detection()]), publish=True, note="start")
    assert (made["version"], made["status"], made["policy"]["detections"][0]["id"]) == (1, "published", "OWN-EMP-1")
    saved = await call("PUT", "/ours", 200, policy=document(description="two"), revision=0)
    assert (saved["status"], saved["revision"]) == ("draft", 1)
    outdated = await call("PUT", "/ours", 409, policy=document(), revision=7)
    assert outdated["error_code"] == "policy_draft_outdated"
    assert outdated["remediation"]
    assert (await call("GET", "/ours/draft", 200))["revision"] == 1
    assert (await call("POST", "/ours/publish", 200, revision=1))["version"] == 2
    changes = await call("GET", "/ours/diff?before=1&after=2", 200)
    assert {change["pointer"] for change in changes} == {"/description", "/detections/0"}
    assert (await call("POST", "/ours/rollback", 200, version=1))["version"] == 3
    assert [version["number"] for version in await call("GET", "/ours/versions", 200)] == [3, 2, 1]
    assert (await call("GET", "/ours/versions/2", 200))["policy"]["description"] == "two"
    assert (await call("GET", "/ours", 200))["version"] == 3
    assert (await call("GET", "/ours/document", 200))["version"] == 3
    refused = await call("PUT", "/ours", 422, policy=document(packs=["nowhere"]), publish=True)
    assert refused["error_code"] == "policy_invalid"
    assert await call("GET", "/ours/draft", 200) is None
    assert [policy["name"] for policy in await call("GET", "/drafts", 200)] == ["ours"]
    await call("DELETE", "/ours", 200)
    await call("GET", "/ours", 404)
    audit = await console.client.get("/api/v1/audit?search=policy", headers=console.admin)
    events = {entry["event_type"] for entry in audit.json()["data"]["items"]}
    assert events >= {
        "policy.created",
        "policy.published",
        "policy.rolled_back",
        "policy.deleted",
        "policy.draft_saved",
    }


async def test_validation_names_every_problem_by_pointer_and_saves_nothing(console: Console) -> None:
    async def check(policy: dict[str, Any]) -> dict[str, Any]:
        answer = await console.client.post("/api/v1/policies/validate", headers=console.admin, json={"policy": policy})
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()["data"]
        return found

    assert await check(document(detections=[detection()])) == {"valid": True, "problems": [], "remarks": []}
    bad = await check(document(detections=[detection(examples={"match": ["no"], "no_match": ["EMP-123456"]})]))
    assert [problem["pointer"] for problem in bad["problems"]] == [
        "/detections/0/examples/match/0",
        "/detections/0/examples/no_match/0",
    ]
    rules = [
        {"id": "same", "action": "deny", "match": {"message_content": {"pattern": "(?=b)"}}},
        {"id": "same", "action": "deny"},
    ]
    bad = await check(document(packs=["nowhere"], rules=rules))
    assert {problem["pointer"] for problem in bad["problems"]} == {
        "/packs/0",
        "/rules/0/match/message_content/pattern",
        "/rules/1/id",
    }
    assert (await check(document(packs=[])))["remarks"][0]["reason"].startswith("the policy decides nothing")
    assert (await console.client.get("/api/v1/policies/ours", headers=console.admin)).status_code == 404


async def test_SYP_POL_2_export_and_import_give_the_same_bytes(console: Console) -> None:
    made = document(
        detections=[detection()], rules=[{"id": "no-shell", "match": {"tool_name": "shell"}, "action": "deny"}]
    )
    headers = console.admin
    answer = await console.client.post("/api/v1/policies", headers=headers, json={"policy": made, "publish": True})
    assert answer.status_code == 201, answer.text
    exported = await console.client.get("/api/v1/policies/ours/export", headers=headers)
    assert 'filename="ours.json"' in exported.headers["content-disposition"]
    body = {"content": exported.text.replace('"ours"', '"theirs"'), "save": True}
    imported = await console.client.post("/api/v1/policies/import", headers=headers, json=body)
    assert imported.status_code == 200, imported.text
    assert (imported.json()["data"]["notes"], imported.json()["data"]["problems"]) == ([], [])
    again = await console.client.get("/api/v1/policies/theirs/export", headers=headers)
    assert again.text == exported.text.replace('"ours"', '"theirs"')
    body = {"content": exported.text, "save": True, "save_as": "third"}
    renamed = await console.client.post("/api/v1/policies/import", headers=headers, json=body)
    assert (renamed.status_code, renamed.json()["data"]["policy"]["name"]) == (200, "third")
    third = await console.client.get("/api/v1/policies/third/export", headers=headers)
    assert third.text == exported.text.replace('"ours"', '"third"')
    empty = await console.client.post("/api/v1/policies/import", headers=headers, json={"content": " \n"})
    assert (empty.status_code, empty.json()["error"]) == (422, "The file is empty.")


async def test_SYP_POL_5_policies_are_assigned_to_a_proxy_one_by_one_or_all_at_once(console: Console) -> None:
    headers = console.admin
    body = {"name": "desk", "type": "llm", "target_url": "https://api.example.org", "port": 4000}
    proxy = (await console.client.post("/api/v1/proxies", headers=headers, json=body)).json()["data"]
    path = f"/api/v1/proxies/{proxy['id']}/policies"

    async def names(method: str, address: str, **options: Any) -> list[str]:
        answer = await console.client.request(method, address, headers=headers, **options)
        assert answer.status_code == 200, answer.text
        found: list[str] = answer.json()["data"]["assigned_policies"]
        return found

    assert await names("GET", path) == ["llm-standard-security"]
    assert await names("PUT", f"{path}/monitor-only") == ["llm-standard-security", "monitor-only"]
    assert await names("PUT", f"{path}/monitor-only") == ["llm-standard-security", "monitor-only"]
    assert await names("DELETE", f"{path}/llm-standard-security") == ["monitor-only"]
    assert await names("POST", path, json={"policy_names": []}) == []
    listed = (await console.client.get(path, headers=headers)).json()["data"]["available_policies"]
    assert {policy["name"] for policy in listed} == {"llm-standard-security", "llm-incomplete", "monitor-only"}
    gone = await console.client.delete(f"{path}/monitor-only", headers=headers)
    assert gone.json()["error_code"] == "policy_not_found"
    unknown = await console.client.put(f"{path}/nowhere", headers=headers)
    assert unknown.status_code == 404


async def test_SYP_POL_7_compiled_patterns_are_counted_and_patterns_analysed(console: Console) -> None:
    headers = console.admin
    answer = await console.client.get("/api/v1/policies/compiled/status", headers=headers)
    before = {item["name"]: item for item in answer.json()["data"]}
    assert before["llm-incomplete"] == {
        "name": "llm-incomplete",
        "active": False,
        "declared": 0,
        "compiled": None,
        "problem": "There is no pack named jailbreak.",
    }
    compiled = await console.client.post("/api/v1/policies/compiled/mcp-standard-security/recompile", headers=headers)
    counts = compiled.json()["data"]
    library = console.app.state.library
    patterns = {
        rule_pattern.re
        for pack in library.packs_for(library.get("mcp-standard-security"))
        for rule in pack.rules
        for rule_pattern in (*rule.match.all, *rule.match.any, *rule.match.none, *rule.match.near)
    }
    assert counts["declared"] == counts["compiled"] == len(patterns), "without those of the engine's own"
    body = {"patterns": [r"\bEMP-(\d{6})\b", "(?=x)y"]}
    checked = await console.client.post("/api/v1/policies/patterns/analyze", headers=headers, json=body)
    first, second = checked.json()["data"]
    assert (first["valid"], first["groups"]) == (True, 1)
    assert not second["valid"]
    assert second["reason"]
