"""The command line: `ostiary serve` (default), `worker`, `check`, `scan`, `mcp`, `guidelines`, `reset-password`, `audit verify`
and `version`.

Each command imports what it needs, when it runs.
"""

from __future__ import annotations

import argparse
import gc
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from app.version import __version__

if TYPE_CHECKING:
    from app.settings import Settings

EXIT_REFUSED = 1
COMMANDS = ("serve", "worker", "check", "scan", "mcp", "guidelines", "reset-password", "audit", "version")


def run(arguments: Sequence[str]) -> int:
    """Run one command and return the process's exit code."""
    words = list(arguments)
    if words[:1] not in [[command] for command in COMMANDS] and not set(words[:1]) & {"-h", "--help", "--version"}:
        words = ["serve", *words]
    separated = None
    if words[:1] == ["scan"] and "--" in words:
        # What follows belongs to the server that is to be started, whatever it looks like.
        words, separated = words[: words.index("--")], words[words.index("--") + 1 :]
    given = _parser().parse_args(words)
    match given.command:
        case "worker":
            return _worker(given)
        case "check":
            return _check(given.files)
        case "scan":
            return _scan(given, separated)
        case "mcp":
            return _mcp(given)
        case "guidelines":
            return _guidelines(given)
        case "version":
            print(__version__)
            return 0
        case "reset-password":
            return _with_settings(given, lambda settings: _reset_password(settings, given.username))
        case "audit":
            return _with_settings(given, _verify_audit)
    return _with_settings(given, _serve)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="ostiary", description="A security gateway for AI traffic.")
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(dest="command", required=True)
    installation = argparse.ArgumentParser(add_help=False)
    installation.add_argument("--config", metavar="FILE", help="TOML file with settings")
    installation.add_argument("--data-dir", type=Path, metavar="DIR", help="keys, database, caches (./ostiary-data)")
    serve = commands.add_parser("serve", parents=[installation], help="run the console and its proxies (the default)")
    serve.add_argument("--host", help="address of the console (127.0.0.1)")
    serve.add_argument("--port", type=int, help="port of the console (8080)")
    serve.add_argument("--workers", type=int, metavar="N", help="worker processes (1)")
    serve.add_argument("--admin-password-file", type=Path, metavar="FILE", help="write the one-time password there")
    serve.add_argument(
        "--open", dest="open_browser", action="store_true", default=None, help="show the console in the browser"
    )
    serve.add_argument("--log-level", metavar="LEVEL", help="debug, info, warning or error (info)")
    serve.add_argument("--drain-timeout-seconds", type=float, metavar="N", help="time for open calls at a stop (30)")
    serve.add_argument(
        "--allow-plain-http", action="store_true", default=None, help="listen beyond loopback without TLS in front"
    )
    serve.add_argument(
        "--strict", action="store_true", default=None, help="refuse to start while a file of rules is damaged"
    )
    worker = commands.add_parser("worker", help="internal: one worker process, started by the console")
    worker.add_argument("--channel-fd", type=int, required=True)
    worker.add_argument("--sockets-fd", type=int, required=True)
    worker.add_argument("--spool-dir", type=Path, required=True)
    check = commands.add_parser("check", help="check rule packs, policies, and policies of other products")
    check.add_argument("files", nargs="+", type=Path, metavar="FILE")
    _add_scan(commands.add_parser("scan", help="scan an MCP server: a URL, or after -- a command"))
    mcp = commands.add_parser("mcp", help="be an MCP server on the standard streams, for assistants")
    mcp.add_argument("--console", default="", metavar="URL", help="ask this console (with the token in OSTIARY_TOKEN)")
    _add_guidelines(commands.add_parser("guidelines", help="keep documents whose passages alerts cite"))
    reset = commands.add_parser(
        "reset-password", parents=[installation], help="print a new one-time password (the console must be stopped)"
    )
    reset.add_argument("username", nargs="?", default="admin")
    audit = commands.add_parser("audit", help="check the audit log's chain")
    audit.add_subparsers(dest="audit_command", required=True).add_parser("verify", parents=[installation])
    commands.add_parser("version", help="print the version")
    return parser


def _add_guidelines(parser: argparse.ArgumentParser) -> None:
    commands = parser.add_subparsers(dest="guidelines_command", required=True)
    ingest = commands.add_parser("ingest", help="keep files in a console (with the token in OSTIARY_TOKEN)")
    ingest.add_argument("files", nargs="+", type=Path, metavar="FILE")
    ingest.add_argument("--console", default="http://127.0.0.1:8080", metavar="URL", help="(http://127.0.0.1:8080)")
    search = commands.add_parser("search", help="print which passages of files would be cited for a text")
    search.add_argument("text", metavar="TEXT")
    search.add_argument("files", nargs="+", type=Path, metavar="FILE")


