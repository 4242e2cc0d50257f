"""JSON endpoint of the overview."""

from litestar import get
from litestar.di import NamedDependency

from app.http.envelope import Envelope
from app.overview.schemas import OverviewView
from app.overview.service import OverviewService
from app.security.permissions import Actor


@get("/api/v1/overview", opt={"role": "viewer"}, tags=["overview"])
async def get_overview(
    actor: NamedDependency[Actor], overview: NamedDependency[OverviewService]
) -> Envelope[OverviewView]:
    """Everything the overview page shows."""
    return Envelope(await overview.overview(actor))


routes = [get_overview]
