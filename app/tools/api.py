"""JSON endpoints of tools: those of a proxy (inventory b.1), of changes (b.10), and of calls that wait."""

from collections.abc import Awaitable, Callable

import msgspec
from litestar import delete, get, post, put
from litestar.di import NamedDependency
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromPath, FromQuery, JSONBody

from app.http.envelope import DEFAULT_LIMIT, MAX_LIMIT, Envelope, Listing, page_of
from app.http.filters import search_text, words
from app.security.permissions import Actor
from app.tools.decisions import ToolDecisions
from app.tools.discovery import Discovery
from app.tools.holds import Holds
from app.tools.repository import CHANGE_SORTS, ENTRY_SORTS, ChangeFilter, EntryFilter
from app.tools.schemas import (
    ApprovalsView,
    ApproveEntries,
    BaselineView,
    BulkOutcome,
    ChangeDetail,
    ChangeView,
    Decide,
    DecideCall,
    DecideChanges,
    EntryView,
    HeldCallView,
    OverrideView,
    ProxyTools,
    ProxyToolStats,
    RevertTo,
    ServerView,
    SetOverride,
    SetTool,
    SetTools,
    UndoneView,
    UndoView,
)
from app.tools.service import EntryDetail, ToolService
from app.tools.states import KINDS, Risk, State, Status
from app.tools.usage import UsageService

VIEWER = {"role": "viewer"}
ADMIN = {"role": "admin"}
TAGS = ["tools"]
STATES = [state.value for state in State]
STATUSES = [status.value for status in Status]
RISKS = [risk.value for risk in Risk]
MAX_HOURS = 24 * 31


class Discovered(msgspec.Struct, frozen=True, kw_only=True):
    """What a discovery found."""

    discovered: int
    tools: list[EntryView]
    changes: list[ChangeView]


@get("/api/v1/proxies/{proxy_id:str}/tools", opt=VIEWER, tags=TAGS)
async def list_tools(
    proxy_id: FromPath[str], actor: NamedDependency[Actor], tools: NamedDependency[ToolService]
) -> Envelope[ProxyTools]:
    """The tools of a proxy, those that need somebody first."""
    return Envelope(await tools.tools(actor, proxy_id))


@post("/api/v1/proxies/{proxy_id:str}/tools/discover", opt=ADMIN, status_code=200, tags=TAGS)
async def discover_tools(
    proxy_id: FromPath[str],
    actor: NamedDependency[Actor],
    tools: NamedDependency[ToolService],
    discovery: NamedDependency[Discovery],
) -> Envelope[Discovered]:
    """Ask the server now. New tools are disabled until somebody approves them."""
    return Envelope(await _discovered(actor, proxy_id, tools, discovery))


@put("/api/v1/proxies/{proxy_id:str}/tools/bulk", opt=ADMIN, tags=TAGS)
async def set_tools(
    proxy_id: FromPath[str],
    data: JSONBody[SetTools],
    actor: NamedDependency[Actor],
    decisions: NamedDependency[ToolDecisions],
) -> Envelope[BulkOutcome]:
    """Enable or disable several tools by name."""
    return Envelope(await decisions.set_tools(actor, proxy_id, data))


@post("/api/v1/proxies/{proxy_id:str}/tools/approve", opt=ADMIN, status_code=200, tags=TAGS)
async def approve_tools(
    proxy_id: FromPath[str],
    data: JSONBody[ApproveEntries],
    actor: NamedDependency[Actor],
    decisions: NamedDependency[ToolDecisions],
) -> Envelope[BulkOutcome]:
    """Approve definitions as they were seen, tools and others; what has changed since is left out."""
    return Envelope(await decisions.approve_entries(actor, proxy_id, data))


@get("/api/v1/proxies/{proxy_id:str}/tools/stats", opt=VIEWER, tags=TAGS)
async def tool_stats(
    proxy_id: FromPath[str],
    actor: NamedDependency[Actor],
    usage: NamedDependency[UsageService],
    hours: FromQuery[int] = 24,
) -> Envelope[ProxyToolStats]:
    """How the tools were used: calls, errors, latency, sizes, argument keys."""
    return Envelope(await usage.stats(actor, proxy_id, hours=min(max(hours, 1), MAX_HOURS)))


