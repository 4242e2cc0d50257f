"""A server that is started once to see whether it works: it says what it is, lists its tools, and is ended."""

from __future__ import annotations

import asyncio
from typing import Final

import msgspec

from proxies.contract.mcp import StdioServer
from proxies.mcp.eras import LATEST_LEGACY
from proxies.scan.conversation import Client, Conversation, open_legacy, open_modern
from proxies.scan.link import Reply
from proxies.scan.stdio_link import StdioLink

TRIAL_SECONDS: Final = 30.0
MAX_WORDS: Final = 200


class Trial(msgspec.Struct, frozen=True):
    """What came of it. Its texts are the server's."""

    problem: str = ""
    """Why it does not work, in one sentence; empty where it does."""
    server: str = ""
    """Name and version that it gives itself."""
    version: str = ""
    """The revision of the protocol."""
    tools: int = 0
    """On the first page of its list."""


async def try_server(server: StdioServer, seconds: float = TRIAL_SECONDS) -> Trial:
    """Start it, speak to it, end it. Calls nothing and never raises for the server's doing."""
    try:
        link = await StdioLink.start(server)
    except OSError as error:
        return Trial(f"The server cannot be started: {error.strerror or error}.")
    try:
        async with asyncio.timeout(seconds):
            return await _tried(link)
    except TimeoutError:
        return Trial(f"The server did not answer within {seconds:.0f} seconds.{_last_words(link)}")
    finally:
        await link.aclose()


async def _tried(link: StdioLink) -> Trial:
    client = Client("ostiary")
    reply, conversation = await open_legacy(link, client, LATEST_LEGACY)
    if conversation is None and not reply.lost:
        reply, conversation = await open_modern(link, client)
    if conversation is None:
        return Trial(f"The program does not speak MCP: {_words(reply)}{_last_words(link)}")
    _, listed = await conversation.request("tools/list")
    tools = (listed or {}).get("tools")
    return Trial(
        server=_name(conversation), version=conversation.version, tools=len(tools) if type(tools) is list else 0
    )


def _words(reply: Reply) -> str:
    return (
        reply.text[:MAX_WORDS] if reply.problem or reply.lost else "its answer is neither a result nor an error of it."
    )


def _last_words(link: StdioLink) -> str:
    return f" Its last words: {link.last_words[:MAX_WORDS]}" if link.last_words else ""


def _name(conversation: Conversation) -> str:
    info = conversation.server_info
    if type(info) is not dict:
        return "a server without a name"
    return f"{info.get('name', 'a server without a name')} {info.get('version', '')}".strip()[:MAX_WORDS]
