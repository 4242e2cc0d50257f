"""What to paste into a client so that it uses a proxy: texts per client, with the right address and a placeholder."""

from __future__ import annotations

import json
from itertools import product
from typing import Final
from urllib.parse import urlsplit

import msgspec

from app.fleet.schemas import ProxyView
from app.fleet.validation import is_loopback

KEY_PLACEHOLDER = "YOUR_OSTIARY_KEY"
CLIENT_LINES: Final = 5
"""About how many lines stand around the text of a client."""


class Client(msgspec.Struct, frozen=True):
    """One client: where the text goes (empty when that is obvious) and the text."""

    name: str
    where: str
    text: str
    api: str = ""
    """Whose API it speaks, where that is one company's."""


class Group(msgspec.Struct, frozen=True):
    """Clients of one sort."""

    title: str
    clients: list[Client]


_APIS: Final = {
    "api.openai.com": "openai",
    "openai.azure.com": "openai",
    "api.anthropic.com": "anthropic",
    "googleapis.com": "google",
    "amazonaws.com": "bedrock",
    "api.aws": "bedrock",
}
"""By the end of the target's name whose API it is."""


def clients_of(proxy: ProxyView) -> list[Group]:
    """Every client that can use this proxy; those that fit its target best stand first."""
    return _mcp(proxy) if proxy.type == "mcp" else _fitting_first(_llm(proxy), _api_of(proxy.target_url))


def columns(groups: list[Group]) -> tuple[list[Group], list[Group]]:
    """The groups in two columns, the first of them on the left, so that the higher column is as low as can be."""
    splits = [(False, *rest) for rest in product((False, True), repeat=len(groups) - 1)]

    def height(split: tuple[bool, ...]) -> int:
        right = sum(_lines(group) for group, is_right in zip(groups, split, strict=True) if is_right)
        return max(right, sum(map(_lines, groups)) - right)

    best = min(splits, key=height)
    placed = list(zip(groups, best, strict=True))
    return [group for group, is_right in placed if not is_right], [group for group, is_right in placed if is_right]


def _lines(group: Group) -> int:
    return sum([client.text.count("\n") + CLIENT_LINES for client in group.clients]) + CLIENT_LINES


def _api_of(target_url: str) -> str:
    host = urlsplit(target_url).hostname or ""
    return next((api for name, api in _APIS.items() if host == name or host.endswith(f".{name}")), "")


def _fitting_first(groups: list[Group], api: str) -> list[Group]:
    if not api:
        return groups
    sorted_groups = [
        Group(group.title, sorted(group.clients, key=lambda client: client.api != api)) for group in groups
    ]
    return sorted(sorted_groups, key=lambda group: group.clients[0].api != api)


def _llm(proxy: ProxyView) -> list[Group]:
    base = proxy.listen_url
    return [
        Group(
            "SDKs of OpenAI and Anthropic", [_openai_python(base), _openai_javascript(base), _anthropic_python(base)]
        ),
        Group("Realtime sessions", [_realtime_python(base), _realtime_browser(base)]),
        Group("SDKs of other APIs", [_gemini_python(base), _ollama_python(base), _bedrock_python(base)]),
        Group("Command line and editors", [_curl_chat(base), _claude_code(base), _cursor_model(base)]),
    ]


def _openai_python(base: str) -> Client:
    text = f"""from openai import OpenAI

client = OpenAI(
    base_url="{base}/v1",
    api_key="{KEY_PLACEHOLDER}",
)
answer = client.chat.completions.create(
    model="gpt-5.1",
    messages=[{{"role": "user", "content": "Hello"}}],
)
print(answer.choices[0].message.content)
"""
    return Client("OpenAI SDK, Python", "", text, "openai")


def _openai_javascript(base: str) -> Client:
    text = f"""import OpenAI from "openai";

const client = new OpenAI({{
  baseURL: "{base}/v1",
  apiKey: "{KEY_PLACEHOLDER}",
}});
const answer = await client.chat.completions.create({{
  model: "gpt-5.1",
  messages: [{{ role: "user", content: "Hello" }}],
}});
console.log(answer.choices[0].message.content);
"""
    return Client("OpenAI SDK, JavaScript", "", text, "openai")


