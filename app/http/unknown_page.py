"""The address that no other route has: whoever is logged in is told so inside the console, a stranger on a plain page.

Without this route the framework answers before it is known who asks, and nobody's page of the error has the rail.
"""

from typing import Any, Never

from litestar import Request, get
from litestar.params import FromPath

from app.errors import NotFound


@get("/{address:path}", opt={"role": "public"}, include_in_schema=False)
async def unknown_page(request: Request[Any, Any, Any], address: FromPath[str]) -> Never:
    """Raise NotFound, whatever the address; the metrics count it as matched by no route."""
    request.scope["path_template"] = ""
    raise NotFound(remediation="Check the address, or start from the overview.")


routes = [unknown_page]
