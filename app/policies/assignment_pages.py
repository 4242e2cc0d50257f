"""Which policies apply to all proxies, or to all with a tag, as forms of the page of policies."""

from __future__ import annotations

from typing import Any

from litestar import Request, Response, post
from litestar.di import NamedDependency

from app.errors import AppError
from app.http.page import Toast, redirect
from app.policies.global_policies import GlobalPolicyService
from app.policies.tag_policies import TagPolicyService
from app.security.permissions import Actor

ADMIN = {"role": "admin"}


@post("/policies/everywhere", opt=ADMIN, include_in_schema=False)
async def name_everywhere(
    request: Request[Any, Any, Any],
    actor: NamedDependency[Actor],
    global_policies: NamedDependency[GlobalPolicyService],
) -> Response[str]:
    """Which policies apply to proxies that name none."""
    names = [str(name) for name in (await request.form()).getall("policy_names", []) if name]
    try:
        await global_policies.put(actor, names)
    except AppError as error:
        return redirect(request, "/policies", Toast.refused(error))
    return redirect(request, "/policies", Toast("Proxies without policies of their own use these now."))


@post("/policies/tags", opt=ADMIN, include_in_schema=False)
async def name_for_tag(
    request: Request[Any, Any, Any],
    actor: NamedDependency[Actor],
    tag_policies: NamedDependency[TagPolicyService],
) -> Response[str]:
    """Which policies the proxies with a tag have beside their own."""
    given = await request.form()
    tag, names = str(given.get("tag", "")), [str(name) for name in given.getall("policy_names", []) if name]
    try:
        view = await tag_policies.put(actor, tag, names)
    except AppError as error:
        words = " ".join(error.fields.values()) or error.message
        return redirect(request, "/policies", Toast(f"{words} {error.remediation}", kind="error"))
    who = "The proxy" if view.proxies == 1 else f"The {view.proxies} proxies"
    return redirect(request, "/policies", Toast(f"{who} with the tag {tag}: these apply beside their own now."))


routes = [name_everywhere, name_for_tag]
