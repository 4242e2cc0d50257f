"""Pages of the inventory: what the gateway's clients depend on."""

from typing import Any

import msgspec
from litestar import Request, Response, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery

from app.access.service import KeyService
from app.errors import AppError
from app.http.envelope import MAX_LIMIT, page_of
from app.http.filters import search_text
from app.http.forms import convert
from app.http.page import Pages, Toast, redirect, with_query
from app.security.permissions import Actor, Role
from app.tools.decisions import ToolDecisions
from app.tools.diffing import field_diffs, laid_out
from app.tools.history import grouped, history_rows
from app.tools.pages import with_undo
from app.tools.repository import ENTRY_SORTS, EntryFilter
from app.tools.schemas import RevertTo
from app.tools.service import ToolService
from app.tools.states import LISTED, Risk, State

VIEWER = {"role": "viewer"}
ADMIN = {"role": "admin"}
HOME = (("/inventory", "Inventory"),)
PAGE_ROWS = 25
"""Rows of a page, so that it stays below 60 KB."""


@get("/inventory", opt=VIEWER, include_in_schema=False)
async def inventory_page(
    request: Request[Any, Any, Any],
    actor: NamedDependency[Actor],
    pages: NamedDependency[Pages],
    tools: NamedDependency[ToolService],
    search: FromQuery[str] = "",
    kind: FromQuery[str] = "",
    risk: FromQuery[str] = "",
    proxy_id: FromQuery[str] = "",
    sort: FromQuery[str] = "",
    offset: FromQuery[int] = 0,
) -> Response[str]:
    """What do we depend on."""
    # `state` is a name that Litestar keeps for itself, so it is read here.
    state = str(request.query_params.get("state", ""))
    filters = {
        "search": search_text(search),
        "kind": kind if kind in LISTED else "",
        "state": state if state in list(State) else "",
        "risk": risk if risk in list(Risk) else "",
        "proxy_id": proxy_id[:64],
    }
    limit, offset = page_of(PAGE_ROWS, offset)
    order = ENTRY_SORTS.order(sort)
    wanted = EntryFilter(
        proxy_id=filters["proxy_id"],
        kinds=(filters["kind"],) if filters["kind"] else LISTED,
        states=(filters["state"],) if filters["state"] else (),
        risk=filters["risk"],
        search=filters["search"],
    )
    servers = await tools.servers(actor)
    return await pages.page(
        request,
        "tools/inventory.html",
        title="Inventory",
        active="inventory",
        stream="?show=tools",
        servers=servers,
        filters=filters,
        filtered=any(filters.values()),
        base=with_query("/inventory", **filters, sort=order.param),
        order=order,
        list=await tools.entries(actor, wanted, limit=limit, offset=offset, sort=order.sort),
        proxy_options=[(server.proxy_id, server.proxy_name) for server in servers],
    )


@get("/inventory/{entry_id:str}", opt=VIEWER, include_in_schema=False)
async def entry_page(
    request: Request[Any, Any, Any],
    entry_id: FromPath[str],
    actor: NamedDependency[Actor],
    pages: NamedDependency[Pages],
    tools: NamedDependency[ToolService],
    keys: NamedDependency[KeyService],
) -> Response[str]:
    """One entry: what it is, what was approved, what happened to it."""
    detail = await tools.entry(actor, entry_id)
    entry = detail.entry
    wants_keys = detail.overrides or (entry.kind == "tool" and actor.role.covers(Role.ADMIN))
    known = (await keys.page(actor, limit=MAX_LIMIT)).items if wants_keys else []
    names = {key.id: key.name for key in known}
    taken = {one.key_id for one in detail.overrides}
    fitting = [key for key in known if key.state == "active" and entry.proxy_id in (key.proxy_ids or [entry.proxy_id])]
    open_changes = [change for change in detail.changes if change.status == "open"]
    is_drifted = detail.approved is not None and entry.h_raw != entry.approved_hash
    return await pages.page(
        request,
        "tools/entry.html",
        title=entry.name or entry.proxy_name,
        active="inventory",
        crumbs=HOME,
        stream="?show=tools",
        entry=entry,
        grouped=grouped,
        remarks=[one for one in entry.reasons if one.code != "new_finding"] if not open_changes else [],
        current=laid_out(detail.current),
        size=len(msgspec.json.encode(detail.current)),
        drift=field_diffs(detail.approved, detail.current) if is_drifted else [],
        open_changes=open_changes,
        versions=detail.versions,
        overrides=detail.overrides,
        key_names=names,
        free_keys=[key for key in fitting if key.id not in taken],
        history=history_rows(detail.versions, detail.changes),
    )


@post("/inventory/{entry_id:str}/revert", opt=ADMIN, include_in_schema=False)
async def revert_entry(
    request: Request[Any, Any, Any],
    entry_id: FromPath[str],
    actor: NamedDependency[Actor],
    decisions: NamedDependency[ToolDecisions],
) -> Response[str]:
    """Make an older approved version the baseline again."""
    given = await request.form()
    back = f"/inventory/{entry_id}"
    try:
        wanted = convert({"version": str(given.get("version", ""))}, RevertTo)
        entry = await decisions.revert_entry(actor, entry_id, wanted)
    except AppError as error:
        return redirect(request, back, Toast.refused(error))
    text = f"Version {wanted.version} is the baseline again."
    return redirect(request, back, await with_undo(decisions, actor, entry.proxy_id, back, text))


@post("/inventory/{entry_id:str}/keys", opt=ADMIN, include_in_schema=False)
async def set_entry_for_key(
    request: Request[Any, Any, Any],
    entry_id: FromPath[str],
    actor: NamedDependency[Actor],
    tools: NamedDependency[ToolService],
    decisions: NamedDependency[ToolDecisions],
) -> Response[str]:
    """Say what one API key may do with a tool, or that it is like every other key again."""
    given = await request.form()
    entry = (await tools.entry(actor, entry_id)).entry
    wanted = {"enabled": True, "disabled": False}.get(str(given.get("verdict", "")))
    back = f"/inventory/{entry_id}"
    try:
        await decisions.override(actor, entry.proxy_id, entry.id, str(given.get("key_id", ""))[:64], wanted)
    except AppError as error:
        return redirect(request, back, Toast.refused(error))
    said = {True: "may use it", False: "may not use it", None: "is treated like every other key again"}[wanted]
    return redirect(request, back, Toast(f"“{entry.name}”: the key {said}."))


routes = [inventory_page, entry_page, revert_entry, set_entry_for_key]
