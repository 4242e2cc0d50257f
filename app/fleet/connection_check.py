"""Whether an upstream can be reached: name, connection and, for https, the certificate. No request is sent, except to a server
that is started for the check and ended after it.

The check has the same permission and the same validation as saving the proxy (ADM-16), it dials what a worker would dial
and nothing else (SSRF-01, 02), and it changes nothing.
"""

from __future__ import annotations

import asyncio
import ipaddress
import os
import re
import shlex
import shutil
import socket
import ssl
import time
from collections.abc import Sequence

from app.errors import ValidationFailed
from app.fleet import validation
from app.fleet.draft import http_form
from app.fleet.schemas import CheckConnection, ConnectionReport
from app.upstream_proxy import UpstreamProxies
from proxies.child_environment import server_environment
from proxies.contract import StdioServer, UpstreamProxy
from proxies.egress_policy import refused_address, refused_name

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]
DEADLINE_SECONDS = 5.0
MAX_ADDRESSES = 8


_STATUS = re.compile(rb"HTTP/1\.[01] ([0-9]{3})[ \r]")


class ProxyRefused(Exception):
    """The HTTP proxy on the way is not there or does not connect; the message says why."""


class AddressRefused(Exception):
    """The upstream's name has an address that must not be dialled; the message says which and why."""


def _target(wanted: CheckConnection) -> str:
    return http_form(wanted.target_url.strip().rstrip("/"), wanted.transport)


def refuse_unfit(wanted: CheckConnection) -> None:
    """Raise ValidationFailed for a URL or path that could not be saved either."""
    problems = {
        "target_url": validation.target_url_problem(_target(wanted)),
        "upstream_ca_path": validation.path_problem(wanted.upstream_ca_path),
        **validation.pair_problems(
            upstream_client_cert_path=wanted.upstream_client_cert_path,
            upstream_client_key_path=wanted.upstream_client_key_path,
        ),
    }
    if fields := {name: problem for name, problem in problems.items() if problem}:
        raise ValidationFailed(fields=fields)


async def check_connection(wanted: CheckConnection, proxies: UpstreamProxies) -> ConnectionReport:
    """Resolve, connect, verify; raises ValidationFailed for a URL or path that could not be saved either."""
    refuse_unfit(wanted)
    scheme, host, port = validation.origin(_target(wanted))
    proxy = proxies.for_target(_target(wanted))
    started = time.perf_counter()

    def report(*, stage: str, message: str, address: str = "") -> ConnectionReport:
        return ConnectionReport(
            reachable=stage == "done",
            stage=stage,  # type: ignore[arg-type]
            message=message,
            address=address,
            elapsed_ms=round((time.perf_counter() - started) * 1000, 1),
        )

    try:
        async with asyncio.timeout(DEADLINE_SECONDS):
            tls = await asyncio.to_thread(_tls_context, wanted) if scheme == "https" else None
            writer = await _open(proxy, host, port, tls)
    except AddressRefused as error:
        return report(stage="resolve", message=str(error))
    except ProxyRefused as error:
        return report(stage="connect", message=str(error))
    except TimeoutError:
        return report(stage="connect", message=f"No answer from {host}:{port} within {DEADLINE_SECONDS:.0f} seconds.")
    except ssl.SSLCertVerificationError as error:
        return report(stage="tls", message=f"The certificate is not accepted: {error.verify_message}.")
    except ssl.SSLError as error:
        return report(stage="tls", message=f"TLS failed: {error.reason or 'unknown reason'}.")
    except OSError as error:
        return report(stage=_stage_of(error), message=f"{host}:{port} cannot be reached: {_words(error)}.")
    address = "{}:{}".format(*writer.get_extra_info("peername")[:2])
    writer.transport.abort()
    if proxy is not None and tls is None:
        return report(stage="done", message=f"The proxy {proxy.address} accepts connections.", address=address)
    way = f" through the proxy {proxy.address}" if proxy is not None else ""
    return report(stage="done", message=f"The upstream accepts connections{way}.", address=address)


async def check_server(wanted: CheckConnection, server: StdioServer) -> ConnectionReport:
    """Start a server once, have it say what it is and list its tools, and end it."""
    from proxies.scan.trial import try_server  # Here, because the console needs none of it otherwise.

    missing = await asyncio.to_thread(check_command, wanted)
    if not missing.reachable:
        return missing
    started = time.perf_counter()
    trial = await try_server(server)
    tools = "no tools" if not trial.tools else "1 tool" if trial.tools == 1 else f"{trial.tools} tools"
    return ConnectionReport(
        reachable=not trial.problem,
        stage="connect" if trial.problem else "done",
        message=trial.problem
        or f"The server works: {trial.server}, MCP {trial.version}, {tools}. It has been ended again.",
        address="",
        elapsed_ms=round((time.perf_counter() - started) * 1000, 1),
    )


