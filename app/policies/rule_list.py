"""The rules of a pack as a list: filtered, in order, a page at a time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from app.http.envelope import Listing, page_of
from app.http.sorting import Order, Sorts
from app.policies.hits import RuleHits
from app.policies.schemas import RuleView
from rules.model import Severity

PAGE_RULES = 50
"""Rules of a page, so that it stays below 60 KB."""
SORTS = Sorts(
    {"severity": None, "title": None, "score": None, "hits": None},
    default="pack",
    descending_first=frozenset({"severity", "score", "hits"}),
)
"""Sorted in memory; without a wish the rules stand as in their pack."""


def page(
    rules: Sequence[RuleView],
    hits: Mapping[str, RuleHits],
    *,
    search: str,
    severity: str,
    sort: str,
    offset: int,
) -> tuple[Listing[RuleView], Order]:
    """A page of the rules that match, and the order in which they are."""
    text = search.strip().lower()
    found = [
        rule
        for rule in rules
        if (not severity or rule.severity == severity) and text in f"{rule.id} {rule.title} {rule.category}".lower()
    ]
    order = SORTS.order(sort)
    keys = {
        "severity": lambda rule: Severity[rule.severity.upper()],
        "title": lambda rule: rule.title.lower(),
        "score": lambda rule: rule.score,
        "hits": lambda rule: hits[rule.id].hits if rule.id in hits else 0,
    }
    if key := keys.get(order.sort.name):
        found.sort(key=key, reverse=order.sort.descending)
    limit, offset = page_of(PAGE_RULES, offset)
    return Listing(found[offset : offset + limit], total=len(found), limit=limit, offset=offset), order
