"""The captured texts of calls: compressed, sealed for their row, opened only to be shown or replayed.

`records -> sealed_rows` (pure, run in a thread) `-> CapturedTexts.add` in the transaction of the calls. Readers get
`CapturedCall`s; a row that cannot be opened (another key, a damaged row) is one without texts and says so.
"""

from __future__ import annotations

import asyncio
import logging
import zlib
from collections.abc import AsyncIterator, Collection, Sequence
from datetime import UTC, datetime
from typing import Any, Literal

import msgspec
from sqlalchemy import ColumnElement, insert, select, tuple_
from sqlalchemy.ext.asyncio import AsyncSession

from app.database.base import DEFAULT_TENANT
from app.security.vault import Undecryptable, Vault
from app.traffic.models import Call, CallText
from proxies.contract import CallRecord, CapturedText, RecordedFacts

logger = logging.getLogger(__name__)

TABLE = "call_texts"
COLUMN = "sealed"
COMPRESSION_LEVEL = 1
"""Texts shrink to about the half; higher levels cost several times the time and gain little."""
MAX_OPENED_BYTES = 4 * 1024 * 1024
READ_CALLS = 200
"""Rows that `captured` reads and opens at a time."""


class KeptTexts(msgspec.Struct, frozen=True):
    """What is sealed in a row."""

    omitted: int
    texts: tuple[CapturedText, ...]
    facts: RecordedFacts | None = None
    """None in rows of versions that recorded none."""


class CapturedCall(msgspec.Struct, frozen=True, kw_only=True):
    """A call and what was inspected in it, masked, requests first."""

    call_id: str
    proxy_id: str
    started_at: datetime
    protocol: str
    operation: str
    principal_id: str
    principal_name: str
    client_ip: str
    verdict: str
    """What became of it: allowed, alerted, blocked, refused or error."""
    level: str
    """At which level the policies that judged it are assigned; empty where none had anything to say."""
    findings: tuple[dict[str, Any], ...]
    """As stored with the call (`schemas.FindingView` as a dict)."""
    omitted: int
    """Texts that found no room in the capture."""
    texts: tuple[CapturedText, ...]
    facts: RecordedFacts | None = None


encoder = msgspec.msgpack.Encoder()
decoder = msgspec.msgpack.Decoder(KeptTexts)


def sealed_rows(records: Sequence[CallRecord], vault: Vault, *, tenant_id: str) -> list[dict[str, Any]]:
    """Rows of the table for the records that bring texts."""
    return [
        {
            "call_id": record.id,
            "tenant_id": tenant_id,
            "proxy_id": record.proxy_id,
            "started_at": datetime.fromtimestamp(record.started_at, UTC),
            "sealed": vault.seal(
                zlib.compress(
                    encoder.encode(KeptTexts(record.texts_omitted, record.texts, record.facts)), COMPRESSION_LEVEL
                ),
                table=TABLE,
                row=record.id,
                column=COLUMN,
            ),
        }
        for record in records
        if record.texts
    ]


def opened(call_id: str, sealed: bytes, vault: Vault) -> KeptTexts:
    """What `sealed_rows` sealed; raises Undecryptable."""
    packed = vault.open(sealed, table=TABLE, row=call_id, column=COLUMN)
    try:
        return decoder.decode(zlib.decompressobj().decompress(packed, MAX_OPENED_BYTES))
    except (zlib.error, msgspec.DecodeError) as error:
        raise Undecryptable(f"{TABLE}.{COLUMN} of {call_id} holds no texts of this version") from error


class CapturedTexts:
    """The table of captured texts of one tenant in one session."""

    def __init__(self, session: AsyncSession, vault: Vault, tenant_id: str = DEFAULT_TENANT) -> None:
        self._session = session
        self._vault = vault
        self._tenant_id = tenant_id

    async def add(self, rows: list[dict[str, Any]]) -> None:
        """Insert rows of `sealed_rows` for calls that are new."""
        if rows:
            await self._session.execute(insert(CallText.__table__), rows)  # type: ignore[arg-type]

    async def texts(self, call_id: str) -> KeptTexts | None:
        """What was captured of a call; None when nothing was. Raises Undecryptable."""
        sealed = await self._session.scalar(
            select(CallText.sealed).where(CallText.tenant_id == self._tenant_id, CallText.call_id == call_id)
        )
        return None if sealed is None else opened(call_id, sealed, self._vault)

    async def captured(
        self,
        proxy_ids: Collection[str] = (),
        since_at: datetime | None = None,
        until_at: datetime | None = None,
        *,
        limit: int,
    ) -> AsyncIterator[CapturedCall]:
        """At most `limit` calls with texts, newest first; without proxies, those of all. Rows that cannot be opened are
        left out and logged."""
        before: tuple[datetime, str] | None = None
        while limit > 0:
            statement = (
                select(Call, CallText.sealed)
                .join(CallText, CallText.call_id == Call.id)
                .where(*self._conditions(proxy_ids, since_at, until_at, before))
                .order_by(CallText.started_at.desc(), CallText.call_id.desc())
                .limit(min(limit, READ_CALLS))
            )
            rows = [(call, sealed) for call, sealed in (await self._session.execute(statement)).all()]
            if not rows:
                return
            for captured in await asyncio.to_thread(self._open_all, rows):
                yield captured
            limit -= len(rows)
            before = (rows[-1][0].started_at, rows[-1][0].id)

    def _conditions(
        self,
        proxy_ids: Collection[str],
        since_at: datetime | None,
        until_at: datetime | None,
        before: tuple[datetime, str] | None,
    ) -> list[ColumnElement[bool]]:
        conditions: list[ColumnElement[bool]] = [CallText.tenant_id == self._tenant_id]
        if proxy_ids:
            conditions.append(CallText.proxy_id.in_(proxy_ids))
        if since_at is not None:
            conditions.append(CallText.started_at >= since_at)
        if until_at is not None:
            conditions.append(CallText.started_at < until_at)
        if before is not None:
            conditions.append(tuple_(CallText.started_at, CallText.call_id) < before)
        return conditions

    def _open_all(self, rows: Sequence[tuple[Call, bytes]]) -> list[CapturedCall]:
        found = []
        for call, sealed in rows:
            try:
                kept = opened(call.id, sealed, self._vault)
            except Undecryptable as error:
                logger.error("the texts of a call are left out: %s", error)
                continue
            found.append(_captured_call(call, kept))
        return found


def _captured_call(call: Call, kept: KeptTexts) -> CapturedCall:
    return CapturedCall(
        call_id=call.id,
        proxy_id=call.proxy_id,
        started_at=call.started_at,
        protocol=call.protocol,
        operation=call.operation,
        principal_id=call.principal_id,
        principal_name=call.principal_name,
        client_ip=call.client_ip,
        verdict=call.verdict,
        level=str((call.decision or {}).get("level", "")),
        findings=tuple(call.findings),
        omitted=kept.omitted,
        texts=kept.texts,
        facts=kept.facts,
    )


CaptureState = Literal["kept", "none", "hidden", "unreadable"]
"""Whether a reader sees texts: they are there; nothing was captured; the reader may not; the key does not fit."""
