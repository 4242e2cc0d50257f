"""Every decision about the list of programs. A change concerns the workers with the snapshot that follows the commit."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from app import clock, ids
from app.audit.service import AuditLog
from app.database.engine import Database
from app.errors import ValidationFailed
from app.fleet.control import Rollout
from app.fleet.models import Proxy
from app.fleet.repository import ProxyRepository
from app.http.filters import contains
from app.http.sorting import Sort, Sorts
from app.launch import commands, users
from app.launch.errors import LaunchProgramListed, LaunchProgramNotFound, TooManyLaunchPrograms
from app.launch.models import LaunchProgram
from app.launch.repository import LaunchRepository
from app.launch.schemas import AllowProgram, LaunchProgramView
from app.security.permissions import Actor
from app.undo import NothingToRestore

RESOURCE = "launch_program"
MAX_PROGRAMS = 200
SORTS = Sorts(
    {
        "program": lambda entry: (entry.program, entry.first_arguments),
        "proxies": lambda entry: len(entry.proxies),
        "created_at": lambda entry: entry.created_at,
    },
    default="program",
    descending_first=frozenset({"proxies", "created_at"}),
)


class LaunchService:
    """What can be done with the list."""

    def __init__(self, *, database: Database, audit: AuditLog, rollout: Rollout) -> None:
        self._database = database
        self._audit = audit
        self._rollout = rollout

    async def all(self, actor: Actor, *, search: str = "", sort: Sort | None = None) -> list[LaunchProgramView]:
        """The entries, by program unless sorted otherwise; `search` is found in commands, notes, proxies and creators."""
        async with self._database.reader() as session:
            rows = await LaunchRepository(session, actor.tenant_id).all()
            proxies = await ProxyRepository(session, actor.tenant_id).all()
        views = [_view(row, rows, proxies) for row in rows]
        return SORTS.arranged([view for view in views if contains(search, *_searched(view))], sort)

    async def get(self, actor: Actor, program_id: str) -> LaunchProgramView:
        """One entry; raises LaunchProgramNotFound."""
        for view in await self.all(actor):
            if view.id == program_id:
                return view
        raise LaunchProgramNotFound

    async def allow(self, actor: Actor, request: AllowProgram) -> LaunchProgramView:
        """Add an entry; raises ValidationFailed, LaunchProgramListed or TooManyLaunchPrograms."""
        program, first, run_as = request.program.strip(), list(request.first_arguments), request.run_as.strip()
        problems = {
            "program": commands.program_problem(program),
            "first_arguments": commands.arguments_problem(first),
            "max_memory_mb": commands.memory_problem(request.max_memory_mb),
            # Directories of users may be on another machine.
            "run_as": await asyncio.to_thread(users.user_problem, run_as),
        }
        if fields := {name: problem for name, problem in problems.items() if problem}:
            raise ValidationFailed(fields=fields)
        async with self._database.writer() as session:
            repository = LaunchRepository(session, actor.tenant_id)
            listed = await repository.all()
            _check_room(listed, program, first)
            row = LaunchProgram(
                id=ids.new_id("lau"),
                program=program,
                first_arguments=first,
                note=request.note.strip(),
                max_memory_mb=request.max_memory_mb,
                max_cpu_seconds=request.max_cpu_seconds,
                run_as=run_as,
                created_at=clock.utcnow(),
                created_by=actor.username,
            )
            repository.add(row)
            await self._record(session, "launch_program.allowed", actor, row)
            proxies = await ProxyRepository(session, actor.tenant_id).all()
        await self._rollout.roll_out()
        return _view(row, [*listed, row], proxies)

    async def remove(self, actor: Actor, program_id: str) -> str:
        """Take an entry off the list and return its program; raises LaunchProgramNotFound. Proxies that need it fail."""
        async with self._database.writer() as session:
            repository = LaunchRepository(session, actor.tenant_id)
            row = await repository.get(program_id)
            if row is None:
                raise LaunchProgramNotFound
            row.deleted_at = clock.utcnow()
            await self._record(session, "launch_program.removed", actor, row)
        await self._rollout.roll_out()
        return row.program

    async def restore(self, actor: Actor, program_id: str) -> str:
        """Put an entry that was taken off back on the list and return its program.

        Raises NothingToRestore, LaunchProgramListed or TooManyLaunchPrograms. Proxies that failed for want of it have to
        be started again.
        """
        async with self._database.writer() as session:
            repository = LaunchRepository(session, actor.tenant_id)
            if there := await repository.get(program_id):
                return there.program
            row = await repository.deleted(program_id)
            if row is None:
                raise NothingToRestore
            _check_room(await repository.all(), row.program, row.first_arguments)
            row.deleted_at = None
            await self._record(session, "launch_program.restored", actor, row)
        await self._rollout.roll_out()
        return row.program

    async def _record(self, session: object, event: str, actor: Actor, row: LaunchProgram) -> None:
        await self._audit.record(
            session,  # type: ignore[arg-type]
            event,
            actor=actor,
            resource=(RESOURCE, row.id, row.program),
            severity="critical",
            details={
                "program": row.program,
                "first_arguments": row.first_arguments,
                "max_memory_mb": row.max_memory_mb,
                "max_cpu_seconds": row.max_cpu_seconds,
                "run_as": row.run_as,
            },
        )


def _searched(view: LaunchProgramView) -> tuple[str, ...]:
    command = " ".join([view.program, *view.first_arguments])
    return (command, view.note, view.created_by, *view.proxies)


def _check_room(listed: Sequence[LaunchProgram], program: str, first_arguments: Sequence[str]) -> None:
    """Raises LaunchProgramListed or TooManyLaunchPrograms."""
    if any((row.program, row.first_arguments) == (program, list(first_arguments)) for row in listed):
        raise LaunchProgramListed(fields={"program": "It is on the list already."})
    if len(listed) >= MAX_PROGRAMS:
        raise TooManyLaunchPrograms(f"There are {MAX_PROGRAMS} entries already.")


def _view(row: LaunchProgram, rows: Sequence[LaunchProgram], proxies: Sequence[Proxy]) -> LaunchProgramView:
    others = [other for other in rows if other is not row]
    return LaunchProgramView(
        id=row.id,
        program=row.program,
        first_arguments=list(row.first_arguments),
        note=row.note,
        max_memory_mb=row.max_memory_mb,
        max_cpu_seconds=row.max_cpu_seconds,
        run_as=row.run_as,
        proxies=[
            proxy.name
            for proxy in proxies
            if proxy.transport == "stdio"
            and commands.allows([row], proxy.launch_command)
            and not commands.allows(others, proxy.launch_command)
        ],
        created_at=row.created_at,
        created_by=row.created_by,
    )