def _add_scan(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("target", nargs="?", metavar="TARGET", help="URL of the MCP endpoint; or -- COMMAND ARGS...")
    parser.add_argument("--format", choices=("table", "json", "sarif", "html"), default="table", help="(table)")
    parser.add_argument("--output", type=Path, metavar="FILE", help="write there instead of the standard output")
    parser.add_argument(
        "--fail-on",
        choices=("never", "low", "medium", "high", "critical"),
        default="high",
        help="exit status 3 for a finding of this severity or worse (high)",
    )
    parser.add_argument(
        "--header", action="append", default=[], metavar="NAME:VALUE", help="send it; env:NAME as value"
    )
    parser.add_argument("--env", action="append", default=[], metavar="NAME[=VALUE]", help="variable of the command")
    parser.add_argument("--policy", metavar="NAME", help="whose rules read the declarations (mcp-advanced-security)")
    parser.add_argument("--ca", default="", metavar="FILE", help="CA bundle that replaces the system's")
    parser.add_argument("--timeout", type=float, default=180.0, metavar="SECONDS", help="of the whole scan (180)")
    parser.add_argument("--active", action="store_true", help="also call tools that look harmless; asks first")
    parser.add_argument("--yes", action="store_true", help="answers that question")
    parser.add_argument("--quiet", action="store_true", help="no progress on the terminal")


def _scan(given: argparse.Namespace, separated: Sequence[str] | None) -> int:
    from app.scanner import command

    return command.run(given, separated)


def _guidelines(given: argparse.Namespace) -> int:
    from app.guidelines import command

    return command.run(given)


def _mcp(given: argparse.Namespace) -> int:
    from app.mcp_server import command

    return command.run(given)


def _with_settings(given: argparse.Namespace, action: Callable[[Settings], int]) -> int:
    """Run what needs an installation; what refuses to work says why on one line."""
    from app import logs
    from app.database.upgrade import DatabaseRefused
    from app.errors import AppError
    from app.instance import AlreadyRunning
    from app.security.keys import KeysMissing
    from app.settings import READERS, SettingsError, load

    flags = {name: value for name, value in vars(given).items() if name in READERS or name == "config"}
    try:
        settings = load(flags, os.environ)
        logs.configure(settings)
        return action(settings)
    except (SettingsError, AlreadyRunning, KeysMissing, DatabaseRefused, AppError) as refusal:
        print(f"ostiary: {refusal}", file=sys.stderr)
        return EXIT_REFUSED


def _serve(settings: Settings) -> int:
    # A start makes many objects and hardly any garbage: to look for it would be a sixth of its processor time.
    gc.disable()
    try:
        from app.startup import serve

        serve(settings)
    finally:
        gc.enable()
    return 0


def _reset_password(settings: Settings, username: str) -> int:
    from app.offline import reset_password

    reset_password(settings, username, lambda password: print(f"One-time password of {username}: {password}"))
    return 0


def _verify_audit(settings: Settings) -> int:
    from app.offline import verify_audit

    checked, bad = verify_audit(settings)
    if bad is not None:
        print(f"The audit log is broken at entry {bad}; {checked} entries before it are sound.", file=sys.stderr)
        return EXIT_REFUSED
    print(f"The audit log is sound: {checked} entries.")
    return 0


def _worker(given: argparse.Namespace) -> int:
    from proxies import worker

    return worker.run(
        channel_fd=given.channel_fd, sockets_fd=given.sockets_fd, spool_dir=given.spool_dir, version=__version__
    )


def _check(files: Sequence[Path]) -> int:
    from rules.importers.checking import check_file
    from rules.packs import SHIPPED, read_directory

    shipped, damage = read_directory(SHIPPED)
    for problem in damage:
        print(f"ostiary: damaged: {problem}", file=sys.stderr)
    failed = bool(damage)
    for path in files:
        try:
            data = path.read_bytes()
        except OSError as error:
            print(f"{path}: {error.strerror}", file=sys.stderr)
            failed = True
            continue
        checked = check_file(data, str(path), shipped)
        for problem in checked.problems:
            print(problem, file=sys.stderr)
        for note in checked.notes:
            print(f"{path}#{note.pointer}: {note.kind}: {note.reason}")
        for remark in checked.remarks:
            print(f"{remark} (has no effect)")
        failed = failed or bool(checked.problems)
        if not checked.problems:
            print(f"{path}: {checked.summary}")
    return EXIT_REFUSED if failed else 0
