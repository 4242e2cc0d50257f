"""Calls that wait for a person: kept with their arguments sealed, decided once, bound to their digest."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime

from app import clock
from app.alerts.repository import AlertRepository
from app.audit.service import AuditLog
from app.database.base import DEFAULT_TENANT
from app.database.engine import Database
from app.errors import Unavailable
from app.fleet.repository import ProxyRepository
from app.fleet.worker import ToolOrder
from app.http.events import EventBus
from app.security.permissions import Actor, Role
from app.security.vault import Undecryptable, Vault
from app.tools.alerting import Notice, alert_row
from app.tools.errors import HeldCallDecided, HeldCallNotFound, ReviewOutdated
from app.tools.events import publish
from app.tools.held_repository import HeldCallRepository
from app.tools.models import MCPHeldCall
from app.tools.schemas import DecideCall, HeldCallView
from app.tools.views import names_of
from proxies.contract import HeldCall, HoldEnded, Release

logger = logging.getLogger(__name__)

RESOURCE = "held_call"
SEALED_TABLE = "mcp_held_calls"
SEALED_COLUMN = "sealed_arguments"
WAITING = "waiting"
DECIDED = {True: "releasing", False: "refusing"}


class Holds:
    """Keeps and decides held calls."""

    def __init__(
        self,
        *,
        database: Database,
        audit: AuditLog,
        vault: Vault,
        bus: EventBus,
        order: Callable[[str, ToolOrder], Awaitable[bool]],
    ) -> None:
        self._database = database
        self._audit = audit
        self._vault = vault
        self._bus = bus
        self._order = order

    # --- From the workers ---------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """No worker waits for anything yet: what an earlier run left undecided has ended with it."""
        async with self._database.writer() as session:
            await HeldCallRepository(session).end_all("drained", clock.utcnow())

    async def note(self, report: HeldCall | HoldEnded) -> None:
        """A call waits, or waits no longer."""
        if isinstance(report, HeldCall):
            await self._keep(report)
        else:
            await self._end(report)

    async def _keep(self, call: HeldCall) -> None:
        now = clock.utcnow()
        async with self._database.writer() as session:
            proxy = await ProxyRepository(session, DEFAULT_TENANT).get(call.proxy_id)
            if proxy is None:
                return
            row = MCPHeldCall(
                id=call.id,
                proxy_id=call.proxy_id,
                snapshot_version=call.snapshot_version,
                principal_id=call.principal_id,
                principal_name=call.principal_name,
                tool=call.tool,
                h_raw=call.h_raw,
                sealed_arguments=self._vault.seal(
                    call.arguments, table=SEALED_TABLE, row=call.id, column=SEALED_COLUMN
                ),
                digest=call.digest,
                policy=call.policy,
                policy_version=call.policy_version,
                reason=call.reason[:1000].replace("\x00", "\ufffd"),
                status=WAITING,
                held_at=datetime.fromtimestamp(call.held_at, UTC),
                expires_at=datetime.fromtimestamp(call.expires_at, UTC),
            )
            HeldCallRepository(session, proxy.tenant_id).add(row)
            notice = Notice(
                event_id=call.id,
                code="call_held",
                severity="medium",
                title=f"A call of {call.tool[:100]} waits for approval",
                description=f"{call.principal_name or 'A caller without a key'} calls {call.tool[:100]}; "
                f"the policy {call.policy} holds it until somebody decides.",
                evidence=call.reason,
                principal_id=call.principal_id,
                principal_name=call.principal_name,
            )
            await AlertRepository(session, proxy.tenant_id).add_new([alert_row(notice, proxy=proxy, now=now)])
            await self._audit.record(
                session,
                "mcp.call.held",
                actor=None,
                resource=(RESOURCE, call.id, call.tool),
                details={
                    "proxy": proxy.name,
                    "principal": call.principal_name,
                    "policy": call.policy,
                    "policy_version": call.policy_version,
                },
            )
        publish(self._bus, call.proxy_id, held_call=call.id)

    async def _end(self, ended: HoldEnded) -> None:
        async with self._database.writer() as session:
            row = await HeldCallRepository(session, DEFAULT_TENANT).get(ended.id)
            if row is None:
                return
            row.status = ended.outcome
            row.decided_at = row.decided_at or clock.utcnow()
            proxy_id = row.proxy_id
        publish(self._bus, proxy_id, held_call=ended.id)

    # --- From people --------------------------------------------------------------------------------------------------

    async def waiting(self, actor: Actor) -> list[HeldCallView]:
        """The calls that wait, those that expire first before the others. Their arguments are shown to whoever may decide."""
        async with self._database.reader() as session:
            rows = await HeldCallRepository(session, actor.tenant_id).waiting(clock.utcnow())
            names = names_of(await ProxyRepository(session, actor.tenant_id).all())
        return [self._view(row, names.get(row.proxy_id, ""), actor) for row in rows]

    async def recent(self, actor: Actor, *, limit: int) -> list[HeldCallView]:
        """The calls that were decided or expired, newest first, without their arguments."""
        async with self._database.reader() as session:
            rows = await HeldCallRepository(session, actor.tenant_id).ended(limit=limit)
            names = names_of(await ProxyRepository(session, actor.tenant_id).all())
        return [_view(row, names.get(row.proxy_id, ""), "") for row in rows]

    async def count_waiting(self, actor: Actor) -> int:
        """How many calls wait."""
        async with self._database.reader() as session:
            return await HeldCallRepository(session, actor.tenant_id).count_waiting(clock.utcnow())

    async def decide(self, actor: Actor, call_id: str, wanted: DecideCall, *, allowed: bool) -> HeldCallView:
        """Release or refuse a call, once; raises HeldCallNotFound, HeldCallDecided, ReviewOutdated or Unavailable."""
        now = clock.utcnow()
        async with self._database.writer() as session:
            repository = HeldCallRepository(session, actor.tenant_id)
            row = await repository.get(call_id)
            if row is None:
                raise HeldCallNotFound
            if row.status != WAITING or row.expires_at <= now:
                raise HeldCallDecided
            if row.digest != wanted.digest:
                raise ReviewOutdated("The call is not the one that you saw.")
            row.status = DECIDED[allowed]
            row.decided_at, row.decided_by, row.comment = now, actor.username, wanted.comment
            proxy = await ProxyRepository(session, actor.tenant_id).get(row.proxy_id)
            name = proxy.name if proxy else ""
            await self._audit.record(
                session,
                "mcp.call.released" if allowed else "mcp.call.refused",
                actor=actor,
                resource=(RESOURCE, row.id, row.tool),
                details={
                    "proxy": name,
                    "principal": row.principal_name,
                    "digest": row.digest,
                    **({"comment": wanted.comment[:500]} if wanted.comment else {}),
                },
            )
        is_told = await self._order(row.proxy_id, Release(row.id, row.digest, allowed, actor.username))
        publish(self._bus, row.proxy_id, held_call=row.id)
        if not is_told:
            await self._lose(actor, row)
            raise Unavailable("No worker waits with this call any more.", remediation="The caller may make it again.")
        return _view(row, name, "")

    async def _lose(self, actor: Actor, row: MCPHeldCall) -> None:
        """Nobody could be told of a decision: the call has not gone on, and nothing says that it has."""
        async with self._database.writer() as session:
            lost = await HeldCallRepository(session, actor.tenant_id).get(row.id)
            if lost is not None and lost.status in DECIDED.values():
                lost.status = "drained"
            await self._audit.record(
                session,
                "mcp.call.lost",
                actor=actor,
                resource=(RESOURCE, row.id, row.tool),
                result="failure",
                details={"principal": row.principal_name, "digest": row.digest},
            )
        publish(self._bus, row.proxy_id, held_call=row.id)

    def _view(self, row: MCPHeldCall, proxy_name: str, actor: Actor) -> HeldCallView:
        """With the arguments for whoever may decide; for others they are not even opened."""
        if not actor.role.covers(Role.ADMIN):
            return _view(row, proxy_name, "")
        try:
            arguments = self._vault.open(
                row.sealed_arguments, table=SEALED_TABLE, row=row.id, column=SEALED_COLUMN
            ).decode("utf-8", "replace")
        except Undecryptable:
            logger.error("The arguments of held call %s cannot be decrypted", row.id)
            arguments = ""
        return _view(row, proxy_name, arguments)


def _view(row: MCPHeldCall, proxy_name: str, arguments: str) -> HeldCallView:
    return HeldCallView(
        id=row.id,
        proxy_id=row.proxy_id,
        proxy_name=proxy_name,
        principal_id=row.principal_id,
        principal_name=row.principal_name,
        tool=row.tool,
        arguments=arguments,
        digest=row.digest,
        policy=row.policy,
        policy_version=row.policy_version,
        reason=row.reason,
        status=row.status,
        held_at=row.held_at,
        expires_at=row.expires_at,
        decided_at=row.decided_at,
        decided_by=row.decided_by,
        comment=row.comment,
    )
