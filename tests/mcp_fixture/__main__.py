"""Start the fixture: `http [PORT]` prints the port once connections are accepted, `stdio` speaks on standard output."""

import asyncio
import socket
import sys
import warnings

import uvicorn
from mcp.shared.exceptions import MCPDeprecationWarning

from tests.mcp_fixture.events import Memory
from tests.mcp_fixture.server import build_server

RETRY_MS = 50


async def serve(port: int) -> None:
    """Serve Streamable HTTP until the process ends."""
    app = build_server().streamable_http_app(event_store=Memory(), retry_interval=RETRY_MS)
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind(("127.0.0.1", port))
    sock.listen(128)
    print(sock.getsockname()[1], flush=True)
    # h11 takes the white space off field values, as RFC 9110 §5.5 asks; the other parser leaves what follows a value.
    await uvicorn.Server(uvicorn.Config(app, log_level="critical", http="h11")).serve(sockets=[sock])


if __name__ == "__main__":
    # Both eras are served on purpose, so what the newer one has deprecated is used.
    warnings.simplefilter("ignore", MCPDeprecationWarning)
    if sys.argv[1] == "stdio":
        asyncio.run(build_server().run_stdio_async())
    else:
        asyncio.run(serve(int(sys.argv[2]) if len(sys.argv) > 2 else 0))
