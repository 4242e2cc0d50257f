"""Pages of the canaries."""

from typing import Any

from litestar import Request, Response, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery

from app.access.service import KeyService
from app.canaries.schemas import CreateCanary, RevealedCanary
from app.canaries.service import SORTS, CanaryService
from app.errors import AppError
from app.fleet.service import ProxyService
from app.http.confirm import confirmation, is_confirmed
from app.http.envelope import MAX_LIMIT, page_of, part_of
from app.http.filters import search_text
from app.http.forms import convert
from app.http.page import Form, Pages, Toast, redirect, with_query
from app.security.permissions import Actor

VIEWER = {"role": "viewer"}
ADMIN = {"role": "admin"}
HOME = (("/policies", "Policies"),)
PAGE_ROWS = 25
"""Rows of a page, so that it stays below 60 KB."""
LIST = (*HOME, ("/canaries", "Canaries"))


@get("/canaries", opt=VIEWER, include_in_schema=False)
async def canaries_page(
    request: Request[Any, Any, Any],
    actor: NamedDependency[Actor],
    pages: NamedDependency[Pages],
    canaries: NamedDependency[CanaryService],
    proxies: NamedDependency[ProxyService],
    keys: NamedDependency[KeyService],
    search: FromQuery[str] = "",
    sort: FromQuery[str] = "",
    offset: FromQuery[int] = 0,
) -> Response[str]:
    """The canaries that match, newest first unless sorted otherwise."""
    return await _list(
        request, actor, pages, canaries, proxies, keys, search=search_text(search), sort=sort, offset=offset
    )


@get("/canaries/new", opt=ADMIN, include_in_schema=False)
async def new_canary_page(
    request: Request[Any, Any, Any],
    actor: NamedDependency[Actor],
    pages: NamedDependency[Pages],
    proxies: NamedDependency[ProxyService],
    keys: NamedDependency[KeyService],
) -> Response[str]:
    """The form for a new canary."""
    return await _form(request, actor, pages, proxies, keys, Form({"action": "alert", "direction": "both"}), 200)


@post("/canaries/new", opt=ADMIN, include_in_schema=False)
async def create_canary(
    request: Request[Any, Any, Any],
    actor: NamedDependency[Actor],
    pages: NamedDependency[Pages],
    canaries: NamedDependency[CanaryService],
    proxies: NamedDependency[ProxyService],
    keys: NamedDependency[KeyService],
) -> Response[str]:
    """Make a canary and show the text to plant."""
    given = await request.form()
    values: dict[str, Any] = {name: str(given.get(name, "")) for name in ("name", "note", "action", "direction")}
    values["value"] = str(given.get("value", "")) or None
    for name in ("proxy_ids", "key_ids"):
        values[name] = [str(value) for value in given.getall(name, [])]
    try:
        created = await canaries.create(actor, convert(values, CreateCanary))
    except AppError as error:
        return await _form(request, actor, pages, proxies, keys, Form(values).refused(error), error.status)
    return await _list(request, actor, pages, canaries, proxies, keys, revealed=created, status=201)


@post("/canaries/{canary_id:str}/reveal", opt=ADMIN, include_in_schema=False)
async def reveal_canary(
    request: Request[Any, Any, Any],
    canary_id: FromPath[str],
    actor: NamedDependency[Actor],
    pages: NamedDependency[Pages],
    canaries: NamedDependency[CanaryService],
    proxies: NamedDependency[ProxyService],
    keys: NamedDependency[KeyService],
) -> Response[str]:
    """Show the text to plant once more."""
    return await _list(request, actor, pages, canaries, proxies, keys, revealed=await canaries.reveal(actor, canary_id))


@post("/canaries/{canary_id:str}/delete", opt=ADMIN, include_in_schema=False)
async def delete_canary(
    request: Request[Any, Any, Any],
    canary_id: FromPath[str],
    actor: NamedDependency[Actor],
    pages: NamedDependency[Pages],
    canaries: NamedDependency[CanaryService],
) -> Response[str]:
    """Forget a canary, after a confirmation that names it."""
    if not await is_confirmed(request):
        canary = await canaries.get(actor, canary_id)
        return await confirmation(
            request,
            pages,
            active="policies",
            crumbs=LIST,
            question=f"Delete canary “{canary.name}”?",
            detail="Nobody looks for it any more, wherever it is planted. Its alerts stay.",
            label="Delete canary",
            back="/canaries",
        )
    name = await canaries.delete(actor, canary_id)
    undo_url = f"/canaries/{canary_id}/restore"
    return redirect(request, "/canaries", Toast(f"Canary “{name}” is deleted.", undo_url=undo_url))


@post("/canaries/{canary_id:str}/restore", opt=ADMIN, include_in_schema=False)
async def restore_canary(
    request: Request[Any, Any, Any],
    canary_id: FromPath[str],
    actor: NamedDependency[Actor],
    canaries: NamedDependency[CanaryService],
) -> Response[str]:
    """Take a deletion back."""
    try:
        canary = await canaries.restore(actor, canary_id)
    except AppError as error:
        return redirect(request, "/canaries", Toast.refused(error))
    return redirect(request, "/canaries", Toast(f"Canary “{canary.name}” is watched again."))


async def _list(
    request: Request[Any, Any, Any],
    actor: Actor,
    pages: Pages,
    canaries: CanaryService,
    proxies: ProxyService,
    keys: KeyService,
    *,
    search: str = "",
    sort: str = "",
    offset: int = 0,
    revealed: RevealedCanary | None = None,
    status: int = 200,
) -> Response[str]:
    known_proxies, known_keys = await _places(actor, proxies, keys)
    order = SORTS.order(sort)
    found = await canaries.all(actor, search=search, sort=order.sort)
    return await pages.page(
        request,
        "canaries/list.html",
        title="Canaries",
        active="policies",
        crumbs=HOME,
        list=part_of(found, *page_of(PAGE_ROWS, offset)),
        order=order,
        search=search,
        base=with_query("/canaries", search=search, sort=order.param),
        proxy_names=dict(known_proxies),
        key_names=dict(known_keys),
        revealed=revealed,
        status=status,
    )


async def _form(
    request: Request[Any, Any, Any],
    actor: Actor,
    pages: Pages,
    proxies: ProxyService,
    keys: KeyService,
    form: Form,
    status: int,
) -> Response[str]:
    known_proxies, known_keys = await _places(actor, proxies, keys)
    return await pages.page(
        request,
        "canaries/new.html",
        title="New canary",
        active="policies",
        crumbs=LIST,
        form=form,
        proxy_options=known_proxies,
        key_options=known_keys,
        status=status,
    )


async def _places(
    actor: Actor, proxies: ProxyService, keys: KeyService
) -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
    """Ids and names of the proxies and of the keys."""
    known_proxies = await proxies.page(actor, limit=MAX_LIMIT)
    known_keys = await keys.page(actor, limit=MAX_LIMIT)
    return [(proxy.id, proxy.name) for proxy in known_proxies.items], [(key.id, key.name) for key in known_keys.items]


routes = [canaries_page, new_canary_page, create_canary, reveal_canary, delete_canary, restore_canary]
