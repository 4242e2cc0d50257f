"""The policies of one proxy, as the documented API has them (inventory b.1): list, replace, add, remove."""

from typing import Annotated

import msgspec
from litestar import delete, get, post, put
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody
from msgspec import Meta

from app.fleet.schemas import ProxyView, UpdateProxy
from app.fleet.service import ProxyService
from app.http.envelope import Envelope
from app.policies.errors import PolicyNotFound
from app.policies.library import PolicyLibrary
from app.security.permissions import Actor

VIEWER = {"role": "viewer"}
ADMIN = {"role": "admin"}
TAGS = ["proxies"]


class AvailablePolicy(msgspec.Struct, frozen=True, kw_only=True):
    """A policy that suits the proxy. `id` is its name; `version` is null for a shipped one."""

    id: str
    name: str
    description: str
    version: int | None
    severity: str
    policy_type: str
    assigned: bool
    active: bool


class ProxyPolicies(msgspec.Struct, frozen=True, kw_only=True):
    """What a proxy enforces and what it could."""

    assigned_policies: list[str]
    available_policies: list[AvailablePolicy]


class AssignPolicies(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The policies that shall apply, in place of all others."""

    policy_names: Annotated[list[Annotated[str, Meta(max_length=64)]], Meta(max_length=20)]


@get("/api/v1/proxies/{proxy_id:str}/policies", opt=VIEWER, tags=TAGS)
async def list_assigned(
    proxy_id: FromPath[str],
    actor: NamedDependency[Actor],
    proxies: NamedDependency[ProxyService],
    library: NamedDependency[PolicyLibrary],
) -> Envelope[ProxyPolicies]:
    """The policies of a proxy, and those that it could have."""
    return Envelope(_view(await proxies.get(actor, proxy_id), library))


@post("/api/v1/proxies/{proxy_id:str}/policies", opt=ADMIN, status_code=200, tags=TAGS)
async def replace_assigned(
    proxy_id: FromPath[str],
    data: JSONBody[AssignPolicies],
    actor: NamedDependency[Actor],
    proxies: NamedDependency[ProxyService],
    library: NamedDependency[PolicyLibrary],
) -> Envelope[ProxyPolicies]:
    """Replace the policies of a proxy; a running one serves the change at once."""
    changed = await proxies.update(actor, proxy_id, UpdateProxy(policy_names=data.policy_names))
    return Envelope(_view(changed, library), message="The policies are assigned.")


@put("/api/v1/proxies/{proxy_id:str}/policies/{name:str}", opt=ADMIN, tags=TAGS)
async def add_assigned(
    proxy_id: FromPath[str],
    name: FromPath[str],
    actor: NamedDependency[Actor],
    proxies: NamedDependency[ProxyService],
    library: NamedDependency[PolicyLibrary],
) -> Envelope[ProxyPolicies]:
    """Add one policy to those of a proxy; one that it has already changes nothing."""
    proxy = await proxies.get(actor, proxy_id)
    if name not in proxy.policy_names:
        proxy = await proxies.update(actor, proxy_id, UpdateProxy(policy_names=[*proxy.policy_names, name]))
    return Envelope(_view(proxy, library), message="The policy is assigned.")


@delete("/api/v1/proxies/{proxy_id:str}/policies/{name:str}", opt=ADMIN, status_code=200, tags=TAGS)
async def remove_assigned(
    proxy_id: FromPath[str],
    name: FromPath[str],
    actor: NamedDependency[Actor],
    proxies: NamedDependency[ProxyService],
    library: NamedDependency[PolicyLibrary],
) -> Envelope[ProxyPolicies]:
    """Take one policy away from a proxy."""
    proxy = await proxies.get(actor, proxy_id)
    if name not in proxy.policy_names:
        raise PolicyNotFound(f"The proxy {proxy.name} has no policy named {name}.")
    rest = [other for other in proxy.policy_names if other != name]
    changed = await proxies.update(actor, proxy_id, UpdateProxy(policy_names=rest))
    return Envelope(_view(changed, library), message="The policy is taken away.")


def _view(proxy: ProxyView, library: PolicyLibrary) -> ProxyPolicies:
    return ProxyPolicies(
        assigned_policies=list(proxy.policy_names),
        available_policies=[
            AvailablePolicy(
                id=policy.name,
                name=policy.name,
                description=policy.description,
                version=policy.version,
                severity=policy.severity,
                policy_type=policy.type,
                assigned=policy.name in proxy.policy_names,
                active=policy.active,
            )
            for policy in library.policies(type_=proxy.type)
        ],
    )


routes = [list_assigned, replace_assigned, add_assigned, remove_assigned]
