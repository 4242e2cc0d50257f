"""The rules of a pack as a list."""

from __future__ import annotations

import pytest

from app.policies import rule_list
from app.policies.hits import RuleHits
from app.policies.library import PolicyLibrary
from app.policies.schemas import RuleView

HITS = {"SEC-AWS-002": RuleHits(7, 1), "SEC-AWS-001": RuleHits(3, 0)}
RANKS = ("info", "low", "medium", "high", "critical")


@pytest.fixture(scope="module")
def secrets() -> list[RuleView]:
    return PolicyLibrary.shipped().pack("secrets").rules


def test_a_page_holds_fifty_rules_and_the_next_one_goes_on(secrets: list[RuleView]) -> None:
    first, _ = rule_list.page(secrets, {}, search="", severity="", sort="", offset=0)
    rest, _ = rule_list.page(secrets, {}, search="", severity="", sort="", offset=50)
    assert (len(first.items), first.total, first.limit) == (50, len(secrets), 50)
    assert [*first.items, *rest.items] == secrets[:100]


def test_search_and_severity_narrow_the_list(secrets: list[RuleView]) -> None:
    found, _ = rule_list.page(secrets, {}, search=" AWS ", severity="critical", sort="", offset=0)
    assert found.total == len(found.items) >= 2
    assert all(rule.severity == "critical" for rule in found.items)
    assert rule_list.page(secrets, {}, search="no such rule", severity="", sort="", offset=0)[0].total == 0


def test_rules_are_sorted_by_each_column(secrets: list[RuleView]) -> None:
    def sorted_by(sort: str) -> list[RuleView]:
        return rule_list.page(secrets, HITS, search="", severity="", sort=sort, offset=0)[0].items

    assert [rule.id for rule in sorted_by("-hits")[:2]] == ["SEC-AWS-002", "SEC-AWS-001"]
    ranks = [RANKS.index(rule.severity) for rule in sorted_by("-severity")]
    assert ranks == sorted(ranks, reverse=True)
    scores = [rule.score for rule in sorted_by("score")]
    assert scores == sorted(scores)
    titles = [rule.title.lower() for rule in sorted_by("title")]
    assert titles == sorted(titles)
    assert sorted_by("nonsense") == secrets[:50]
