"""The environment of a program that is not ours: coverage would measure it at a price and count nothing."""

from __future__ import annotations

import os


def unmeasured_environment() -> dict[str, str]:
    """This process's environment without what makes a Python measure itself."""
    return {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE")}
