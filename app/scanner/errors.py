"""What can be wrong with a scan."""

from __future__ import annotations

from app.errors import Conflict, NotFound, Unavailable, ValidationFailed


class ScanNotFound(NotFound):
    code = "scan_not_found"
    default_message = "There is no such scan."
    default_remediation = "List the scans with GET /api/v1/mcp/scan."


class ScanNotFinished(Conflict):
    code = "scan_not_finished"
    default_message = "The scan has no result."
    default_remediation = (
        "Wait until its state is done; GET /api/v1/mcp/scan/{id} says how far it is, or why it failed."
    )


class ScanEnded(Conflict):
    code = "scan_ended"
    default_remediation = "Nothing runs any more; read what it came to, or start another scan."


class TooManyScans(Conflict):
    code = "too_many_scans"
    default_remediation = "Wait until one has finished, or cancel it."


class NotConfirmed(ValidationFailed):
    code = "scan_not_confirmed"
    default_message = "Active probes call tools of the server. They need a confirmation for this scan."
    default_remediation = "Give the proxy's name, or the target URL, as `confirmation`."


class NoScanner(Unavailable):
    code = "no_scanner"
    default_message = "No worker is there to scan."
    default_remediation = "Wait until a worker runs; Settings shows them."
