"""A console that approves what the fixture server declares, except for what a test names."""

from __future__ import annotations

import json
from collections.abc import Collection

from proxies.contract import EntryRule, MCPControl, Observation
from rules.pinning.canonical import sha256


class Approval:
    """Judges observations: every definition that was ever seen is accepted, whichever era it was listed in."""

    def __init__(self, except_for: Collection[str] = ()) -> None:
        self._except_for = except_for
        self._accepted: dict[str, dict[str, tuple[str, ...]]] = {"tool": {}, "prompt": {}, "template": {}}
        self._instructions: tuple[str, ...] = ()

    def __call__(self, observation: Observation) -> MCPControl:
        """The control that follows from everything seen so far."""
        for entry in observation.entries:
            known = self._accepted.setdefault(entry.kind, {})
            if entry.name not in self._except_for:
                known[entry.name] = tuple(dict.fromkeys((*known.get(entry.name, ()), entry.h_raw)))
        server = json.loads(observation.server) if observation.server else {}
        if instructions := server.get("instructions"):
            self._instructions = (sha256(instructions.encode()),)
        rules = {
            kind: {name: EntryRule(accepted=accepted) for name, accepted in entries.items()}
            for kind, entries in self._accepted.items()
        }
        return MCPControl(
            tools=rules["tool"],
            prompts=rules["prompt"],
            templates=rules["template"],
            instructions=self._instructions,
        )
