"""Policies and packs: what exists, what is active, what a proxy gets."""

from __future__ import annotations

import pytest

from app.policies.errors import PackNotFound, PolicyNotFound
from app.policies.library import PolicyLibrary
from tests.support.console import Console
from tests.support.library import small_library


def test_the_packs_of_several_policies_come_once_each() -> None:
    library = small_library()
    names = [pack.name for pack in library.packs_of(["llm-standard-security", "mcp-standard-security"])]
    assert names == ["prompt-injection", "secrets"]
    assert library.packs_of([]) == []


def test_a_policy_whose_pack_is_missing_exists_is_not_active_and_cannot_be_used() -> None:
    library = small_library()
    ref = library.refs(["llm-incomplete"])[0]
    assert (ref.exists, ref.active, ref.severity) == (True, False, "high")
    with pytest.raises(PackNotFound, match="jailbreak"):
        library.packs_of(["llm-incomplete"])


def test_a_policy_that_is_gone_is_shown_as_gone() -> None:
    library = small_library()
    ref = library.refs(["retired"])[0]
    assert (ref.exists, ref.active) == (False, False)
    assert library.unknown(["retired", "monitor-only"]) == ["retired"]
    with pytest.raises(PolicyNotFound):
        library.packs_of(["retired"])


def test_the_first_policy_that_brings_a_pack_is_named() -> None:
    found = small_library().policy_by_pack(["retired", "mcp-standard-security", "llm-standard-security"])
    assert found == {"secrets": "mcp-standard-security", "prompt-injection": "llm-standard-security"}


def test_the_shipped_policies_only_name_shipped_packs() -> None:
    library = PolicyLibrary.shipped()
    policies = library.policies()
    assert {policy.name for policy in policies} >= {"llm-standard-security", "mcp-standard-security", "monitor-only"}
    assert [policy.name for policy in policies if not policy.active] == []
    assert library.defaults("llm") == ["llm-standard-security"]
    assert library.defaults("mcp") == ["mcp-standard-security"]
    assert library.rule_count >= 60


async def test_policies_and_packs_over_the_api(console: Console) -> None:
    async def data(path: str) -> dict[str, object]:
        answer = await console.client.get(f"/api/v1/{path}", headers=console.admin)
        assert answer.status_code == 200
        found: dict[str, object] = answer.json()["data"]
        return found

    policy = await data("policies/llm-standard-security")
    assert (policy["rule_count"], policy["severity"], policy["shipped"]) == (2, "critical", True)
    assert (await data("policies"))["total"] == 4
    assert (await data("policies?type=mcp"))["total"] == 2
    assert (await data("policies?search=MONITOR"))["total"] == 1
    assert (await data("packs"))["total"] == 2
    pack = await data("packs/secrets")
    assert pack["policies"] == ["llm-standard-security", "mcp-standard-security", "monitor-only"]
    rules = pack["rules"]
    assert isinstance(rules, list)
    assert (rules[0]["id"], rules[0]["patterns"], rules[0]["examples_match"]) == (
        "SEC-0001",
        ["whispered word"],
        ["whispered word"],
    )
    for path, code in (("policies/none", "policy_not_found"), ("packs/none", "pack_not_found")):
        answer = await console.client.get(f"/api/v1/{path}", headers=console.admin)
        assert (answer.status_code, answer.json()["error_code"]) == (404, code)
