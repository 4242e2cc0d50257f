"""What a program that is not ours sees of our environment (P-05). Pure; console and workers share it.

The loader of the frozen executable points `LD_LIBRARY_PATH` at its own libraries and leaves `_PYI_*` variables behind.
Our own processes need both; any other program would load the wrong libraries. Nor are our settings, keys among them,
anybody else's business.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping

LIBRARY_PATHS = ("LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "LIBPATH")
LOADER_PREFIXES = ("_PYI_", "_MEIPASS")
OWN_PREFIX = "OSTIARY_"

PLAIN_VARIABLES = frozenset({"HOME", "LANG", "LANGUAGE", "LOGNAME", "PATH", "SHELL", "TMPDIR", "TZ", "USER"})
"""What a server that we start gets without being asked for, besides `LC_*`: where it is and who it is, no secrets."""
WORKER_VARIABLE = "OSTIARY_WORKER"
"""Names the worker that started a server, in the environment of that server and of whatever it starts: by it the console
finds what a worker left behind that could not end its servers."""
SERVER_VARIABLE = "OSTIARY_SERVER"
"""Names one started process: by it the worker finds what that process has started and what has left its process group."""
DIRECTORY_PREFIX = "ostiary-server-"
"""How the directories of servers begin, below the temporary one; the pid of the worker follows."""
DEFAULT_PATH = "/usr/local/bin:/usr/bin:/bin"

_LOADERS = re.compile(
    r"(?:LD|DYLD|_PYI|_MEIPASS|OSTIARY)(?:_.*)?|LIBPATH|BASH_ENV|ENV|NODE_OPTIONS|PYTHON(?:PATH|HOME|STARTUP)|PERL5(?:OPT|LIB)"
    r"|RUBY(?:OPT|LIB)|JAVA_TOOL_OPTIONS|JDK_JAVA_OPTIONS",
    re.IGNORECASE,
)


def without_loader(environ: Mapping[str, str], *, frozen: bool | None = None) -> dict[str, str]:
    """The environment as it was before our loader changed it. `frozen` tells whether there is a loader."""
    frozen = bool(getattr(sys, "frozen", False)) if frozen is None else frozen
    cleaned = {
        name: value
        for name, value in environ.items()
        if not name.startswith(LOADER_PREFIXES) and not name.startswith(OWN_PREFIX)
    }
    for name in LIBRARY_PATHS:
        original = cleaned.pop(f"{name}_ORIG", None)
        if original is not None:
            cleaned[name] = original
        elif frozen:
            cleaned.pop(name, None)
    return cleaned


def server_environment(
    environ: Mapping[str, str], configured: Mapping[str, str], worker_pid: int = 0
) -> dict[str, str]:
    """The environment of a server that we start: the plain variables of ours, what was configured for it, and its worker."""
    marker = {WORKER_VARIABLE: str(worker_pid)} if worker_pid else {}
    plain = {name: value for name, value in environ.items() if name in PLAIN_VARIABLES or name.startswith("LC_")}
    return {"PATH": DEFAULT_PATH, **plain, **configured, **marker}


def changes_code(name: str) -> bool:
    """Whether a variable makes a program load other code than its command says: it would get around the list of
    allowed commands."""
    return _LOADERS.fullmatch(name) is not None
