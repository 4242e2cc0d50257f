"""Pages of the proxies: list, wizard, detail with its tabs, and the actions on one."""

from typing import Any

import msgspec
from litestar import Request, Response, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery
from sqlalchemy.ext.asyncio import AsyncSession

from app.audit import repository as audit_repository
from app.audit.repository import AuditFilter
from app.audit.schemas import audit_entry_view
from app.errors import AppError
from app.fleet import form as forms
from app.fleet.connect import KEY_PLACEHOLDER, clients_of, columns
from app.fleet.schemas import ConnectionReport, ProxyView, RunningConfiguration
from app.fleet.service import ProxyService
from app.fleet.state import ProxyState
from app.http.confirm import confirmation, is_confirmed
from app.http.envelope import MAX_LIMIT, Listing, page_of
from app.http.filters import search_text
from app.http.htmx import is_htmx, target_id
from app.http.page import Form, Pages, Toast, redirect, with_query
from app.http.sorting import Sorts
from app.overview.pages import last_hour
from app.policies.in_force import names_in_force
from app.policies.library import PolicyLibrary
from app.policies.tag_policies import TagPolicyRepository
from app.security.permissions import Actor
from app.tools.repository import EntryFilter
from app.tools.service import ToolService
from app.tools.usage import UsageService
from app.traffic.repository import CallFilter
from app.traffic.service import TrafficService

VIEWER = {"role": "viewer"}
ADMIN = {"role": "admin"}
HOME = (("/proxies", "Proxies"),)
TABS = ("live", "policy", "tools", "connect", "config", "logs")
LATEST_CALLS = 30
LATEST_ENTRIES = 30
PAGE_ROWS = 25
"""Rows of a page, so that it stays below 60 KB."""
WORST_FIRST = tuple(ProxyState(word) for word in ("failed", "degraded", "draining", "starting", "running", "stopped"))
PAGE_SORTS = Sorts(
    {
        "name": lambda proxy: proxy.name.casefold(),
        "state": lambda proxy: WORST_FIRST.index(ProxyState(proxy.state)),
        "port": lambda proxy: (proxy.port, proxy.host),
        "target_url": lambda proxy: proxy.target_url or " ".join(proxy.launch_command),
        "policies": lambda proxy: len(proxy.policies),
    },
    default="name",
    descending_first=frozenset({"policies"}),
)
"""The page holds all proxies anyhow, so that it can also sort by what no table knows."""
DELETION = "Its configuration, stored key and approvals are removed."
DONE = {"start": "is running", "stop": "is stopped", "restart": "is running again"}


class ProxyRow(msgspec.Struct, frozen=True):
    """A row of the list."""

    proxy: ProxyView
    spark: list[int]
    errors: int
    """Calls of the last 24 hours that failed at the upstream or in the gateway."""
    added_p99_ms: float | None


@get("/proxies", opt=VIEWER, include_in_schema=False)
async def proxies_page(
    request: Request[Any, Any, Any],
    actor: NamedDependency[Actor],
    pages: NamedDependency[Pages],
    proxies: NamedDependency[ProxyService],
    traffic: NamedDependency[TrafficService],
    search: FromQuery[str] = "",
    type: FromQuery[str] = "",
    sort: FromQuery[str] = "",
    offset: FromQuery[int] = 0,
) -> Response[str]:
    """What runs where."""
    # `state` is a name that Litestar keeps for itself, so it is read here.
    state = str(request.query_params.get("state", ""))
    filters = {"search": search_text(search), "type": type[:20], "state": state[:20]}
    limit, offset = page_of(PAGE_ROWS, offset)
    order = PAGE_SORTS.order(sort)
    found = await proxies.page(actor, type_=filters["type"] or None, search=filters["search"], limit=MAX_LIMIT)
    fitting = [proxy for proxy in found.items if not filters["state"] or proxy.state == filters["state"]]
    fitting = PAGE_SORTS.arranged(fitting, order.sort)
    shown = fitting[offset : offset + limit]
    return await pages.page(
        request,
        "fleet/list.html",
        title="Proxies",
        active="proxies",
        stream="?show=proxies",
        filters=filters,
        list=Listing(shown, len(fitting), limit, offset),
        base=with_query("/proxies", **filters, sort=order.param),
        order=order,
        rows=[await _row(traffic, actor, proxy) for proxy in shown],
    )


