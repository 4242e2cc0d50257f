"""Which eras a server speaks, found out by asking it (E-02..E-04). One detector for each upstream configuration."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from typing import Any, Final, Literal

import msgspec

from proxies.mcp.bridge.leg import Fields, ServerLeg
from proxies.mcp.bridge.translate import META_CLIENT
from proxies.mcp.drain import Answer
from proxies.mcp.eras import META_CAPABILITIES, META_VERSION, MODERN_VERSIONS
from proxies.mcp.messages import UNSUPPORTED_VERSION, Message
from proxies.transport.errors import UpstreamDowngraded, UpstreamProtocolError

logger = logging.getLogger(__name__)

RECHECK_SECONDS: Final = 30.0
"""How often a server that has fallen back is asked again, where it is refused for that."""
LEGACY_SECONDS: Final = 600.0
"""How long a server counts as legacy before it is asked again: it may have been updated (E-04)."""

Era = Literal["unknown", "modern", "legacy"]


class Discovery(msgspec.Struct, frozen=True):
    """What `server/discover` brought."""

    era: Era
    result: dict[str, Any] = {}
    """Of a modern server."""
    status: int = 200
    """What the server answered instead where that is no evidence (E-02): it wants another credential, or is in trouble."""


class EraDetector:
    """Remembers the verdict. It changes on contradiction, and a legacy one grows old."""

    def __init__(
        self,
        leg: ServerLeg,
        clock: Callable[[], float] = time.monotonic,
        *,
        bridged: bool = False,
        refuses: bool = False,
    ) -> None:
        self.refuses = refuses
        """Whether a server that has fallen back gets no calls until it speaks the modern era again. May change at any time."""
        self._fallen = False
        self.bridged = bridged
        """Whether a bridge stands in front of the server, whose answers then say nothing about it."""
        self._leg = leg
        self._clock = clock
        self._era: Era = "unknown"
        self._was_modern = False
        self._judged_at = 0.0
        self._asking = asyncio.Lock()
        self._downgraded = False

    def __repr__(self) -> str:
        return f"<EraDetector {self.verdict}>"

    @property
    def verdict(self) -> Era:
        """What the server spoke when it was last asked, as long as that counts."""
        if self._era == "legacy" and self._clock() - self._judged_at > LEGACY_SECONDS:
            return "unknown"
        return self._era

    def note_modern(self) -> None:
        """The server has answered a modern request."""
        self._judge("modern")

    def take_downgrade(self) -> bool:
        """Whether the server has fallen back to the legacy era since this was last asked (E-04)."""
        downgraded, self._downgraded = self._downgraded, False
        return downgraded

    def check(self) -> None:
        """Raise UpstreamDowngraded where the server has fallen back and gets no more calls for that."""
        if self.refuses and self._fallen:
            raise UpstreamDowngraded("The server fell back to an older era of MCP, which this proxy refuses.")

    async def admit(self, fields: Fields, principal_id: str) -> None:
        """`check`, after asking a server that has fallen back once more, now and then; raises UpstreamError."""
        if self.refuses and self._fallen and self._clock() - self._judged_at > RECHECK_SECONDS:
            await self.era(fields, principal_id, fresh=True)
        self.check()

    async def era(self, fields: Fields, principal_id: str, *, fresh: bool = False) -> Discovery:
        """The era of the server, asked for only where it is not known, or where a contradiction makes that doubtful."""
        asked_at = self._clock()
        async with self._asking:
            # Whoever waited for somebody else's answer takes that.
            known = self.verdict
            if known != "unknown" and (not fresh or self._judged_at > asked_at):
                return Discovery(known)
            return await self.discover(fields, principal_id)

    async def discover(self, fields: Fields, principal_id: str) -> Discovery:
        """Ask the server what it is, for this principal; raises UpstreamError where it cannot be reached."""
        request = Message(kind="request", id=1, method="server/discover", params={"_meta": _ENVELOPE})
        answer = await self._leg.modern(fields, request, principal_id=principal_id)
        discovery = await self._classified(answer, request)
        if discovery.era != "unknown":
            self._judge(discovery.era)
        return discovery

    async def _classified(self, answer: Answer, request: Message) -> Discovery:
        status = answer.status
        if status != 200 and not is_evidence(status):
            answer.close()
            return Discovery("unknown", status=status)
        try:
            response = await self._leg.response_to(answer, request)
        except UpstreamProtocolError:
            # No JSON-RPC at all: an endpoint that has never heard of this request.
            response = None
        if response is None:
            return Discovery("legacy", status=status)
        if response.error is not None:
            # Only this one: the other codes of the modern era have other uses in old servers.
            return Discovery("modern" if response.error["code"] == UNSUPPORTED_VERSION else "legacy", status=status)
        versions = (response.result or {}).get("supportedVersions")
        if status == 200 and type(versions) is list and any(one in MODERN_VERSIONS for one in versions):
            return Discovery("modern", response.result or {})
        return Discovery("legacy", status=status)

    def _judge(self, era: Era) -> None:
        if era == "legacy" and self._was_modern:
            self._downgraded = True
            logger.warning("a server that spoke the modern era answers like one of the legacy eras now")
        self._fallen = era == "legacy" and (self._was_modern or self._fallen)
        self._was_modern = era == "modern"
        self._era = era
        self._judged_at = self._clock()


def is_evidence(status: int) -> bool:
    """Whether a refusal says something about the era: not where it is about credentials, rates or a fault (E-02)."""
    return status in (400, 404, 405, 406, 415, 422, 501)


_ENVELOPE: Final = {
    META_VERSION: MODERN_VERSIONS[-1],
    META_CAPABILITIES: {},
    META_CLIENT: {"name": "ostiary", "version": "1"},
}
