"""JSON endpoints of the scanner."""

from typing import Literal

from litestar import Response, get, post, put
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery, JSONBody

from app.http.envelope import DEFAULT_LIMIT, Envelope, Listing, page_of
from app.http.filters import search_text
from app.scanner.report import MEDIA_TYPES, render
from app.scanner.repository import SORTS
from app.scanner.result import ScanResult
from app.scanner.schemas import Comparison, GateView, LiftTool, ScanView, SetGate, StartScanRequest
from app.scanner.service import ScannerService
from app.security.permissions import Actor

VIEWER = {"role": "viewer"}
ADMIN = {"role": "admin"}
TAGS = ["scanner"]


@post("/api/v1/mcp/scan", opt=ADMIN, status_code=202, tags=TAGS)
async def start_scan(
    data: JSONBody[StartScanRequest], actor: NamedDependency[Actor], scanner: NamedDependency[ScannerService]
) -> Envelope[ScanView]:
    """Scan an MCP proxy's server or a URL in the background; active probes need `confirmation`."""
    return Envelope(await scanner.begin(actor, data), message="The scan runs.")


@get("/api/v1/mcp/scan", opt=VIEWER, tags=TAGS)
async def list_scans(
    actor: NamedDependency[Actor],
    scanner: NamedDependency[ScannerService],
    proxy_id: FromQuery[str] = "",
    search: FromQuery[str] = "",
    sort: FromQuery[str] = "",
    limit: FromQuery[int] = DEFAULT_LIMIT,
    offset: FromQuery[int] = 0,
) -> Envelope[Listing[ScanView]]:
    """Scans, newest first; `search` is found in name, target, state, risk and who started it."""
    limit, offset = page_of(limit, offset)
    order = SORTS.asked(sort)
    found = await scanner.page(
        actor, proxy_id=proxy_id, search=search_text(search), sort=order, limit=limit, offset=offset
    )
    return Envelope(found)


@get("/api/v1/mcp/scan/latest", opt=VIEWER, tags=TAGS)
async def latest_scan(
    proxy_id: FromQuery[str], actor: NamedDependency[Actor], scanner: NamedDependency[ScannerService]
) -> Envelope[ScanView]:
    """The newest finished scan of a proxy."""
    return Envelope(await scanner.latest(actor, proxy_id))


@get("/api/v1/mcp/scan/{scan_id:str}", opt=VIEWER, tags=TAGS)
async def get_scan(
    scan_id: FromPath[str], actor: NamedDependency[Actor], scanner: NamedDependency[ScannerService]
) -> Envelope[ScanView]:
    """How far a scan is, and what it came to."""
    return Envelope(await scanner.get(actor, scan_id))


@get("/api/v1/mcp/scan/{scan_id:str}/result", opt=VIEWER, tags=TAGS)
async def get_result(
    scan_id: FromPath[str], actor: NamedDependency[Actor], scanner: NamedDependency[ScannerService]
) -> Envelope[ScanResult]:
    """Findings, server, surface and summary of a finished scan."""
    return Envelope(await scanner.result(actor, scan_id))


@get("/api/v1/mcp/scan/{scan_id:str}/comparison", opt=VIEWER, tags=TAGS)
async def get_comparison(
    scan_id: FromPath[str], actor: NamedDependency[Actor], scanner: NamedDependency[ScannerService]
) -> Envelope[Comparison | None]:
    """What changed since the scan of the same target before; null for the first one."""
    return Envelope(await scanner.comparison(actor, scan_id))


@get("/api/v1/mcp/scan/{scan_id:str}/report", opt=VIEWER, tags=TAGS)
async def get_report(
    scan_id: FromPath[str],
    actor: NamedDependency[Actor],
    scanner: NamedDependency[ScannerService],
    format: FromQuery[Literal["html", "json", "sarif"]] = "html",
) -> Response[bytes]:
    """The report as a file: HTML, JSON or SARIF 2.1.0."""
    result = await scanner.result(actor, scan_id)
    return report_response(result, scan_id, format)


@post("/api/v1/mcp/scan/{scan_id:str}/cancel", opt=ADMIN, status_code=200, tags=TAGS)
async def cancel_scan(
    scan_id: FromPath[str], actor: NamedDependency[Actor], scanner: NamedDependency[ScannerService]
) -> Envelope[ScanView]:
    """Stop a scan."""
    return Envelope(await scanner.cancel(actor, scan_id), message="The scan is cancelled.")


@get("/api/v1/proxies/{proxy_id:str}/scan-gate", opt=VIEWER, tags=TAGS)
async def get_gate(
    proxy_id: FromPath[str], actor: NamedDependency[Actor], scanner: NamedDependency[ScannerService]
) -> Envelope[GateView]:
    """Which tools of a proxy are refused because of its last scan."""
    return Envelope(await scanner.gate(actor, proxy_id))


@put("/api/v1/proxies/{proxy_id:str}/scan-gate", opt=ADMIN, tags=TAGS)
async def set_gate(
    proxy_id: FromPath[str],
    data: JSONBody[SetGate],
    actor: NamedDependency[Actor],
    scanner: NamedDependency[ScannerService],
) -> Envelope[GateView]:
    """Refuse tools with a finding of this severity or worse; an empty severity refuses none."""
    return Envelope(await scanner.set_gate(actor, proxy_id, data))


@post("/api/v1/proxies/{proxy_id:str}/scan-gate/lift", opt=ADMIN, status_code=200, tags=TAGS)
async def lift_tool(
    proxy_id: FromPath[str],
    data: JSONBody[LiftTool],
    actor: NamedDependency[Actor],
    scanner: NamedDependency[ScannerService],
) -> Envelope[GateView]:
    """Let a tool pass although its findings are too bad, or take that back with `lifted: false`."""
    return Envelope(await scanner.lift(actor, proxy_id, data))


def report_response(result: ScanResult, scan_id: str, format: Literal["html", "json", "sarif"]) -> Response[bytes]:
    """A report as a download: it is never shown in the console's own origin."""
    return Response(
        render(result, format),
        media_type=MEDIA_TYPES[format],
        headers={"Content-Disposition": f'attachment; filename="{scan_id}.{format}"'},
    )


routes = [
    start_scan,
    list_scans,
    latest_scan,
    get_scan,
    get_result,
    get_comparison,
    get_report,
    cancel_scan,
    get_gate,
    set_gate,
    lift_tool,
]
