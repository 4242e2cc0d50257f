"""What to paste into an assistant so that it can ask this console."""

from __future__ import annotations

import json

TOKEN_PLACEHOLDER = "YOUR_API_TOKEN"  # noqa: S105 - a placeholder.


def claude_desktop(base_url: str) -> str:
    """The entry of `claude_desktop_config.json`: the program of this machine as a server over stdio."""
    server = {
        "command": "ostiary",
        "args": ["mcp", "--console", base_url],
        "env": {"OSTIARY_TOKEN": TOKEN_PLACEHOLDER},
    }
    return json.dumps({"mcpServers": {"ostiary": server}}, indent=2)


def http_client(base_url: str) -> str:
    """The same for clients that speak Streamable HTTP."""
    server = {
        "type": "http",
        "url": f"{base_url}/mcp",
        "headers": {"Authorization": f"Bearer {TOKEN_PLACEHOLDER}"},
    }
    return json.dumps({"mcpServers": {"ostiary": server}}, indent=2)
