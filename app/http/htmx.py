"""What htmx 4 says in a request and what we may answer.

htmx sends `HX-Request: true`, `HX-Request-Type: full|partial` and the element to be replaced as `HX-Target: div#id`.
Answers with any status but 204 and 304 are swapped in, so a form that fails validation is answered with 422 and the
form itself.
"""

from typing import Any

from litestar import Request


def is_htmx(request: Request[Any, Any, Any]) -> bool:
    """True when htmx sent the request; history restores ask for the whole page and do not count."""
    return request.headers.get("hx-request") == "true" and request.headers.get("hx-history-restore-request") != "true"


def target_id(request: Request[Any, Any, Any]) -> str:
    """The id of the element that the answer will replace; empty when there is none or for a plain request."""
    return request.headers.get("hx-target", "").rpartition("#")[2] if is_htmx(request) else ""
