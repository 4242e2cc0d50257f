"""Whether an upstream can be reached: name, connection and, for https, the certificate. No request is sent.

The check has the same permission and the same validation as saving the proxy (ADM-16), and it changes nothing.
"""

from __future__ import annotations

import asyncio
import ssl
import time

from app.errors import ValidationFailed
from app.fleet import validation
from app.fleet.schemas import CheckConnection, ConnectionReport

DEADLINE_SECONDS = 5.0


async def check_connection(wanted: CheckConnection) -> ConnectionReport:
    """Resolve, connect, verify; raises ValidationFailed for a URL or path that could not be saved either."""
    url = wanted.target_url.strip().rstrip("/")
    problems = {
        "target_url": validation.target_url_problem(url),
        "upstream_ca_path": validation.path_problem(wanted.upstream_ca_path),
    }
    if fields := {name: problem for name, problem in problems.items() if problem}:
        raise ValidationFailed(fields=fields)
    scheme, host, port = validation.origin(url)
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
            tls = await asyncio.to_thread(_tls_context, wanted.upstream_ca_path) if scheme == "https" else None
            _, writer = await asyncio.open_connection(host, port, ssl=tls, server_hostname=host if tls else None)
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
    return report(stage="done", message="The upstream accepts connections.", address=address)


def _tls_context(ca_path: str) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=ca_path or None)


def _stage_of(error: OSError) -> str:
    if isinstance(error, FileNotFoundError | PermissionError):
        return "tls"  # Only the CA bundle is a file here.
    return "resolve" if error.__class__.__name__ == "gaierror" else "connect"


def _words(error: OSError) -> str:
    return (error.strerror or "the connection failed").rstrip(".")
