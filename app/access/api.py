"""JSON endpoints of the API keys."""

from typing import Any

from litestar import Request, delete, get, patch, post
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery, JSONBody

from app.access.repository import SORTS
from app.access.schemas import CreateKey, KeyView, NewKey, UpdateKey
from app.access.service import KeyService
from app.http.envelope import DEFAULT_LIMIT, Envelope, Listing, page_of
from app.http.filters import search_text
from app.security.permissions import Actor

VIEWER = {"role": "viewer"}
ADMIN = {"role": "admin"}
TAGS = ["api keys"]


@get("/api/v1/api-keys", opt=VIEWER, tags=TAGS)
async def list_keys(
    request: Request[Any, Any, Any],
    actor: NamedDependency[Actor],
    keys: NamedDependency[KeyService],
    search: FromQuery[str] = "",
    sort: FromQuery[str] = "",
    limit: FromQuery[int] = DEFAULT_LIMIT,
    offset: FromQuery[int] = 0,
) -> Envelope[Listing[KeyView]]:
    """API keys, newest first; a key is recognisable by its first characters and its last four."""
    limit, offset = page_of(limit, offset)
    # `state` is a name that Litestar keeps for itself, so it is read here.
    state = str(request.query_params.get("state", ""))
    return Envelope(
        await keys.page(
            actor, limit=limit, offset=offset, search=search_text(search), state=state, sort=SORTS.asked(sort)
        )
    )


@post("/api/v1/api-keys", opt=ADMIN, tags=TAGS)
async def create_key(
    data: JSONBody[CreateKey], actor: NamedDependency[Actor], keys: NamedDependency[KeyService]
) -> Envelope[NewKey]:
    """Make an API key; this answer is the only one that ever holds it."""
    return Envelope(await keys.create(actor, data), message="Copy the key now: it is not shown again.")


@patch("/api/v1/api-keys/{key_id:str}", opt=ADMIN, tags=TAGS)
async def update_key(
    key_id: FromPath[str],
    data: JSONBody[UpdateKey],
    actor: NamedDependency[Actor],
    keys: NamedDependency[KeyService],
) -> Envelope[KeyView]:
    """Change the policies of a key; they are in force when this answers."""
    return Envelope(await keys.update(actor, key_id, data))


@post("/api/v1/api-keys/{key_id:str}/revoke", opt=ADMIN, status_code=200, tags=TAGS)
async def revoke_key(
    key_id: FromPath[str], actor: NamedDependency[Actor], keys: NamedDependency[KeyService]
) -> Envelope[KeyView]:
    """End a key; it stays in the list. Ten seconds long it can be restored."""
    return Envelope(await keys.revoke(actor, key_id), message="The key is revoked.")


@delete("/api/v1/api-keys/{key_id:str}", opt=ADMIN, status_code=200, tags=TAGS)
async def delete_key(
    key_id: FromPath[str], actor: NamedDependency[Actor], keys: NamedDependency[KeyService]
) -> Envelope[None]:
    """End a key and take it off the list. Ten seconds long it can be restored."""
    await keys.delete(actor, key_id)
    return Envelope(None, message="The key is deleted.")


@post("/api/v1/api-keys/{key_id:str}/restore", opt=ADMIN, status_code=200, tags=TAGS)
async def restore_key(
    key_id: FromPath[str], actor: NamedDependency[Actor], keys: NamedDependency[KeyService]
) -> Envelope[KeyView]:
    """Take a revocation or a deletion back, within ten seconds."""
    return Envelope(await keys.restore(actor, key_id), message="The key is restored.")


routes = [list_keys, create_key, update_key, revoke_key, delete_key, restore_key]
