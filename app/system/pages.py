"""Settings: this console, its people, API tokens, and what it is made of. Also the places for "Go to…"."""

from typing import Any

from litestar import Request, Response, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery
from sqlalchemy.ext.asyncio import AsyncSession

from app.accounts.directory import Directory
from app.accounts.repository import TOKEN_SORTS, USER_SORTS
from app.accounts.schemas import CreateToken, CreateUser, UpdateUser
from app.errors import AppError
from app.fleet.service import ProxyService
from app.http.envelope import MAX_LIMIT, page_of
from app.http.filters import number, search_text
from app.http.forms import convert
from app.http.page import Form, Pages, Toast, redirect, with_query
from app.launch.pages import launch_tab
from app.launch.service import LaunchService
from app.mcp_server.connect import claude_desktop, http_client
from app.policies.library import PolicyLibrary
from app.security.permissions import Actor
from app.settings import Settings
from app.system import libraries
from app.system.service import System
from proxies.contract import UpstreamProxy

ADMIN = {"role": "admin"}
PAGE_ROWS = 25
"""Rows of a page, so that it stays below 60 KB."""
TABS = ("general", "users", "tokens", "launch", "about")


@get("/settings", opt=ADMIN, include_in_schema=False)
async def settings_page(
    request: Request[Any, Any, Any],
    actor: NamedDependency[Actor],
    pages: NamedDependency[Pages],
    settings: NamedDependency[Settings],
    system: NamedDependency[System],
    directory: NamedDependency[Directory],
    launch: NamedDependency[LaunchService],
    reader: NamedDependency[AsyncSession],
    tab: FromQuery[str] = "general",
) -> Response[str]:
    """One tab of the settings."""
    match tab:
        case "users" | "tokens":
            return await _directory(request, pages, directory, reader, actor, tab)
        case "launch":
            return await launch_tab(request, actor, pages, launch)
        case "about":
            return await _page(
                request,
                pages,
                "about",
                vendored=pages.assets.versions(),
                libraries=libraries.installed(),
                direct=libraries.DIRECT,
            )
    return await _page(request, pages, "general", facts=_facts(settings, system), workers=_workers(request))


@post("/settings/users", opt=ADMIN, include_in_schema=False)
async def create_user(
    request: Request[Any, Any, Any],
    actor: NamedDependency[Actor],
    pages: NamedDependency[Pages],
    directory: NamedDependency[Directory],
    writer: NamedDependency[AsyncSession],
) -> Response[str]:
    """Add a person and show their one-time password: here and never again."""
    given = await request.form()
    values = {name: str(given.get(name, "")) for name in ("username", "role")}
    try:
        created = await directory.create_user(writer, actor, convert(values, CreateUser))
    except AppError as error:
        refused = Form(values).refused(error)
        return await _directory(request, pages, directory, writer, actor, "users", form=refused, status=error.status)
    shown = (created.user.username, created.one_time_password)
    return await _directory(request, pages, directory, writer, actor, "users", created=shown, status=201)


@post("/settings/users/{user_id:str}", opt=ADMIN, include_in_schema=False)
async def update_user(
    request: Request[Any, Any, Any],
    user_id: FromPath[str],
    actor: NamedDependency[Actor],
    directory: NamedDependency[Directory],
    writer: NamedDependency[AsyncSession],
) -> Response[str]:
    """Let a person in again, or keep them out."""
    given = await request.form()
    is_active = given.get("is_active") == "yes"
    try:
        user = await directory.update_user(writer, actor, user_id, UpdateUser(is_active=is_active))
    except AppError as error:
        return redirect(request, "/settings?tab=users", Toast.refused(error))
    words = "may log in again" if is_active else "is deactivated; their sessions are ended"
    back = Toast(f"{user.username} {words}.")
    if not is_active:
        back = Toast(back.text, undo_url=f"/settings/users/{user_id}", undo_values=(("is_active", "yes"),))
    return redirect(request, "/settings?tab=users", back)


