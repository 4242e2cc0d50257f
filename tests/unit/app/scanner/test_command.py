"""The scanner's command line where it asks a person."""

from __future__ import annotations

import pytest

from app.scanner import command
from proxies.contract import ScanTarget


class Terminal:
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(("answer", "goes_on"), [("yes", True), ("no", False), (None, False)])
def test_active_probes_go_on_after_a_yes_only(
    monkeypatch: pytest.MonkeyPatch, answer: str | None, goes_on: bool
) -> None:
    def ask(_prompt: str) -> str:
        if answer is None:
            raise EOFError
        return answer

    monkeypatch.setattr("sys.stdin", Terminal())
    monkeypatch.setattr("builtins.input", ask)
    assert command._confirmed(ScanTarget(target_url="https://mcp.example.org/mcp")) is goes_on
