"""What a worker is told: the proxies that it serves and nothing else."""

from app.fleet.snapshot import Configuration, build
from proxies.contract import APIKey, ProxyConfig, RulesetSource


def proxy(name: str, port: int, ruleset: str) -> ProxyConfig:
    return ProxyConfig(
        id=name,
        name=name,
        type="llm",
        target_url="http://127.0.0.1:9",
        host="127.0.0.1",
        port=port,
        ruleset=ruleset,
    )


def source(digest: str) -> RulesetSource:
    return RulesetSource(digest, "packs", "database", "0" * 64, "0" * 64)


CONFIGURATION = Configuration(
    proxies=(proxy("prx_a", 4001, "r1"), proxy("prx_b", 4002, "r2")),
    api_keys=(
        APIKey("k1", "all", "d1"),
        APIKey("k2", "a", "d2", None, ("prx_a",)),
        APIKey("k3", "b", "d3", None, ("prx_b",)),
    ),
    rulesets=(source("r1"), source("r2")),
)


def test_snapshot_holds_only_what_its_proxies_need() -> None:
    snapshot = build(CONFIGURATION, {"prx_a"}, 7, drain_timeout_seconds=3.0)
    assert snapshot.version == 7
    assert snapshot.drain_timeout_seconds == 3.0
    assert [item.id for item in snapshot.proxies] == ["prx_a"]
    assert [key.id for key in snapshot.api_keys] == ["k1", "k2"]
    assert [item.digest for item in snapshot.rulesets] == ["r1"]


def test_snapshot_of_nothing_opens_nothing() -> None:
    snapshot = build(CONFIGURATION, set(), 1, drain_timeout_seconds=30.0)
    assert snapshot.proxies == ()
    assert snapshot.rulesets == ()


def test_unknown_ids_are_not_invented() -> None:
    assert build(CONFIGURATION, {"prx_zzz"}, 1, drain_timeout_seconds=30.0).proxies == ()
