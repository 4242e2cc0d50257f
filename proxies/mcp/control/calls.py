"""A call of a tool, or the request for a prompt, under control: does what was approved still stand there? (T-03, T-09)

A list that hides a tool hides nothing from a client that knows its name, so every call is checked again.
"""

from __future__ import annotations

from functools import partial
from typing import Any, Final

from msgspec.structs import replace

from proxies import off_loop
from proxies.contract import EntryKind, ToolUse
from proxies.exchange import Exchange
from proxies.mcp.control.declarations import Declaration
from proxies.mcp.control.lister import ListingFailed
from proxies.mcp.control.passing import rules_of, why_not
from proxies.mcp.control.schemas import check_arguments, check_result
from proxies.mcp.control.server import ControlledServer
from proxies.mcp.messages import BLOCKED, INVALID_PARAMS, Message
from proxies.mcp.refusals import RPCRefusal, invalid_params, printable
from proxies.refusal import Refusal
from proxies.runtime import ProxyRuntime
from proxies.steps.authenticate import still_holds
from proxies.steps.restore import with_values
from rules.model import Action, Confidence, Decision, Finding, Severity, Target, Verdict
from rules.policy import Policy
from rules.policy_evaluation import PolicySet
from rules.verdicts import stronger

POLICY: Final = "mcp-tool-filtering"
"""The name under which refused calls stand in records and alerts."""
RULE_ID: Final = "MCP-TOOL-001"
"""A tool or prompt was asked for that may not pass."""
CATEGORY: Final = "mcp/tool-control"
MAX_ARGUMENT_KEYS: Final = 64

CONTROLLED_REQUESTS: Final = frozenset({"tools/call", "prompts/get", "completion/complete"})
_REFERENCES: Final[dict[str, EntryKind]] = {"ref/prompt": "prompt", "ref/resource": "template"}
"""What a completion can be about."""

_WHY: Final = {
    "pending": "nobody has approved it yet",
    "changed": "the server changed it after it was approved",
    "disabled": "it is disabled",
    "missing": "the server does not declare it",
    "scan": "a scan found something in it",
}


async def check_call(exchange: Exchange, message: Message, *, is_masked: bool = False) -> Declaration | None:
    """The current declaration of what is called; None where nothing is controlled. Raises `Refusal`.

    A schema is about the values of arguments, so those that are masked already are not held against it.
    """
    server = exchange.proxy.controlled
    if message.method not in CONTROLLED_REQUESTS or server is None or server.control is None:
        return None
    kind, name = _asked_for(exchange, message)
    declaration = server.catalogue.find(kind, name) if server.is_current(kind) else None
    if declaration is None or kind == "template":
        try:
            if kind == "template" and await _is_resource(server, name):
                return None
            declaration = await _asked_declaration(server, kind, name)
        except ListingFailed as error:
            raise _unlisted(str(error)) from error
        finally:
            exchange.lap("tool_control", waiting=True)
    try:
        reason = _reason(server, declaration, exchange.principal.id)
        if reason:
            raise _hidden(exchange, kind, name, reason)
        if kind == "tool" and declaration is not None and not is_masked:
            arguments = (message.params or {}).get("arguments", {})
            if exchange.request_bytes > off_loop.LARGE_BYTES:
                await off_loop.away(partial(check_arguments, declaration, arguments))
            else:
                check_arguments(declaration, arguments)
    finally:
        exchange.lap("tool_control")
    return declaration


async def _is_resource(server: ControlledServer, uri: str) -> bool:
    """Whether a URI is that of a resource; raises `ListingFailed`."""
    await server.current("resource")
    return server.catalogue.find("resource", uri) is not None


async def _asked_declaration(server: ControlledServer, kind: EntryKind, name: str) -> Declaration | None:
    """The current declaration of that name, asking the server where need be; raises `ListingFailed`."""
    await server.current(kind)
    declaration = server.catalogue.find(kind, name)
    if declaration is None and server.control is not None and name in rules_of(server.control, kind):
        # The server may offer it again without having said so.
        await server.listed_lately()
        declaration = server.catalogue.find(kind, name)
    return declaration


async def hold_call(
    exchange: Exchange, message: Message, declaration: Declaration | None, session_id: str = ""
) -> None:
    """Let a call that a policy holds wait for a person; raises `Refusal` where it may not go on."""
    verdict, exchange.hold = exchange.hold, None
    controlled = exchange.proxy.controlled
    if verdict is None or controlled is None:
        return
    seconds = exchange.protection.policies.hold_seconds(verdict.decision.policy)
    await controlled.holds.wait(
        exchange, verdict, message, declaration=declaration, seconds=seconds, session_id=session_id
    )
    if controlled.runtime is not None and not _is_bound_alike(controlled.runtime, exchange):
        raise _outdated(exchange)
    # What was released is a call of the tool as it was shown: it must still be that one, and allowed.
    now = await check_call(exchange, message, is_masked=True)
    if now is not None and declaration is not None and now.h_raw != declaration.h_raw:
        raise _hidden(exchange, "tool", declaration.name, "changed")