@get("/proxies/new", opt=ADMIN, include_in_schema=False)
async def new_proxy_page(
    request: Request[Any, Any, Any],
    actor: NamedDependency[Actor],
    pages: NamedDependency[Pages],
    proxies: NamedDependency[ProxyService],
    library: NamedDependency[PolicyLibrary],
) -> Response[str]:
    """The wizard: kind, target, protection, review."""
    used = [proxy.port for proxy in (await proxies.page(actor, limit=MAX_LIMIT)).items]
    defaults = library.defaults("llm") + library.defaults("mcp")
    return await _wizard(request, pages, library, Form(forms.blank(used, defaults)), 200)


@post("/proxies/new", opt=ADMIN, include_in_schema=False)
async def create_proxy(
    request: Request[Any, Any, Any],
    actor: NamedDependency[Actor],
    pages: NamedDependency[Pages],
    proxies: NamedDependency[ProxyService],
    library: NamedDependency[PolicyLibrary],
) -> Response[str]:
    """Make the proxy, and start it when asked to; a failed start is told on its page."""
    given = await request.form()
    try:
        wanted = forms.creation(given)
        forms.check_confirmed(given)
        fitting = [name for name in wanted.policy_names or [] if not library.unknown([name])]
        fitting = [name for name in fitting if library.applies_to(name, wanted.type)]
        created = await proxies.create(actor, msgspec.structs.replace(wanted, policy_names=fitting))
    except AppError as error:
        form = Form(forms.typed(given)).refused(error, forms.field_names(given))
        return await _wizard(request, pages, library, form, error.status)
    toast = Toast(f"{created.name} is created.")
    if given.get("then") == "start":
        try:
            toast = Toast(_told(await proxies.start(actor, created.id), "is running"))
        except AppError as error:
            toast = Toast(f"{created.name} is created but did not start. {error.message}", kind="error")
    return redirect(request, f"/proxies/{created.id}", toast)


@post("/proxies/test-connection", opt=ADMIN, include_in_schema=False)
async def test_connection(
    request: Request[Any, Any, Any],
    actor: NamedDependency[Actor],
    pages: NamedDependency[Pages],
    proxies: NamedDependency[ProxyService],
) -> Response[str]:
    """Whether the typed target can be reached, as a line under the field."""
    given = await request.form()
    try:
        report = await proxies.check_connection(actor, forms.connection(given))
    except AppError as error:
        words = " ".join(error.fields.values()) or error.message
        report = ConnectionReport(reachable=False, stage="resolve", message=words, address="", elapsed_ms=0)
    return pages.answer(request, "fleet/_probe.html", report=report)


@get("/proxies/{proxy_id:str}", opt=VIEWER, include_in_schema=False)
async def proxy_page(
    request: Request[Any, Any, Any],
    proxy_id: FromPath[str],
    actor: NamedDependency[Actor],
    pages: NamedDependency[Pages],
    proxies: NamedDependency[ProxyService],
    traffic: NamedDependency[TrafficService],
    library: NamedDependency[PolicyLibrary],
    reader: NamedDependency[AsyncSession],
    tools: NamedDependency[ToolService],
    usage: NamedDependency[UsageService],
    tab: FromQuery[str] = "live",
    offset: FromQuery[int] = 0,
) -> Response[str]:
    """One proxy, one tab of it."""
    proxy = await proxies.get(actor, proxy_id)
    tab = tab if tab in TABS and (tab != "tools" or proxy.type == "mcp") else "live"
    context: dict[str, Any] = {}
    if tab in ("live", "policy"):
        context["stats"] = await traffic.stats(actor, proxy_id, hours=24)
    if tab in ("live", "logs"):
        found = await traffic.page(actor, CallFilter(proxy_id=proxy_id), limit=LATEST_CALLS)
        context |= {"calls": found.items, "filtered": False}
    if tab == "policy":
        context |= await _policies(reader, library, actor, proxy)
    if tab == "tools":
        context |= await _tools(tools, usage, actor, proxy_id, offset)
    if tab == "connect":
        context |= {"columns": columns(clients_of(proxy)), "key_placeholder": KEY_PLACEHOLDER}
    if tab == "logs":
        context["entries"] = await _entries(reader, actor, proxy_id)
        context["server"] = proxies.server_report(proxy_id)
    if tab == "config":
        running = await proxies.running(actor, proxy_id)
        context |= _config(library, proxy, running, Form(forms.of_proxy(proxy)))
    return await _detail(request, pages, proxy, tab, **context)


