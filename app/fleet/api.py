"""JSON endpoints of the proxies: CRUD, start, stop, restart, status, statistics, log, connection check."""

from typing import Annotated, Any

from litestar import Request, delete, get, post, route
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery, JSONBody, QueryParameter

from app import clock
from app.fleet.repository import SORTS
from app.fleet.schemas import (
    CheckConnection,
    ConnectionReport,
    CreateProxy,
    ProxyStatusView,
    ProxyView,
    RunningConfiguration,
    UpdateProxy,
)
from app.fleet.service import ProxyService
from app.fleet.views import status_view
from app.fleet.worker import WorkerStatus
from app.http.envelope import DEFAULT_LIMIT, MAX_LIMIT, Envelope, Listing, page_of
from app.http.filters import search_text
from app.security.permissions import Actor
from app.traffic.schemas import LogRow, ProxyStats
from app.traffic.service import TrafficService

VIEWER = {"role": "viewer"}
ADMIN = {"role": "admin"}
TAGS = ["proxies"]
MAX_HOURS = 24 * 30

Hours = Annotated[int, QueryParameter(ge=1, le=MAX_HOURS)]
LogLimit = Annotated[int, QueryParameter(ge=1, le=MAX_LIMIT)]


@get("/api/v1/proxies", opt=VIEWER, tags=TAGS)
async def list_proxies(
    actor: NamedDependency[Actor],
    proxies: NamedDependency[ProxyService],
    type: FromQuery[str | None] = None,
    enabled: FromQuery[bool | None] = None,
    search: FromQuery[str] = "",
    sort: FromQuery[str] = "",
    limit: FromQuery[int] = DEFAULT_LIMIT,
    offset: FromQuery[int] = 0,
) -> Envelope[Listing[ProxyView]]:
    """Proxies by name; `search` is found in name, target, description and tags."""
    limit, offset = page_of(limit, offset)
    found = await proxies.page(
        actor,
        type_=type,
        enabled=enabled,
        search=search_text(search),
        limit=limit,
        offset=offset,
        sort=SORTS.asked(sort),
    )
    return Envelope(found)


@post("/api/v1/proxies", opt=ADMIN, tags=TAGS)
async def create_proxy(
    data: JSONBody[CreateProxy], actor: NamedDependency[Actor], proxies: NamedDependency[ProxyService]
) -> Envelope[ProxyView]:
    """Make a proxy; start it with POST …/start."""
    return Envelope(await proxies.create(actor, data), message="The proxy is created.")


@post("/api/v1/proxies/test-connection", opt=ADMIN, status_code=200, tags=TAGS)
async def test_connection(
    data: JSONBody[CheckConnection], actor: NamedDependency[Actor], proxies: NamedDependency[ProxyService]
) -> Envelope[ConnectionReport]:
    """Try whether an upstream can be reached; nothing is sent to it and nothing is saved. A server of the transport stdio is
    started once, asked what it is and for its tools, and ended."""
    return Envelope(await proxies.check_connection(actor, data))


@get("/api/v1/proxies/status", opt=VIEWER, tags=TAGS)
async def list_statuses(
    actor: NamedDependency[Actor], proxies: NamedDependency[ProxyService], traffic: NamedDependency[TrafficService]
) -> Envelope[list[ProxyStatusView]]:
    """How every proxy stands."""
    counts = await traffic.counts(actor)
    now = clock.utcnow()
    return Envelope(
        [
            status_view(
                row,
                proxies.status(row.id),
                now=now,
                counts=counts.get(row.id, (0, 0)),
                server=proxies.server_report(row.id),
            )
            for row in await proxies.rows(actor)
        ]
    )


@get("/api/v1/system/workers", opt=VIEWER, tags=["system"])
async def list_workers(request: Request[Any, Any, Any]) -> Envelope[list[WorkerStatus]]:
    """The worker processes that live now, with their heartbeat, connections and memory."""
    return Envelope(list(request.app.state.fleet.workers()))


@get("/api/v1/proxies/{proxy_id:str}", opt=VIEWER, tags=TAGS)
async def get_proxy(
    proxy_id: FromPath[str], actor: NamedDependency[Actor], proxies: NamedDependency[ProxyService]
) -> Envelope[ProxyView]:
    """One proxy."""
    return Envelope(await proxies.get(actor, proxy_id))


@route("/api/v1/proxies/{proxy_id:str}", http_method=["PUT", "PATCH"], opt=ADMIN, status_code=200, tags=TAGS)
async def update_proxy(
    proxy_id: FromPath[str],
    data: JSONBody[UpdateProxy],
    actor: NamedDependency[Actor],
    proxies: NamedDependency[ProxyService],
) -> Envelope[ProxyView]:
    """Change the given fields of a proxy; a running proxy serves the change at once."""
    return Envelope(await proxies.update(actor, proxy_id, data), message="The proxy is changed.")


