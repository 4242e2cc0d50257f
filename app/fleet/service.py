"""Every decision about proxies. Each method is one unit of work; what the workers must know goes to them after the commit."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Literal

from sqlalchemy.ext.asyncio import AsyncSession

from app import clock, ids
from app.audit.service import AuditLog
from app.database.engine import Database
from app.errors import AppError, ValidationFailed
from app.fleet import connection_check, credentials, launch_environment, login, loops, validation
from app.fleet import draft as drafts
from app.fleet.assignments import policies_of
from app.fleet.configuration import SEALED_COLUMN, SEALED_SESSION_COLUMN, SEALED_TABLE
from app.fleet.control import FleetControl, Rollout
from app.fleet.differences import differences
from app.fleet.draft import Draft
from app.fleet.errors import (
    PortAssigned,
    ProxyDisabled,
    ProxyNameTaken,
    ProxyNotFound,
    ProxyNotStarted,
    ProxyRunning,
)
from app.fleet.models import Proxy
from app.fleet.reconcile import Address
from app.fleet.repository import ProxyRepository
from app.fleet.schemas import (
    CheckConnection,
    ConnectionReport,
    CreateProxy,
    ProxyView,
    RunningConfiguration,
    UpdateProxy,
    UpstreamAuthInput,
)
from app.fleet.server_trial import ServerTrials
from app.fleet.state import ProxyState, ProxyStatus
from app.fleet.views import proxy_view
from app.http.envelope import Listing
from app.http.sorting import Sort
from app.launch.commands import NOT_LISTED, allows
from app.launch.repository import LaunchRepository
from app.policies.errors import PolicyNotFound
from app.policies.in_force import names_in_force
from app.policies.library import PolicyLibrary
from app.policies.tag_policies import TagPolicyRepository
from app.security.permissions import Actor
from app.security.vault import Vault
from app.undo import NothingToRestore
from app.upstream_proxy import UpstreamProxies
from proxies.contract import ServerReport

logger = logging.getLogger(__name__)

RESOURCE = "proxy"


class ProxyService:
    """What can be done with proxies."""

    def __init__(
        self,
        *,
        database: Database,
        audit: AuditLog,
        library: PolicyLibrary,
        vault: Vault,
        fleet: FleetControl,
        rollout: Rollout,
        announce: Callable[[str], None],
        prepare_rules: Callable[[Sequence[str]], Awaitable[None]],
        console: Address,
        upstream_proxies: UpstreamProxies,
        trials: ServerTrials,
    ) -> None:
        self._database = database
        self._audit = audit
        self._library = library
        self._vault = vault
        self._fleet = fleet
        self._rollout = rollout
        self._announce = announce
        self._prepare_rules = prepare_rules
        self._console = console
        self._upstream_proxies = upstream_proxies
        self._trials = trials

    # --- Reading --------------------------------------------------------------------------------------------------

    async def page(
        self,
        actor: Actor,
        *,
        type_: str | None = None,
        enabled: bool | None = None,
        search: str = "",
        limit: int = 50,
        offset: int = 0,
        sort: Sort | None = None,
    ) -> Listing[ProxyView]:
        """A page of proxies, by name unless sorted otherwise."""
        async with self._database.reader() as session:
            rows, total = await ProxyRepository(session, actor.tenant_id).search(
                type_=type_, enabled=enabled, search=search, limit=limit, offset=offset, sort=sort
            )
        return Listing(items=[self._view(row) for row in rows], total=total, limit=limit, offset=offset)

    async def running(self, actor: Actor, proxy_id: str) -> RunningConfiguration:
        """What the workers run of a proxy, compared with what is saved; raises ProxyNotFound."""
        saved = await self.get(actor, proxy_id)
        running = self._fleet.running(proxy_id)
        async with self._database.reader() as session:
            in_force = await names_in_force(session, actor.tenant_id, self._library, [saved])
        return RunningConfiguration(
            proxy_id=proxy_id,
            served=running is not None,
            snapshot_version=saved.snapshot_version,
            workers_live=saved.workers_live,
            workers_total=saved.workers_total,
            differences=differences(saved, running, in_force[proxy_id]) if running else [],
        )

    async def get(self, actor: Actor, proxy_id: str) -> ProxyView:
        """One proxy; raises ProxyNotFound."""
        return self._view(await self.row(actor, proxy_id))

    async def row(self, actor: Actor, proxy_id: str) -> Proxy:
        """The row itself, for other services; raises ProxyNotFound."""
        async with self._database.reader() as session:
            return await _existing(ProxyRepository(session, actor.tenant_id), proxy_id)

    async def rows(self, actor: Actor) -> Sequence[Proxy]:
        """All rows, by name, for other services."""
        async with self._database.reader() as session:
            return await ProxyRepository(session, actor.tenant_id).all()

    def status(self, proxy_id: str) -> ProxyStatus:
        """How the proxy stands now."""
        return self._fleet.status(proxy_id)

    async def check_connection(self, actor: Actor, wanted: CheckConnection) -> ConnectionReport:
        """Whether an upstream can be reached; raises ValidationFailed for one that could not be saved (ADM-16)."""
        if wanted.transport == "stdio":
            return await self._trials.check(actor, wanted)
        connection_check.refuse_unfit(wanted)
        if problem := loops.console_problem(wanted.target_url.strip(), self._console):
            raise ValidationFailed(fields={"target_url": problem})
        return await connection_check.check_connection(wanted, self._upstream_proxies)

    def server_report(self, proxy_id: str) -> ServerReport | None:
        """How the server that a proxy starts stands; None where it starts none."""
        return self._fleet.server_report(proxy_id)

    # --- Changing -------------------------------------------------------------------------------------------------

    async def create(self, actor: Actor, request: CreateProxy) -> ProxyView:
        """Make a proxy; it is started separately. Its rules are compiled behind the scenes when they have to be.

        Raises ValidationFailed (422), PolicyNotFound (404), ProxyNameTaken and PortAssigned (409).
        """
        wanted = drafts.from_request(request, default_policies=self._library.defaults(request.type))
        plan, credential_problems = credentials.plan(request.upstream_auth, is_set=False)
        variables, launch_problems = _variables(wanted, request.launch_environment, {}, command_changed=False)
        launch_problems |= login.transport_problem(wanted, request.upstream_auth)
        credential_problems |= login.aws_problems(wanted, request.upstream_auth.type, request.upstream_auth.region)
        if problems := drafts.problems(wanted) | credential_problems | launch_problems:
            raise ValidationFailed(fields=problems)
        self._check_policies(wanted)
        now = clock.utcnow()
        async with self._database.writer() as session:
            repository = ProxyRepository(session, actor.tenant_id)
            await self._check_collisions(repository, wanted, own_id="")
            await self._check_loops(repository, wanted, own_id="")
            await _check_listed(session, actor, wanted)
            proxy = Proxy(id=ids.new_id("prx"), created_at=now, updated_at=now)
            drafts.write(wanted, proxy)
            self._write_credential(proxy, plan)
            proxy.launch_environment = launch_environment.sealed(variables, self._vault, proxy.id)
            repository.add(proxy)
            await self._audit.record(
                session,
                "proxy.created",
                actor=actor,
                resource=(RESOURCE, proxy.id, proxy.name),
                details={"type": proxy.type, "port": proxy.port, "policies": proxy.policy_names, **_launched(proxy)},
            )
        await self._roll_out(proxy)
        return self._view(proxy)

    async def _prepare(self, actor: Actor, proxy_id: str, request: UpdateProxy) -> None:
        """Compile the rules of the policies that a changed proxy will have, by name and by its tags."""
        if not isinstance(request.policy_names, list) and not isinstance(request.tags, list):
            return
        async with self._database.reader() as session:
            proxy = await ProxyRepository(session, actor.tenant_id).get(proxy_id)
            by_tag = await TagPolicyRepository(session, actor.tenant_id).by_tag()
        if proxy is None:
            return
        names = request.policy_names if isinstance(request.policy_names, list) else proxy.policy_names
        tags = request.tags if isinstance(request.tags, list) else proxy.tags
        together = policies_of(self._library, names, tags, proxy.type, by_tag)
        if not self._library.unknown(together):
            await self._prepare_rules(together)

    async def update(self, actor: Actor, proxy_id: str, request: UpdateProxy) -> ProxyView:
        """Change a proxy; a running one serves the change at once. Raises as `create`, and ProxyNotFound."""
        if self._fleet.status(proxy_id).state.serves:
            # Before the commit: it goes on with the rules that it has, and nobody else's change waits.
            await self._prepare(actor, proxy_id, request)
        async with self._database.writer() as session:
            repository = ProxyRepository(session, actor.tenant_id)
            proxy = await _existing(repository, proxy_id)
            before = drafts.from_row(proxy)
            wanted = drafts.changed(before, request)
            problems: dict[str, str] = {}
            plan = None
            if isinstance(request.upstream_auth, UpstreamAuthInput):
                plan, problems = credentials.plan(
                    request.upstream_auth,
                    is_set=login.has_credential(proxy),
                    stored_access_key_id=proxy.upstream_auth_access_key_id,
                )
                problems |= login.transport_problem(wanted, request.upstream_auth)
            stored = self._stored_variables(proxy)
            given = request.launch_environment
            variables, launch_problems = _variables(
                wanted,
                given if isinstance(given, dict) else dict.fromkeys(stored),
                stored,
                command_changed=wanted.launch_command != before.launch_command,
            )
            problems |= launch_problems
            way = (plan.type, plan.aws.region) if plan else (proxy.upstream_auth_type, proxy.upstream_auth_region)
            problems = login.aws_problems(wanted, *way) | problems
            keeps_secret = login.has_stored_secret(proxy) and (plan is None or plan.keep)
            problems |= drafts.problems(wanted) | login.moved_secret_problem(before, wanted, keeps_secret=keeps_secret)
            if problems:
                raise ValidationFailed(fields=problems)
            if wanted.policy_names != before.policy_names:
                # A policy that was retired must not stand in the way of every other change.
                self._check_policies(wanted)
            await self._check_collisions(repository, wanted, own_id=proxy.id)
            if (wanted.target_url, wanted.host, wanted.port) != (before.target_url, before.host, before.port):
                await self._check_loops(repository, wanted, own_id=proxy.id)
            await _check_listed(session, actor, wanted)
            changed = drafts.write(wanted, proxy)
            if plan is not None:
                stored_login = login.stored_login(proxy)
                self._write_credential(proxy, plan)
                changed += ["upstream_auth"] if login.stored_login(proxy) != stored_login else []
            if variables != stored:
                proxy.launch_environment = launch_environment.sealed(variables, self._vault, proxy.id)
                changed.append("launch_environment")
            if changed:
                proxy.updated_at = clock.utcnow()
                await self._audit.record(
                    session,
                    "proxy.updated",
                    actor=actor,
                    resource=(RESOURCE, proxy.id, proxy.name),
                    details={"fields": sorted(changed), **_launched(proxy)},
                )
        await self._roll_out(proxy)
        return self._view(proxy)

    async def delete(self, actor: Actor, proxy_id: str) -> None:
        """Delete a proxy that is stopped; its traffic and alerts stay, and for a moment `restore` brings it back.

        Raises ProxyNotFound, ProxyRunning.
        """
        async with self._database.writer() as session:
            repository = ProxyRepository(session, actor.tenant_id)
            proxy = await _existing(repository, proxy_id)
            if self._fleet.status(proxy.id).state.occupied:
                raise ProxyRunning(f"The proxy {proxy.name} is running.")
            proxy.deleted_at = clock.utcnow()
            await self._audit.record(
                session,
                "proxy.deleted",
                actor=actor,
                resource=(RESOURCE, proxy.id, proxy.name),
                details={"type": proxy.type, "port": proxy.port},
            )
        await self._roll_out(proxy)

    async def restore(self, actor: Actor, proxy_id: str) -> ProxyView:
        """Take a deletion back: the proxy is there again as it was, stopped, with what was approved of its server.

        Raises NothingToRestore, and ProxyNameTaken or PortAssigned when something else has taken its name or port.
        """
        async with self._database.writer() as session:
            repository = ProxyRepository(session, actor.tenant_id)
            if there := await repository.get(proxy_id):
                return self._view(there)
            proxy = await repository.deleted(proxy_id)
            if proxy is None:
                raise NothingToRestore
            await self._check_collisions(repository, drafts.from_row(proxy), own_id=proxy.id)
            proxy.deleted_at = None
            await self._audit.record(
                session, "proxy.restored", actor=actor, resource=(RESOURCE, proxy.id, proxy.name), details={}
            )
        await self._roll_out(proxy)
        return self._view(proxy)

    # --- Running --------------------------------------------------------------------------------------------------

    async def start(self, actor: Actor, proxy_id: str) -> ProxyView:
        """Start a proxy and wait until it runs, or until it is clear that its rules have to be compiled first (`starting`).

        Raises ProxyDisabled, ProxyNotStarted or what binding the port says.
        """
        return await self._operate(actor, proxy_id, self._fleet.start_proxy, "started", must_run=True)

    async def stop(self, actor: Actor, proxy_id: str) -> ProxyView:
        """Stop a proxy: no new connections, calls in flight finish within the drain timeout."""
        return await self._operate(actor, proxy_id, self._fleet.stop_proxy, "stopped", must_run=False)

    async def restart(self, actor: Actor, proxy_id: str) -> ProxyView:
        """Stop and start a proxy; raises as `start`."""
        return await self._operate(actor, proxy_id, self._fleet.restart_proxy, "restarted", must_run=True)

    async def _operate(
        self,
        actor: Actor,
        proxy_id: str,
        operation: Callable[[str], Awaitable[ProxyStatus]],
        word: str,
        *,
        must_run: bool,
    ) -> ProxyView:
        proxy = await self.row(actor, proxy_id)
        if must_run and not proxy.enabled:
            raise ProxyDisabled(f"The proxy {proxy.name} is disabled.")
        try:
            status = await operation(proxy.id)
            if must_run and status.state is ProxyState.FAILED:
                raise ProxyNotStarted(status.reason or f"The proxy {proxy.name} could not be started.")
        except AppError as error:
            await self._record_operation(actor, proxy, word, result="failure", details={"reason": error.message})
            raise
        await self._record_operation(actor, proxy, word, result="success", details={"state": status.state.value})
        return self._view(proxy)

    async def _record_operation(
        self,
        actor: Actor,
        proxy: Proxy,
        word: str,
        *,
        result: Literal["success", "failure"],
        details: dict[str, object],
    ) -> None:
        async with self._database.writer() as session:
            await self._audit.record(
                session,
                f"proxy.{word}",
                actor=actor,
                resource=(RESOURCE, proxy.id, proxy.name),
                result=result,
                details=details,
            )

    async def _roll_out(self, proxy: Proxy) -> None:
        await self._rollout.roll_out()
        self._announce(proxy.id)

    # --- Deciding -------------------------------------------------------------------------------------------------

    def _check_policies(self, wanted: Draft) -> None:
        if unknown := self._library.unknown(wanted.policy_names):
            message = f"There is no policy named {unknown[0]}."
            raise PolicyNotFound(message, fields={"policy_names": message})
        unfit = [name for name in wanted.policy_names if not self._library.applies_to(name, wanted.type)]
        if unfit:
            message = f"The policy {unfit[0]} is not meant for proxies of type {wanted.type}."
            raise ValidationFailed(fields={"policy_names": message})

    async def _check_collisions(self, repository: ProxyRepository, wanted: Draft, *, own_id: str) -> None:
        same_name = await repository.by_name_key(validation.name_key(wanted.name))
        if same_name is not None and same_name.id != own_id:
            message = f"The name is taken by the proxy {same_name.name}."
            raise ProxyNameTaken(message, fields={"name": message})
        if wanted.port == self._console.port:
            message = f"Port {wanted.port} is the console's own."
            raise PortAssigned(message, fields={"port": message})
        for other in await repository.by_port(wanted.port):
            if other.id != own_id and drafts.listeners_collide(wanted.host, other.host):
                message = f"Port {wanted.port} is taken by the proxy {other.name}."
                raise PortAssigned(message, fields={"port": message})

    async def _check_loops(self, repository: ProxyRepository, wanted: Draft, *, own_id: str) -> None:
        others = [_hop(proxy) for proxy in await repository.all() if proxy.id != own_id]
        problem = loops.console_problem(wanted.target_url, self._console) or loops.loop_problem(_hop(wanted), others)
        if problem:
            raise ValidationFailed(fields={"target_url": problem})

    def _write_credential(self, proxy: Proxy, plan: credentials.CredentialPlan) -> None:
        proxy.upstream_auth_type = plan.type
        proxy.upstream_auth_name = plan.name
        proxy.upstream_auth_region = plan.aws.region
        proxy.upstream_auth_access_key_id = plan.aws.access_key_id
        if plan.keep:
            return
        proxy.upstream_auth_session_reference = plan.aws.session_reference
        proxy.upstream_auth_session_secret = self._sealed(plan.aws.session_secret, proxy, SEALED_SESSION_COLUMN)
        proxy.upstream_auth_reference = plan.reference
        proxy.upstream_auth_secret = self._sealed(plan.secret, proxy, SEALED_COLUMN)

    def _sealed(self, secret: str | None, proxy: Proxy, column: str) -> str | None:
        if secret is None:
            return None
        return self._vault.encrypt(secret, table=SEALED_TABLE, row=proxy.id, column=column)

    def _view(self, proxy: Proxy) -> ProxyView:
        variables = launch_environment.shown(self._stored_variables(proxy))
        return proxy_view(proxy, self._fleet.status(proxy.id), self._library, variables)

    def _stored_variables(self, proxy: Proxy) -> dict[str, str]:
        """The environment of the server that a proxy starts; empty where it cannot be read, so that it is entered anew."""
        try:
            return launch_environment.opened(proxy, self._vault)
        except launch_environment.EnvironmentUnavailable as error:
            logger.error("Proxy %s: %s", proxy.id, error)
            return {}


def _variables(
    wanted: Draft, given: Mapping[str, str | None], stored: Mapping[str, str], *, command_changed: bool
) -> tuple[dict[str, str], dict[str, str]]:
    """The environment to store, and the problems by field."""
    if wanted.transport != "stdio":
        problem = "Only the transport stdio has an environment." if given else None
        return {}, {"launch_environment": problem} if problem else {}
    variables, problem = launch_environment.merged(given, stored, command_changed=command_changed)
    return variables, {"launch_environment": problem} if problem else {}


async def _check_listed(session: AsyncSession, actor: Actor, wanted: Draft) -> None:
    if wanted.transport != "stdio":
        return
    if not allows(await LaunchRepository(session, actor.tenant_id).all(), wanted.launch_command):
        raise ValidationFailed(fields={"launch_command": NOT_LISTED})


def _launched(proxy: Proxy) -> dict[str, object]:
    """What the audit says about the program that a proxy starts: exactly what it is."""
    return {"launch_command": list(proxy.launch_command)} if proxy.transport == "stdio" else {}


async def _existing(repository: ProxyRepository, proxy_id: str) -> Proxy:
    proxy = await repository.get(proxy_id)
    if proxy is None:
        raise ProxyNotFound
    return proxy


def _hop(proxy: Proxy | Draft) -> loops.Hop:
    return loops.Hop(proxy.name, Address(proxy.host, proxy.port), proxy.target_url)
