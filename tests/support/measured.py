"""Which processes note what runs in them, in a run that measures coverage: see `tests/measuring`."""

from __future__ import annotations

import os

_PREFIX = "COVERAGE"


def unmeasured_environment() -> dict[str, str]:
    """This process's environment, for a program that is not ours: measuring it would cost time and count nothing."""
    return {name: value for name, value in os.environ.items() if not name.startswith(_PREFIX)}


def measuring_environment() -> dict[str, str]:
    """What of this process's environment makes another one measure itself; nothing when this one is not measured."""
    found = {name: value for name, value in os.environ.items() if name.startswith(_PREFIX)}
    return found | {"PYTHONPATH": os.environ["PYTHONPATH"]} if found else {}
