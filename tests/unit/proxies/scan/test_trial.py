"""A server is tried out: what it says at its end is heard, whichever of its pipes ends first."""

from __future__ import annotations

import sys

from proxies.contract.mcp import StdioServer
from proxies.scan.trial import try_server

CLOSES_ITS_OUTPUT_FIRST = "import os, sys, time; os.close(1); time.sleep(0.1); sys.exit('no licence')"


async def test_a_program_whose_output_ends_before_it_says_why_is_heard_out() -> None:
    trial = await try_server(StdioServer(argv=(sys.executable, "-c", CLOSES_ITS_OUTPUT_FIRST)))
    assert trial.problem == "The program does not speak MCP: The process has ended. Its last words: no licence"
