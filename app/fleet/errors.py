"""What can be wrong with a proxy."""

from __future__ import annotations

from app.errors import Conflict, NotFound


class ProxyNotFound(NotFound):
    code = "proxy_not_found"
    default_message = "There is no such proxy."
    default_remediation = "List the proxies with GET /api/v1/proxies."


class ProxyUnknown(NotFound):
    """No enabled proxy has this id."""

    code = "proxy_not_found"


class ProxyNameTaken(Conflict):
    code = "proxy_name_taken"
    default_remediation = "Choose another name."


class PortAssigned(Conflict):
    """Another proxy of ours, or the console, is configured for the port; whether it is free is seen at the start."""

    code = "port_taken"
    default_remediation = "Choose another port, or change the other one first."


class ProxyRunning(Conflict):
    code = "proxy_running"
    default_message = "The proxy is running."
    default_remediation = "Stop it first, then delete it."


class ProxyDisabled(Conflict):
    code = "proxy_disabled"
    default_message = "The proxy is disabled."
    default_remediation = "Enable it first, then start it."


class ProxyNotStarted(Conflict):
    """The start was tried and the proxy failed; the message is the reason."""

    code = "proxy_not_started"
    default_remediation = "Correct what the reason names and start it again."
