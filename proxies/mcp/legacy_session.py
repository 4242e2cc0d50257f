"""A legacy session on both legs: whose it is, and how a message travels inside it (L-01, L-03, L-04)."""

from __future__ import annotations

import asyncio
import logging
from typing import Final

from proxies.exchange import Exchange
from proxies.mcp.alerts import alerting_finding, raise_alert
from proxies.mcp.drain import ABANDONED_SECONDS, DRAINS, Answer, PatientResponse
from proxies.mcp.eras import VERSION_HEADER, check_legacy_version
from proxies.mcp.messages import INVALID_REQUEST, Message
from proxies.mcp.refusals import RPCRefusal, invalid_request
from proxies.mcp.sessions import Session, SessionStore
from proxies.mcp.upstream import SESSION_HEADER, failed, legacy_headers, send
from proxies.mcp.upstreams.answers import SESSION_GONE
from proxies.strict_json import dump
from proxies.transport.errors import UpstreamError

logger = logging.getLogger(__name__)

SESSIONS: Final = SessionStore()
"""Those of this worker."""
CLAIMED_RULE: Final = "MCP-OWNER-001"
_CLAIMED: Final = alerting_finding(
    CLAIMED_RULE,
    "Somebody presented the session of another key",
    category="mcp/session",
    evidence="the Mcp-Session-Id of a session that belongs to another key",
)


def session_for(exchange: Exchange) -> Session:
    """The session that the request names; raises 400 without one, 404 where it is not this principal's (L-01, L-03)."""
    headers = exchange.request.headers
    id = headers.get(SESSION_HEADER)
    if id is None:
        raise invalid_request(
            "The Mcp-Session-Id header is missing.",
            remediation="Send initialize first, then the Mcp-Session-Id of its answer with every request.",
        )
    session = SESSIONS.find(id, proxy_id=exchange.proxy.config.id, principal_id=exchange.principal.id)
    if session is None:
        if SESSIONS.take_claim(id, exchange.principal.id):
            raise_alert(exchange, _CLAIMED)
        raise session_not_found()
    check_legacy_version(headers.get(VERSION_HEADER), session.version)
    exchange.conversation = session.recent_findings
    return session


def session_not_found() -> RPCRefusal:
    """The status that makes every client initialize anew (L-03)."""
    return RPCRefusal(
        404, INVALID_REQUEST, "session_not_found", "Session not found", remediation="Initialize a new session."
    )


def upstream_headers(exchange: Exchange, session: Session, *, traced: bool = False) -> list[tuple[str, str]]:
    """The fields of a message inside a session."""
    return legacy_headers(exchange, version=session.version, session_id=session.upstream_id, traced=traced)


def check_upstream_status(response: Answer, session: Session) -> None:
    """Refuse what is not a success; the upstream's loss of the session becomes the client's (L-03)."""
    if 200 <= response.status < 300:
        return
    if response.status in (404, SESSION_GONE) and session.upstream_id is not None:
        SESSIONS.close(session)
        raise session_not_found()
    raise failed(response, modern=False)


async def send_reply(exchange: Exchange, session: Session, message: Message) -> None:
    """Send a message upstream on the client's behalf (D-03). A failure is the server's to notice."""
    try:
        response = await send(exchange, "POST", upstream_headers(exchange, session), dump(message.body()))
        response.close()
    except UpstreamError as error:
        logger.warning("an answer given for the client of %s did not arrive: %s", exchange.id, error.code)


async def send_patiently(exchange: Exchange, session: Session, body: bytes) -> PatientResponse:
    """Send, in a way that a client's departure does not take the request back (L-11)."""

    async def sent() -> PatientResponse:
        return PatientResponse(await send(exchange, "POST", upstream_headers(exchange, session, traced=True), body))

    sending = asyncio.ensure_future(sent())
    try:
        response = await asyncio.shield(sending)
    except asyncio.CancelledError:
        DRAINS.start(sending, ABANDONED_SECONDS)
        raise
    exchange.lap("upstream", waiting=True)
    return response
