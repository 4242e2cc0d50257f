"""JSON endpoints of the guidelines."""

from litestar import delete, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery, JSONBody

from app.guidelines.schemas import AddGuideline, AskGuidelines, CitedPassage, GuidelineText, GuidelineView
from app.guidelines.service import SORTS, GuidelineService
from app.http.envelope import DEFAULT_LIMIT, Envelope, Listing, page_of, part_of
from app.http.filters import search_text
from app.security.permissions import Actor

VIEWER = {"role": "viewer"}
ADMIN = {"role": "admin"}
TAGS = ["guidelines"]


@get("/api/v1/guidelines", opt=VIEWER, tags=TAGS)
async def list_guidelines(
    actor: NamedDependency[Actor],
    guidelines: NamedDependency[GuidelineService],
    search: FromQuery[str] = "",
    sort: FromQuery[str] = "",
    limit: FromQuery[int] = DEFAULT_LIMIT,
    offset: FromQuery[int] = 0,
) -> Envelope[Listing[GuidelineView]]:
    """The documents by name; `search` is found in name and creator."""
    found = await guidelines.all(actor, search=search_text(search), sort=SORTS.asked(sort))
    return Envelope(part_of(found, *page_of(limit, offset)))


@post("/api/v1/guidelines", opt=ADMIN, tags=TAGS)
async def add_guideline(
    data: JSONBody[AddGuideline], actor: NamedDependency[Actor], guidelines: NamedDependency[GuidelineService]
) -> Envelope[GuidelineView]:
    """Keep a document as text or Markdown; its passages are cited from then on."""
    return Envelope(await guidelines.add(actor, data), message="The guideline is kept.")


@post("/api/v1/guidelines/search", opt=ADMIN, status_code=200, tags=TAGS)
async def search_guidelines(
    data: JSONBody[AskGuidelines], actor: NamedDependency[Actor], guidelines: NamedDependency[GuidelineService]
) -> Envelope[list[CitedPassage]]:
    """The two passages at most that speak of the same things as a text, the nearest first."""
    return Envelope(await guidelines.cited(actor, data.text))


@get("/api/v1/guidelines/{guideline_id:str}", opt=VIEWER, tags=TAGS)
async def get_guideline(
    guideline_id: FromPath[str], actor: NamedDependency[Actor], guidelines: NamedDependency[GuidelineService]
) -> Envelope[GuidelineText]:
    """A document with its passages."""
    return Envelope(await guidelines.get(actor, guideline_id))


@delete("/api/v1/guidelines/{guideline_id:str}", opt=ADMIN, status_code=200, tags=TAGS)
async def delete_guideline(
    guideline_id: FromPath[str], actor: NamedDependency[Actor], guidelines: NamedDependency[GuidelineService]
) -> Envelope[None]:
    """Cite a document no more. Ten seconds long it can be restored."""
    await guidelines.delete(actor, guideline_id)
    return Envelope(None, message="The guideline is deleted.")


@post("/api/v1/guidelines/{guideline_id:str}/restore", opt=ADMIN, status_code=200, tags=TAGS)
async def restore_guideline(
    guideline_id: FromPath[str], actor: NamedDependency[Actor], guidelines: NamedDependency[GuidelineService]
) -> Envelope[GuidelineView]:
    """Cite a deleted document again, within ten seconds."""
    return Envelope(await guidelines.restore(actor, guideline_id), message="The guideline is restored.")


routes = [list_guidelines, add_guideline, search_guidelines, get_guideline, delete_guideline, restore_guideline]
