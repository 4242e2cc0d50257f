"""What a server writes to its standard error: redacted, limited, the last of it kept for people (P-02). Pure."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterable
from typing import Final

MAX_TAIL_LINES: Final = 40
MAX_TAIL_CHARACTERS: Final = 300
LINES_PER_SECOND: Final = 20.0
MAX_BURST_LINES: Final = 100.0
MIN_SECRET_CHARACTERS: Final = 4
MASK: Final = "[masked]"

_CREDENTIAL: Final = re.compile(
    r"(?P<keep>\b(?:Bearer|Basic)\s+|(?:password|passwd|secret|token|api[_-]?key|credential)s?[\"']?\s*[=:]\s*[\"']?)"
    r"[^\s\"',;&]{4,}",
    re.IGNORECASE,
)
_OPAQUE: Final = re.compile(r"[A-Za-z0-9+=_~-]{20,}|(?<![A-Za-z0-9/+=])[A-Za-z0-9/+]{40}(?![A-Za-z0-9/+=])")
"""Runs that are long enough to be a key, if there are letters and digits in them. With slashes only those of the length of
a secret key of AWS: others would be paths."""
_LETTER: Final = re.compile(r"[A-Za-z]")
_DIGIT: Final = re.compile(r"\d")
_CONTROL: Final = {code: f"\\x{code:02x}" for code in (*range(0x09), *range(0x0A, 0x20), *range(0x7F, 0xA0))}


class ServerLog:
    """The log of one server. `secrets` are values that must never be shown, such as those of its environment."""

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        self._secrets = sorted({s for s in secrets if len(s) >= MIN_SECRET_CHARACTERS}, key=len, reverse=True)
        self._tail: deque[str] = deque(maxlen=MAX_TAIL_LINES)
        self._allowance = MAX_BURST_LINES
        self._allowance_at = 0.0
        self.dropped = 0
        """Lines beyond the rate; they are in the tail but not in our log."""

    @property
    def tail(self) -> tuple[str, ...]:
        """The last lines, oldest first."""
        return tuple(self._tail)

    @property
    def last(self) -> str:
        """The last line; empty without one."""
        return self._tail[-1] if self._tail else ""

    def take(self, line: bytes, now: float) -> str | None:
        """Keep a line; its redacted text if it may go to our log now."""
        text = self.redacted(line.decode("utf-8", "replace"))[:MAX_TAIL_CHARACTERS]
        self._tail.append(text)
        passed_seconds, self._allowance_at = now - self._allowance_at, now
        self._allowance = min(MAX_BURST_LINES, self._allowance + passed_seconds * LINES_PER_SECOND)
        if self._allowance < 1:
            self.dropped += 1
            return None
        self._allowance -= 1
        return text

    def redacted(self, text: str) -> str:
        """The text without secrets and control characters."""
        for secret in self._secrets:
            text = text.replace(secret, MASK)
        text = _CREDENTIAL.sub(rf"\g<keep>{MASK}", text)
        return _OPAQUE.sub(_masked_key, text).translate(_CONTROL)


def _masked_key(match: re.Match[str]) -> str:
    run = match[0]
    return MASK if _LETTER.search(run) and _DIGIT.search(run) else run
