"""From the configuration to the snapshot that workers get. Pure: nothing is looked up, nothing is sent."""

from __future__ import annotations

from collections.abc import Set as AbstractSet

import msgspec

from proxies.contract import APIKey, AppliedPolicy, ProxyConfig, ProxyType, RulesetSource, Snapshot
from rules.canaries import Canary


class Configuration(msgspec.Struct, frozen=True):
    """Everything workers may have to know, as it was committed; built by `configuration.py` from the database."""

    proxies: tuple[ProxyConfig, ...] = ()
    """Enabled proxies with everything resolved; those in `broken` stand here too, without ruleset and credential."""
    api_keys: tuple[APIKey, ...] = ()
    rulesets: tuple[RulesetSource, ...] = ()
    policies: tuple[AppliedPolicy, ...] = ()
    """Every policy that a proxy or a key names."""
    canaries: tuple[Canary, ...] = ()
    auto_start: frozenset[str] = frozenset()
    """Ids of the proxies that start with the console."""
    broken: dict[str, str] = {}
    """Enabled proxies that could not be resolved, by id, with the reason (a missing `env:` or `file:`, bad rules)."""
    compiling: dict[str, str] = {}
    """Enabled proxies whose rules, or those of a key that opens them, are not there yet, by id, with the reason."""

    @property
    def unfit(self) -> frozenset[str]:
        """Ids of the proxies that no worker may get."""
        return frozenset(self.broken) | frozenset(self.compiling)


def build(
    configuration: Configuration, serve: AbstractSet[str], version: int, *, drain_timeout_seconds: float
) -> Snapshot:
    """The snapshot with the proxies of `serve` (ids) and no more than they need.

    Keys that open none of these proxies, and rulesets and policies that none of them uses, stay at home.
    """
    proxies = tuple(proxy for proxy in configuration.proxies if proxy.id in serve)
    types = {proxy.type for proxy in proxies}
    keys = tuple(
        _with_types(key, types) for key in configuration.api_keys if key.proxy_ids is None or serve & set(key.proxy_ids)
    )
    assignments = [assignment for key in keys for assignment in key.assignments.values()]
    digests = {proxy.ruleset for proxy in proxies} | {assignment.ruleset for assignment in assignments}
    names = {name for proxy in proxies for name in proxy.policy_names}
    names |= {name for assignment in assignments for name in assignment.policy_names}
    return Snapshot(
        version=version,
        proxies=proxies,
        api_keys=keys,
        rulesets=tuple(source for source in configuration.rulesets if source.digest in digests),
        policies=tuple(policy for policy in configuration.policies if policy.document.name in names),
        canaries=configuration.canaries,
        drain_timeout_seconds=drain_timeout_seconds,
    )


def _with_types(key: APIKey, types: AbstractSet[ProxyType]) -> APIKey:
    """The key with its policies for these types of proxies."""
    if key.assignments.keys() <= types:
        return key
    kept = {type: assignment for type, assignment in key.assignments.items() if type in types}
    return msgspec.structs.replace(key, assignments=kept)


def fall_back(newest: Configuration, accepted: Configuration) -> Configuration:
    """What is in force while workers refuse the newest configuration: the accepted proxies and rules as they were,
    without those that are gone or were unfit, and always the newest keys, so that a revoked key opens nothing. A key keeps
    the policies that it had, since their rules are those that workers accepted."""
    present = {proxy.id for proxy in newest.proxies}
    assigned = {key.id: key.assignments for key in accepted.api_keys}
    return msgspec.structs.replace(
        newest,
        proxies=tuple(proxy for proxy in accepted.proxies if proxy.id in present - accepted.unfit),
        api_keys=tuple(
            msgspec.structs.replace(key, assignments=assigned.get(key.id, key.assignments)) for key in newest.api_keys
        ),
        rulesets=accepted.rulesets,
        policies=accepted.policies,
    )