async def _policies(session: AsyncSession, library: PolicyLibrary, actor: Actor, proxy: ProxyView) -> dict[str, Any]:
    """The policies in force for calls without policies of their key, and where those come from that the proxy does not name."""
    by_tag = await TagPolicyRepository(session, actor.tenant_id).by_tag()
    names = (await names_in_force(session, actor.tenant_id, library, [proxy]))[proxy.id]
    sources = {
        name: next((f"by the tag {tag}" for tag in proxy.tags if name in by_tag.get(tag, ())), "as for all proxies")
        for name in names
        if name not in proxy.policy_names
    }
    return {"policies": [library.policy(name) for name in names if not library.unknown([name])], "sources": sources}


@post("/proxies/{proxy_id:str}", opt=ADMIN, include_in_schema=False)
async def save_proxy(
    request: Request[Any, Any, Any],
    proxy_id: FromPath[str],
    actor: NamedDependency[Actor],
    pages: NamedDependency[Pages],
    proxies: NamedDependency[ProxyService],
    library: NamedDependency[PolicyLibrary],
) -> Response[str]:
    """Change the proxy; a running one serves the change at once."""
    given = await request.form()
    try:
        change = forms.change(given)
        forms.check_confirmed(given)
        proxy = await proxies.update(actor, proxy_id, change)
    except AppError as error:
        proxy = await proxies.get(actor, proxy_id)
        form = Form(forms.typed(given)).refused(error, forms.field_names(given))
        config = _config(library, proxy, await proxies.running(actor, proxy_id), form)
        return await _detail(request, pages, proxy, "config", error.status, **config)
    return redirect(request, f"/proxies/{proxy_id}?tab=config", Toast(f"{proxy.name} is saved."))


@post("/proxies/{proxy_id:str}/{verb:str}", opt=ADMIN, include_in_schema=False)
async def operate_proxy(
    request: Request[Any, Any, Any],
    proxy_id: FromPath[str],
    verb: FromPath[str],
    actor: NamedDependency[Actor],
    pages: NamedDependency[Pages],
    proxies: NamedDependency[ProxyService],
    traffic: NamedDependency[TrafficService],
) -> Response[str]:
    """Start, stop, restart, delete or restore; answers with the row or the buttons that asked."""
    if verb == "delete":
        return await _delete(request, actor, pages, proxies, proxy_id)
    if verb == "restore":
        return await _restore(request, actor, proxies, proxy_id)
    operations = {"start": proxies.start, "stop": proxies.stop, "restart": proxies.restart}
    if verb not in operations:
        return pages.error(request, ProxyVerbUnknown(), request.scope["state"].get("request_id", ""))
    proxy = await operations[verb](actor, proxy_id)
    toast = Toast(_told(proxy, DONE[verb]))
    if not is_htmx(request):
        return redirect(request, f"/proxies/{proxy_id}", toast)
    if target_id(request) == "proxy-actions":
        return pages.answer(request, "fleet/_state.html", toast=toast, proxy=proxy)
    row = await _row(traffic, actor, proxy)
    return pages.answer(request, "fleet/_row.html", toast=toast, row=row)


def _told(proxy: ProxyView, done: str) -> str:
    """What has come of an operation, also when the proxy still waits for its rules."""
    if proxy.state == "starting":
        return f"{proxy.name} is starting. {proxy.state_reason}".rstrip()
    return f"{proxy.name} {done}."


class ProxyVerbUnknown(AppError):
    """Something that cannot be done with a proxy."""

    code = "NOT_FOUND"
    status = 404
    default_message = "There is no such action."
    default_remediation = "Start, stop, restart, delete or restore the proxy."


