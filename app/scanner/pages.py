"""Pages of the scanner: start a scan, watch it, read what it came to, decide what follows."""

from collections.abc import Mapping
from typing import Any, Literal

import msgspec
from litestar import Request, Response, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery

from app.errors import AppError
from app.fleet.service import ProxyService
from app.http.envelope import MAX_LIMIT, page_of
from app.http.filters import search_text
from app.http.forms import convert
from app.http.page import Form, Pages, Toast, redirect, with_query
from app.policies.library import PolicyLibrary
from app.scanner.api import report_response
from app.scanner.errors import ScanEnded, ScanNotFinished
from app.scanner.reading import default_policy
from app.scanner.report import SEVERITIES
from app.scanner.repository import SORTS
from app.scanner.result import ScanResult
from app.scanner.schemas import LiftTool, ScanView, SetGate, StartScanRequest
from app.scanner.service import ScannerService
from app.security.permissions import Actor

VIEWER = {"role": "viewer"}
ADMIN = {"role": "admin"}
HOME = (("/scanner", "Scanner"),)
NO_FILTERS = {"proxy_id": "", "search": ""}
PAGE_SCANS = 25
MAX_SHOWN_FINDINGS = 30
"""Of one page, so that it stays small; the severities are filters, and the reports have all."""


@get("/scanner", opt=VIEWER, include_in_schema=False)
async def scanner_page(
    request: Request[Any, Any, Any],
    actor: NamedDependency[Actor],
    pages: NamedDependency[Pages],
    scanner: NamedDependency[ScannerService],
    proxies: NamedDependency[ProxyService],
    library: NamedDependency[PolicyLibrary],
    proxy_id: FromQuery[str] = "",
    search: FromQuery[str] = "",
    sort: FromQuery[str] = "",
    offset: FromQuery[int] = 0,
) -> Response[str]:
    """The scans that match, newest first unless sorted otherwise, and the form for the next one."""
    form = Form({"policy": default_policy(library), **({"proxy_id": proxy_id} if proxy_id else {})})
    filters = {"proxy_id": proxy_id[:64], "search": search_text(search)}
    return await _list(
        request, actor, pages, scanner, proxies, library, form, filters=filters, sort=sort, offset=offset
    )


@post("/scanner", opt=ADMIN, include_in_schema=False)
async def start_scan(
    request: Request[Any, Any, Any],
    actor: NamedDependency[Actor],
    pages: NamedDependency[Pages],
    scanner: NamedDependency[ScannerService],
    proxies: NamedDependency[ProxyService],
    library: NamedDependency[PolicyLibrary],
) -> Response[str]:
    """Start a scan and show how it goes."""
    given = await request.form()
    values: dict[str, Any] = {
        name: str(given.get(name, "")) for name in ("proxy_id", "target_url", "policy", "confirmation")
    }
    values["active"] = "active" in given
    if values["proxy_id"]:
        values["target_url"] = ""
    try:
        started = await scanner.begin(actor, convert(values, StartScanRequest))
    except AppError as error:
        form = Form(values).refused(error)
        return await _list(request, actor, pages, scanner, proxies, library, form, status=error.status)
    return redirect(request, f"/scanner/{started.id}")


@get("/scanner/{scan_id:str}", opt=VIEWER, include_in_schema=False)
async def scan_page(
    request: Request[Any, Any, Any],
    scan_id: FromPath[str],
    actor: NamedDependency[Actor],
    pages: NamedDependency[Pages],
    scanner: NamedDependency[ScannerService],
    severity: FromQuery[str] = "",
) -> Response[str]:
    """One scan: its progress, or its result."""
    context = await _context(actor, scanner, scan_id, severity)
    scan: ScanView = context["scan"]
    return await pages.page(
        request, "scanner/scan.html", title=f"Scan of {scan.name}", active="scanner", crumbs=HOME, **context
    )


@get("/scanner/{scan_id:str}/progress", opt=VIEWER, include_in_schema=False)
async def scan_progress(
    request: Request[Any, Any, Any],
    scan_id: FromPath[str],
    actor: NamedDependency[Actor],
    pages: NamedDependency[Pages],
    scanner: NamedDependency[ScannerService],
) -> Response[str]:
    """The part of the page that is asked for again while the scan runs."""
    return pages.answer(request, "scanner/_scan.html", **await _context(actor, scanner, scan_id, ""))


@get("/scanner/{scan_id:str}/report", opt=VIEWER, include_in_schema=False)
async def download_report(
    scan_id: FromPath[str],
    actor: NamedDependency[Actor],
    scanner: NamedDependency[ScannerService],
    format: FromQuery[Literal["html", "json", "sarif"]] = "html",
) -> Response[bytes]:
    """The report as a file."""
    return report_response(await scanner.result(actor, scan_id), scan_id, format)


