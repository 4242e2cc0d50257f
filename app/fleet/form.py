"""The proxy form of the pages: from a view or nothing to fields, and from fields to the API's structs."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from litestar.datastructures import FormMultiDict

from app.errors import ValidationFailed
from app.fleet.schemas import CheckConnection, CreateProxy, ProxyView, UpdateProxy
from app.fleet.validation import is_reference
from app.http.forms import convert, lines

FIRST_PORT = 4000
MCP_FIELDS = ("era", "auto_approve", "quarantine_from", "denied_calls", "discovery_interval_hours")
_FIELD_NAMES = {
    "upstream_auth": "auth_value",
    "upstream_auth.type": "auth_type",
    "upstream_auth.name": "auth_name",
    "upstream_auth.value": "auth_value",
    "upstream_auth.region": "auth_region",
    "upstream_auth.access_key_id": "auth_access_key_id",
    "upstream_auth.session_token": "auth_session_token",
}
SECRET_FIELDS = ("auth_value", "auth_secret_access_key", "auth_session_token")
"""They are typed and never shown again."""


def blank(used_ports: Iterable[int], defaults: list[str]) -> dict[str, Any]:
    """The fields of a new proxy: the first port from 4000 that no proxy has, and the standard policies."""
    used = set(used_ports)
    port = next(port for port in range(FIRST_PORT, FIRST_PORT + len(used) + 1) if port not in used)
    return {
        "type": "llm",
        "transport": "http",
        "host": "127.0.0.1",
        "port": port,
        "auth_type": "bearer",
        "policy_names": defaults,
        "enforcement": "enforce",
        "require_auth": True,
        "capture": "all",
        "auto_start": True,
        "launch_process": "session",
        "era": "same",
        "refuse_downgrade": False,
        "auto_approve": "none",
        "quarantine_from": "high",
        "denied_calls": "error",
        "discovery_interval_hours": 6,
    }


def of_proxy(proxy: ProxyView) -> dict[str, Any]:
    """The fields of an existing proxy; its credential is not among them."""
    return {
        "type": proxy.type,
        "transport": proxy.transport,
        "launch_command": "\n".join(proxy.launch_command),
        "launch_environment": "\n".join(
            variable.name if variable.reference is None else f"{variable.name}={variable.reference}"
            for variable in proxy.launch_environment
        ),
        "launch_directory": proxy.launch_directory,
        "launch_process": proxy.launch_process,
        "launch_confirmed": "\n".join(proxy.launch_command),
        "name": proxy.name,
        "description": proxy.description,
        "target_url": proxy.target_url,
        "host": proxy.host,
        "port": proxy.port,
        "auth_type": proxy.upstream_auth.type,
        "auth_name": proxy.upstream_auth.name,
        "auth_region": proxy.upstream_auth.region,
        "auth_access_key_id": proxy.upstream_auth.access_key_id,
        "policy_names": proxy.policy_names,
        "enforcement": proxy.enforcement,
        "require_auth": proxy.require_auth,
        "capture": proxy.capture,
        "auto_start": proxy.auto_start,
        "allowed_hosts": "\n".join(proxy.allowed_hosts),
        "allowed_origins": "\n".join(proxy.allowed_origins),
        "egress_hosts": "\n".join(proxy.egress_hosts),
        "tls_cert_path": proxy.tls_cert_path,
        "tls_key_path": proxy.tls_key_path,
        "upstream_ca_path": proxy.upstream_ca_path,
        "upstream_client_cert_path": proxy.upstream_client_cert_path,
        "upstream_client_key_path": proxy.upstream_client_key_path,
        "tags": ", ".join(proxy.tags),
        "era": proxy.era,
        "refuse_downgrade": proxy.refuse_downgrade,
        "auto_approve": proxy.auto_approve,
        "quarantine_from": proxy.quarantine_from,
        "denied_calls": proxy.denied_calls,
        "discovery_interval_hours": proxy.discovery_interval_hours,
    }


def field_names(given: FormMultiDict) -> dict[str, str]:
    """Where an error of the API belongs in the form."""
    if _text(given, "auth_type") == "aws":
        return _FIELD_NAMES | {"upstream_auth.value": "auth_secret_access_key"}
    return _FIELD_NAMES


def typed(given: FormMultiDict) -> dict[str, Any]:
    """What was typed, to show it again; never the credential."""
    values: dict[str, Any] = {name: str(value) for name, value in given.items() if not name.startswith("_")}
    for name in SECRET_FIELDS:
        values.pop(name, None)
    values["launch_environment"] = "\n".join(
        f"{name}={value}" if value is not None and is_reference(value) else name
        for name, value in variables(values.get("launch_environment", "")).items()
    )
    for name in ("launch_command", "launch_confirmed"):
        values[name] = "\n".join(argument_lines(_text(given, name)))
    values["policy_names"] = [str(name) for name in given.getall("policy_names", [])]
    values["require_auth"] = "require_auth" in given
    values["auto_start"] = "auto_start" in given
    values["refuse_downgrade"] = "refuse_downgrade" in given
    return values


def creation(given: FormMultiDict) -> CreateProxy:
    """The request for a new proxy; raises ValidationFailed."""
    transport = _text(given, "transport") if _text(given, "type") == "mcp" else ""
    kind = {"type": _text(given, "type"), "transport": transport or "http"}
    return convert({**kind, "upstream_auth": _auth(given), **_shared(given)}, CreateProxy)


def change(given: FormMultiDict) -> UpdateProxy:
    """The request for a change; an empty credential keeps the stored one. Raises ValidationFailed."""
    return convert({"upstream_auth": _auth(given), **_shared(given)}, UpdateProxy)


def connection(given: FormMultiDict) -> CheckConnection:
    """What a check of the connection is about; raises ValidationFailed."""
    names = [name for name in CheckConnection.__struct_fields__ if name not in ("launch_command", "launch_environment")]
    values: dict[str, Any] = {name: _text(given, name) for name in names}
    values["transport"] = values["transport"] or "http"
    values["launch_command"] = _command(given)
    if values["transport"] == "stdio":
        values["launch_environment"] = variables(_text(given, "launch_environment"))
    return convert(values, CheckConnection)


def check_confirmed(given: FormMultiDict) -> None:
    """A program is started only after somebody has seen exactly what it is (P-05). Raises ValidationFailed."""
    command = _command(given)
    # Browsers send a line end as CR and LF, whatever stood in the page.
    if command and argument_lines(_text(given, "launch_confirmed")) != command:
        raise ValidationFailed(fields={"launch_confirmed": "Look at the exact command and confirm it."})


def variables(text: str) -> dict[str, str | None]:
    """The variables of a text field, `NAME=value` a line; a name alone keeps the value that is stored."""
    found: dict[str, str | None] = {}
    for line in text.splitlines():
        name, mark, value = line.strip().partition("=")
        if name:
            found[name.strip()] = value.strip() if mark and value.strip() else None
    return found


def _command(given: FormMultiDict) -> list[str]:
    """One argument a line; they are taken as they are, blanks included."""
    if _text(given, "transport") != "stdio":
        return []
    return argument_lines(_text(given, "launch_command"))


def argument_lines(text: str) -> list[str]:
    """The lines of a text field that are not empty; nothing but what a keyboard sends for a new line ends one."""
    return [line for line in text.replace("\r\n", "\n").split("\n") if line]


def _launch(given: FormMultiDict) -> dict[str, Any]:
    if _text(given, "transport") != "stdio":
        return {}
    return {
        "target_url": "",
        "launch_command": _command(given),
        "launch_environment": variables(_text(given, "launch_environment")),
        "launch_directory": _text(given, "launch_directory"),
        "launch_process": _text(given, "launch_process") or "session",
    }


def _shared(given: FormMultiDict) -> dict[str, Any]:
    texts = ("name", "description", "target_url", "host", "enforcement")
    paths = (
        "tls_cert_path",
        "tls_key_path",
        "upstream_ca_path",
        "upstream_client_cert_path",
        "upstream_client_key_path",
    )
    return {
        **{name: _text(given, name) for name in (*texts, *paths)},
        **{name: _text(given, name) for name in ("capture", *MCP_FIELDS) if _text(given, name)},
        "port": _text(given, "port") or "0",
        "policy_names": [str(name) for name in given.getall("policy_names", [])],
        "require_auth": "require_auth" in given,
        "auto_start": "auto_start" in given,
        "refuse_downgrade": "refuse_downgrade" in given,
        "allowed_hosts": lines(_text(given, "allowed_hosts")),
        "allowed_origins": lines(_text(given, "allowed_origins")),
        "egress_hosts": lines(_text(given, "egress_hosts")),
        "tags": lines(_text(given, "tags")),
        **_launch(given),
    }


def _auth(given: FormMultiDict) -> dict[str, Any]:
    """An empty credential is left out: it keeps the stored one of a proxy that has one, and is missed for a new one."""
    kind = "none" if _text(given, "transport") == "stdio" else _text(given, "auth_type") or "none"
    if kind == "aws":
        return {
            "type": kind,
            "region": _text(given, "auth_region"),
            "access_key_id": _text(given, "auth_access_key_id"),
            "value": _text(given, "auth_secret_access_key") or None,
            "session_token": _text(given, "auth_session_token") or None,
        }
    return {
        "type": kind,
        "name": _text(given, "auth_name") if kind == "header" else "",
        "value": (_text(given, "auth_value") or None) if kind != "none" else None,
    }


def _text(given: FormMultiDict, name: str) -> str:
    return str(given.get(name, "")).strip()