async def _delete(
    request: Request[Any, Any, Any], actor: Actor, pages: Pages, proxies: ProxyService, proxy_id: str
) -> Response[str]:
    proxy = await proxies.get(actor, proxy_id)
    if not await is_confirmed(request):
        return await confirmation(
            request,
            pages,
            active="proxies",
            crumbs=HOME,
            question=f"Delete {proxy.name}?",
            detail=DELETION,
            label="Delete",
            back=f"/proxies/{proxy_id}?tab=config",
        )
    try:
        await proxies.delete(actor, proxy_id)
    except AppError as error:
        toast = Toast.refused(error)
        return redirect(request, f"/proxies/{proxy_id}?tab=config", toast)
    return redirect(request, "/proxies", Toast(f"{proxy.name} is deleted.", undo_url=f"/proxies/{proxy_id}/restore"))


async def _restore(
    request: Request[Any, Any, Any], actor: Actor, proxies: ProxyService, proxy_id: str
) -> Response[str]:
    try:
        proxy = await proxies.restore(actor, proxy_id)
    except AppError as error:
        return redirect(request, "/proxies", Toast.refused(error))
    return redirect(request, "/proxies", Toast(f"{proxy.name} is restored, stopped as it was."))


async def _wizard(
    request: Request[Any, Any, Any], pages: Pages, library: PolicyLibrary, form: Form, status: int
) -> Response[str]:
    return await pages.page(
        request,
        "fleet/new.html",
        title="New proxy",
        active="proxies",
        crumbs=HOME,
        form=form,
        policies=library.policies(),
        status=status,
    )


async def _detail(
    request: Request[Any, Any, Any], pages: Pages, proxy: ProxyView, tab: str, status: int = 200, **context: Any
) -> Response[str]:
    return await pages.page(
        request,
        "fleet/detail.html",
        title=proxy.name,
        active="proxies",
        crumbs=HOME,
        stream=f"?show=proxy&proxy_id={proxy.id}",
        proxy=proxy,
        tab=tab,
        status=status,
        **context,
    )


def _config(library: PolicyLibrary, proxy: ProxyView, running: RunningConfiguration, form: Form) -> dict[str, Any]:
    raw = msgspec.json.format(msgspec.json.encode(proxy), indent=2).decode()
    fitting = [policy for policy in library.policies() if library.applies_to(policy.name, proxy.type)]
    return {"form": form, "policies": fitting, "raw_json": raw, "running": running}


async def _tools(tools: ToolService, usage: UsageService, actor: Actor, proxy_id: str, offset: int) -> dict[str, Any]:
    """The tools of an MCP proxy with how they were used."""
    limit, offset = page_of(PAGE_ROWS, offset)
    stats = await usage.stats(actor, proxy_id, hours=24)
    return {
        "server": await tools.server(actor, proxy_id),
        "list": await tools.entries(actor, EntryFilter(proxy_id=proxy_id, kinds=("tool",)), limit=limit, offset=offset),
        "base": f"/proxies/{proxy_id}?tab=tools",
        "stats": stats,
        "use": {one.tool: one for one in stats.tools},
    }


async def _row(traffic: TrafficService, actor: Actor, proxy: ProxyView) -> ProxyRow:
    totals = await traffic.totals(actor, hours=24, proxy_id=proxy.id)
    spark = await last_hour(traffic, actor, proxy.id) if totals.calls else []
    return ProxyRow(proxy, spark, totals.error, totals.added_p99_ms)


async def _entries(reader: AsyncSession, actor: Actor, proxy_id: str) -> list[Any]:
    """The latest audit entries about this proxy."""
    found, _ = await audit_repository.search(
        reader,
        AuditFilter(tenant_id=actor.tenant_id, event_type="proxy."),
        limit=MAX_LIMIT,
        offset=0,
    )
    mine = [entry for entry in found if entry.resource_id == proxy_id][:LATEST_ENTRIES]
    return [audit_entry_view(entry) for entry in mine]


routes = [
    proxies_page,
    new_proxy_page,
    create_proxy,
    test_connection,
    proxy_page,
    save_proxy,
    operate_proxy,
]