@get("/api/v1/proxies/{proxy_id:str}/tools/overrides", opt=VIEWER, tags=TAGS)
async def list_overrides(
    proxy_id: FromPath[str], actor: NamedDependency[Actor], tools: NamedDependency[ToolService]
) -> Envelope[list[OverrideView]]:
    """What single API keys may do differently."""
    return Envelope(await tools.overrides(actor, proxy_id))


@put("/api/v1/proxies/{proxy_id:str}/tools/{tool:str}", opt=ADMIN, tags=TAGS)
async def set_tool(
    proxy_id: FromPath[str],
    tool: FromPath[str],
    data: JSONBody[SetTool],
    actor: NamedDependency[Actor],
    decisions: NamedDependency[ToolDecisions],
) -> Envelope[EntryView]:
    """Enable or disable one tool, by name or id. Enabling a pending one approves its current definition."""
    return Envelope(await decisions.set_tool(actor, proxy_id, tool, data))


@put("/api/v1/proxies/{proxy_id:str}/tools/{tool:str}/overrides/{key_id:str}", opt=ADMIN, tags=TAGS)
async def set_override(
    proxy_id: FromPath[str],
    tool: FromPath[str],
    key_id: FromPath[str],
    data: JSONBody[SetOverride],
    actor: NamedDependency[Actor],
    decisions: NamedDependency[ToolDecisions],
) -> Envelope[OverrideView | None]:
    """Enable or disable a tool for one API key."""
    return Envelope(await decisions.override(actor, proxy_id, tool, key_id, data.enabled))


@delete("/api/v1/proxies/{proxy_id:str}/tools/{tool:str}/overrides/{key_id:str}", opt=ADMIN, status_code=200, tags=TAGS)
async def remove_override(
    proxy_id: FromPath[str],
    tool: FromPath[str],
    key_id: FromPath[str],
    actor: NamedDependency[Actor],
    decisions: NamedDependency[ToolDecisions],
) -> Envelope[None]:
    """The key is treated like every other one again."""
    await decisions.override(actor, proxy_id, tool, key_id, None)
    return Envelope(None, message="The override is removed.")


@get("/api/v1/mcp/servers", opt=VIEWER, tags=TAGS)
async def list_servers(
    actor: NamedDependency[Actor], tools: NamedDependency[ToolService]
) -> Envelope[list[ServerView]]:
    """Every MCP server: identity, counts, when it was seen and asked, what is wrong."""
    return Envelope(await tools.servers(actor))


@get("/api/v1/mcp/inventory", opt=VIEWER, tags=TAGS)
async def list_inventory(
    actor: NamedDependency[Actor],
    tools: NamedDependency[ToolService],
    kind: FromQuery[list[str] | None] = None,
    states: FromQuery[list[str] | None] = None,
    risk: FromQuery[str] = "",
    proxy_id: FromQuery[str] = "",
    search: FromQuery[str] = "",
    sort: FromQuery[str] = "",
    limit: FromQuery[int] = DEFAULT_LIMIT,
    offset: FromQuery[int] = 0,
) -> Envelope[Listing[EntryView]]:
    """Tools, prompts, resources and templates of all servers."""
    limit, offset = page_of(limit, offset)
    wanted = EntryFilter(
        proxy_id=proxy_id,
        kinds=words("kind", kind, KINDS) or ("tool", "prompt", "resource", "template"),
        states=words("states", states, STATES),
        risk="".join(words("risk", [risk], RISKS)[:1]),
        search=search_text(search),
    )
    found = await tools.entries(actor, wanted, limit=limit, offset=offset, sort=ENTRY_SORTS.asked(sort))
    return Envelope(found)


@get("/api/v1/mcp/inventory/{entry_id:str}", opt=VIEWER, tags=TAGS)
async def get_entry(
    entry_id: FromPath[str], actor: NamedDependency[Actor], tools: NamedDependency[ToolService]
) -> Envelope[EntryDetail]:
    """One entry with its definitions, versions and changes."""
    return Envelope(await tools.entry(actor, entry_id))