def _realtime_python(base: str) -> Client:
    text = f"""import asyncio
from openai import AsyncOpenAI

async def main():
    client = AsyncOpenAI(base_url="{base}/v1", api_key="{KEY_PLACEHOLDER}")
    async with client.realtime.connect(model="gpt-realtime") as connection:
        await connection.session.update(session={{"type": "realtime", "output_modalities": ["text"]}})
        item = {{"type": "message", "role": "user", "content": [{{"type": "input_text", "text": "Hello"}}]}}
        await connection.conversation.item.create(item=item)
        await connection.response.create()
        async for event in connection:
            if event.type == "response.output_text.delta":
                print(event.delta, end="")
            elif event.type in ("response.done", "error"):
                break

asyncio.run(main())
"""
    return Client("OpenAI Realtime, Python", "For a proxy in front of OpenAI's API.", text, "openai")


def _realtime_browser(base: str) -> Client:
    socket = base.replace("http", "ws", 1)
    text = f"""const socket = new WebSocket(
  "{socket}/v1/realtime?model=gpt-realtime",
  ["realtime", "openai-insecure-api-key.{KEY_PLACEHOLDER}"],
);
socket.onmessage = (message) => console.log(JSON.parse(message.data));
"""
    return Client(
        "OpenAI Realtime, browser", "The page's origin must be one of the proxy's allowed origins.", text, "openai"
    )


def _anthropic_python(base: str) -> Client:
    text = f"""import anthropic

client = anthropic.Anthropic(
    base_url="{base}",
    api_key="{KEY_PLACEHOLDER}",
)
message = client.messages.create(
    model="claude-sonnet-4-5",
    max_tokens=1024,
    messages=[{{"role": "user", "content": "Hello"}}],
)
print(message.content[0].text)
"""
    return Client("Anthropic SDK, Python", "", text, "anthropic")


def _gemini_python(base: str) -> Client:
    text = f"""from google import genai

client = genai.Client(
    api_key="{KEY_PLACEHOLDER}",
    http_options={{"base_url": "{base}"}},
)
answer = client.models.generate_content(
    model="gemini-3-pro",
    contents="Hello",
)
print(answer.text)
"""
    return Client("Gemini, Python", "For a proxy in front of Google's API.", text, "google")


def _ollama_python(base: str) -> Client:
    text = f"""from ollama import Client

client = Client(
    host="{base}",
    headers={{"Authorization": "Bearer {KEY_PLACEHOLDER}"}},
)
answer = client.chat(
    model="llama3.2",
    messages=[{{"role": "user", "content": "Hello"}}],
)
print(answer.message.content)
"""
    return Client("Ollama, Python", "For a proxy in front of an Ollama server.", text)


def _bedrock_python(base: str) -> Client:
    secure = base if base.startswith("https://") else base.replace("http://", "https://", 1)
    text = f"""import boto3

client = boto3.client(
    "bedrock-runtime",
    region_name="us-east-1",
    endpoint_url="{secure}",
)
answer = client.converse(
    modelId="eu.amazon.nova-lite-v1:0",
    messages=[
        {{"role": "user", "content": [{{"text": "Hello"}}]}},
    ],
)
print(answer["output"]["message"])
"""
    where = (
        f"For a proxy in front of Amazon Bedrock, with AWS_BEARER_TOKEN_BEDROCK={KEY_PLACEHOLDER} in the environment."
    )
    if secure != base:
        where += " The AWS SDKs send a key over HTTPS only, so this proxy needs a certificate (Config, Names, browsers and TLS)."
    return Client("Amazon Bedrock, boto3", where, text, "bedrock")


def _curl_chat(base: str) -> Client:
    text = f"""curl {base}/v1/chat/completions \\
  -H "Authorization: Bearer {KEY_PLACEHOLDER}" \\
  -H "Content-Type: application/json" \\
  -d '{{"model": "gpt-5.1", "messages": [{{"role": "user", "content": "Hello"}}]}}'
"""
    return Client("curl", "", text)


def _claude_code(base: str) -> Client:
    text = f"""export ANTHROPIC_BASE_URL={base}
export ANTHROPIC_AUTH_TOKEN={KEY_PLACEHOLDER}
claude
"""
    return Client("Claude Code", "In a shell; for a proxy in front of Anthropic's API.", text, "anthropic")


