"""Which policies apply to which calls, level by level (AG-PE-3).

The most specific level that names policies for a type of proxy decides alone: the key, then the proxy, then the policies
for all proxies. Everything is looked up in one go, so that one snapshot never holds two versions of a policy.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal, get_args

import msgspec

from app.errors import AppError
from app.policies.library import PolicyLibrary
from proxies.contract import AppliedPolicy, ProxyType
from rules.packs import Pack

PROXY_TYPES: tuple[ProxyType, ...] = get_args(ProxyType)


class Plan(msgspec.Struct, frozen=True):
    """Policies that apply together, with the packs that they need."""

    policy_names: tuple[str, ...]
    packs: tuple[Pack, ...] = ()
    problem: str = ""
    """Why they cannot be put in force."""


class Assignments:
    """The plans of one configuration."""

    def __init__(self, library: PolicyLibrary, global_names: Sequence[str]) -> None:
        self._library = library
        self._global_names = global_names
        self._applied: dict[str, AppliedPolicy] = {}

    def __repr__(self) -> str:
        return f"<Assignments {len(self._applied)} policies>"

    @property
    def applied(self) -> tuple[AppliedPolicy, ...]:
        """Every policy that a plan names, by name."""
        return tuple(policy for _, policy in sorted(self._applied.items()))

    def of_proxy(self, names: Sequence[str], type: ProxyType) -> tuple[Plan, Literal["proxy", "global"]]:
        """What applies to the calls of a proxy, and which level says so."""
        if names:
            return self._plan(names), "proxy"
        return self._plan(self._fitting(self._global_names, type)), "global"

    def of_key(self, names: Sequence[str]) -> dict[ProxyType, Plan]:
        """What applies to the calls of a key, for each type of proxy that its policies are meant for."""
        return {type: self._plan(fitting) for type in PROXY_TYPES if (fitting := self._fitting(names, type))}

    def _fitting(self, names: Iterable[str], type: ProxyType) -> list[str]:
        """The policies meant for a type of proxy. One that is gone fits all: nobody may lose protection unseen."""
        return [name for name in names if self._library.unknown([name]) or self._library.applies_to(name, type)]

    def _plan(self, names: Sequence[str]) -> Plan:
        distinct = tuple(dict.fromkeys(names))
        try:
            for name in distinct:
                document = self._library.get(name)
                self._applied[name] = AppliedPolicy(document, self._library.version_of(name) or 0)
            return Plan(distinct, tuple(self._library.packs_of(distinct)))
        except AppError as error:
            return Plan(distinct, problem=error.message)
