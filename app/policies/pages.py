"""Pages of policies and rule packs: reading only, as both come with the program."""

from collections import Counter
from typing import Any

from litestar import Request, Response, get
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery

from app.errors import NotFound
from app.fleet.service import ProxyService
from app.http.envelope import MAX_LIMIT
from app.http.page import Pages
from app.policies.library import PolicyLibrary
from app.security.permissions import Actor

VIEWER = {"role": "viewer"}
HOME = (("/policies", "Policies"),)


@get("/policies", opt=VIEWER, include_in_schema=False)
async def policies_page(
    request: Request[Any, Any, Any],
    actor: NamedDependency[Actor],
    pages: NamedDependency[Pages],
    library: NamedDependency[PolicyLibrary],
    proxies: NamedDependency[ProxyService],
) -> Response[str]:
    """All policies and packs."""
    assigned = await proxies.page(actor, limit=MAX_LIMIT)
    return await pages.page(
        request,
        "policies/list.html",
        title="Policies",
        active="policies",
        policies=library.policies(),
        packs=library.packs(),
        usage=Counter(name for proxy in assigned.items for name in proxy.policy_names),
    )


@get("/policies/{name:str}", opt=VIEWER, include_in_schema=False)
async def policy_page(
    request: Request[Any, Any, Any],
    name: FromPath[str],
    actor: NamedDependency[Actor],
    pages: NamedDependency[Pages],
    library: NamedDependency[PolicyLibrary],
    proxies: NamedDependency[ProxyService],
) -> Response[str]:
    """One policy: its packs and who uses it."""
    policy = library.policy(name)
    assigned = await proxies.page(actor, limit=MAX_LIMIT)
    return await pages.page(
        request,
        "policies/policy.html",
        title=policy.title or policy.name,
        active="policies",
        crumbs=HOME,
        policy=policy,
        packs=[pack for pack in library.packs() if pack.name in policy.packs],
        proxies=[proxy for proxy in assigned.items if name in proxy.policy_names],
    )


@get("/packs/{name:str}", opt=VIEWER, include_in_schema=False)
async def pack_page(
    request: Request[Any, Any, Any],
    name: FromPath[str],
    pages: NamedDependency[Pages],
    library: NamedDependency[PolicyLibrary],
    search: FromQuery[str] = "",
    severity: FromQuery[str] = "",
) -> Response[str]:
    """One pack with its rules."""
    pack = library.pack(name)
    text = search.strip().lower()
    rules = [
        rule
        for rule in pack.rules
        if (not severity or rule.severity == severity) and text in f"{rule.id} {rule.title} {rule.category}".lower()
    ]
    return await pages.page(
        request,
        "policies/pack.html",
        title=pack.title or pack.name,
        active="policies",
        crumbs=HOME,
        pack=pack,
        rules=rules,
        filters={"search": search[:200], "severity": severity},
    )


@get("/packs/{name:str}/{rule_id:str}", opt=VIEWER, include_in_schema=False)
async def rule_page(
    request: Request[Any, Any, Any],
    name: FromPath[str],
    rule_id: FromPath[str],
    pages: NamedDependency[Pages],
    library: NamedDependency[PolicyLibrary],
) -> Response[str]:
    """One rule: what it reads, what it looks for, its examples, and what it maps to."""
    pack = library.pack(name)
    rule = next((rule for rule in pack.rules if rule.id == rule_id), None)
    if rule is None:
        raise NotFound(f"The pack {name} has no such rule.")
    return await pages.page(
        request,
        "policies/rule.html",
        title=rule.id,
        active="policies",
        crumbs=(*HOME, (f"/packs/{name}", pack.title or pack.name)),
        pack=pack,
        rule=rule,
    )


routes = [policies_page, policy_page, pack_page, rule_page]
