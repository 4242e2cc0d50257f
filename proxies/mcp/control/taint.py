"""Values that came from one server and go to another: a secret, a masked value or a canary in a result of the one stands
in the arguments to the other.

Nothing of a value is kept but a keyed fingerprint and its length, for each principal apart, in worker memory, bounded and for
an hour. Where a principal has been given nothing of the kind a call costs nothing. Large messages are looked at in threads: only
what changes the tables is done under a lock, and nothing that grows with a message.
"""

from __future__ import annotations

import hashlib
import os
import re
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final, NamedTuple

from proxies.exchange import Exchange
from rules.canaries import PACK as CANARY_PACK
from rules.model import Action, Confidence, Finding, Severity, Target, Text

RULE_ID: Final = "MCP-TAINT-001"
PACK: Final = "mcp-taint"
CATEGORY: Final = "exfiltration/taint"
KEPT_SECONDS: Final = 3600.0
MAX_PRINCIPALS: Final = 2_000
MAX_VALUES: Final = 500
"""Values of one principal."""
MIN_CHARACTERS: Final = 8
"""Shorter values are met by chance."""
MAX_TOKENS: Final = 5_000
"""Parts of the arguments of one call that are looked at."""
MAX_FINDINGS: Final = 20

_TOKEN: Final = re.compile(r"[^\s\"'`<>()\[\]{},;|]+")
_INNER: Final = re.compile(r"[^:=/?&#@]+")


class _Source(NamedTuple):
    proxy_id: str
    proxy_name: str
    label: str
    until: float


class _Values:
    """What one principal was given."""

    __slots__ = ("by_fingerprint", "lengths")

    def __init__(self) -> None:
        self.by_fingerprint: OrderedDict[bytes, _Source] = OrderedDict()
        self.lengths: set[int] = set()


class Taints:
    """The values of all principals of this worker."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._key = os.urandom(32)
        self._changing = threading.Lock()
        self._principals: OrderedDict[tuple[str, str], _Values] = OrderedDict()

    def __repr__(self) -> str:
        return f"<Taints principals={len(self._principals)}>"

    def note(self, exchange: Exchange, texts: Sequence[Text], findings: Iterable[Finding]) -> None:
        """Remember what a server gave this principal that must not go elsewhere."""
        wanted = [one for one in findings if one.sensitive or one.action is Action.REDACT or one.pack == CANARY_PACK]
        if not wanted:
            return
        by_place = {(text.target, text.path): text.text for text in texts}
        config = exchange.proxy.config
        until = self._clock() + KEPT_SECONDS
        given: dict[bytes, tuple[int, _Source]] = {}
        # The last ones of a message are those that are kept.
        for finding in wanted[-MAX_VALUES:]:
            value = by_place.get((finding.target, finding.path), "")[finding.value_start : finding.value_end].strip()
            if len(value) >= MIN_CHARACTERS:
                source = _Source(config.id, config.name, finding.label, until)
                given[self._fingerprint(value)] = (len(value), source)
        if given:
            with self._changing:
                self._keep(_owner(exchange), given)

    def _keep(self, owner: tuple[str, str], given: Mapping[bytes, tuple[int, _Source]]) -> None:
        values = self._principals.setdefault(owner, _Values())
        for fingerprint, (length, source) in given.items():
            values.by_fingerprint[fingerprint] = source
            values.by_fingerprint.move_to_end(fingerprint)
            values.lengths.add(length)
        while len(values.by_fingerprint) > MAX_VALUES:
            values.by_fingerprint.popitem(last=False)
        self._principals.move_to_end(owner)
        if len(self._principals) > MAX_PRINCIPALS:
            self._principals.popitem(last=False)

    def findings(self, exchange: Exchange, texts: Sequence[Text]) -> list[Finding]:
        """A finding for each place where arguments hold what another server gave."""
        values = self._values(_owner(exchange)) if self._principals else None
        if values is None:
            return []
        action = Action.parse(exchange.protection.policies.tainted_arguments)
        proxy_id = exchange.proxy.config.id
        found: list[Finding] = []
        looked = 0
        for text in texts:
            if text.target is not Target.TOOL_ARGS:
                continue
            for start, end in _parts(text.text):
                looked += 1
                if looked > MAX_TOKENS or len(found) >= MAX_FINDINGS:
                    return found
                if end - start not in values.lengths:
                    continue
                source = values.by_fingerprint.get(self._fingerprint(text.text[start:end]))
                if source is not None and source.proxy_id != proxy_id:
                    found.append(_finding(text, start, end, source, action))
        return found

    def _fingerprint(self, value: str) -> bytes:
        return hashlib.blake2b(value.encode("utf-8", "replace"), key=self._key, digest_size=16).digest()

    def _values(self, owner: tuple[str, str]) -> _Values | None:
        """What a principal was given in the last hour."""
        with self._changing:
            values = self._principals.get(owner)
            if values is None:
                return None
            now = self._clock()
            while values.by_fingerprint:
                fingerprint, source = next(iter(values.by_fingerprint.items()))
                if source.until > now:
                    return values
                del values.by_fingerprint[fingerprint]
            del self._principals[owner]
            return None


def _owner(exchange: Exchange) -> tuple[str, str]:
    """Whom the values belong to: the key, or the address of those who need none."""
    principal = exchange.principal.id
    return principal, "" if principal else exchange.request.peer_ip


def _parts(text: str) -> Iterable[tuple[int, int]]:
    """Where a value could stand: the whole text, its words, and their parts in URLs and assignments."""
    stripped = text.strip()
    start = len(text) - len(text.lstrip())
    whole = (start, start + len(stripped))
    yield whole
    for word in _TOKEN.finditer(text):
        if len(word[0]) < MIN_CHARACTERS:
            continue
        if word.span() != whole:
            yield word.span()
        for inner in _INNER.finditer(text, *word.span()):
            if inner.span() != word.span() and len(inner[0]) >= MIN_CHARACTERS:
                yield inner.span()


def _finding(text: Text, start: int, end: int, source: _Source, action: Action) -> Finding:
    return Finding(
        rule_id=RULE_ID,
        pack=PACK,
        title="A value from the results of another server",
        category=CATEGORY,
        severity=Severity.HIGH,
        confidence=Confidence.HIGH,
        score=90,
        action=action,
        target=text.target,
        path=text.path,
        start=start,
        end=end,
        view="raw",
        evidence=f"{source.label or 'a value'} of {end - start} characters, given by {source.proxy_name}"[:160],
        value_start=start,
        value_end=end,
        label=source.label or "VALUE",
        sensitive=True,
    )