def _is_bound_alike(now: ProxyRuntime, exchange: Exchange) -> bool:
    """Whether a caller's key still opens the proxy, and the same versions of the same policies judge its calls."""
    caller = exchange.principal.id
    if not still_holds(now, exchange.key_digest, caller):
        return False
    protection = now.protection_by_key.get(caller, now.protection)
    if isinstance(protection, str):
        return False
    return _versions(protection.policies) == _versions(exchange.protection.policies)


def _versions(policies: PolicySet) -> list[tuple[Policy, int]]:
    return [(one.policy, one.version) for one in policies.policies]


def _outdated(exchange: Exchange) -> Refusal:
    """A release is no answer to what the policies of today would ask."""
    code, remediation = "approval_outdated", "Make the call again; it is judged anew."
    return RPCRefusal(
        200,
        BLOCKED,
        code,
        "The policies or the key of this call changed while it waited for approval.",
        data={"ref": exchange.id, "code": code, "remediation": remediation},
        remediation=remediation,
        outcome="blocked",
        detail="It was released, but its policies or its key had changed meanwhile.",
    )


async def note_use(exchange: Exchange, message: Message) -> None:
    """Say in the record which tool is called, and with which arguments by name."""
    params = message.params or {}
    name, arguments = params.get("name"), params.get("arguments", {})
    if message.method == "tools/call" and type(name) is str and type(arguments) is dict:
        if len(arguments) <= MAX_ARGUMENT_KEYS:
            keys = _argument_keys(arguments)
        else:
            keys = await off_loop.sized(exchange.request_bytes, partial(_argument_keys, arguments))
        exchange.tool = ToolUse(name=name[:500], argument_keys=keys)


def _argument_keys(arguments: dict[str, Any]) -> tuple[str, ...]:
    return tuple(sorted([key[:200] for key in arguments])[:MAX_ARGUMENT_KEYS])


def check_answer(exchange: Exchange, declaration: Declaration | None, document: dict[str, Any]) -> None:
    """Note how the answer to a call of a tool came out, and refuse a result that the tool does not give.

    A schema is about values: the answer is judged before any is taken out of it, and with those in it that were masked
    towards the server.
    """
    result = document.get("result")
    if exchange.tool is not None and (result is None or result.get("isError") is True):
        exchange.tool = replace(exchange.tool, is_error=True)
    if result is not None and declaration is not None and declaration.kind == "tool":
        if exchange.masking and "structuredContent" in result:
            result = {**result, "structuredContent": with_values(exchange.masking, result["structuredContent"])}
        check_result(declaration, result)


def _asked_for(exchange: Exchange, message: Message) -> tuple[EntryKind, str]:
    """What a request is about: a completion tells of a prompt or template as much as the thing itself (T-09)."""
    params = message.params or {}
    if message.method != "completion/complete":
        return "tool" if message.method == "tools/call" else "prompt", params["name"]
    ref = params.get("ref")
    asked = ref if type(ref) is dict else {}
    kind = _REFERENCES.get(str(asked.get("type")))
    name = asked.get("name" if kind == "prompt" else "uri")
    if kind is None or type(name) is not str:
        raise invalid_params(
            "params.ref must name a prompt or a resource template.",
            status=400 if exchange.protocol == "mcp.modern" else 200,
        )
    return kind, name


def _reason(server: ControlledServer, declaration: Declaration | None, key_id: str) -> str:
    control = server.control
    if control is None:
        return ""
    return "missing" if declaration is None else why_not(control, declaration, key_id)


def _unlisted(why: str) -> Refusal:
    return Refusal(
        502,
        "tools_unknown",
        "The gateway could not read what the server declares now, so the call did not pass.",
        remediation="Try again; if it persists, check that the server can be reached and answers its lists.",
        outcome="failed",
        detail=f"The server could not be listed: {why}",
    )


def _hidden(exchange: Exchange, kind: EntryKind, name: str, reason: str) -> Refusal:
    """The refusal of something that may not pass: to the client it does not exist (T-09)."""
    shown = printable(name)
    finding = Finding(
        rule_id=RULE_ID,
        pack=POLICY,
        title=f"A {kind} that is not approved was called",
        category=CATEGORY,
        severity=Severity.MEDIUM,
        confidence=Confidence.HIGH,
        score=100,
        action=Action.BLOCK,
        target=Target.TOOL_NAME,
        path="/params/name",
        start=0,
        end=0,
        view="raw",
        evidence=f"{kind} {shown}: {reason}"[:160],
    )
    why = f"The {kind} {shown} may not pass: {_WHY.get(reason, reason)} ({reason})."
    decision = Decision(source="rule", rule_id=RULE_ID, policy=POLICY, level="proxy", would_action=Action.BLOCK)
    verdict = Verdict(Action.BLOCK, finding.score, (finding,), why, decision)
    exchange.added_findings = [*exchange.added_findings, finding]
    exchange.verdict = stronger(exchange.verdict, verdict)
    return RPCRefusal(
        200,
        INVALID_PARAMS,
        POLICY.replace("-", "_"),
        f"Unknown {kind}: {shown}",
        data={"ref": exchange.id},
        outcome="blocked",
        detail=why,
    )
