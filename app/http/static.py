"""The static files, public and immutable."""

from typing import Any

from litestar import Request, Response, get
from litestar.di import NamedDependency

from app.errors import NotFound
from app.http.page import Pages

ONE_YEAR = "public, max-age=31536000, immutable"


@get("/static/{name:path}", opt={"role": "public", "static": True}, include_in_schema=False, sync_to_thread=False)
def static_file(request: Request[Any, Any, Any], pages: NamedDependency[Pages]) -> Response[bytes]:
    """A file under its hashed name; any other name is not found."""
    asset = pages.assets.find(request.url.path)
    if asset is None:
        raise NotFound
    headers = {"Cache-Control": ONE_YEAR, "Vary": "Accept-Encoding"}
    body = asset.body
    if asset.gzipped and "gzip" in request.headers.get("accept-encoding", ""):
        body = asset.gzipped
        headers["Content-Encoding"] = "gzip"
    return Response(body, media_type=asset.media_type, headers=headers)


routes = [static_file]
