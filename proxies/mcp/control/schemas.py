"""Arguments and structured results against the schemas that were approved with the tool (T-10).

A declaration keeps its compiled schemas, so a call costs no more than the check itself.
"""

from __future__ import annotations

from typing import Any, Final

from proxies.mcp.control.declarations import Declaration
from proxies.mcp.messages import INVALID_PARAMS
from proxies.mcp.refusals import RPCRefusal, upstream_invalid
from rules.json_schema import Schema, Unusable, Violation

MAX_PATH_CHARACTERS: Final = 200


def check_arguments(declaration: Declaration, arguments: Any) -> None:
    """Refuse a call whose arguments its tool does not take; nothing of their values is repeated."""
    found = _violation(declaration, "inputSchema", arguments)
    if found is not None:
        raise RPCRefusal(
            200,
            INVALID_PARAMS,
            "invalid_arguments",
            f"Invalid arguments: {found.path[:MAX_PATH_CHARACTERS] or 'they'} {found.what}",
            remediation="Send arguments that the tool's inputSchema describes.",
        )


def check_result(declaration: Declaration, result: dict[str, Any]) -> None:
    """Refuse a result whose structured content is not what the tool says it returns."""
    if "structuredContent" not in result or result.get("isError") is True:
        return
    found = _violation(declaration, "outputSchema", result["structuredContent"])
    if found is not None:
        place = found.path[:MAX_PATH_CHARACTERS]
        raise upstream_invalid(f"The tool's result does not conform to its outputSchema: {place or 'it'} {found.what}.")


def _violation(declaration: Declaration, member: str, value: Any) -> Violation | None:
    if member not in declaration.document:
        return None
    compiled = declaration.schemas.get(member)
    if compiled is None:
        try:
            compiled = Schema(declaration.document[member])
        except Unusable:
            compiled = _UNUSABLE
        declaration.schemas[member] = compiled
    if compiled is _UNUSABLE:
        return Violation("", "cannot be checked: the schema of the tool is not usable")
    return compiled.violation(value)


_UNUSABLE: Final = Schema(False)
"""Stands for a schema that cannot be compiled: nothing conforms to it."""
