"""From the configuration to the snapshot that workers get. Pure: nothing is looked up, nothing is sent."""

from __future__ import annotations

from collections.abc import Set as AbstractSet

import msgspec

from proxies.contract import APIKey, ProxyConfig, RulesetSource, Snapshot
from rules.canaries import Canary


class Configuration(msgspec.Struct, frozen=True):
    """Everything workers may have to know, as it was committed; built by `configuration.py` from the database."""

    proxies: tuple[ProxyConfig, ...] = ()
    """Enabled proxies with everything resolved; those in `broken` stand here too, without ruleset and credential."""
    api_keys: tuple[APIKey, ...] = ()
    rulesets: tuple[RulesetSource, ...] = ()
    canaries: tuple[Canary, ...] = ()
    auto_start: frozenset[str] = frozenset()
    """Ids of the proxies that start with the console."""
    broken: dict[str, str] = {}
    """Enabled proxies that could not be resolved, by id, with the reason (a missing `env:` or `file:`, bad rules)."""


def build(
    configuration: Configuration, serve: AbstractSet[str], version: int, *, drain_timeout_seconds: float
) -> Snapshot:
    """The snapshot with the proxies of `serve` (ids) and no more than they need.

    Keys that open none of these proxies and rulesets that none of them uses stay at home.
    """
    proxies = tuple(proxy for proxy in configuration.proxies if proxy.id in serve)
    digests = {proxy.ruleset for proxy in proxies}
    return Snapshot(
        version=version,
        proxies=proxies,
        api_keys=tuple(key for key in configuration.api_keys if key.proxy_ids is None or serve & set(key.proxy_ids)),
        rulesets=tuple(source for source in configuration.rulesets if source.digest in digests),
        canaries=configuration.canaries,
        drain_timeout_seconds=drain_timeout_seconds,
    )


def fall_back(newest: Configuration, accepted: Configuration) -> Configuration:
    """What is in force while workers refuse the newest configuration: the accepted proxies and rules as they were,
    without those that are gone, and always the newest keys, so that a revoked key opens nothing."""
    present = {proxy.id for proxy in newest.proxies}
    return msgspec.structs.replace(
        newest,
        proxies=tuple(proxy for proxy in accepted.proxies if proxy.id in present),
        rulesets=accepted.rulesets,
    )
