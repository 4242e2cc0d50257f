"""Which policies apply to which calls, level by level (AG-PE-3).

The most specific level that names policies for a type of proxy decides alone: the key, then the proxy with what its tags
bring, then the policies for all proxies. Everything is looked up in one go, so that one snapshot never holds two versions
of a policy.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
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

    def __init__(
        self, library: PolicyLibrary, global_names: Sequence[str], by_tag: Mapping[str, Sequence[str]] | None = None
    ) -> None:
        self._library = library
        self._global_names = global_names
        self._by_tag = by_tag or {}
        self._applied: dict[str, AppliedPolicy] = {}

    def __repr__(self) -> str:
        return f"<Assignments {len(self._applied)} policies>"

    @property
    def applied(self) -> tuple[AppliedPolicy, ...]:
        """Every policy that a plan names, by name."""
        return tuple(policy for _, policy in sorted(self._applied.items()))

    def of_proxy(
        self, names: Sequence[str], type: ProxyType, tags: Sequence[str] = ()
    ) -> tuple[Plan, Literal["proxy", "global"]]:
        """What applies to the calls of a proxy with these tags, and which level says so."""
        if together := policies_of(self._library, names, tags, type, self._by_tag):
            return self._plan(together), "proxy"
        return self._plan(fitting(self._library, self._global_names, type)), "global"

    def of_key(self, names: Sequence[str]) -> dict[ProxyType, Plan]:
        """What applies to the calls of a key, for each type of proxy that its policies are meant for."""
        return {type: self._plan(meant) for type in PROXY_TYPES if (meant := fitting(self._library, names, type))}

    def _plan(self, names: Sequence[str]) -> Plan:
        distinct = tuple(dict.fromkeys(names))
        try:
            for name in distinct:
                document = self._library.get(name)
                self._applied[name] = AppliedPolicy(document, self._library.version_of(name) or 0)
            return Plan(distinct, tuple(self._library.packs_of(distinct)))
        except AppError as error:
            return Plan(distinct, problem=error.message)


def fitting(library: PolicyLibrary, names: Iterable[str], type: str) -> list[str]:
    """The policies meant for a type of proxy. One that is gone fits all: nobody may lose protection unseen."""
    return [name for name in names if library.unknown([name]) or library.applies_to(name, type)]


def policies_of(
    library: PolicyLibrary, names: Sequence[str], tags: Sequence[str], type: str, by_tag: Mapping[str, Sequence[str]]
) -> list[str]:
    """The policies that a proxy names and those of its tags, each once."""
    brought = [name for tag in tags for name in fitting(library, by_tag.get(tag, ()), type)]
    return list(dict.fromkeys([*names, *brought]))
