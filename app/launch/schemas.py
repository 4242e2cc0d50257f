"""What the API and the pages say about programs that may be started."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

import msgspec
from msgspec import Meta

from app.launch.commands import MAX_ARGUMENTS

Arguments = Annotated[list[Annotated[str, Meta(max_length=4000)]], Meta(max_length=MAX_ARGUMENTS)]


class LaunchProgramView(msgspec.Struct, frozen=True, kw_only=True):
    """One entry of the list."""

    id: str
    program: str
    first_arguments: list[str]
    note: str
    max_memory_mb: int
    max_cpu_seconds: int
    run_as: str
    """The user of this machine whose rights it has; empty for the one that runs Ostiary."""
    proxies: list[str]
    """Names of the proxies whose command needs this entry: no other one allows it."""
    created_at: datetime
    created_by: str


class AllowProgram(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A program that proxies may start, by its name in PATH or by its absolute path. With `first_arguments` only commands that
    begin with these. Limits and user are those of the entry that fixes most of a command."""

    program: Annotated[str, Meta(max_length=1000)]
    first_arguments: Arguments = []
    note: Annotated[str, Meta(max_length=2000)] = ""
    max_memory_mb: Annotated[int, Meta(ge=0, le=1_048_576)] = 0
    """Memory that one process may allocate, on Linux; 0 for no limit."""
    max_cpu_seconds: Annotated[int, Meta(ge=0, le=31_536_000)] = 0
    """Processor time that one process may use in its life; 0 for no limit."""
    run_as: Annotated[str, Meta(max_length=40)] = ""
    """The user of this machine whose rights it has, where Ostiary runs as root; empty for the one that runs Ostiary."""
