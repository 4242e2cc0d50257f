"""Test connection for a server that a proxy would start: it is started once, asked what it is, and ended.

Looking starts a program here, so it needs what saving the proxy needs: an administrator, and a command on the list. The audit
log keeps what was started.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from app.audit.service import AuditLog
from app.database.engine import Database
from app.errors import ValidationFailed
from app.fleet import connection_check, launch_environment
from app.fleet.schemas import CheckConnection, ConnectionReport
from app.launch.commands import NOT_LISTED, allowing, command_problem
from app.launch.repository import LaunchRepository
from app.security.permissions import Actor
from proxies.contract import StdioServer

MAX_AT_ONCE: Final = 2


class ServerTrials:
    """Starts servers one or two at a time; whoever comes later waits."""

    def __init__(
        self, *, database: Database, audit: AuditLog, environ: Mapping[str, str], data_directory: Path
    ) -> None:
        self._database = database
        self._audit = audit
        self._environ = environ
        self._data_directory = data_directory
        self._places = asyncio.Semaphore(MAX_AT_ONCE)

    def __repr__(self) -> str:
        return "<ServerTrials>"

    async def check(self, actor: Actor, wanted: CheckConnection) -> ConnectionReport:
        """Whether the server works; raises ValidationFailed for one that could not be saved."""
        if problem := command_problem(wanted.launch_command):
            raise ValidationFailed(fields={"launch_command": problem})
        async with self._database.reader() as session:
            entry = allowing(await LaunchRepository(session, actor.tenant_id).all(), wanted.launch_command)
        if entry is None:
            raise ValidationFailed(fields={"launch_command": NOT_LISTED})
        server = StdioServer(
            argv=tuple(wanted.launch_command),
            environment=await self._environment(wanted),
            working_directory=wanted.launch_directory,
            max_memory_mb=entry.max_memory_mb,
            max_cpu_seconds=entry.max_cpu_seconds,
            run_as=entry.run_as,
        )
        async with self._database.writer() as session:
            await self._audit.record(
                session,
                "proxy.server_tried",
                actor=actor,
                resource=("launch_program", entry.id, entry.program),
                severity="critical",
                details={"launch_command": list(wanted.launch_command), "launch_directory": wanted.launch_directory},
            )
        async with self._places:
            return await connection_check.check_server(wanted, server)

    async def _environment(self, wanted: CheckConnection) -> dict[str, str]:
        """The variables that were given. Those that are only stored belong to a saved proxy, and are not there."""
        given = {name: value for name, value in wanted.launch_environment.items() if value is not None}
        variables, problem = launch_environment.merged(given, {}, command_changed=True)
        if problem:
            raise ValidationFailed(fields={"launch_environment": problem})
        try:
            return await asyncio.to_thread(
                launch_environment.resolve, variables, environ=self._environ, data_directory=self._data_directory
            )
        except launch_environment.EnvironmentUnavailable as error:
            raise ValidationFailed(fields={"launch_environment": str(error)}) from error
