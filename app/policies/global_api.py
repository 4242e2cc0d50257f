"""JSON endpoints of the policies of all proxies."""

from litestar import get, put
from litestar.di import NamedDependency
from litestar.params import JSONBody

from app.http.envelope import Envelope
from app.policies.global_policies import GlobalPolicyService
from app.policies.schemas import GlobalPoliciesView, PutGlobalPolicies
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


routes = [get_global_policies, put_global_policies]
