"""Which process runs which tests: those of a file stay together, so that what its fixtures make is made once."""

from __future__ import annotations

from typing import Any

from xdist.scheduler import LoadScopeScheduling

BROWSER = "tests/browser/"
"""All files in here share a Chromium and a console with traffic."""


class Files(LoadScopeScheduling):
    """Hands out files in the order of their names: the long ones of `browser` and `integration` come first."""

    def __init__(self, config: Any, log: Any) -> None:
        config.option.loadscopereorder = False
        super().__init__(config, log)

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.partition("::")[0]
        return BROWSER if file.startswith(BROWSER) else file
