"""The address `/mcp` of the console: Streamable HTTP without sessions, an API token as bearer."""

from typing import Any

import msgspec
from litestar import Request, Response, post, route
from litestar.di import NamedDependency

from app.alerts.service import AlertService
from app.errors import Forbidden, UnsupportedMediaType
from app.http.problem import MethodNotAllowed
from app.mcp_server import protocol
from app.mcp_server.console import ConsoleBackend
from app.policies.evaluation import Evaluator
from app.scanner.service import ScannerService
from app.security.permissions import Actor

VIEWER = {"role": "viewer"}


@post("/mcp", opt=VIEWER, status_code=200, include_in_schema=False)
async def post_message(
    request: Request[Any, Any, Any],
    actor: NamedDependency[Actor],
    evaluator: NamedDependency[Evaluator],
    scanner: NamedDependency[ScannerService],
    alerts: NamedDependency[AlertService],
) -> Response[bytes]:
    """One message of an MCP client."""
    if actor.via != "token":
        raise Forbidden("MCP clients log in with an API token.", remediation="Make one under Settings, API tokens.")
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        raise UnsupportedMediaType
    try:
        value = protocol.read(await request.body())
    except protocol.Refused as refusal:
        return _json(protocol.failure(refusal), 400)
    backend = ConsoleBackend(actor, evaluator, scanner, alerts)
    answer = await protocol.answer(value, backend, request.headers)
    return Response(b"", status_code=202) if answer is None else _json(answer, _status(answer))


@route("/mcp", http_method=["GET", "DELETE", "PUT", "PATCH"], opt=VIEWER, include_in_schema=False)
async def no_stream() -> None:
    """There are no streams, the server says nothing by itself, and no sessions to end."""
    raise MethodNotAllowed(remediation="Send messages by POST.", headers={"Allow": "POST"})


def _status(answer: dict[str, Any]) -> int:
    """The modern era's own errors have a status of their own."""
    code = answer.get("error", {}).get("code")
    return 400 if code in (protocol.HEADER_MISMATCH, protocol.UNSUPPORTED_VERSION, protocol.INVALID_REQUEST) else 200


def _json(value: Any, status: int) -> Response[bytes]:
    return Response(msgspec.json.encode(value), status_code=status, media_type="application/json")


routes = [post_message, no_stream]