@post("/settings/tokens", opt=ADMIN, include_in_schema=False)
async def create_token(
    request: Request[Any, Any, Any],
    actor: NamedDependency[Actor],
    pages: NamedDependency[Pages],
    directory: NamedDependency[Directory],
    writer: NamedDependency[AsyncSession],
) -> Response[str]:
    """Make a token and show it: here and never again."""
    given = await request.form()
    values: dict[str, Any] = {name: str(given.get(name, "")) for name in ("name", "role", "expires_in_days")}
    wanted = values | {"expires_in_days": values["expires_in_days"] or None}
    try:
        created = await directory.create_token(writer, actor, convert(wanted, CreateToken))
    except AppError as error:
        refused = Form(values).refused(error)
        return await _directory(request, pages, directory, writer, actor, "tokens", form=refused, status=error.status)
    shown = (created.details.name, created.token)
    return await _directory(request, pages, directory, writer, actor, "tokens", created=shown, status=201)


@post("/settings/tokens/{token_id:str}/revoke", opt=ADMIN, include_in_schema=False)
async def revoke_token(
    request: Request[Any, Any, Any],
    token_id: FromPath[str],
    actor: NamedDependency[Actor],
    directory: NamedDependency[Directory],
    writer: NamedDependency[AsyncSession],
) -> Response[str]:
    """End a token at once."""
    token = await directory.revoke_token(writer, actor, token_id)
    toast = Toast(f"Token “{token.name}” is revoked.", undo_url=f"/settings/tokens/{token_id}/restore")
    return redirect(request, "/settings?tab=tokens", toast)


@post("/settings/tokens/{token_id:str}/restore", opt=ADMIN, include_in_schema=False)
async def restore_token(
    request: Request[Any, Any, Any],
    token_id: FromPath[str],
    actor: NamedDependency[Actor],
    directory: NamedDependency[Directory],
    writer: NamedDependency[AsyncSession],
) -> Response[str]:
    """Take a revocation back."""
    try:
        token = await directory.restore_token(writer, actor, token_id)
    except AppError as error:
        return redirect(request, "/settings?tab=tokens", Toast.refused(error))
    return redirect(request, "/settings?tab=tokens", Toast(f"Token “{token.name}” works again."))


@get("/goto", opt={"role": "viewer"}, include_in_schema=False)
async def places(
    request: Request[Any, Any, Any],
    actor: NamedDependency[Actor],
    pages: NamedDependency[Pages],
    proxies: NamedDependency[ProxyService],
    library: NamedDependency[PolicyLibrary],
) -> Response[str]:
    """Proxies, policies and packs for the dialog; the pages themselves are already in it."""
    known = await proxies.page(actor, limit=MAX_LIMIT)
    found = [(f"/proxies/{proxy.id}", "server-2", proxy.name, "proxy") for proxy in known.items]
    found.append(("/canaries", "bell", "Canaries", "page"))
    found.append(("/guidelines", "file-text", "Guidelines", "page"))
    if actor.role == "admin":
        found.append(("/policies/playground", "bolt", "Playground", "page"))
        found += [("/proxies/new", "plus", "New proxy", "action"), ("/access/new", "key", "Create API key", "action")]
        found += [(f"/settings?tab={tab}", "settings", f"Settings: {tab}", "page") for tab in TABS[1:]]
    found += [(f"/policies/{policy.name}", "shield-check", policy.title, "policy") for policy in library.policies()]
    found += [(f"/packs/{pack.name}", "package", pack.title, "pack") for pack in library.packs()]
    return pages.answer(request, "_goto.html", places=found)


def _assistants(base_url: str) -> tuple[tuple[str, str], ...]:
    """What assistants need to ask this console: where it goes, and the text."""
    return (
        ("Claude Desktop, claude_desktop_config.json", claude_desktop(base_url)),
        ("Clients that speak Streamable HTTP", http_client(base_url)),
    )


async def _directory(
    request: Request[Any, Any, Any],
    pages: Pages,
    directory: Directory,
    session: AsyncSession,
    actor: Actor,
    tab: str,
    *,
    form: Form | None = None,
    created: tuple[str, str] | None = None,
    status: int = 200,
) -> Response[str]:
    """The tab of the users or of the tokens: the list, the form for a new one, and the secret of one just made."""
    sorts, listed, blank = (
        (USER_SORTS, directory.users, {"role": "viewer"})
        if tab == "users"
        else (TOKEN_SORTS, directory.tokens, {"role": "viewer", "expires_in_days": "90"})
    )
    query = request.query_params
    order, search = sorts.order(query.get("sort", "")), search_text(query.get("search", ""))
    limit, offset = page_of(PAGE_ROWS, number(query.get("offset", "")))
    return await _page(
        request,
        pages,
        tab,
        status,
        list=await listed(session, actor, search=search, sort=order.sort, limit=limit, offset=offset),
        order=order,
        search=search,
        base=with_query(f"/settings?tab={tab}", search=search, sort=order.param),
        me=actor.user_id,
        assistants=_assistants(request.app.state.settings.base_url),
        form=form or Form(blank),
        created=created,
    )


