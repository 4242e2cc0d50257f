"""JSON endpoints of policies and packs: reading only, as both come with the program."""

from litestar import get
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery

from app.http.envelope import Envelope, Listing
from app.policies.library import PolicyLibrary
from app.policies.schemas import PackSummary, PackView, PolicyView

VIEWER = {"role": "viewer"}
TAGS = ["policies"]


@get("/api/v1/policies", opt=VIEWER, tags=TAGS)
async def list_policies(
    library: NamedDependency[PolicyLibrary], type: FromQuery[str] = "", search: FromQuery[str] = ""
) -> Envelope[Listing[PolicyView]]:
    """Policies by name; with `type` only those that suit that type of proxy."""
    found = library.policies(type_=type, search=search)
    return Envelope(Listing(found, len(found), len(found), 0))


@get("/api/v1/policies/{name:str}", opt=VIEWER, tags=TAGS)
async def get_policy(name: FromPath[str], library: NamedDependency[PolicyLibrary]) -> Envelope[PolicyView]:
    """One policy."""
    return Envelope(library.policy(name))


@get("/api/v1/packs", opt=VIEWER, tags=TAGS)
async def list_packs(library: NamedDependency[PolicyLibrary]) -> Envelope[Listing[PackSummary]]:
    """Rule packs by name, without their rules."""
    found = library.packs()
    return Envelope(Listing(found, len(found), len(found), 0))


@get("/api/v1/packs/{name:str}", opt=VIEWER, tags=TAGS)
async def get_pack(name: FromPath[str], library: NamedDependency[PolicyLibrary]) -> Envelope[PackView]:
    """One rule pack with its rules."""
    return Envelope(library.pack(name))


routes = [list_policies, get_policy, list_packs, get_pack]