def _cursor_model(base: str) -> Client:
    text = f"Base URL  {base}/v1\nAPI key   {KEY_PLACEHOLDER}\n"
    return Client("Cursor, VS Code and others", "Settings, Models: override the OpenAI base URL and key.", text)


def _mcp(proxy: ProxyView) -> list[Group]:
    url = f"{proxy.listen_url}/mcp"
    name = _plain_name(proxy.name)
    headers = {"Authorization": f"Bearer {KEY_PLACEHOLDER}"} if proxy.require_auth else {}
    return [
        Group("Assistants", [_claude_desktop(name, url, headers), _claude_code_mcp(name, url, headers)]),
        Group(
            "Editors and command line",
            [_cursor_mcp(name, url, headers), _vscode_mcp(name, url, headers), _curl_mcp(url, headers)],
        ),
        Group("Other transports", [_sse_client(proxy), _websocket_client(proxy)]),
    ]


def _claude_desktop(name: str, url: str, headers: dict[str, str]) -> Client:
    # Not in the arguments: everybody on the machine can read those, and on Windows they are taken apart at spaces.
    flags = [part for key in headers for part in ("--header", f"{key}:${{{key.upper()}}}")]
    target = urlsplit(url)
    if target.scheme == "http" and not is_loopback(target.hostname or ""):
        flags.append("--allow-http")
    server: dict[str, object] = {"command": "npx", "args": ["-y", "mcp-remote", url, *flags]}
    if headers:
        server["env"] = {key.upper(): value for key, value in headers.items()}
    where = "claude_desktop_config.json (Settings, Developer, Edit config)"
    return Client("Claude Desktop", where, _pretty({"mcpServers": {name: server}}))


def _claude_code_mcp(name: str, url: str, headers: dict[str, str]) -> Client:
    flags = "".join(f' \\\n  --header "{key}: {value}"' for key, value in headers.items())
    return Client("Claude Code", "In a shell.", f"claude mcp add --transport http {name} \\\n  {url}{flags}\n")


def _cursor_mcp(name: str, url: str, headers: dict[str, str]) -> Client:
    server: dict[str, object] = {"url": url, "headers": headers} if headers else {"url": url}
    return Client("Cursor", "~/.cursor/mcp.json", _pretty({"mcpServers": {name: server}}))


def _vscode_mcp(name: str, url: str, headers: dict[str, str]) -> Client:
    server: dict[str, object] = {"type": "http", "url": url}
    if headers:
        server["headers"] = headers
    return Client("VS Code", ".vscode/mcp.json", _pretty({"servers": {name: server}}))


def _curl_mcp(url: str, headers: dict[str, str]) -> Client:
    flags = "".join(f'  -H "{key}: {value}" \\\n' for key, value in headers.items())
    body = {
        "jsonrpc": "2.0",
        "id": 1,
        "method": "initialize",
        "params": {
            "protocolVersion": "2025-11-25",
            "capabilities": {},
            "clientInfo": {"name": "curl", "version": "1"},
        },
    }
    text = (
        f"curl {url} \\\n{flags}"
        '  -H "Accept: application/json, text/event-stream" \\\n'
        '  -H "Content-Type: application/json" \\\n'
        f"  -d '{json.dumps(body)}'\n"
    )
    return Client("curl", "", text)


def _sse_client(proxy: ProxyView) -> Client:
    where = "For clients that know only HTTP+SSE of 2024-11-05; the key goes into the Authorization header."
    return Client("HTTP+SSE", where, f"{proxy.listen_url}/sse\n")


def _websocket_client(proxy: ProxyView) -> Client:
    scheme, _, rest = proxy.listen_url.partition("://")
    text = f"{'wss' if scheme == 'https' else 'ws'}://{rest}/ws\n"
    where = "Sub-protocol mcp. Clients that cannot send the key in a header ask POST /ws/ticket for a ticket first."
    return Client("WebSocket", where, text)


def _pretty(value: object) -> str:
    return json.dumps(value, indent=2) + "\n"


def _plain_name(name: str) -> str:
    """The proxy's name as clients accept it in commands and as a key: ASCII letters, digits and dashes."""
    plain = "".join(char if char.isascii() and char.isalnum() else "-" for char in name.lower()).strip("-")
    return plain or "ostiary"
