"""JSON endpoints of the canaries."""

from litestar import delete, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery, JSONBody

from app.canaries.schemas import CanaryView, CreateCanary, RevealedCanary
from app.canaries.service import SORTS, CanaryService
from app.http.envelope import DEFAULT_LIMIT, Envelope, Listing, page_of, part_of
from app.http.filters import search_text
from app.security.permissions import Actor

VIEWER = {"role": "viewer"}
ADMIN = {"role": "admin"}
TAGS = ["canaries"]


@get("/api/v1/canaries", opt=VIEWER, tags=TAGS)
async def list_canaries(
    actor: NamedDependency[Actor],
    canaries: NamedDependency[CanaryService],
    search: FromQuery[str] = "",
    sort: FromQuery[str] = "",
    limit: FromQuery[int] = DEFAULT_LIMIT,
    offset: FromQuery[int] = 0,
) -> Envelope[Listing[CanaryView]]:
    """Canaries without their values, newest first; `search` is found in name, note and creator."""
    found = await canaries.all(actor, search=search_text(search), sort=SORTS.asked(sort))
    return Envelope(part_of(found, *page_of(limit, offset)))


@post("/api/v1/canaries", opt=ADMIN, tags=TAGS)
async def create_canary(
    data: JSONBody[CreateCanary], actor: NamedDependency[Actor], canaries: NamedDependency[CanaryService]
) -> Envelope[RevealedCanary]:
    """Make a canary; the answer holds the text to plant."""
    return Envelope(await canaries.create(actor, data), message="Plant the value where nobody has a reason to send it.")


@post("/api/v1/canaries/{canary_id:str}/reveal", opt=ADMIN, status_code=200, tags=TAGS)
async def reveal_canary(
    canary_id: FromPath[str], actor: NamedDependency[Actor], canaries: NamedDependency[CanaryService]
) -> Envelope[RevealedCanary]:
    """The text to plant once more; this is audited."""
    return Envelope(await canaries.reveal(actor, canary_id))


@delete("/api/v1/canaries/{canary_id:str}", opt=ADMIN, status_code=200, tags=TAGS)
async def delete_canary(
    canary_id: FromPath[str], actor: NamedDependency[Actor], canaries: NamedDependency[CanaryService]
) -> Envelope[None]:
    """Stop looking for a canary; its alerts stay. Ten seconds long it can be restored."""
    await canaries.delete(actor, canary_id)
    return Envelope(None, message="The canary is deleted.")


@post("/api/v1/canaries/{canary_id:str}/restore", opt=ADMIN, status_code=200, tags=TAGS)
async def restore_canary(
    canary_id: FromPath[str], actor: NamedDependency[Actor], canaries: NamedDependency[CanaryService]
) -> Envelope[CanaryView]:
    """Look for a deleted canary again, within ten seconds."""
    return Envelope(await canaries.restore(actor, canary_id), message="The canary is restored.")


routes = [list_canaries, create_canary, reveal_canary, delete_canary, restore_canary]
