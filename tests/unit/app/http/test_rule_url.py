"""Every finding leads to a page that exists."""

from __future__ import annotations

import pytest

from app.http.rule_url import rule_url
from tests.support.console import Console
from tests.support.tab import tab_of


@pytest.mark.parametrize(
    ("pack", "rule_id", "url"),
    [
        ("secrets", "SEC-AWS-001", "/packs/secrets/SEC-AWS-001"),
        ("canary", "CANARY-01AB", "/canaries"),
        ("traffic-analysis", "BEHAVIORAL_RAPIDFIRE", "/alerts?rule_id=BEHAVIORAL_RAPIDFIRE"),
        ("gateway", "GATEWAY-PROXY", "/alerts?rule_id=GATEWAY-PROXY"),
        ("context-firewall", "CONTEXT-ORIGIN", "/alerts?rule_id=CONTEXT-ORIGIN"),
        ("own-house-rules", "deny-all", "/policies/house-rules"),
        ("../x", "a/b?c", "/packs/..%2Fx/a%2Fb%3Fc"),
    ],
)
def test_a_rule_is_explained_where_it_stands(pack: str, rule_id: str, url: str) -> None:
    assert rule_url(pack, rule_id) == url


@pytest.mark.parametrize("pack", ["canary", "traffic-analysis"])
async def test_the_pages_behind_the_rules_that_stand_in_no_pack_exist(console: Console, pack: str) -> None:
    answer = await (await tab_of(console)).get(rule_url(pack, "BEHAVIORAL_RAPIDFIRE"))
    assert answer.status_code == 200
