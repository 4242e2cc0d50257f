"""Which policies apply to the calls of each proxy whose key names none: its own and those of its tags, or those of all."""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy.ext.asyncio import AsyncSession

from app.fleet.assignments import fitting, policies_of
from app.fleet.models import Proxy
from app.fleet.schemas import ProxyView
from app.policies.global_policies import GlobalPolicyRepository
from app.policies.library import PolicyLibrary
from app.policies.tag_policies import TagPolicyRepository


async def names_in_force(
    session: AsyncSession, tenant_id: str, library: PolicyLibrary, proxies: Iterable[Proxy | ProxyView]
) -> dict[str, list[str]]:
    """The names of the policies by the id of each proxy."""
    by_tag = await TagPolicyRepository(session, tenant_id).by_tag()
    everywhere = await GlobalPolicyRepository(session, tenant_id).names()
    return {
        proxy.id: policies_of(library, proxy.policy_names, proxy.tags, proxy.type, by_tag)
        or fitting(library, everywhere, proxy.type)
        for proxy in proxies
    }