@post("/api/v1/mcp/inventory/{entry_id:str}/revert", opt=ADMIN, status_code=200, tags=TAGS)
async def revert_entry(
    entry_id: FromPath[str],
    data: JSONBody[RevertTo],
    actor: NamedDependency[Actor],
    decisions: NamedDependency[ToolDecisions],
) -> Envelope[EntryView]:
    """Put an older approved version back as the baseline."""
    return Envelope(await decisions.revert_entry(actor, entry_id, data))


@get("/api/v1/mcp/tools/{proxy_id:str}/baseline", opt=VIEWER, tags=TAGS)
async def get_baseline(
    proxy_id: FromPath[str], actor: NamedDependency[Actor], tools: NamedDependency[ToolService]
) -> Envelope[BaselineView]:
    """What is approved of a server, with one hash for all of it."""
    return Envelope(await tools.baseline(actor, proxy_id))


@get("/api/v1/mcp/tools/{proxy_id:str}/changes", opt=VIEWER, tags=TAGS)
async def list_changes(
    proxy_id: FromPath[str],
    actor: NamedDependency[Actor],
    tools: NamedDependency[ToolService],
    statuses: FromQuery[list[str] | None] = None,
    sort: FromQuery[str] = "-detected_at",
    limit: FromQuery[int] = DEFAULT_LIMIT,
    offset: FromQuery[int] = 0,
) -> Envelope[Listing[ChangeView]]:
    """The changes of a server, newest first."""
    limit, offset = page_of(limit, offset)
    wanted = ChangeFilter(proxy_id=proxy_id, statuses=words("statuses", statuses, STATUSES))
    found = await tools.changes(actor, wanted, limit=limit, offset=offset, sort=CHANGE_SORTS.asked(sort))
    return Envelope(found)


@get("/api/v1/mcp/tools/{proxy_id:str}/changes/{change_id:str}", opt=VIEWER, tags=TAGS)
async def get_change(
    proxy_id: FromPath[str],
    change_id: FromPath[str],
    actor: NamedDependency[Actor],
    tools: NamedDependency[ToolService],
) -> Envelope[ChangeDetail]:
    """One change with both definitions."""
    return Envelope(await tools.change(actor, change_id, proxy_id=proxy_id))


@post("/api/v1/mcp/tools/{proxy_id:str}/detect-changes", opt=ADMIN, status_code=200, tags=TAGS)
async def detect_changes(
    proxy_id: FromPath[str],
    actor: NamedDependency[Actor],
    tools: NamedDependency[ToolService],
    discovery: NamedDependency[Discovery],
) -> Envelope[list[ChangeView]]:
    """Ask the server now and compare it with what was approved: its open changes."""
    return Envelope((await _discovered(actor, proxy_id, tools, discovery)).changes)


def _deciding_a_change(verb: str, description: str, decision: Callable[..., Awaitable[ChangeView]]) -> HTTPRouteHandler:
    """The endpoint of one decision about a change: they differ in nothing but what is decided."""

    @post(
        f"/api/v1/mcp/tools/{{proxy_id:str}}/changes/{{change_id:str}}/{verb}",
        opt=ADMIN,
        status_code=200,
        tags=TAGS,
        summary=f"{verb.capitalize()}Change",
        description=description,
    )
    async def decide_change(
        proxy_id: FromPath[str],
        change_id: FromPath[str],
        data: JSONBody[Decide],
        actor: NamedDependency[Actor],
        decisions: NamedDependency[ToolDecisions],
    ) -> Envelope[ChangeView]:
        return Envelope(await decision(decisions, actor, change_id, data, proxy_id=proxy_id))

    return decide_change


def _deciding_changes(verb: str, description: str, *, approves: bool) -> HTTPRouteHandler:
    """The endpoint of one decision about several changes of a server."""

    @post(
        f"/api/v1/mcp/tools/{{proxy_id:str}}/changes/{verb}",
        opt=ADMIN,
        status_code=200,
        tags=TAGS,
        summary=f"{verb.capitalize()}Changes",
        description=description,
    )
    async def decide_changes(
        proxy_id: FromPath[str],
        data: JSONBody[DecideChanges],
        actor: NamedDependency[Actor],
        decisions: NamedDependency[ToolDecisions],
    ) -> Envelope[BulkOutcome]:
        return Envelope(await decisions.decide_changes(actor, proxy_id, data, approves=approves))

    return decide_changes


