"""JSON endpoints of the policies of all proxies, and of all proxies with a tag."""

from litestar import get, put
from litestar.di import NamedDependency
from litestar.params import JSONBody

from app.http.envelope import Envelope
from app.policies.global_policies import GlobalPolicyService
from app.policies.schemas import GlobalPoliciesView, PutGlobalPolicies, PutTagPolicies, TagPoliciesView
from app.policies.tag_policies import TagPolicyService
from app.security.permissions import Actor

VIEWER = {"role": "viewer"}
ADMIN = {"role": "admin"}
TAGS = ["policies"]


@get("/api/v1/policies/global", opt=VIEWER, tags=TAGS)
async def get_global_policies(
    actor: NamedDependency[Actor], global_policies: NamedDependency[GlobalPolicyService]
) -> Envelope[GlobalPoliciesView]:
    """The policies that apply to proxies which name none, for calls whose key names none."""
    return Envelope(await global_policies.view(actor))


@put("/api/v1/policies/global", opt=ADMIN, tags=TAGS)
async def put_global_policies(
    data: JSONBody[PutGlobalPolicies],
    actor: NamedDependency[Actor],
    global_policies: NamedDependency[GlobalPolicyService],
) -> Envelope[GlobalPoliciesView]:
    """Name other policies for all proxies; they are in force when this answers."""
    return Envelope(await global_policies.put(actor, data.policy_names))


@get("/api/v1/policies/tags", opt=VIEWER, tags=TAGS)
async def get_tag_policies(
    actor: NamedDependency[Actor], tag_policies: NamedDependency[TagPolicyService]
) -> Envelope[list[TagPoliciesView]]:
    """The policies of all proxies with a tag, for every tag that has policies or that a proxy has."""
    return Envelope(await tag_policies.views(actor))


@put("/api/v1/policies/tags", opt=ADMIN, tags=TAGS)
async def put_tag_policies(
    data: JSONBody[PutTagPolicies],
    actor: NamedDependency[Actor],
    tag_policies: NamedDependency[TagPolicyService],
) -> Envelope[TagPoliciesView]:
    """Name other policies for the proxies with a tag; they are in force when this answers."""
    return Envelope(await tag_policies.put(actor, data.tag, data.policy_names))


routes = [get_global_policies, put_global_policies, get_tag_policies, put_tag_policies]
