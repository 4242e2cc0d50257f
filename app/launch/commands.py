"""Launch commands as pure functions: what one may look like, and whether the list of programs allows it (P-05, INJ-13)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol, TypeVar

from proxies.child_environment import changes_code

MAX_ARGUMENTS = 64
MIN_MEMORY_MB = 32
MAX_COMMAND_CHARACTERS = 8_000
MAX_VARIABLES = 64
MAX_VALUE_CHARACTERS = 8_192

NOT_LISTED = "The command is not on the list of programs that may be started (Settings, Launch)."

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._+-]{0,99}")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}")
_SHELLS = frozenset(
    {"sh", "bash", "dash", "zsh", "ksh", "fish", "csh", "tcsh", "busybox", "env", "sudo", "doas", "xargs"}
)


class AllowedProgram(Protocol):
    """An entry of the list."""

    program: str
    first_arguments: list[str]


Entry = TypeVar("Entry", bound=AllowedProgram)


def allows(programs: Iterable[AllowedProgram], command: Sequence[str]) -> bool:
    """Whether an entry names this program exactly, and the command begins with the arguments that the entry fixes."""
    return allowing(programs, command) is not None


def allowing(programs: Iterable[Entry], command: Sequence[str]) -> Entry | None:
    """The entry that allows a command; of several the one that fixes most of it."""
    fitting = [
        entry
        for entry in programs
        if command[:1] == [entry.program] and list(command[1 : 1 + len(entry.first_arguments)]) == entry.first_arguments
    ]
    return max(fitting, key=lambda entry: len(entry.first_arguments), default=None)


def memory_problem(max_memory_mb: int) -> str | None:
    """Why this cannot be a limit of memory."""
    if 0 < max_memory_mb < MIN_MEMORY_MB:
        return f"No server starts with less than {MIN_MEMORY_MB} MB. Give 0 for no limit."
    return None


def program_problem(program: str) -> str | None:
    """Why this cannot be a program of the list: the name of a file in `PATH`, or an absolute path, both exact."""
    if program.startswith("/"):
        if len(program) > 500 or not program.isprintable() or ".." in program.split("/") or program.endswith("/"):
            return "Give the absolute path of a program, without .. in it."
        name = program.rsplit("/", 1)[-1]
    elif _NAME.fullmatch(program):
        name = program
    else:
        return "Give the name of a program, such as npx, or its absolute path."
    if name in _SHELLS:
        return f"{name} starts other programs, so everything would be allowed. Name the server's own program."
    return None


def arguments_problem(arguments: Sequence[str]) -> str | None:
    """Why these cannot be arguments."""
    if len(arguments) > MAX_ARGUMENTS:
        return f"At most {MAX_ARGUMENTS} arguments."
    if sum(map(len, arguments)) > MAX_COMMAND_CHARACTERS:
        return f"The command is longer than {MAX_COMMAND_CHARACTERS} characters."
    if any("\0" in argument for argument in arguments):
        return "An argument must not hold a NUL."
    if not all(_is_encodable(argument) for argument in arguments):
        return "The arguments are not valid text."
    return None


def command_problem(command: Sequence[str]) -> str | None:
    """Why this cannot be a launch command, whatever the list says."""
    if not command or not command[0]:
        return "Give the program and its arguments."
    return program_problem(command[0]) or arguments_problem(command[1:])


def environment_problem(variables: Mapping[str, str | None]) -> str | None:
    """Why these cannot be variables of the process. Values are never repeated."""
    if len(variables) > MAX_VARIABLES:
        return f"At most {MAX_VARIABLES} variables."
    for name, value in variables.items():
        if not _VARIABLE.fullmatch(name):
            return "The name of a variable has letters, digits and underscores."
        if changes_code(name):
            return f"{name} changes what a program loads, which would get around the list of allowed programs."
        if value is not None and ("\0" in value or len(value) > MAX_VALUE_CHARACTERS or not _is_encodable(value)):
            return f"The value of {name} is too long or not valid text."
    return None


def _is_encodable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
