"""JSON endpoints of the audit log: reading only, as nothing ever changes an entry."""

from typing import Any

from litestar import Request, get
from litestar.di import NamedDependency
from litestar.params import FromQuery
from litestar.response import Stream
from sqlalchemy.ext.asyncio import AsyncSession

from app import clock
from app.audit import repository
from app.audit.export import MEDIA_TYPES, Format, exported
from app.audit.repository import AuditFilter
from app.audit.schemas import AuditEntryView, audit_entry_view
from app.audit.service import AuditLog
from app.http.envelope import DEFAULT_LIMIT, Envelope, Listing, page_of
from app.security.permissions import Actor


@get("/api/v1/audit", opt={"role": "admin"}, tags=["audit"])
async def list_audit_entries(
    reader: NamedDependency[AsyncSession],
    actor: NamedDependency[Actor],
    event_type: FromQuery[str] = "",
    username: FromQuery[str] = "",
    result: FromQuery[str] = "",
    sort: FromQuery[str] = "",
    limit: FromQuery[int] = DEFAULT_LIMIT,
    offset: FromQuery[int] = 0,
) -> Envelope[Listing[AuditEntryView]]:
    """Newest first unless sorted otherwise; `event_type` matches by its beginning (`auth.`)."""
    limit, offset = page_of(limit, offset)
    entries, total = await repository.search(
        reader,
        AuditFilter(tenant_id=actor.tenant_id, event_type=event_type, actor=username, result=result),
        limit=limit,
        offset=offset,
        sort=repository.SORTS.asked(sort),
    )
    return Envelope(Listing([audit_entry_view(entry) for entry in entries], total, limit, offset))


@get("/api/v1/audit/export", opt={"role": "admin"}, tags=["audit"])
async def export_audit_entries(
    request: Request[Any, Any, Any],
    actor: NamedDependency[Actor],
    event_type: FromQuery[str] = "",
    username: FromQuery[str] = "",
    result: FromQuery[str] = "",
    format: FromQuery[Format] = "csv",
) -> Stream:
    """All entries that match as a file, newest first: `csv`, or `jsonl` with one entry as above on each line."""
    wanted = AuditFilter(tenant_id=actor.tenant_id, event_type=event_type, actor=username, result=result)
    name = f"audit-{clock.utcnow():%Y%m%dT%H%M%SZ}.{format}"
    return Stream(
        exported(request.app.state.database, wanted, format),
        media_type=MEDIA_TYPES[format],
        headers={"Content-Disposition": f'attachment; filename="{name}"', "Cache-Control": "no-store"},
    )


@get("/api/v1/audit/verify", opt={"role": "admin"}, tags=["audit"])
async def verify_audit_chain(
    reader: NamedDependency[AsyncSession], audit: NamedDependency[AuditLog]
) -> Envelope[dict[str, int | None]]:
    """Recompute every MAC; `first_bad_sequence` is null when the chain holds."""
    checked, bad = await audit.verify(reader)
    return Envelope({"entries_checked": checked, "first_bad_sequence": bad})


routes = [list_audit_entries, export_audit_entries, verify_audit_chain]
