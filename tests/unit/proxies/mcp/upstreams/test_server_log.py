"""What a server writes to its standard error, as it may be shown."""

from __future__ import annotations

import pytest

from proxies.mcp.upstreams import server_log
from proxies.mcp.upstreams.server_log import ServerLog


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        (b"listening on port 3000", "listening on port 3000"),
        (b"password=hunter22", "password=[masked]"),
        (b'{"api_key": "abcdefgh"}', '{"api_key": "[masked]"}'),
        (b"Authorization: Bearer abc.def", "Authorization: Bearer [masked]"),
        (b"the value is configured-secret!", "the value is [masked]!"),
        (b"key ghp_16C7e42F292c6912E7710c838347Ae178B4a", "key [masked]"),
        (b"key " + b"AKIA" + b"Z7Q2M4N6P5R3T5VK", "key [masked]"),
        (b"with " + b"wJalrXUtnFEMI/K7MDENG/" + b"bPxRfiCYEXAMPLEKEY now", "with [masked] now"),
        (b"at /usr/lib/python3.11/asyncio/Subprocess.py:223", "at /usr/lib/python3.11/asyncio/Subprocess.py:223"),
        (b"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"),
        (b"red \x1b[31m and \x00", "red \\x1b[31m and \\x00"),
        (b"not utf-8 \xff", "not utf-8 �"),
    ],
)
def test_P_02_secrets_and_control_characters_are_not_shown(line: bytes, shown: str) -> None:
    log = ServerLog(["configured-secret", "ab"])
    assert log.take(line, 0.0) == shown
    assert log.tail == (shown,)
    assert log.last == shown


def test_P_02_the_tail_and_its_lines_are_bounded() -> None:
    log = ServerLog()
    assert log.last == ""
    for number in range(100):
        log.take(f"{number} ".encode() * 500, 0.0)
    assert len(log.tail) == server_log.MAX_TAIL_LINES
    assert max(map(len, log.tail)) == server_log.MAX_TAIL_CHARACTERS
    assert log.tail[-1].startswith("99 ")


def test_P_02_our_log_gets_so_many_lines_a_second_and_no_more() -> None:
    log = ServerLog()
    taken = [log.take(b"x", 100.0) for _ in range(150)]
    assert sum(text is not None for text in taken) == server_log.MAX_BURST_LINES
    assert log.dropped == 50
    assert log.take(b"later", 101.0) == "later"