@get("/api/v1/approvals", opt=VIEWER, tags=TAGS)
async def list_approvals(
    actor: NamedDependency[Actor], tools: NamedDependency[ToolService], holds: NamedDependency[Holds]
) -> Envelope[ApprovalsView]:
    """Everything that waits for a person: held calls (arguments for administrators only), open changes, new servers."""
    changes = await tools.changes(actor, ChangeFilter(statuses=("open",)), limit=MAX_LIMIT)
    return Envelope(
        ApprovalsView(
            held_calls=await holds.waiting(actor), changes=changes.items, reviews=await tools.unreviewed(actor)
        )
    )


def _deciding_a_call(verb: str, description: str, *, allowed: bool) -> HTTPRouteHandler:
    """The endpoint of one decision about a held call."""

    @post(
        f"/api/v1/approvals/{{call_id:str}}/{verb}",
        opt=ADMIN,
        status_code=200,
        tags=TAGS,
        summary=f"{verb.capitalize()}Call",
        description=description,
    )
    async def decide_call(
        call_id: FromPath[str],
        data: JSONBody[DecideCall],
        actor: NamedDependency[Actor],
        holds: NamedDependency[Holds],
    ) -> Envelope[HeldCallView]:
        return Envelope(await holds.decide(actor, call_id, data, allowed=allowed))

    return decide_call


async def _discovered(actor: Actor, proxy_id: str, tools: ToolService, discovery: Discovery) -> Discovered:
    await tools.server(actor, proxy_id)
    await discovery.discover(proxy_id)
    found = await tools.tools(actor, proxy_id)
    changes = await tools.changes(actor, ChangeFilter(proxy_id=proxy_id, statuses=("open",)), limit=MAX_LIMIT)
    return Discovered(discovered=found.count, tools=found.tools, changes=changes.items)


@get("/api/v1/mcp/undo", opt=ADMIN, tags=TAGS)
async def list_undo(
    actor: NamedDependency[Actor], decisions: NamedDependency[ToolDecisions], proxy_id: FromQuery[str] = ""
) -> Envelope[list[UndoView]]:
    """Your latest decisions that can still be taken back, the latest first."""
    return Envelope(await decisions.undoable(actor, proxy_id))


@post("/api/v1/mcp/undo/{undo_id:str}", opt=ADMIN, status_code=200, tags=TAGS)
async def undo(
    undo_id: FromPath[str], actor: NamedDependency[Actor], decisions: NamedDependency[ToolDecisions]
) -> Envelope[UndoneView]:
    """Put everything back as it was before a decision, unless the server or a person has changed something since."""
    return Envelope(await decisions.undo(actor, undo_id))


routes = [
    list_undo,
    undo,
    list_tools,
    discover_tools,
    set_tools,
    approve_tools,
    tool_stats,
    list_overrides,
    set_tool,
    set_override,
    remove_override,
    list_servers,
    list_inventory,
    get_entry,
    revert_entry,
    get_baseline,
    list_changes,
    get_change,
    detect_changes,
    *(
        _deciding_a_change(verb, description, decision)
        for verb, description, decision in (
            (
                "approve",
                "Make the new definition the baseline, if it still is the one that was seen.",
                ToolDecisions.approve_change,
            ),
            (
                "reject",
                "Keep the old baseline: the tool stays out as long as the server serves the rejected definition.",
                ToolDecisions.reject_change,
            ),
            ("revert", "Take an approval back.", ToolDecisions.revert_change),
        )
    ),
    _deciding_changes("approve", "Approve several changes together, each as it was seen.", approves=True),
    _deciding_changes("reject", "Reject several changes together, each as it was seen.", approves=False),
    list_approvals,
    _deciding_a_call("release", "Let a held call go on, once, exactly as it was seen.", allowed=True),
    _deciding_a_call("refuse", "Refuse a held call.", allowed=False),
]