def check_command(wanted: CheckConnection) -> ConnectionReport:
    """Whether the program of a launch command and its directory are there; nothing is started."""
    started = time.perf_counter()
    program = wanted.launch_command[0]
    found = shutil.which(program, path=server_environment(os.environ, {})["PATH"])
    problem = ""
    if found is None:
        problem = f"{program} is missing or not executable on this machine."
    elif wanted.launch_directory and not os.path.isdir(wanted.launch_directory):
        problem = f"The directory {wanted.launch_directory} is missing."
    return ConnectionReport(
        reachable=not problem,
        stage="connect" if problem else "done",
        message=problem
        or f"The program is there. It would run: {shlex.join([found or program, *wanted.launch_command[1:]])}",
        address="",
        elapsed_ms=round((time.perf_counter() - started) * 1000, 1),
    )


async def _open(proxy: UpstreamProxy | None, host: str, port: int, tls: ssl.SSLContext | None) -> asyncio.StreamWriter:
    """A connection as a worker would make it: to the upstream, through a tunnel, or to the proxy of an http target."""
    if proxy is None:
        return (await _connect(await _addresses(host, port), host, port, tls))[1]
    if reason := _refused_behind_proxy(host):
        raise AddressRefused(f"{host} is not allowed: {reason}.")
    try:
        reader, writer = await _connect(await _addresses(proxy.host, proxy.port), proxy.host, proxy.port, None)
    except OSError as error:
        raise ProxyRefused(f"The proxy {proxy.address} cannot be reached: {_words(error)}.") from error
    if tls is not None:
        await _tunnel(proxy, reader, writer, host, port)
        await writer.start_tls(tls, server_hostname=host)
    return writer


def _refused_behind_proxy(host: str) -> str | None:
    try:
        return refused_address(ipaddress.ip_address(host))
    except ValueError:
        return refused_name(host)


async def _tunnel(
    proxy: UpstreamProxy, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, host: str, port: int
) -> None:
    """Have the proxy connect to the target (RFC 9110 §9.3.6); raises ProxyRefused."""
    authority = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    login = f"Proxy-Authorization: {proxy.authorization}\r\n" if proxy.authorization else ""
    writer.write(f"CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\n{login}\r\n".encode("ascii"))
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except (asyncio.IncompleteReadError, asyncio.LimitOverrunError, ConnectionError) as error:
        writer.transport.abort()
        raise ProxyRefused(f"The proxy {proxy.address} does not answer as a proxy.") from error
    answer = _STATUS.match(head)
    if answer is None or answer[1][:1] != b"2":
        writer.transport.abort()
        said = answer[1].decode() if answer else "something that is not HTTP"
        raise ProxyRefused(f"The proxy {proxy.address} answered {said} instead of connecting to {authority}.")


async def _addresses(host: str, port: int) -> list[str]:
    """The literal addresses to dial. One forbidden answer makes the whole name untrustworthy, as for the workers."""
    answers = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    addresses = [ipaddress.ip_address(str(answer[4][0]).partition("%")[0]) for answer in answers]
    for address in addresses:
        if reason := refused_address(address):
            raise AddressRefused(f"{host} has the address {address}, which is not allowed: {reason}.")
    return [str(address) for address in addresses[:MAX_ADDRESSES]]


async def _connect(addresses: Sequence[str], host: str, port: int, tls: ssl.SSLContext | None) -> Streams:
    """A connection to the first address that accepts; raises the last address' OSError. A refused certificate ends it."""
    for address in addresses:
        try:
            return await asyncio.open_connection(address, port, ssl=tls, server_hostname=host if tls else None)
        except ssl.SSLError:
            raise
        except OSError:
            if address == addresses[-1]:
                raise
    raise OSError("the name has no address")


def _tls_context(wanted: CheckConnection) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=wanted.upstream_ca_path or None)
    if wanted.upstream_client_cert_path:
        # The callback answers for encrypted keys: without it OpenSSL would ask at the terminal and wait.
        context.load_cert_chain(wanted.upstream_client_cert_path, wanted.upstream_client_key_path, password=lambda: "")
    return context


def _stage_of(error: OSError) -> str:
    if isinstance(error, FileNotFoundError | PermissionError):
        return "tls"  # Only the CA bundle and the client certificate are files here.
    return "resolve" if error.__class__.__name__ == "gaierror" else "connect"


def _words(error: OSError) -> str:
    return (error.strerror or "the connection failed").rstrip(".")