@post("/scanner/{scan_id:str}/cancel", opt=ADMIN, include_in_schema=False)
async def cancel_scan(
    request: Request[Any, Any, Any],
    scan_id: FromPath[str],
    actor: NamedDependency[Actor],
    scanner: NamedDependency[ScannerService],
) -> Response[str]:
    """Stop a scan."""
    try:
        await scanner.cancel(actor, scan_id)
    except ScanEnded as error:
        return redirect(request, f"/scanner/{scan_id}", Toast.refused(error))
    return redirect(request, f"/scanner/{scan_id}", Toast("The scan is cancelled."))


@post("/scanner/{scan_id:str}/gate", opt=ADMIN, include_in_schema=False)
async def set_gate(
    request: Request[Any, Any, Any],
    scan_id: FromPath[str],
    actor: NamedDependency[Actor],
    scanner: NamedDependency[ScannerService],
) -> Response[str]:
    """Decide which tools of the scanned proxy are refused."""
    scan = await scanner.get(actor, scan_id)
    given = await request.form()
    gate = await scanner.set_gate(actor, scan.proxy_id, convert({"severity": str(given.get("severity", ""))}, SetGate))
    words = f"Tools with a {gate.severity} finding or worse are refused." if gate.severity else "No tool is refused."
    return redirect(request, f"/scanner/{scan_id}", Toast(words))


@post("/scanner/{scan_id:str}/lift", opt=ADMIN, include_in_schema=False)
async def lift_tool(
    request: Request[Any, Any, Any],
    scan_id: FromPath[str],
    actor: NamedDependency[Actor],
    scanner: NamedDependency[ScannerService],
) -> Response[str]:
    """Let one tool pass, or refuse it again."""
    scan = await scanner.get(actor, scan_id)
    given = await request.form()
    wanted = convert({"tool": str(given.get("tool", "")), "lifted": given.get("lifted") == "yes"}, LiftTool)
    await scanner.lift(actor, scan.proxy_id, wanted)
    words = "The tool passes again." if wanted.lifted else "The tool is refused."
    return redirect(request, f"/scanner/{scan_id}", Toast(words))


async def _list(
    request: Request[Any, Any, Any],
    actor: Actor,
    pages: Pages,
    scanner: ScannerService,
    proxies: ProxyService,
    library: PolicyLibrary,
    form: Form,
    *,
    filters: Mapping[str, str] = NO_FILTERS,
    sort: str = "",
    offset: int = 0,
    status: int = 200,
) -> Response[str]:
    order = SORTS.order(sort)
    limit, offset = page_of(PAGE_SCANS, offset)
    servers = await proxies.page(actor, type_="mcp", limit=MAX_LIMIT)
    first = servers.items[0].id if servers.items else ""
    form = msgspec.structs.replace(form, values={"proxy_id": first, **form.values})
    return await pages.page(
        request,
        "scanner/list.html",
        title="Scanner",
        active="scanner",
        list=await scanner.page(actor, **filters, sort=order.sort, limit=limit, offset=offset),
        base=with_query("/scanner", **filters, sort=order.param),
        order=order,
        filters=filters,
        servers=[(proxy.id, proxy.name) for proxy in servers.items],
        policies=[(view.name, view.title or view.name) for view in library.policies(type_="mcp") if view.active],
        form=form,
        severities=SEVERITIES[:-1],
        status=status,
    )


async def _context(actor: Actor, scanner: ScannerService, scan_id: str, severity: str) -> dict[str, Any]:
    severity = severity if severity in SEVERITIES else ""
    scan = await scanner.get(actor, scan_id)
    result: ScanResult | None = None
    if scan.state == "done":
        try:
            result = await scanner.result(actor, scan_id)
        except ScanNotFinished:
            result = None
    findings = [one for one in result.findings if not severity or one.severity == severity] if result else []
    return {
        "scan": scan,
        "result": result,
        "findings": findings[:MAX_SHOWN_FINDINGS],
        "more": max(0, len(findings) - MAX_SHOWN_FINDINGS),
        "severity_filter": severity,
        "severities": SEVERITIES[:-1],
        "comparison": await scanner.comparison(actor, scan_id) if result else None,
        "gate": await _gate(actor, scanner, scan) if result else None,
    }


async def _gate(actor: Actor, scanner: ScannerService, scan: ScanView) -> Any:
    """The gate of the scanned proxy; None for a URL and for a proxy that is gone."""
    if not scan.proxy_id:
        return None
    try:
        return await scanner.gate(actor, scan.proxy_id)
    except AppError:
        return None


routes = [
    scanner_page,
    start_scan,
    scan_page,
    scan_progress,
    download_report,
    cancel_scan,
    set_gate,
    lift_tool,
]
