"""The answer that the bridge gives while the server still works on it."""

from __future__ import annotations

from typing import Final

from proxies.mcp.drain import Answer
from proxies.mcp.upstreams.answers import JSONAnswer, StreamAnswer

QUIET_SECONDS: Final = 10.0
"""After so long without a message an answer begins as a stream, so that the client is kept waiting by comments."""


async def in_its_form(answer: StreamAnswer) -> Answer:
    """The answer as one JSON message where that is all of it, else as a stream; raises UpstreamError."""
    try:
        await answer.begun(QUIET_SECONDS)
    except BaseException:
        answer.close()
        raise
    if not answer.is_single:
        return answer
    body = answer.take()
    answer.close()
    return JSONAnswer(200, body)
