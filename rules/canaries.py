"""Canary tokens: planted texts that nobody has a reason to send, and where they may be seen.

A canary that appears away from home (another proxy, another caller, the other direction) has travelled where its neighbours
in the same document, database or prompt could travel too. Its finding stands outside the policies: packs and
overrides do not concern it.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any, Final, NamedTuple
from urllib.parse import quote, quote_plus

import msgspec
import re2

from rules.model import Action, Confidence, Finding, Severity, Target, Text
from rules.redact import mask

PACK = "canary"
CATEGORY = "exfiltration/canary"
MIN_VALUE_CHARS = 10
MAX_VALUE_CHARS = 200
MAX_CANARIES = 500
MAX_SIGHTS_PER_TEXT = 20
HEAD_CHARS = 12
"""How much of an encoded value is looked for in every text: the shortest value has so much in every encoding."""
RE2_BYTES = 64 * 1024 * 1024
"""What RE2 may take for all canaries at once; it takes what it needs, which is a hundredth for the first dozens."""
_ESCAPE: Final = re.compile(r"%[0-9A-F]{2}")
_URL_ALPHABET: Final = str.maketrans("+/", "-_")
SCORE = 100


class Canary(msgspec.Struct, frozen=True):
    """One planted text and its home."""

    id: str
    name: str
    value: str
    action: Action = Action.ALERT
    proxy_ids: frozenset[str] = frozenset()
    """The proxies through which it may pass; empty for none in particular."""
    principal_ids: frozenset[str] = frozenset()
    """The callers that may handle it; empty for none in particular."""
    direction: str = "both"
    """At home it may pass in this direction: `request`, `response` or `both`."""

    def __repr__(self) -> str:
        return f"<Canary {self.id} {self.name!r}>"

    def is_at_home(self, proxy_id: str, principal_id: str, direction: str) -> bool:
        """Whether this is where it was planted. One without a home is at home nowhere."""
        if not self.proxy_ids and not self.principal_ids:
            return False
        return (
            (not self.proxy_ids or proxy_id in self.proxy_ids)
            and (not self.principal_ids or principal_id in self.principal_ids)
            and self.direction in ("both", direction)
        )


def encodings(value: str) -> frozenset[str]:
    """What a value looks like inside base64, wherever it begins there, as hexadecimal digits, in an address and in JSON."""
    data = value.encode()
    found = {data.hex(), data.hex().upper()}
    escaped = {quote(value), quote(value, safe=""), quote_plus(value), json.dumps(value)[1:-1]}
    escaped |= {json.dumps(value, ensure_ascii=False)[1:-1], "".join(f"%{byte:02X}" for byte in data)}
    found |= {spelt for one in escaped for spelt in (one, _ESCAPE.sub(lambda escape: escape[0].lower(), one))}
    found.discard(value)
    for before in range(3):
        # The characters at both ends also hold bits of what stands around the value.
        first, last = -(-8 * before // 6), (8 * (before + len(data))) // 6
        encoded = base64.b64encode(b"\0" * before + data).decode()[first:last]
        found |= {encoded, encoded.translate(_URL_ALPHABET)}
    return frozenset(found)


class _Sight(NamedTuple):
    start: int
    end: int
    canary: Canary


class CanaryWatch:
    """Looks for all canaries at once, also encoded; the case of what stands in clear does not matter, as models change it."""

    __slots__ = ("_by_encoding", "_by_value", "_heads", "_max_chars", "_pattern")

    def __init__(self, canaries: Sequence[Canary] = ()) -> None:
        # The longest first: one value may begin another.
        watched = sorted(canaries[:MAX_CANARIES], key=lambda canary: len(canary.value), reverse=True)
        self._by_value = {canary.value.casefold(): canary for canary in watched}
        self._by_encoding = {encoded: canary for canary in watched for encoded in encodings(canary.value)}
        self._max_chars = max(map(len, (*self._by_value, *self._by_encoding)), default=0)
        self._pattern = _any_of([canary.value for canary in watched], "(?i)")
        self._heads = _any_of(sorted({encoded[:HEAD_CHARS] for encoded in self._by_encoding}))

    def __bool__(self) -> bool:
        return self._pattern is not None

    def scan(self, texts: Iterable[Text], *, proxy_id: str, principal_id: str, direction: str) -> list[Finding]:
        """The sightings away from home in whole texts."""
        if self._pattern is None:
            return []
        return [
            finding
            for text in texts
            for finding in self._sights(text, 0, proxy_id=proxy_id, principal_id=principal_id, direction=direction)
        ]

    def stream(self, target: Target, path: str, *, proxy_id: str, principal_id: str, direction: str) -> CanaryStream:
        """A watch over one text that arrives in pieces."""
        return CanaryStream(self, target, path, proxy_id, principal_id, direction)

    def masked(self, text: str) -> str:
        """A text to be shown, without the canaries that stand in it."""
        if self._pattern is None:
            return text
        pieces: list[str] = []
        position = 0
        for match in self._pattern.finditer(text):
            pieces += (text[position : match.start()], mask(match.group()))
            position = match.end()
        return "".join((*pieces, text[position:]))

    @property
    def reach_chars(self) -> int:
        """How much of the text before a piece may belong to a canary that ends in the piece."""
        return max(0, self._max_chars - 1)

    def _sights(
        self, text: Text, origin: int, *, proxy_id: str, principal_id: str, direction: str
    ) -> Iterable[Finding]:
        away = (
            _finding(canary, text, origin + start, origin + end)
            for start, end, canary in self._places(text.text)
            if not canary.is_at_home(proxy_id, principal_id, direction)
        )
        return islice(away, MAX_SIGHTS_PER_TEXT)

    def _places(self, text: str) -> Iterator[_Sight]:
        """Every canary of a text, wherever it is at home."""
        for match in self._pattern.finditer(text):
            canary = self._by_value.get(match.group().casefold())
            if canary is not None:
                yield _Sight(match.start(), match.end(), canary)
        if self._heads.search(text) is not None:
            yield from self._encoded_places(text)

    def _encoded_places(self, text: str) -> Iterator[_Sight]:
        # Few texts come here. All encodings in one pattern would take RE2 tens of megabytes.
        covered = bytearray(len(text))
        for encoded, canary in self._by_encoding.items():
            start = text.find(encoded)
            while start >= 0:
                end = start + len(encoded)
                if not covered[start]:
                    covered[start:end] = b"\1" * len(encoded)
                    yield _Sight(start, end, canary)
                start = text.find(encoded, end)


def _any_of(values: Sequence[str], flags: str = "") -> Any:
    """A pattern for all of them; None without any."""
    if not values:
        return None
    options = re2.Options()
    options.log_errors = False  # It would write the values.
    options.max_mem = RE2_BYTES
    return re2.compile(flags + "|".join(map(re2.escape, values)), options)


class CanaryStream:
    """One text in pieces. A sighting is reported once, with offsets in the whole text."""

    __slots__ = ("_direction", "_path", "_principal_id", "_proxy_id", "_seen", "_tail", "_target", "_watch")

    def __init__(
        self, watch: CanaryWatch, target: Target, path: str, proxy_id: str, principal_id: str, direction: str
    ) -> None:
        self._watch = watch
        self._target = target
        self._path = path
        self._proxy_id = proxy_id
        self._principal_id = principal_id
        self._direction = direction
        self._tail = ""
        self._seen = 0
        """Characters before the tail."""

    def feed(self, chunk: str) -> list[Finding]:
        """The sightings that end in this piece."""
        if not self._watch:
            return []
        text = self._tail + chunk
        known_end = self._seen + len(self._tail)
        found = [
            finding
            for finding in self._watch._sights(
                Text(self._target, self._path, text),
                self._seen,
                proxy_id=self._proxy_id,
                principal_id=self._principal_id,
                direction=self._direction,
            )
            if finding.end > known_end
        ]
        kept = min(len(text), self._watch.reach_chars)
        self._seen += len(text) - kept
        self._tail = text[len(text) - kept :]
        return found


def rule_id(canary_id: str) -> str:
    """The rule under which the sightings of a canary are reported."""
    return f"CANARY-{canary_id.rpartition('_')[2].upper()}"


def _finding(canary: Canary, text: Text, start: int, end: int) -> Finding:
    return Finding(
        rule_id=rule_id(canary.id),
        pack=PACK,
        title=f"The canary “{canary.name}” appeared away from home",
        category=CATEGORY,
        severity=Severity.CRITICAL,
        confidence=Confidence.HIGH,
        score=SCORE,
        action=canary.action,
        target=text.target,
        path=text.path,
        start=start,
        end=end,
        view="raw",
        evidence=f"{canary.name}: {mask(canary.value)}",
        value_start=start,
        value_end=end,
        label="CANARY",
        sensitive=True,
    )
