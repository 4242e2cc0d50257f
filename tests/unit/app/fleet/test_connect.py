"""The texts of the Connect tab: they are programs that parse, with the address of the proxy."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from app.fleet.connect import KEY_PLACEHOLDER, clients_of, columns
from app.fleet.schemas import ProxyView


def view(listen_url: str, target_url: str = "https://llm.example.org") -> ProxyView:
    """A proxy of which the texts ask only these members."""
    members = [("type", str), ("listen_url", str), ("target_url", str)]
    proxy: Any = msgspec.defstruct("View", members)("llm", listen_url, target_url)
    return proxy  # type: ignore[no-any-return]


@pytest.mark.parametrize("url", ["http://127.0.0.1:4000", "https://gateway.example:4000"])
def test_every_text_names_the_address_and_the_key(url: str) -> None:
    clients = {client.name: client for group in clients_of(view(url)) for client in group.clients}
    for client in clients.values():
        address = url.replace("http", "ws", 1) if "WebSocket" in client.text else url
        assert address in client.text or client.name == "Amazon Bedrock, boto3"
        assert KEY_PLACEHOLDER in client.text + client.where
        if client.text.startswith(("from ", "import ")) and "JavaScript" not in client.name:
            compile(client.text, client.name, "exec")
    bedrock = clients["Amazon Bedrock, boto3"]
    assert f'endpoint_url="https://{url.partition("://")[2]}"' in bedrock.text
    assert ("needs a certificate" in bedrock.where) is url.startswith("http:")


@pytest.mark.parametrize(
    ("target", "first", "titles"),
    [
        ("https://api.openai.com", "OpenAI SDK, Python", "SDKs of OpenAI and Anthropic"),
        ("https://team.openai.azure.com/openai", "OpenAI SDK, Python", "SDKs of OpenAI and Anthropic"),
        ("https://api.anthropic.com", "Anthropic SDK, Python", "SDKs of OpenAI and Anthropic"),
        ("https://generativelanguage.googleapis.com", "Gemini, Python", "SDKs of other APIs"),
        ("https://bedrock-runtime.eu-west-1.amazonaws.com", "Amazon Bedrock, boto3", "SDKs of other APIs"),
        ("https://not-api.anthropic.com.example", "OpenAI SDK, Python", "SDKs of OpenAI and Anthropic"),
    ],
)
def test_the_clients_that_fit_the_target_stand_first(target: str, first: str, titles: str) -> None:
    groups = clients_of(view("http://127.0.0.1:4000", target))
    assert (groups[0].title, groups[0].clients[0].name) == (titles, first)
    assert len({client.name for group in groups for client in group.clients}) == 11


def test_the_columns_are_about_as_high() -> None:
    left, right = columns(clients_of(view("http://127.0.0.1:4000")))
    assert [group.title for group in left] == ["SDKs of OpenAI and Anthropic", "Realtime sessions"]
    assert [group.title for group in right] == ["SDKs of other APIs", "Command line and editors"]


@pytest.mark.parametrize(
    ("url", "is_allowed_by_hand"),
    [
        ("http://127.0.0.1:3001", False),
        ("http://[::1]:3001", False),
        ("https://gateway.example:3001", False),
        ("http://gateway.example:3001", True),
    ],
)
def test_claude_desktop_gets_the_key_by_its_environment(url: str, is_allowed_by_hand: bool) -> None:
    """Where it runs on Windows it takes arguments apart at their spaces; others on the machine can read arguments."""
    fields: Any = [("type", str), ("listen_url", str), ("name", str), ("require_auth", bool)]
    for asks in (True, False):
        proxy: Any = msgspec.defstruct("View", fields)("mcp", url, "Files", asks)
        (desktop,) = (one for group in clients_of(proxy) for one in group.clients if one.name == "Claude Desktop")
        (server,) = json.loads(desktop.text)["mcpServers"].values()
        assert not any(" " in argument or KEY_PLACEHOLDER in argument for argument in server["args"])
        assert ("--allow-http" in server["args"]) is is_allowed_by_hand
        assert server.get("env") == ({"AUTHORIZATION": f"Bearer {KEY_PLACEHOLDER}"} if asks else None)
        assert ("Authorization:${AUTHORIZATION}" in server["args"]) is asks
