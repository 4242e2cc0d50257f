"""uvicorn with what a console on an operator's machine needs: bounds on unfinished requests, our headers on its own refusals,
event streams that end at a stop, exit code 0 after a clean one.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import sys
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

import uvicorn
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from app.errors import AppError, BadRequest, Unavailable
from app.foreign import open_browser
from app.http.headers import OTHER_REFERRER_POLICY, REQUEST_ID_HEADER, SECURITY_HEADERS
from app.http.problem import PROBLEM_TYPE, failure_json
from app.ids import new_id
from app.settings import Settings
from app.version import __version__

logger = logging.getLogger(__name__)

BACKLOG = 512
MAX_CONNECTIONS = 1000
MAX_HEAD_BYTES = 64 * 1024
HEAD_TIMEOUT_SECONDS = 15.0
KEEPALIVE_SECONDS = 30
GRACEFUL_SECONDS = 5


class HeadTooLarge(AppError):
    code = "HEADERS_TOO_LARGE"
    status = 431
    default_message = "The request's headers are too large."
    default_remediation = "Send less, or delete this site's cookies."


class HeadTooSlow(AppError):
    code = "REQUEST_TIMEOUT"
    status = 408
    default_message = "The request's headers did not arrive in time."
    default_remediation = "Try again."


class ConsoleProtocol(HttpToolsProtocol):
    """One connection. uvicorn bounds neither the size of a head nor the time that it may take."""

    _head_bytes = 0
    _head_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Accept the connection, or refuse it when there are too many."""
        super().connection_made(transport)
        if len(self.connections) > MAX_CONNECTIONS:
            self._refuse(Unavailable("Too many connections."))
            return
        self._begin_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the deadline with the connection."""
        self._end_head()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse, and refuse a head that grows without end."""
        if self.transport.is_closing():
            return
        super().data_received(data)
        if self._head_timer is None or self.transport.is_closing():
            return
        self._head_bytes += len(data)
        if self._head_bytes > MAX_HEAD_BYTES:
            self._refuse(HeadTooLarge())

    def on_message_begin(self) -> None:
        """A head begins; on a kept connection the deadline starts anew."""
        super().on_message_begin()
        self._begin_head()

    def on_headers_complete(self) -> None:
        """The head is complete in time."""
        self._end_head()
        super().on_headers_complete()

    def send_400_response(self, msg: str) -> None:
        """uvicorn's own refusal, in our form and with our headers (ADM-07)."""
        self._refuse(BadRequest(msg))

    def _begin_head(self) -> None:
        self._end_head()
        self._head_timer = self.loop.call_later(HEAD_TIMEOUT_SECONDS, self._refuse, HeadTooSlow())

    def _end_head(self) -> None:
        self._head_bytes = 0
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _refuse(self, error: AppError) -> None:
        self._end_head()
        request_id = new_id("req")
        body = failure_json(error, request_id)
        headers = {
            **SECURITY_HEADERS,
            "referrer-policy": OTHER_REFERRER_POLICY,
            "cache-control": "no-store",
            REQUEST_ID_HEADER: request_id,
            "content-type": PROBLEM_TYPE,
            "content-length": str(len(body)),
            "connection": "close",
        }
        head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        self.transport.write(STATUS_LINE[error.status] + head.encode() + b"\r\n" + body)
        self.transport.close()


class ConsoleServer(uvicorn.Server):
    """uvicorn's server. Its own handling of signals would end the process by the signal even after a clean stop."""

    def __init__(self, app: Any, settings: Settings, on_stop: Callable[[], None]) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                http=ConsoleProtocol,
                ws="none",
                lifespan="on",
                log_config=None,
                access_log=False,
                server_header=False,
                proxy_headers=False,
                backlog=BACKLOG,
                timeout_keep_alive=KEEPALIVE_SECONDS,
                timeout_graceful_shutdown=GRACEFUL_SECONDS,
            )
        )
        self._address = settings.base_url
        self._open_browser = settings.open_browser
        self._on_stop = on_stop
        self._hung_up = False

    async def startup(self, sockets: Any = None) -> None:
        """Start, and say where."""
        await super().startup(sockets)
        # Whoever started the console may have closed the terminal since; that is no reason to stop.
        with contextlib.suppress(OSError, ValueError):
            if self.started:
                sys.stdout.write(f"Ostiary {__version__}: Listening on {self._address}\n")
                sys.stdout.flush()
        if self.started and self._open_browser:
            open_browser(self._address)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Stop on SIGTERM and SIGINT for as long as the server runs; note the first SIGHUP, and ignore all (RUN-11)."""
        before = {number: signal.signal(number, self.handle_exit) for number in (signal.SIGINT, signal.SIGTERM)}
        if hasattr(signal, "SIGHUP"):
            # The loop, unlike a plain handler, calls back between two steps: no log record is cut in two.
            asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, self._note_hang_up)
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _note_hang_up(self) -> None:
        if not self._hung_up:
            self._hung_up = True
            logger.warning("SIGHUP ignored, now and later: SIGTERM stops the console")

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """The first signal stops in order, a second one at once."""
        if self.should_exit:
            self.force_exit = True
        self.should_exit = True
        self._on_stop()
