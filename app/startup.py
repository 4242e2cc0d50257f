"""From settings to a running console: directory → lock → socket → keys → database → application → server."""

from __future__ import annotations

import contextlib
import errno
import gc
import logging
import os
import signal
import socket
import sys
from pathlib import Path

import msgspec

from app.database.engine import database_path
from app.database.upgrade import database_exists, upgrade_database
from app.instance import InstanceLock
from app.paths import DataDirectory
from app.security.keys import Keys, load_keys
from app.settings import Settings, SettingsError
from app.unusable import require_room, usable
from app.unused_variables import unused

logger = logging.getLogger(__name__)

BACKLOG = 512
PRIVATE_UMASK = 0o077
UNPRIVILEGED_PORTS = 1024


def prepare(settings: Settings) -> tuple[DataDirectory, Keys]:
    """Make what the console stands on: the keys and a database with the current schema. The caller holds the lock.

    Raises SettingsError, KeysMissing or DatabaseRefused, and then has changed nothing.
    """
    directory = DataDirectory(settings.data_dir)
    path = database_path(settings, directory)
    with usable("data_dir", directory.root):
        require_room("data_dir", directory.root)
        is_first_start = not database_exists(path, directory)
        if is_first_start and settings.admin_password_file is not None:
            _check_password_file(settings.admin_password_file)
        keys = load_keys(settings, directory, may_generate=is_first_start)
        upgrade_database(path, directory, keys)
    return directory, keys


def _check_password_file(path: Path) -> None:
    """Whether the one-time password of a first start will find its place, before there is an account that needs it."""
    with usable("admin_password_file", path):
        if path.exists():
            raise SettingsError("admin_password_file", "exists already; it is never overwritten.")
        if not path.parent.is_dir():
            raise SettingsError("admin_password_file", f"its directory {path.parent} does not exist. Make it first.")
        if not os.access(path.parent, os.W_OK | os.X_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path.parent))


def bind(settings: Settings) -> socket.socket:
    """The console's listening socket, so that a taken port is reported before anything else happens."""
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        if os.name != "nt":
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((settings.host, settings.port))
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        raise SettingsError(
            "port", f"cannot listen on {settings.host}:{settings.port}: {error.strerror}. {_remedy(error, settings)}"
        ) from error
    return listener


def _remedy(error: OSError, settings: Settings) -> str:
    """What to do about an address that cannot be had."""
    if error.errno in (errno.EACCES, errno.EPERM) and settings.port < UNPRIVILEGED_PORTS:
        return "Choose a port from 1024 on, or give the program CAP_NET_BIND_SERVICE."
    if error.errno == errno.EADDRINUSE:
        return "Stop what listens there, or choose another --port."
    return "Choose another --host or --port."


def serve(settings: Settings) -> None:
    """Run the console until it is told to stop."""
    if hasattr(signal, "SIGHUP"):
        # A closed terminal is no reason to stop (RUN-11), also not halfway through an upgrade of the database.
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
    os.umask(PRIVATE_UMASK)
    directory = DataDirectory(settings.data_dir)
    with contextlib.ExitStack() as held:
        with usable("data_dir", directory.root):
            directory.create()
            held.enter_context(InstanceLock(directory.lock))
        listener = held.enter_context(contextlib.closing(bind(settings)))
        settings = msgspec.structs.replace(settings, port=listener.getsockname()[1])
        _, keys = prepare(settings)
        for variable, reason in unused(os.environ).items():
            logger.warning("%s has no effect here: %s", variable, reason)
        _run(settings, keys, listener)
    _leave_compilers()


def _leave_compilers() -> None:
    """End the process at once where a thread still compiles rules: the interpreter's own end would wait for the compiler.

    Everything is committed and closed by now, and rules reach the cache whole or not at all.
    """
    from app.fleet.rulesets import is_compiling

    if is_compiling():
        logging.shutdown()
        with contextlib.suppress(OSError, ValueError):
            sys.stdout.flush()
        os._exit(0)


def _run(settings: Settings, keys: Keys, listener: socket.socket) -> None:
    # Imported here: the checks above fail in a tenth of the time that these imports take.
    from app.application import create_app
    from app.features import worker_fleet
    from app.fleet.rulesets import Rulesets
    from app.http.events import EventBus
    from app.http.server import ConsoleServer
    from app.policies.damage import refuse_damage
    from app.policies.library import PolicyLibrary

    library = PolicyLibrary.shipped()
    if settings.strict:
        refuse_damage(library)
    app = create_app(settings, keys, make_fleet=worker_fleet(settings), library=library)
    bus: EventBus = app.state.bus
    rulesets: Rulesets = app.state.rulesets

    def on_stop() -> None:
        # What would keep a request open: streams of events, and waiting for rules.
        bus.close()
        rulesets.close()

    server = ConsoleServer(app, settings, on_stop=on_stop)
    # Code and routes live as long as the process: the collector begins its work here and need not look at them.
    gc.freeze()
    gc.enable()
    server.run(sockets=[listener])
    if not server.started:
        raise SystemExit(1)
    logger.info("Stopped")
