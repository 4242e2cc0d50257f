"""The audit log as a page."""

from typing import Any

from litestar import Request, Response, get
from litestar.di import NamedDependency
from litestar.params import FromQuery
from sqlalchemy.ext.asyncio import AsyncSession

from app.audit import repository
from app.audit.repository import AuditFilter
from app.audit.schemas import audit_entry_view
from app.audit.service import AuditLog
from app.http.envelope import DEFAULT_LIMIT, Listing, page_of
from app.http.page import Pages, Toast, redirect, with_query
from app.security.permissions import Actor

ADMIN = {"role": "admin"}
RESULTS = ("success", "failure", "denied")


@get("/audit", opt=ADMIN, include_in_schema=False)
async def audit_page(
    request: Request[Any, Any, Any],
    reader: NamedDependency[AsyncSession],
    actor: NamedDependency[Actor],
    pages: NamedDependency[Pages],
    event_type: FromQuery[str] = "",
    username: FromQuery[str] = "",
    result: FromQuery[str] = "",
    sort: FromQuery[str] = "",
    offset: FromQuery[int] = 0,
) -> Response[str]:
    """Who did what, newest first."""
    limit, offset = page_of(DEFAULT_LIMIT, offset)
    filters = {
        "event_type": event_type[:100],
        "username": username[:100],
        "result": result if result in RESULTS else "",
    }
    order = repository.SORTS.order(sort)
    entries, total = await repository.search(
        reader,
        AuditFilter(
            tenant_id=actor.tenant_id,
            event_type=filters["event_type"],
            actor=filters["username"],
            result=filters["result"],
        ),
        limit=limit,
        offset=offset,
        sort=order.sort,
    )
    return await pages.page(
        request,
        "audit/list.html",
        title="Audit",
        active="audit",
        list=Listing([audit_entry_view(entry) for entry in entries], total, limit, offset),
        base=with_query("/audit", **filters, sort=order.param),
        export=with_query("/api/v1/audit/export", **filters),
        order=order,
        filters=filters,
        filtered=any(filters.values()),
    )


@get("/audit/verify", opt=ADMIN, include_in_schema=False)
async def verify_audit(
    request: Request[Any, Any, Any], reader: NamedDependency[AsyncSession], audit: NamedDependency[AuditLog]
) -> Response[str]:
    """Recompute the chain and say how it went."""
    checked, bad = await audit.verify(reader)
    if bad is None:
        return redirect(request, "/audit", Toast(f"The chain holds: {checked:,} entries checked."))
    toast = Toast(f"The chain is broken at entry {bad}: it or one before it was changed or removed.", kind="error")
    return redirect(request, "/audit", toast)


routes = [audit_page, verify_audit]
