"""Pages of the API keys."""

from collections.abc import Mapping
from typing import Any

from litestar import Request, Response, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery

from app.access.repository import SORTS
from app.access.schemas import CreateKey, NewKey
from app.access.service import KeyService
from app.errors import AppError, ValidationFailed
from app.fleet.service import ProxyService
from app.http.confirm import confirmation, is_confirmed
from app.http.envelope import MAX_LIMIT, page_of
from app.http.filters import search_text
from app.http.forms import convert
from app.http.page import Form, Pages, Toast, redirect, with_query
from app.policies.library import PolicyLibrary
from app.security.permissions import Actor

VIEWER = {"role": "viewer"}
ADMIN = {"role": "admin"}
HOME = (("/access", "Access"),)
NO_FILTERS = {"search": "", "state": ""}
PAGE_ROWS = 25
"""Rows of a page, so that it stays below 60 KB."""


@get("/access", opt=VIEWER, include_in_schema=False)
async def keys_page(
    request: Request[Any, Any, Any],
    actor: NamedDependency[Actor],
    pages: NamedDependency[Pages],
    keys: NamedDependency[KeyService],
    proxies: NamedDependency[ProxyService],
    search: FromQuery[str] = "",
    sort: FromQuery[str] = "",
    offset: FromQuery[int] = 0,
) -> Response[str]:
    """The keys that match, newest first unless sorted otherwise."""
    # `state` is a name that Litestar keeps for itself, so it is read here.
    filters = {"search": search_text(search), "state": str(request.query_params.get("state", ""))[:20]}
    return await _list(request, actor, pages, keys, proxies, filters=filters, sort=sort, offset=offset)


@get("/access/new", opt=ADMIN, include_in_schema=False)
async def new_key_page(
    request: Request[Any, Any, Any],
    actor: NamedDependency[Actor],
    pages: NamedDependency[Pages],
    proxies: NamedDependency[ProxyService],
    library: NamedDependency[PolicyLibrary],
    proxy_id: FromQuery[str] = "",
) -> Response[str]:
    """The form for a new key, limited to one proxy when a link asks for that."""
    form = Form({"proxy_ids": [proxy_id] if proxy_id else []})
    return await _form(request, actor, pages, proxies, library, form, 200)


@post("/access/new", opt=ADMIN, include_in_schema=False)
async def create_key(
    request: Request[Any, Any, Any],
    actor: NamedDependency[Actor],
    pages: NamedDependency[Pages],
    keys: NamedDependency[KeyService],
    proxies: NamedDependency[ProxyService],
    library: NamedDependency[PolicyLibrary],
) -> Response[str]:
    """Make a key and show it: here and never again."""
    given = await request.form()
    limited, own_policies = given.get("scope") == "some", given.get("level") == "key"
    values = {
        "name": str(given.get("name", "")),
        "proxy_ids": [str(value) for value in given.getall("proxy_ids", [])] if limited else None,
        "policy_names": [str(value) for value in given.getall("policy_names", [])] if own_policies else [],
        "expires_in_days": str(given.get("expires_in_days", "")) or None,
    }
    try:
        if own_policies and not values["policy_names"]:
            raise ValidationFailed(fields={"policy_names": "Choose at least one policy."})
        created = await keys.create(actor, convert(values, CreateKey))
    except AppError as error:
        return await _form(request, actor, pages, proxies, library, Form(values).refused(error), error.status)
    return await _list(request, actor, pages, keys, proxies, created=created)


@post("/access/{key_id:str}/revoke", opt=ADMIN, include_in_schema=False)
async def revoke_key(
    request: Request[Any, Any, Any],
    key_id: FromPath[str],
    actor: NamedDependency[Actor],
    pages: NamedDependency[Pages],
    keys: NamedDependency[KeyService],
) -> Response[str]:
    """End a key, after a confirmation that names it."""
    if not await is_confirmed(request):
        key = await keys.get(actor, key_id)
        return await confirmation(
            request,
            pages,
            active="access",
            crumbs=HOME,
            question=f"Revoke key “{key.name}”?",
            detail=f"Clients that send …{key.last4} are refused within a second.",
            label="Revoke key",
            back="/access",
        )
    key = await keys.revoke(actor, key_id)
    return redirect(request, "/access", Toast(f"Key “{key.name}” is revoked.", undo_url=f"/access/{key_id}/restore"))


@post("/access/{key_id:str}/restore", opt=ADMIN, include_in_schema=False)
async def restore_key(
    request: Request[Any, Any, Any],
    key_id: FromPath[str],
    actor: NamedDependency[Actor],
    keys: NamedDependency[KeyService],
) -> Response[str]:
    """Take a revocation back."""
    try:
        key = await keys.restore(actor, key_id)
    except AppError as error:
        return redirect(request, "/access", Toast.refused(error))
    return redirect(request, "/access", Toast(f"Key “{key.name}” works again."))


async def _list(
    request: Request[Any, Any, Any],
    actor: Actor,
    pages: Pages,
    keys: KeyService,
    proxies: ProxyService,
    *,
    filters: Mapping[str, str] = NO_FILTERS,
    sort: str = "",
    offset: int = 0,
    created: NewKey | None = None,
) -> Response[str]:
    limit, offset = page_of(PAGE_ROWS, offset)
    order = SORTS.order(sort)
    listed = await keys.page(
        actor, limit=limit, offset=offset, search=filters["search"], state=filters["state"], sort=order.sort
    )
    known = await proxies.page(actor, limit=MAX_LIMIT)
    return await pages.page(
        request,
        "access/list.html",
        title="Access",
        active="access",
        list=listed,
        order=order,
        filters=filters,
        base=with_query("/access", **filters, sort=order.param),
        names={proxy.id: proxy.name for proxy in known.items},
        created=created,
        status=201 if created else 200,
    )


async def _form(
    request: Request[Any, Any, Any],
    actor: Actor,
    pages: Pages,
    proxies: ProxyService,
    library: PolicyLibrary,
    form: Form,
    status: int,
) -> Response[str]:
    known = await proxies.page(actor, limit=MAX_LIMIT)
    return await pages.page(
        request,
        "access/new.html",
        title="Create key",
        active="access",
        crumbs=HOME,
        form=form,
        proxy_options=[(proxy.id, proxy.name) for proxy in known.items],
        policies=library.policies(),
        status=status,
    )


routes = [keys_page, new_key_page, create_key, revoke_key, restore_key]
