"""From a row and a status to what the API shows."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from datetime import datetime

from app.fleet.models import Proxy
from app.fleet.remedies import remedy
from app.fleet.schemas import LaunchVariable, ProxyStatusView, ProxyView, UpstreamAuthView
from app.fleet.state import ProxyStatus
from app.policies.library import PolicyLibrary
from proxies.contract import ServerReport


def listen_url(proxy: Proxy) -> str:
    """Where clients on this machine reach the proxy. A wildcard address is shown as the loopback one."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(proxy.host, proxy.host)
    scheme = "https" if proxy.tls_cert_path else "http"
    return f"{scheme}://[{host}]:{proxy.port}" if ":" in host else f"{scheme}://{host}:{proxy.port}"


def proxy_view(
    proxy: Proxy, status: ProxyStatus, library: PolicyLibrary, variables: Sequence[LaunchVariable] = ()
) -> ProxyView:
    """Everything about a proxy but its credential."""
    policies = library.refs(proxy.policy_names)
    return ProxyView(
        id=proxy.id,
        name=proxy.name,
        type=proxy.type,
        transport=proxy.transport,
        description=proxy.description,
        target_url=proxy.target_url,
        host=proxy.host,
        port=proxy.port,
        listen_url=listen_url(proxy),
        enabled=proxy.enabled,
        auto_start=proxy.auto_start,
        policy_names=list(proxy.policy_names),
        policies=policies,
        policy_count=len(policies),
        active_policy_count=sum(policy.active for policy in policies),
        tags=list(proxy.tags),
        enforcement=proxy.enforcement,
        require_auth=proxy.require_auth,
        capture=proxy.capture,
        upstream_auth=UpstreamAuthView(
            type=proxy.upstream_auth_type,
            name=proxy.upstream_auth_name,
            reference=proxy.upstream_auth_reference,
            set=proxy.upstream_auth_reference is not None or proxy.upstream_auth_secret is not None,
            region=proxy.upstream_auth_region,
            access_key_id=proxy.upstream_auth_access_key_id,
            session_token_reference=proxy.upstream_auth_session_reference,
            session_token_set=proxy.upstream_auth_session_reference is not None
            or proxy.upstream_auth_session_secret is not None,
        ),
        tls_cert_path=proxy.tls_cert_path,
        tls_key_path=proxy.tls_key_path,
        upstream_ca_path=proxy.upstream_ca_path,
        upstream_client_cert_path=proxy.upstream_client_cert_path,
        upstream_client_key_path=proxy.upstream_client_key_path,
        allowed_hosts=list(proxy.allowed_hosts),
        allowed_origins=list(proxy.allowed_origins),
        launch_command=list(proxy.launch_command),
        launch_environment=list(variables),
        launch_directory=proxy.launch_directory,
        launch_process=proxy.launch_process,
        era=proxy.era,
        refuse_downgrade=proxy.refuse_downgrade,
        auto_approve=proxy.auto_approve,
        quarantine_from=proxy.quarantine_from,
        denied_calls=proxy.denied_calls,
        egress_hosts=list(proxy.egress_hosts),
        discovery_interval_hours=proxy.discovery_interval_hours,
        state=status.state.value,
        state_reason=status.reason,
        state_remedy=remedy(status.reason),
        state_since_at=status.since_at,
        workers_live=status.workers_live,
        workers_total=status.workers_total,
        snapshot_version=status.snapshot_version,
        created_at=proxy.created_at,
        updated_at=proxy.updated_at,
    )


def status_view(
    proxy: Proxy, status: ProxyStatus, *, now: datetime, counts: tuple[int, int], server: ServerReport | None = None
) -> ProxyStatusView:
    """How a proxy stands, in the documented shape (inventory b.1). `counts` are calls and failed calls of 24 hours."""
    running = status.state.serves
    seconds = max(0, int((now - status.since_at).total_seconds())) if running else 0
    return ProxyStatusView(
        id=proxy.id,
        name=proxy.name,
        type=proxy.type,
        running=running,
        state=status.state.value,
        reason=status.reason,
        port=proxy.port,
        target=proxy.target_url or shlex.join(proxy.launch_command),
        start_time=status.since_at if running else None,
        uptime=duration_words(seconds) if running else "",
        uptime_seconds=seconds,
        workers_live=status.workers_live,
        workers_total=status.workers_total,
        snapshot_version=status.snapshot_version,
        requests_processed=counts[0],
        errors=counts[1],
        server_processes=server.processes if server else 0,
        server_log=list(server.log) if server else [],
    )


def duration_words(seconds: int) -> str:
    """A duration as in `2h 15m 30s`."""
    hours, rest = divmod(seconds, 3600)
    minutes, seconds = divmod(rest, 60)
    if hours:
        return f"{hours}h {minutes}m {seconds}s"
    return f"{minutes}m {seconds}s" if minutes else f"{seconds}s"
