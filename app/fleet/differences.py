"""What is saved beside what the workers run, field by field. Pure.

The two differ while a change is on its way, while workers refuse the newest snapshot, and after a roll-out that failed.
The credential itself is never compared: only how the gateway logs in.
"""

from __future__ import annotations

from collections.abc import Sequence

from app.fleet.schemas import Difference, ProxyView
from proxies.contract import ProxyConfig

_SAME_NAMES = (
    "name",
    "target_url",
    "host",
    "port",
    "enforcement",
    "require_auth",
    "capture",
    "allowed_hosts",
    "allowed_origins",
    "upstream_ca_path",
    "upstream_client_cert_path",
    "upstream_client_key_path",
)


def differences(saved: ProxyView, running: ProxyConfig, policy_names: Sequence[str]) -> list[Difference]:
    """The fields in which they differ; `policy_names` are the policies that shall apply: its own and those of its tags, or those
    of all proxies."""
    server = running.mcp.stdio if running.mcp else None
    pairs: list[tuple[str, object, object]] = [
        (name, getattr(saved, name), getattr(running, name)) for name in _SAME_NAMES
    ]
    pairs += [
        ("launch_command", saved.launch_command, server.argv if server else ()),
        ("launch_directory", saved.launch_directory, server.working_directory if server else ""),
        ("launch_process", saved.launch_process, server.process if server else "session"),
        (
            "launch_environment",
            [variable.name for variable in saved.launch_environment],
            sorted(server.environment) if server else (),
        ),
        ("denied_calls", saved.denied_calls, running.mcp.denied_calls if running.mcp else saved.denied_calls),
        ("egress_hosts", saved.egress_hosts, running.mcp.egress_hosts if running.mcp else saved.egress_hosts),
        ("policy_names", policy_names, running.policy_names),
        ("upstream_auth.type", saved.upstream_auth.type, running.upstream_auth.type),
        ("upstream_auth.name", saved.upstream_auth.name, running.upstream_auth.name),
        (
            "upstream_auth.region",
            saved.upstream_auth.region or running.upstream_auth.region,
            running.upstream_auth.region,
        ),
        ("tls_cert_path", saved.tls_cert_path, running.tls.cert_path if running.tls else ""),
        ("tls_key_path", saved.tls_key_path, running.tls.key_path if running.tls else ""),
    ]
    texts = [(name, _text(mine), _text(theirs)) for name, mine, theirs in pairs]
    return [Difference(name=name, saved=mine, running=theirs) for name, mine, theirs in texts if mine != theirs]


def _text(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, Sequence) and not isinstance(value, str):
        return ", ".join(map(str, value))
    return str(value)
