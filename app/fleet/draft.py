"""A proxy as somebody wants it, before it is a row: built from a request, checked as a whole, written to the row."""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import UNSET

from app.fleet import validation
from app.fleet.models import Proxy
from app.fleet.schemas import CreateProxy, UpdateProxy
from app.launch.commands import command_problem

_WEBSOCKET_SCHEMES = {"ws": "http", "wss": "https"}
WILDCARD_HOSTS = frozenset({"0.0.0.0", "::"})


class Draft(msgspec.Struct, frozen=True, kw_only=True):
    """Every plain setting of a proxy; the upstream credential travels separately (`credentials.CredentialPlan`)."""

    name: str
    type: str
    transport: str
    description: str
    target_url: str
    host: str
    port: int
    enabled: bool
    auto_start: bool
    policy_names: list[str]
    tags: list[str]
    enforcement: str
    require_auth: bool
    capture: str
    tls_cert_path: str
    tls_key_path: str
    upstream_ca_path: str
    upstream_client_cert_path: str
    upstream_client_key_path: str
    allowed_hosts: list[str]
    allowed_origins: list[str]
    launch_command: list[str]
    launch_directory: str
    launch_process: str
    era: str
    refuse_downgrade: bool
    auto_approve: str
    quarantine_from: str
    denied_calls: str
    egress_hosts: list[str]
    discovery_interval_hours: int


FIELDS = Draft.__struct_fields__


def from_request(request: CreateProxy, *, default_policies: list[str]) -> Draft:
    """The draft of a new proxy."""
    values: dict[str, Any] = {name: getattr(request, name) for name in FIELDS}
    if request.policy_names is None:
        values["policy_names"] = default_policies
    return _with_http_scheme(Draft(**_tidied(values)))


def from_row(proxy: Proxy) -> Draft:
    """The draft that an existing proxy is."""
    return Draft(**{name: getattr(proxy, name) for name in FIELDS})


def changed(draft: Draft, change: UpdateProxy) -> Draft:
    """The draft with the fields that the change gives."""
    given = {name: value for name in FIELDS if (value := getattr(change, name, UNSET)) is not UNSET}
    return _with_http_scheme(msgspec.structs.replace(draft, **_tidied(given)))


def _with_http_scheme(draft: Draft) -> Draft:
    """A WebSocket begins as an HTTP request, so that ws:// and wss:// are other words for the same target."""
    return msgspec.structs.replace(draft, target_url=http_form(draft.target_url, draft.transport))


def http_form(target_url: str, transport: str) -> str:
    """The target as its first request addresses it."""
    scheme, mark, rest = target_url.partition("://")
    if transport != "websocket" or scheme not in _WEBSOCKET_SCHEMES:
        return target_url
    return f"{_WEBSOCKET_SCHEMES[scheme]}{mark}{rest}"


def _tidied(values: dict[str, Any]) -> dict[str, Any]:
    for name in ("name", "target_url", "host"):
        if name in values:
            values[name] = values[name].strip()
    if "host" in values:
        values["host"] = values["host"].lower()
    if "target_url" in values:
        values["target_url"] = values["target_url"].rstrip("/")
    return values


def write(draft: Draft, proxy: Proxy) -> list[str]:
    """Copy the draft to the row; returns the names of the fields that changed."""
    different = [name for name in FIELDS if getattr(proxy, name) != getattr(draft, name)]
    for name in different:
        setattr(proxy, name, getattr(draft, name))
    proxy.name_key = validation.name_key(draft.name)
    return different


def problems(draft: Draft) -> dict[str, str]:
    """Everything that is wrong with a draft by itself, by field name."""
    found = {
        "name": validation.name_problem(draft.name),
        "type": validation.type_problem(draft.type),
        "transport": validation.transport_problem(draft.transport, draft.type),
        **_server_problems(draft),
        "host": validation.host_problem(draft.host)
        or validation.exposure_problem(draft.host, require_auth=draft.require_auth),
        "port": validation.port_problem(draft.port),
        "policy_names": validation.policy_names_problem(draft.policy_names),
        "tags": validation.tags_problem(draft.tags),
        **validation.pair_problems(tls_cert_path=draft.tls_cert_path, tls_key_path=draft.tls_key_path),
        "upstream_ca_path": validation.path_problem(draft.upstream_ca_path),
        **validation.pair_problems(
            upstream_client_cert_path=draft.upstream_client_cert_path,
            upstream_client_key_path=draft.upstream_client_key_path,
        ),
        "allowed_hosts": validation.allowed_hosts_problem(draft.allowed_hosts),
        "allowed_origins": validation.allowed_origins_problem(draft.allowed_origins),
        "egress_hosts": validation.egress_hosts_problem(draft.egress_hosts),
        "discovery_interval_hours": validation.discovery_interval_problem(draft.discovery_interval_hours),
    }
    return {name: problem for name, problem in found.items() if problem}


def _server_problems(draft: Draft) -> dict[str, str | None]:
    """A server has a URL where it is reached over the network, and a command where the proxy starts it."""
    if draft.transport != "stdio":
        return {
            "target_url": validation.target_url_problem(draft.target_url),
            "launch_command": "Only the transport stdio has a launch command." if draft.launch_command else None,
            "launch_directory": "Only the transport stdio has a directory." if draft.launch_directory else None,
            "launch_process": "Only the transport stdio has processes." if draft.launch_process != "session" else None,
        }
    return {
        "target_url": "A server that is started has no URL. Leave it empty." if draft.target_url else None,
        "launch_command": command_problem(draft.launch_command),
        "launch_directory": validation.path_problem(draft.launch_directory),
    }


def listeners_collide(host: str, other: str) -> bool:
    """Whether two proxies on one port would want the same address."""
    if host.lower() == other.lower() or host in WILDCARD_HOSTS or other in WILDCARD_HOSTS:
        return True
    return (
        "localhost" in (host.lower(), other.lower()) and validation.is_loopback(host) and validation.is_loopback(other)
    )
