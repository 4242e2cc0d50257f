"""Ports for what is started a moment later.

They lie below the range from which the system gives ports to clients (32768 and above on Linux): one of those would now and then
belong to another test's connection when it is wanted. Each process of the tests has a share of its own.
"""

from __future__ import annotations

import itertools
import os
import random
import socket

FIRST, SHARE, SHARES = 10_240, 2_750, 8
_share = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0")[2:]) % SHARES
_start = random.randrange(SHARE)  # Two runs at once on one machine shall not try the same ones.
_numbers = (FIRST + _share * SHARE + (_start + step) % SHARE for step in itertools.count())


def free_port() -> int:
    """A loopback port that nobody listens on, and that this process has not given out lately."""
    for port in itertools.islice(_numbers, SHARE):
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise RuntimeError(f"all ports from {FIRST + _share * SHARE} on are in use")
