"""The texts of the Connect tab: they are programs that parse, with the address of the proxy."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from app.fleet.connect import KEY_PLACEHOLDER, clients_of
from app.fleet.schemas import ProxyView


def view(listen_url: str) -> ProxyView:
    """A proxy of which the texts ask only these members."""
    proxy: Any = msgspec.defstruct("View", [("type", str), ("listen_url", str)])("llm", listen_url)
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
