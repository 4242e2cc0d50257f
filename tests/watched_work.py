"""Watches synchronous steps: which ran, over how much, and whether on the event loop's own thread (LIM-15)."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from proxies.steps import mask, restore
from rules.engine import Ruleset


class Work(msgspec.Struct):
    """One piece of synchronous work, and whether it ran on the loop's own thread."""

    step: str
    size: int
    on_loop: bool


class Watch:
    """Made on the loop's thread. Scanning, masking and restoring are watched from the start, each by its characters."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.works: list[Work] = []
        self._monkeypatch = monkeypatch
        self._loop_thread = threading.get_ident()
        self.add(Ruleset, "recall", _characters)
        self.add(mask, "mask_request", lambda _exchange, _document, *more: _characters(None, more[0]))
        self.add(restore, "finish_answer", lambda _exchange, _document, *more: _characters(None, more[0]))

    def add(self, holder: Any, name: str, size: Callable[..., int], step: str = "") -> None:
        """Watch one function of `holder` too; `size` is asked with its arguments."""
        real = getattr(holder, name)

        def watched(*args: Any, **more: Any) -> Any:
            self.works.append(Work(step or name, size(*args), threading.get_ident() == self._loop_thread))
            return real(*args, **more)

        self._monkeypatch.setattr(holder, name, watched)


def _characters(_first: Any, texts: Any, *_more: Any) -> int:
    return sum(len(text.text) for text in texts)