@delete("/api/v1/proxies/{proxy_id:str}", opt=ADMIN, status_code=200, tags=TAGS)
async def delete_proxy(
    proxy_id: FromPath[str], actor: NamedDependency[Actor], proxies: NamedDependency[ProxyService]
) -> Envelope[None]:
    """Delete a stopped proxy; its traffic and alerts stay until their retention ends. Ten seconds long it can be restored."""
    await proxies.delete(actor, proxy_id)
    return Envelope(None, message="The proxy is deleted.")


@post("/api/v1/proxies/{proxy_id:str}/restore", opt=ADMIN, status_code=200, tags=TAGS)
async def restore_proxy(
    proxy_id: FromPath[str], actor: NamedDependency[Actor], proxies: NamedDependency[ProxyService]
) -> Envelope[ProxyView]:
    """Take a deletion back, within ten seconds: the proxy is there again as it was, stopped."""
    return Envelope(await proxies.restore(actor, proxy_id), message="The proxy is restored.")


@post("/api/v1/proxies/{proxy_id:str}/start", opt=ADMIN, status_code=200, tags=TAGS)
async def start_proxy(
    proxy_id: FromPath[str], actor: NamedDependency[Actor], proxies: NamedDependency[ProxyService]
) -> Envelope[ProxyView]:
    """Start a proxy and wait until it serves, or answer 409 with the reason why it does not.

    The state is `starting` when its rules have to be compiled first; it runs as soon as they are.
    """
    return _started(await proxies.start(actor, proxy_id), "The proxy is started.")


@post("/api/v1/proxies/{proxy_id:str}/stop", opt=ADMIN, status_code=200, tags=TAGS)
async def stop_proxy(
    proxy_id: FromPath[str], actor: NamedDependency[Actor], proxies: NamedDependency[ProxyService]
) -> Envelope[ProxyView]:
    """Stop a proxy; calls in flight finish within the drain timeout."""
    return Envelope(await proxies.stop(actor, proxy_id), message="The proxy is stopped.")


@post("/api/v1/proxies/{proxy_id:str}/restart", opt=ADMIN, status_code=200, tags=TAGS)
async def restart_proxy(
    proxy_id: FromPath[str], actor: NamedDependency[Actor], proxies: NamedDependency[ProxyService]
) -> Envelope[ProxyView]:
    """Stop and start a proxy."""
    return _started(await proxies.restart(actor, proxy_id), "The proxy is restarted.")


def _started(proxy: ProxyView, done: str) -> Envelope[ProxyView]:
    return Envelope(proxy, message="The proxy is starting." if proxy.state == "starting" else done)


@get("/api/v1/proxies/{proxy_id:str}/running", opt=VIEWER, tags=TAGS)
async def get_running_configuration(
    proxy_id: FromPath[str], actor: NamedDependency[Actor], proxies: NamedDependency[ProxyService]
) -> Envelope[RunningConfiguration]:
    """In which fields what the workers run differs from what is saved."""
    return Envelope(await proxies.running(actor, proxy_id))


@get("/api/v1/proxies/{proxy_id:str}/status", opt=VIEWER, tags=TAGS)
async def get_status(
    proxy_id: FromPath[str],
    actor: NamedDependency[Actor],
    proxies: NamedDependency[ProxyService],
    traffic: NamedDependency[TrafficService],
) -> Envelope[ProxyStatusView]:
    """How one proxy stands, with its calls of the last 24 hours."""
    row = await proxies.row(actor, proxy_id)
    counts = (await traffic.counts(actor)).get(row.id, (0, 0))
    server = proxies.server_report(row.id)
    return Envelope(status_view(row, proxies.status(row.id), now=clock.utcnow(), counts=counts, server=server))


@get("/api/v1/proxies/{proxy_id:str}/stats", opt=VIEWER, tags=TAGS)
async def get_stats(
    proxy_id: FromPath[str],
    actor: NamedDependency[Actor],
    traffic: NamedDependency[TrafficService],
    hours: Hours = 24,
) -> Envelope[ProxyStats]:
    """Statistics of one proxy over the last hours (at most 720)."""
    return Envelope(await traffic.stats(actor, proxy_id, hours=hours))


@get("/api/v1/proxies/{proxy_id:str}/logs", opt=VIEWER, tags=TAGS)
async def get_logs(
    proxy_id: FromPath[str],
    actor: NamedDependency[Actor],
    traffic: NamedDependency[TrafficService],
    limit: LogLimit = 100,
) -> Envelope[list[LogRow]]:
    """The latest calls of one proxy, newest first."""
    return Envelope(await traffic.log(actor, proxy_id, limit=limit))


routes = [
    list_proxies,
    create_proxy,
    test_connection,
    list_statuses,
    list_workers,
    get_proxy,
    update_proxy,
    delete_proxy,
    restore_proxy,
    start_proxy,
    stop_proxy,
    restart_proxy,
    get_status,
    get_stats,
    get_logs,
    get_running_configuration,
]
