"""Traffic analysis over the calls of all workers: what no single message shows (`rules.traffic`).

It runs where the calls of every worker come together, so that nobody escapes it by being served by another one, and no
call waits for it.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from proxies.contract import CallRecord
from rules.model import Action, Finding, Text
from rules.traffic import Analyst, Observation


class TrafficAnalysis:
    """Adds findings to calls. Asked again about a call that is not yet committed it says the same again."""

    def __init__(self) -> None:
        self._analyst = Analyst()
        self._said: dict[str, list[Finding]] = {}

    def add_findings(self, records: Iterable[CallRecord]) -> list[CallRecord]:
        """The calls in their order, with what they give rise to."""
        return [self._with_findings(record) for record in records]

    def committed(self) -> None:
        """Forget what was said: these calls do not come again."""
        self._said.clear()

    def _with_findings(self, record: CallRecord) -> CallRecord:
        findings = self._said.get(record.id)
        if findings is None:
            observation = observation_of(record)
            findings = self._said[record.id] = self._analyst.observe(observation) if observation else []
        if not findings:
            return record
        return msgspec.structs.replace(
            record, findings=(*record.findings, *findings), action=max(record.action, Action.ALERT)
        )


def observation_of(record: CallRecord) -> Observation | None:
    """What traffic analysis reads of a call; None for one that never got as far as its protocol."""
    if record.protocol == "http":
        return None
    is_mcp = record.protocol.startswith("mcp.")
    return Observation(
        source=f"{record.principal_id or record.client_ip} {record.proxy_id}",
        at=record.started_at,
        is_mcp=is_mcp,
        method=record.operation.partition(" ")[0] if is_mcp else "",
        request_bytes=record.request_bytes,
        categories=frozenset(finding.category for finding in record.findings),
        texts=tuple(Text(text.target, text.path, text.text) for text in record.texts),
    )
