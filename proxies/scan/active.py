"""Active probes: calls of tools that look as if they could do no harm. Only after somebody has confirmed it.

A tool that can destroy, run, pay, write or send, or that says so itself, is never called. Every other one is called
with harmless arguments, and with one unusual value at a time where a parameter names a file or an address.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import secrets
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any, Final

import msgspec

from proxies.scan.conversation import Conversation
from proxies.scan.link import Reply
from rules.pinning.capabilities import DESTRUCTIVE, Capability, capabilities_of
from rules.scanning.facts import Probe, ToolAnswer

MAX_TOOLS: Final = 20
MAX_CALLS: Final = 80
MAX_ANSWER_CHARS: Final = 8_000
NESTING_LEVELS: Final = 100
TRAVERSAL: Final = "../../../../../../../../../../etc/passwd"
FORBIDDEN: Final = DESTRUCTIVE | {Capability.SEND}
_PASSWD: Final = re.compile(r"\broot:[^:\s]{0,8}:0:0:")
_PATH: Final = re.compile(r"path|file|dir|folder|document", re.IGNORECASE)
_URL: Final = re.compile(r"ur[li]|link|endpoint|address|webhook|host|website|page", re.IGNORECASE)
_DANGEROUS_NAME: Final = re.compile(
    r"delete|remove|drop|exec|run|eval|shell|write|creat|update|insert|send|post|pay|buy|order|transfer|kill|stop|"
    r"restart|reboot|shutdown|deploy|install|upload|publish|merge|commit|push|move|rename|grant|revoke|reset|cancel",
    re.IGNORECASE,
)


Revive = Callable[[Conversation, Reply], Awaitable[Conversation | None]]
"""The conversation to go on with after a reply: another one where the reply ended it, None where there is none."""


class Kit(msgspec.Struct, frozen=True):
    """What the probes look for afterwards."""

    canary_path: str = ""
    """A file on this machine with a text that is nowhere else; empty where the server is on another machine."""
    canary_text: str = ""
    listener_url: str = ""
    """An address on this machine where nobody but a probe calls."""
    hits: set[str] = set()
    """Paths that were asked for at the listener."""


def may_call(tool: dict[str, Any]) -> bool:
    """Whether an active probe may call a tool."""
    annotations = tool.get("annotations")
    hints = annotations if type(annotations) is dict else {}
    if hints.get("destructiveHint") is True or hints.get("readOnlyHint") is False:
        return False
    name = tool.get("name")
    if type(name) is not str or _DANGEROUS_NAME.search(name):
        return False
    return not set(capabilities_of(tool)) & FORBIDDEN


async def probe_tools(
    conversation: Conversation | None, tools: list[Any], *, is_local: bool, revive: Revive
) -> tuple[tuple[ToolAnswer, ...], tuple[str, ...], tuple[str, ...]]:
    """The answers, the names of the tools that were called, and of those that were not.

    A server that a probe has ended says nothing about the next one, so that a conversation is opened anew after it.
    """
    named = [tool for tool in tools if type(tool) is dict and type(tool.get("name")) is str]
    chosen = [tool for tool in named if may_call(tool)][:MAX_TOOLS]
    answers: list[ToolAnswer] = []
    async with _kit(is_local) as kit:
        for tool, probe, arguments in ((one, *step) for one in chosen for step in _probes(one, kit)):
            if conversation is None or len(answers) >= MAX_CALLS:
                break
            reply, answer = await _call(conversation, tool["name"], probe, arguments, kit)
            answers.append(answer)
            conversation = await revive(conversation, reply)
    called = tuple(dict.fromkeys(answer.tool for answer in answers))
    return tuple(answers), called, tuple(tool["name"] for tool in named if tool["name"] not in called)


async def _call(
    conversation: Conversation, name: str, probe: Probe, arguments: dict[str, Any], kit: Kit
) -> tuple[Reply, ToolAnswer]:
    reply, result = await conversation.request("tools/call", {"name": name, "arguments": arguments})
    text = _text_of(result) if result is not None else reply.text
    seen = {
        "canary": bool(kit.canary_text) and kit.canary_text in text,
        "traversal": _PASSWD.search(text) is not None,
        "ssrf": any(str(value).endswith(path) for path in kit.hits for value in arguments.values()),
    }.get(probe, False)
    if probe == "traversal" and (line := _PASSWD.search(text)):
        text = line[0]  # Enough to prove it; the rest is nobody's business.
    sent = msgspec.json.encode(arguments).decode()
    return reply, ToolAnswer(
        tool=name,
        probe=probe,
        text=text[:MAX_ANSWER_CHARS],
        arguments=sent if len(sent) <= 400 else f"{sent[:60]}… ({len(sent)} characters)",
        is_error=result is None or result.get("isError") is True,
        lost=reply.lost or reply.status >= 500,
        marker_seen=seen,
    )


def _text_of(result: dict[str, Any]) -> str:
    parts = result.get("content")
    texts = [
        one["text"] if type(one.get("text")) is str else msgspec.json.encode(one).decode()
        for one in (parts if type(parts) is list else [])
        if type(one) is dict
    ]
    if "structuredContent" in result:
        texts.append(msgspec.json.encode(result["structuredContent"]).decode())
    return "\n".join(texts)


def _probes(tool: dict[str, Any], kit: Kit) -> Iterator[tuple[Probe, dict[str, Any]]]:
    schema = tool.get("inputSchema")
    properties = schema.get("properties") if type(schema) is dict else None
    members: dict[str, Any] = properties if type(properties) is dict else {}
    required = [name for name in (schema or {}).get("required", []) if name in members] if type(schema) is dict else []
    plain = {name: harmless(members[name]) for name in required}
    yield "plain", plain
    for name, member in list(members.items())[:20]:
        if not _takes_text(member):
            continue
        if _PATH.search(name):
            if kit.canary_path:
                yield "canary", {**plain, name: kit.canary_path}
            yield "traversal", {**plain, name: TRAVERSAL}
        elif _URL.search(name) and kit.listener_url:
            yield "ssrf", {**plain, name: f"{kit.listener_url}/{secrets.token_hex(8)}"}
    if members:
        first = required[0] if required else next(iter(members))
        yield "types", {**plain, first: {"unexpected": [True, None]}}
        yield "nesting", {**plain, first: _nested()}


def harmless(schema: Any, depth: int = 0) -> Any:
    """A plain value that a schema accepts."""
    if type(schema) is not dict or depth > 4:
        return "test"
    for key in ("const", "default"):
        if key in schema:
            return schema[key]
    choices = schema.get("enum")
    if type(choices) is list and choices:
        return choices[0]
    type_ = schema.get("type")
    kind = type_[0] if type(type_) is list and type_ else type_
    if kind in ("integer", "number"):
        least = schema.get("minimum")
        return least if type(least) in (int, float) else 1
    if kind == "boolean":
        return False
    if kind == "array":
        return [harmless(schema.get("items"), depth + 1)] if schema.get("minItems") else []
    if kind == "object":
        members = schema.get("properties")
        needed = schema.get("required")
        if type(members) is not dict or type(needed) is not list:
            return {}
        return {name: harmless(members[name], depth + 1) for name in needed if name in members}
    return {"uri": "https://example.com/", "date": "2026-01-01", "email": "nobody@example.com"}.get(
        str(schema.get("format")), "test"
    )


def _takes_text(schema: Any) -> bool:
    return type(schema) is dict and schema.get("type", "string") == "string" and not schema.keys() & {"enum", "const"}


def _nested() -> dict[str, Any]:
    value: dict[str, Any] = {}
    for _ in range(NESTING_LEVELS):
        value = {"a": value}
    return value


@contextlib.asynccontextmanager
async def _kit(is_local: bool) -> AsyncIterator[Kit]:
    """What the probes need on this machine, as long as they run."""
    if not is_local:
        yield Kit()
        return
    hits: set[str] = set()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, ValueError, asyncio.IncompleteReadError, TimeoutError):
            async with asyncio.timeout(2):
                line = await reader.readline()
            words = line.decode("latin-1").split(" ")
            if len(words) == 3 and len(hits) < MAX_CALLS:
                hits.add(words[1])
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok")
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0, limit=8_192)
    with tempfile.TemporaryDirectory(prefix="ostiary-scan-") as directory:
        path, text = _plant(Path(directory))
        try:
            port = server.sockets[0].getsockname()[1]
            yield Kit(path, text, f"http://127.0.0.1:{port}", hits)
        finally:
            server.close()
            await server.wait_closed()


def _plant(directory: Path) -> tuple[str, str]:
    """A file that everybody on this machine may read, and its text."""
    canary = directory / "canary.txt"
    text = f"ostiary-canary-{secrets.token_hex(12)}"
    canary.write_text(text)
    directory.chmod(0o755)
    return str(canary), text
