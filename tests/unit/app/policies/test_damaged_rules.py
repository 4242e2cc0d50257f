"""A file of rules that is damaged: what it takes away, who is told, and what goes on."""

from __future__ import annotations

import asyncio
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from app.alerts.models import Alert
from app.audit.models import AuditEntry
from app.policies.damage import RulesDamaged, refuse_damage
from app.policies.errors import PackNotFound, PolicyNotFound
from app.policies.library import PolicyLibrary
from app.policies.models import PolicyVersion
from rules.packs import SHIPPED, Problem
from rules.policy import SHIPPED_POLICIES
from tests.support.console import Console, console_app
from tests.support.memory_fleet import MemoryFleet
from tests.support.tab import tab_of

PACKS = ("prompt-injection", "secrets", "pii")
POLICIES = {
    "llm-one": {"name": "llm-one", "type": "llm", "packs": ["prompt-injection"]},
    "llm-two": {"name": "llm-two", "type": "llm", "packs": ["prompt-injection", "pii"]},
    "llm-three": {"name": "llm-three", "type": "llm", "packs": ["secrets"]},
}


@pytest.fixture
def directories(tmp_path: Path) -> tuple[Path, Path]:
    """Packs and policies, of which the pack `pii` is cut off and the policy `llm-three` has an unknown member."""
    packs, policies = tmp_path / "packs", tmp_path / "policies"
    packs.mkdir()
    policies.mkdir()
    for name in PACKS:
        shutil.copy(SHIPPED / f"{name}.json", packs)
    for name, document in POLICIES.items():
        (policies / f"{name}.json").write_text(json.dumps(document))
    whole = (packs / "pii.json").read_bytes()
    (packs / "pii.json").write_bytes(whole[: len(whole) // 2])
    (policies / "llm-three.json").write_text(json.dumps({**POLICIES["llm-three"], "enforcment": "log_only"}))
    return packs, policies


def test_AG_PE_10_a_damaged_file_is_named_by_place_and_reason_and_takes_nothing_else_away(
    directories: tuple[Path, Path],
) -> None:
    library = PolicyLibrary.shipped(*directories)
    assert [(problem.file, problem.pointer) for problem in library.damage] == [
        ("pii.json", ""),
        ("llm-three.json", "/enforcment"),
    ]
    assert [pack.name for pack in library.packs()] == ["prompt-injection", "secrets"]
    assert [(view.name, view.active) for view in library.policies()] == [("llm-one", True), ("llm-two", False)]
    with pytest.raises(PackNotFound, match=r"The rule pack pii is damaged: pii\.json#: not valid JSON"):
        library.packs_of(["llm-two"])
    with pytest.raises(PolicyNotFound, match=r"The policy llm-three is damaged: .*enforcment"):
        library.packs_of(["llm-three"])
    assert "pii.json#" in library.why_inactive("llm-two")
    assert library.why_inactive("llm-one") == ""
    assert library.is_shipped("llm-three"), "its name stays taken"


def test_AG_PE_10_strict_refuses_to_start_and_says_what_is_wrong(directories: tuple[Path, Path]) -> None:
    with pytest.raises(RulesDamaged, match=r"pii\.json#.*llm-three\.json#"):
        refuse_damage(PolicyLibrary.shipped(*directories))
    refuse_damage(PolicyLibrary.shipped(SHIPPED, SHIPPED_POLICIES))


async def test_a_damaged_pack_is_in_the_audit_log_an_alert_and_on_the_page_and_its_proxies_fail(
    tmp_path: Path, used_data: Path, directories: tuple[Path, Path]
) -> None:
    library = PolicyLibrary.shipped(*directories)
    async with console_app(tmp_path, data_from=used_data, make_fleet=MemoryFleet, library=library) as console:
        async with console.app.state.database.reader() as session:
            alerts = list(await session.scalars(select(Alert).where(Alert.rule_id == "GATEWAY-RULES")))
            entries = list(await session.scalars(select(AuditEntry).where(AuditEntry.event_type == "rules.damaged")))
        assert {(alert.severity, alert.proxy_id) for alert in alerts} == {("critical", "")}
        assert any("pii.json#" in alert.description for alert in alerts)
        assert [entry.resource_name for entry in entries] == ["pii.json", "llm-three.json"]
        status = await _data(console, "policies/compiled/status")
        problems = {policy["name"]: policy["problem"] for policy in status}
        assert problems["llm-one"] == ""
        assert problems["llm-two"].startswith("The rule pack pii is damaged: pii.json#")
        tab = await tab_of(console)
        page = (await tab.get("/policies")).text
        assert "Damaged rules are not in force" in page
        assert "pii.json#" in page
        for address in ("/alerts", f"/alerts/{alerts[0].id}"):
            assert (await tab.get(address)).status_code == 200
        assert 'href="/proxies/"' not in (await tab.get("/alerts")).text
        configuration = await _configuration(console, ["llm-two"])
        assert "The rule pack pii is damaged: pii.json#" in next(iter(configuration.broken.values()))


async def test_the_same_damage_is_one_alert_a_day_and_one_audit_entry_a_start(
    tmp_path: Path, used_data: Path, directories: tuple[Path, Path]
) -> None:
    async with console_app(
        tmp_path, data_from=used_data, make_fleet=MemoryFleet, library=PolicyLibrary.shipped(*directories)
    ) as console:
        await next(part for part in console.app.state.parts if part.name == "damage").start()
        async with console.app.state.database.reader() as session:
            alerts = list(await session.scalars(select(Alert).where(Alert.rule_id == "GATEWAY-RULES")))
            entries = list(await session.scalars(select(AuditEntry).where(AuditEntry.event_type == "rules.damaged")))
    assert (len(alerts), len(entries)) == (2, 4)


@pytest.mark.parametrize(
    ("document", "problem"),
    [
        (
            '{"name": "mine", "rules": [{"id": "a", "action": "explode"}]}',
            "policy mine#/rules/0/action: 'explode' is not known here: use alert, allow, deny, hold, log, redact or tag",
        ),
        ('{"name": mine', "policy mine#: not valid JSON: "),
        ("[]", "policy mine#: is not an object"),
    ],
)
async def test_a_published_policy_that_cannot_be_read_is_named_with_the_reason(
    console: Console, document: str, problem: str
) -> None:
    made = await console.client.post(
        "/api/v1/policies",
        json={"policy": {"name": "mine", "rules": [{"id": "a", "action": "deny"}]}, "publish": True},
        headers=console.admin,
    )
    assert made.status_code in (200, 201)
    async with console.app.state.database.writer() as session:
        version = (await session.scalars(select(PolicyVersion))).one()
        version.document = document
    library: PolicyLibrary = console.app.state.library
    library.remove("mine")
    await console.app.state.policies.reload()
    (damage,) = library.damage
    assert str(damage).startswith(problem)
    with pytest.raises(PolicyNotFound, match=f"The policy mine is damaged: {problem}"):
        library.get("mine")
    library.remove("mine")
    assert library.damage == []


def test_a_problem_of_a_whole_directory_names_the_directory(tmp_path: Path) -> None:
    library = PolicyLibrary.shipped(tmp_path, tmp_path)
    assert [problem.reason for problem in library.damage] == [
        "there is no pack in this directory",
        "there is no policy in this directory",
    ]
    assert isinstance(library.damage[0], Problem)


async def _data(console: Console, path: str) -> Any:
    answer = await console.client.get(f"/api/v1/{path}", headers=console.admin)
    assert answer.status_code == 200, answer.text
    return answer.json()["data"]


async def _configuration(console: Console, policy_names: list[str]) -> Any:
    """What the fleet would be given with a proxy of these policies."""
    body = {"name": "p", "type": "llm", "target_url": "http://127.0.0.1:9", "port": 4999, "policy_names": policy_names}
    made = await console.client.post("/api/v1/proxies", json=body, headers=console.admin)
    assert made.status_code == 201, made.text
    async with asyncio.timeout(20):
        return await console.app.state.fleet.hooks.load_configuration()


async def test_the_pages_of_damaged_policies_say_what_is_wrong(
    tmp_path: Path, used_data: Path, directories: tuple[Path, Path]
) -> None:
    library = PolicyLibrary.shipped(*directories)
    async with console_app(tmp_path, data_from=used_data, make_fleet=MemoryFleet, library=library) as console:
        tab = await tab_of(console)
        shipped = await tab.get("/policies/llm-three")
        assert (shipped.status_code, "The policy llm-three is damaged" in shipped.text) == (404, True)
        inactive = await tab.get("/policies/llm-two")
        assert (inactive.status_code, "The rule pack pii is damaged" in inactive.text) == (200, True)
        policy = {"name": "mine", "rules": [{"id": "a", "action": "deny"}]}
        body = {"policy": policy, "publish": True}
        await console.client.post("/api/v1/policies", json=body, headers=console.admin)
        library.remove("mine")
        library.put_damaged("mine", Problem("policy mine", "/rules/0/action", "is unknown"))
        for name in ("overview", "builder", "test", "replay", "versions"):
            assert (await tab.get(f"/policies/mine?tab={name}")).status_code == 200, name
        assert "policy mine#/rules/0/action: is unknown" in (await tab.get("/policies/mine")).text
