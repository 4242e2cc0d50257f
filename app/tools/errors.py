"""What can be wrong with a decision about tools."""

from __future__ import annotations

from app.errors import Conflict, NotFound
from app.undo import UNDO_SECONDS, NothingToRestore


class ToolNotFound(NotFound):
    code = "tool_not_found"
    default_message = "The server declares no such tool."
    default_remediation = "List its tools with GET /api/v1/proxies/{id}/tools."


class ChangeNotFound(NotFound):
    code = "change_not_found"
    default_message = "There is no such change."
    default_remediation = "List the changes with GET /api/v1/mcp/tools/{proxy_id}/changes."


class VersionNotFound(NotFound):
    code = "version_not_found"
    default_message = "No such version was ever approved."
    default_remediation = "The history of the entry names its versions."


class HeldCallNotFound(NotFound):
    code = "held_call_not_found"
    default_message = "There is no such held call."
    default_remediation = "List the calls that wait with GET /api/v1/approvals."


class ReviewOutdated(Conflict):
    """The definition is another one than the one that was seen."""

    code = "review_outdated"
    default_message = "The server has changed it since you looked."
    default_remediation = "Read the definition as it is now, then decide."


class ChangeDecided(Conflict):
    code = "change_decided"
    default_remediation = "Nothing needs to be done; the history says who decided."


class DecisionStands(NothingToRestore):
    """Its time is over, or somebody else made it."""

    default_message = "This decision cannot be taken back any more."
    default_remediation = (
        f"A decision can be taken back for {UNDO_SECONDS} seconds, by whoever made it. Decide again, or revert."
    )


class UndoOutdated(Conflict):
    """The server or a person has changed something since."""

    code = "undo_outdated"
    default_message = "Something has changed since this decision, so it was not taken back."
    default_remediation = "Look at the entry as it is now, then decide again, or revert."


class NotApprovable(Conflict):
    """No hash of the entry is good."""

    code = "not_approvable"
    default_message = "It is declared twice, or in a form that cannot be pinned."
    default_remediation = "Have the server corrected; until then it stays out."


class NotMCP(Conflict):
    code = "not_an_mcp_proxy"
    default_message = "This proxy is in front of no MCP server."
    default_remediation = "Choose a proxy of type mcp."


class NotServing(Conflict):
    """Nobody can ask the server at the moment."""

    code = "proxy_not_serving"
    default_message = "The proxy does not run, so nobody can ask its server."
    default_remediation = "Start the proxy, then try again."


class DiscoveryFailed(Conflict):
    code = "discovery_failed"
    default_remediation = "Check the target and its credential, then try again."


class HeldCallDecided(Conflict):
    code = "held_call_decided"
    default_message = "The call does not wait any more."
    default_remediation = "The caller may make it again."
