"""How a proxy logs in at its target: what fits its transport, and what is stored of it."""

from __future__ import annotations

from app.fleet import aws_credentials, validation
from app.fleet.draft import Draft
from app.fleet.models import Proxy
from app.fleet.schemas import UpstreamAuthInput


def transport_problem(wanted: Draft, auth: UpstreamAuthInput) -> dict[str, str]:
    """A server on standard streams has no header for a credential (P-05)."""
    if wanted.transport != "stdio" or auth.type == "none":
        return {}
    return {"upstream_auth": "A server that is started gets its credentials from launch_environment."}


def aws_problems(wanted: Draft, type: str, region: str) -> dict[str, str]:
    """What a proxy that signs for AWS needs besides the credentials."""
    if type != aws_credentials.TYPE:
        return {}
    if wanted.type != "llm":
        return {"upstream_auth.type": "Only proxies of type llm sign for AWS: Bedrock is an LLM API."}
    problem = aws_credentials.region_problem(region.strip(), wanted.target_url)
    return {"upstream_auth.region": problem} if problem else {}


def has_credential(proxy: Proxy) -> bool:
    """Whether there is one, stored or by reference."""
    return proxy.upstream_auth_secret is not None or proxy.upstream_auth_reference is not None


def has_stored_secret(proxy: Proxy) -> bool:
    """Whether a part of it is stored."""
    return proxy.upstream_auth_secret is not None or proxy.upstream_auth_session_secret is not None


def moved_secret_problem(before: Draft, wanted: Draft, *, keeps_secret: bool) -> dict[str, str]:
    """A stored credential was given for one upstream; sending it to another one takes somebody who knows it."""
    if not keeps_secret or wanted.target_url == before.target_url:
        return {}
    if validation.target_url_problem(wanted.target_url):
        return {}
    if validation.origin(wanted.target_url) == validation.origin(before.target_url):
        return {}
    return {"upstream_auth.value": "The target has another origin: enter the upstream credential again."}


def stored_login(proxy: Proxy) -> dict[str, str | None]:
    """Everything that is stored of the login at the target; a secret that is sealed anew counts as another one."""
    names = [column.name for column in Proxy.__table__.columns if column.name.startswith("upstream_auth")]
    return {name: getattr(proxy, name) for name in names}
