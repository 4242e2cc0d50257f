"""Endpoints of the system: health and readiness for anybody, the rest for those who may see it."""

from collections.abc import AsyncIterator
from typing import Annotated, Any

import msgspec
from litestar import Request, Response, get
from litestar.di import NamedDependency
from litestar.params import FromQuery, HeaderParameter
from litestar.response import Stream

from app import clock
from app.errors import NotFound, ValidationFailed
from app.http.envelope import Envelope
from app.http.events import TOPICS, EventBus, stream
from app.http.page import Pages
from app.security.permissions import Actor, Authenticator
from app.settings import Settings
from app.system import libraries, sbom
from app.system.metrics import CONTENT_TYPE, Metrics
from app.system.service import HealthView, ReadinessView, System, SystemView

PUBLIC = {"role": "public"}


@get(["/health", "/api/v1/health"], opt=PUBLIC, tags=["system"])
async def health(system: NamedDependency[System]) -> HealthView:
    """Liveness: the process answers."""
    return system.health()


@get("/ready", opt=PUBLIC, tags=["system"])
async def ready(system: NamedDependency[System]) -> Response[ReadinessView]:
    """Readiness: 503 while starting, while stopping and while the database does not answer."""
    readiness = await system.readiness()
    return Response(readiness, status_code=200 if readiness.status == "ready" else 503)


@get("/metrics", opt={"role": "viewer", "open_on_loopback": True}, tags=["system"], include_in_schema=False)
async def metrics_text(
    settings: NamedDependency[Settings], metrics: NamedDependency[Metrics], bus: NamedDependency[EventBus]
) -> Response[bytes]:
    """Prometheus text; needs a token, or `metrics_on_loopback` and a scraper on this machine."""
    if not settings.enable_metrics:
        raise NotFound("Metrics are switched off.")
    metrics.live_connections.set(bus.subscribers)
    return Response(metrics.render(), media_type=CONTENT_TYPE)


@get("/api/v1/system/info", opt={"role": "viewer"}, tags=["system"])
async def system_info(system: NamedDependency[System], bus: NamedDependency[EventBus]) -> Envelope[SystemView]:
    """Version, environment, uptime."""
    return Envelope(system.info(bus.subscribers))


@get("/api/v1/system/sbom", opt={"role": "viewer"}, tags=["system"], media_type=sbom.MEDIA_TYPE)
async def bill_of_materials(pages: NamedDependency[Pages]) -> Response[bytes]:
    """What runs here, every package with version and licence, as a CycloneDX file."""
    found = sbom.document(libraries.installed(), pages.assets.versions(), clock.utcnow())
    return Response(
        msgspec.json.format(msgspec.json.encode(found), indent=2),
        media_type=sbom.MEDIA_TYPE,
        headers={"Content-Disposition": f'attachment; filename="{sbom.FILE_NAME}"', "Cache-Control": "no-store"},
    )


@get("/api/v1/events", opt={"role": "viewer"}, tags=["system"], media_type="text/event-stream")
async def events(
    request: Request[Any, Any, Any],
    actor: NamedDependency[Actor],
    bus: NamedDependency[EventBus],
    topics: FromQuery[str] = "",
    last_event_id: Annotated[str, HeaderParameter(name="Last-Event-ID")] = "",
) -> Stream:
    """What happens, as Server-Sent Events: `?topics=alert,call` narrows it; `resync` says that events were missed."""
    wanted = {topic for topic in topics.split(",") if topic} or set(TOPICS)
    if unknown := wanted - TOPICS:
        raise ValidationFailed(fields={"topics": f"Unknown: {', '.join(sorted(unknown))[:100]}."})
    subscription = bus.subscribe(wanted, last_event_id=last_event_id)
    authenticator: Authenticator = request.app.state.authenticator

    async def is_still_allowed() -> bool:
        return await authenticator.is_still_valid(actor)

    body: AsyncIterator[bytes] = stream(bus, subscription, is_still_allowed)
    return Stream(
        body, media_type="text/event-stream", headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    )


routes = [health, ready, metrics_text, system_info, bill_of_materials, events]