async def _page(
    request: Request[Any, Any, Any], pages: Pages, tab: str, status: int = 200, **context: Any
) -> Response[str]:
    return await pages.page(
        request, "system/settings.html", title="Settings", active="settings", tab=tab, status=status, **context
    )


def _workers(request: Request[Any, Any, Any]) -> tuple[Any, ...]:
    """The workers, where this console runs any."""
    workers = getattr(request.app.state.fleet, "workers", None)
    return tuple(workers()) if workers else ()


def _facts(settings: Settings, system: System) -> list[tuple[str, str, str]]:
    """What is set, and the name of the setting; nothing secret."""
    info = system.info(0)
    days = info.retention_days
    return [
        ("Address", settings.base_url, "host, port, public_base_url"),
        ("Environment", settings.environment, "environment"),
        ("Started", f"{info.started_at:%Y-%m-%d %H:%M:%S} UTC", ""),
        (
            "Errors in the log",
            f"{info.errors_logged} since the start" if info.errors_logged else "none since the start",
            "",
        ),
        ("Data directory", str(settings.data_dir.absolute()), "data_dir"),
        ("Workers", str(settings.workers), "workers"),
        ("Largest request", f"{settings.max_request_size_mb} MB", "max_request_size_mb"),
        ("Further Host names", ", ".join(settings.allowed_hosts) or "none", "allowed_hosts"),
        ("Allowed context origins", ", ".join(settings.allowed_context_origins) or "any", "allowed_context_origins"),
        (
            "Context is refused from a score of",
            str(settings.context_firewall.risk_threshold) if settings.context_firewall else "unchecked",
            "context_firewall_risk_threshold",
        ),
        ("Decision service", _decision_service(settings), "opa_url, opa_timeout_seconds, opa_fail_mode"),
        ("Upstreams get", _patience(settings), "upstream_…_timeout_seconds"),
        ("Proxy to http upstreams", _way(settings.upstream_proxies.http), "http_proxy"),
        ("Proxy to https upstreams", _way(settings.upstream_proxies.https), "https_proxy"),
        ("Reached without a proxy", ", ".join(settings.no_proxy) or "none", "no_proxy"),
        ("Alerts are kept", f"{days['alerts']} days", "retention_alerts_days"),
        ("Calls are kept", f"{days['requests']} days", "retention_requests_days"),
        ("Audit entries are kept", f"{days['audit']} days", "retention_audit_days"),
        ("Python, SQLite", f"{info.python}, {info.sqlite}", ""),
        ("Platform", f"{info.platform}, process {info.pid}{', one executable' if info.is_frozen else ''}", ""),
        ("Calls run through", "machine code" if info.is_compiled else "interpreted sources", ""),
    ]


def _decision_service(settings: Settings) -> str:
    service = settings.decision_service
    if service is None:
        return "none"
    without = "pass with an alert" if service.fail_open else "are refused"
    return f"{service.url}, {service.timeout_seconds:g} s; without an answer LLM calls {without}"


def _patience(settings: Settings) -> str:
    limits = settings.limits
    heads = ", ".join(f"{one.first_byte_timeout_seconds:g} s ({type.upper()})" for type, one in limits.items())
    common = limits["llm"]
    return (
        f"{common.connect_timeout_seconds:g} s to connect, {heads} to begin an answer, {common.idle_timeout_seconds:g} s of "
        f"silence in it, {common.total_timeout_seconds:g} s for all of it"
    )


def _way(proxy: UpstreamProxy | None) -> str:
    """Address of a proxy; its credentials are never shown."""
    return proxy.address if proxy else "none"


routes = [settings_page, create_user, update_user, create_token, revoke_token, restore_token, places]
