"""Counts the errors in the log, so that a failure which is caught and logged is also seen by whoever reads no logs.

What goes on after a failure (a task that serves everybody, the steps after a commit, the stop of a part) says so with
`logger.error` or `logger.exception` and nothing more: this is where all of them are counted.
"""

from __future__ import annotations

import logging

from prometheus_client import CollectorRegistry, Counter

from app.logs import CONTINUED

OURS = ("app", "proxies", "rules", "ostiary")
OTHERS = "other"


class LoggedErrors(logging.Handler):
    """Counts records of the level error and above, by the logger: a module of ours, or `other`, so their number is bounded."""

    def __init__(self, registry: CollectorRegistry) -> None:
        super().__init__(logging.ERROR)
        self.total = 0
        """Since the start."""
        self._counter = Counter(
            "ostiary_errors_logged", "Errors in the log, by the module that says them.", ("logger",), registry=registry
        )

    def __repr__(self) -> str:
        return f"<LoggedErrors {self.total}>"

    def emit(self, record: logging.LogRecord) -> None:
        """Count one record. The handler's lock is held."""
        if getattr(record, CONTINUED, False):
            return
        self.total += 1
        name = record.name
        self._counter.labels(name if name.partition(".")[0] in OURS else OTHERS).inc()

    async def start(self) -> None:
        """Begin to count."""
        logging.getLogger().addHandler(self)

    async def stop(self) -> None:
        """Stop counting."""
        logging.getLogger().removeHandler(self)
