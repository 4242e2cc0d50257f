"""Pages of decisions about tools: the queue, the review of a server, the review of a change, held calls."""

import json
from collections.abc import Sequence
from typing import Any

from litestar import Request, Response, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery

from app.errors import AppError, NotFound
from app.fleet.service import ProxyService
from app.http.envelope import page_of
from app.http.filters import search_text
from app.http.formats import plural
from app.http.htmx import is_htmx
from app.http.marked import reindented
from app.http.page import Pages, Toast, redirect, with_query
from app.security.origin import local_path
from app.security.permissions import Actor
from app.tools.decisions import ToolDecisions
from app.tools.diffing import Mark, field_diffs, laid_out
from app.tools.discovery import Discovery
from app.tools.errors import ReviewOutdated
from app.tools.history import grouped, history_rows
from app.tools.holds import Holds
from app.tools.repository import CHANGE_SORTS, ChangeFilter, EntryFilter
from app.tools.schemas import ChangeView, Decide, DecideCall, DecideChanges, SeenChange, SetTool
from app.tools.service import ToolService
from app.tools.states import HOLDING_CODES, Status
from rules.pinning.canonical import sha256

VIEWER = {"role": "viewer"}
ADMIN = {"role": "admin"}
HOME = (("/approvals", "Approvals"),)
ANY_STATUS = "any"
STATUSES = [status.value for status in Status]
SEVERITIES = ("critical", "high", "medium", "low", "info")
PAGE_ROWS = 20
"""Rows of a page, so that it stays below 60 KB."""
REVIEW_ROWS = 12
ENDED_CALLS = 10
MAX_QUEUE = 500
DONE = {"approve": "approved", "reject": "rejected", "revert": "reverted", "disable": "disabled"}


@get("/approvals", opt=VIEWER, include_in_schema=False)
async def approvals_page(
    request: Request[Any, Any, Any],
    actor: NamedDependency[Actor],
    pages: NamedDependency[Pages],
    tools: NamedDependency[ToolService],
    holds: NamedDependency[Holds],
    search: FromQuery[str] = "",
    status: FromQuery[str] = "open",
    severity: FromQuery[str] = "",
    proxy_id: FromQuery[str] = "",
    sort: FromQuery[str] = "",
    offset: FromQuery[int] = 0,
) -> Response[str]:
    """What waits for a person: held calls, servers that nobody has looked at, open changes."""
    limit, offset = page_of(PAGE_ROWS, offset)
    filters = {
        "search": search_text(search),
        "status": status if status in (*STATUSES, ANY_STATUS) else "open",
        "severity": severity if severity in SEVERITIES else "",
        "proxy_id": proxy_id[:64],
    }
    order = CHANGE_SORTS.order(sort)
    filtered = filters["status"] != "open" or any(filters[name] for name in filters if name != "status")
    wanted = ChangeFilter(
        proxy_id=filters["proxy_id"],
        statuses=() if filters["status"] == ANY_STATUS else (filters["status"],),
        severity=filters["severity"],
        search=filters["search"],
    )
    servers = await tools.servers(actor)
    known = {server.proxy_id for server in servers}
    if wanted.proxy_id and wanted.proxy_id not in known:
        wanted = ChangeFilter(statuses=wanted.statuses, severity=wanted.severity, search=wanted.search)
    waiting = await tools.unreviewed(actor) if not offset and filters["status"] == "open" else {}
    if filters["search"] or filters["severity"]:
        waiting = {}
    held = await holds.waiting(actor)
    shown = {**filters, "status": filters["status"] if filters["status"] != "open" else ""}
    return await pages.page(
        request,
        "tools/approvals.html",
        title="Approvals",
        active="approvals",
        stream="?show=tools",
        filters=filters,
        filtered=filtered,
        base=with_query("/approvals", **shown, sort=order.param),
        order=order,
        list=await tools.changes(actor, wanted, limit=limit, offset=offset, sort=order.sort),
        reviews=[
            server for server in servers if server.proxy_id in waiting and filters["proxy_id"] in ("", server.proxy_id)
        ],
        waiting=waiting,
        held=held,
        arguments={call.id: _indented(call.arguments) for call in held},
        ended=await holds.recent(actor, limit=ENDED_CALLS),
        has_mcp=bool(servers),
        proxy_options=[(server.proxy_id, server.proxy_name) for server in servers],
    )


@get("/approvals/servers/{proxy_id:str}", opt=VIEWER, include_in_schema=False)
async def server_review_page(
    request: Request[Any, Any, Any],
    proxy_id: FromPath[str],
    actor: NamedDependency[Actor],
    pages: NamedDependency[Pages],
    tools: NamedDependency[ToolService],
    decisions: NamedDependency[ToolDecisions],
    offset: FromQuery[int] = 0,
) -> Response[str]:
    """Everything of one server that waits, with what the rules say about it."""
    server = await tools.server(actor, proxy_id)
    limit, offset = page_of(REVIEW_ROWS, offset)
    wanted = EntryFilter(proxy_id=proxy_id, states=("pending",))
    found = await tools.entries(actor, wanted, limit=limit, offset=offset)
    seen = await decisions.pending(actor, proxy_id)
    own = await tools.entry(actor, server.entry_id) if server.entry_id else None
    moved = await tools.changes(actor, ChangeFilter(proxy_id=proxy_id, kind="server", statuses=("open",)), limit=1)
    changes = await _open_changes(tools, actor, proxy_id)
    documents = await tools.documents(actor, [entry.id for entry in found.items if entry.kind != "server"])
    return await pages.page(
        request,
        "tools/server_review.html",
        title=server.proxy_name,
        active="approvals",
        crumbs=HOME,
        stream="?show=tools",
        server=server,
        list=found,
        base=f"/approvals/servers/{proxy_id}",
        grouped=grouped,
        clean=seen.clean,
        risky=seen.risky,
        clean_digest=seen.clean_digest,
        all_digest=seen.all_digest,
        documents={entry_id: laid_out(document) for entry_id, document in documents.items()},
        server_change=next(iter(moved.items), None),
        holding=next((one for change in moved.items for one in change.reasons if one.code in HOLDING_CODES), None),
        changes=changes[:REVIEW_ROWS],
        change_count=len(changes),
        changes_digest=_digest(changes),
        is_critical=any(change.severity in ("critical", "high") for change in changes),
        instructions=str(own.current.get("instructions", "")) if own else "",
        server_findings=own.entry.findings if own else [],
    )


@get("/approvals/changes/{change_id:str}", opt=VIEWER, include_in_schema=False)
async def change_page(
    request: Request[Any, Any, Any],
    change_id: FromPath[str],
    actor: NamedDependency[Actor],
    pages: NamedDependency[Pages],
    tools: NamedDependency[ToolService],
) -> Response[str]:
    """One change like a pull request: what was, what is, what speaks against it, what was decided before."""
    detail = await tools.change(actor, change_id)
    change = detail.change
    entry = await tools.entry(actor, change.entry_id)
    before, following = _neighbours(await tools.waiting_ids(actor, limit=MAX_QUEUE), change.id)
    marks = [
        Mark(one.pointer, one.start, one.end, one.rule_id, one.severity)
        for one in change.findings
        if one.view == "raw" or one.end > one.start
    ]
    return await pages.page(
        request,
        "tools/change.html",
        title=change.name or change.proxy_name,
        active="approvals",
        crumbs=HOME,
        stream="?show=tools",
        change=change,
        entry=entry.entry,
        fields=field_diffs(detail.old, detail.new, marks),
        findings=grouped(change.findings),
        reasons=[reason for reason in change.reasons if reason.code != "new_finding" or not change.findings],
        newer=next((one for one in entry.changes if one.status == "open" and one.id != change.id), None),
        history=history_rows(entry.versions, entry.changes, shown=change.id),
        next_url=following,
        previous_url=before,
    )


@post("/approvals/changes/{change_id:str}/{verb:str}", opt=ADMIN, include_in_schema=False)
async def decide_change(
    request: Request[Any, Any, Any],
    change_id: FromPath[str],
    verb: FromPath[str],
    actor: NamedDependency[Actor],
    decisions: NamedDependency[ToolDecisions],
) -> Response[str]:
    """Approve, reject or revert what was seen."""
    verbs = {
        "approve": decisions.approve_change,
        "reject": decisions.reject_change,
        "revert": decisions.revert_change,
    }
    if verb not in verbs:
        raise NotFound("There is no such decision.")
    given = await request.form()
    wanted = Decide(h_raw=str(given.get("h_raw", ""))[:64], comment=str(given.get("comment", ""))[:2000].strip())
    try:
        change = await verbs[verb](actor, change_id, wanted)
    except AppError as error:
        return _refused(request, f"/approvals/changes/{change_id}", error)
    name = change.name or change.proxy_name
    text = f"The change of “{name}” is {DONE[verb]}."
    return redirect(request, "/approvals", await with_undo(decisions, actor, change.proxy_id, "/approvals", text))


@post("/approvals/entries/{entry_id:str}/{verb:str}", opt=ADMIN, include_in_schema=False)
async def decide_entry(
    request: Request[Any, Any, Any],
    entry_id: FromPath[str],
    verb: FromPath[str],
    actor: NamedDependency[Actor],
    tools: NamedDependency[ToolService],
    decisions: NamedDependency[ToolDecisions],
) -> Response[str]:
    """Approve what was seen of one entry, or keep it out."""
    if verb not in ("approve", "reject", "disable"):
        raise NotFound("There is no such decision.")
    given = await request.form()
    entry = (await tools.entry(actor, entry_id)).entry
    back = local_path(str(given.get("back", "")), f"/approvals/servers/{entry.proxy_id}")
    wanted = SetTool(enabled=verb == "approve", h_raw=str(given.get("h_raw", ""))[:64])
    try:
        await decisions.set_entry(actor, entry_id, wanted)
    except AppError as error:
        return _refused(request, back, error)
    text = f"“{entry.name or entry.proxy_name}” is {DONE[verb]}."
    return redirect(request, back, await with_undo(decisions, actor, entry.proxy_id, back, text))


@post("/approvals/servers/{proxy_id:str}/approve", opt=ADMIN, include_in_schema=False)
async def approve_server(
    request: Request[Any, Any, Any],
    proxy_id: FromPath[str],
    actor: NamedDependency[Actor],
    decisions: NamedDependency[ToolDecisions],
) -> Response[str]:
    """Approve all clean entries of a server, or all of them, as they were seen."""
    given = await request.form()
    try:
        count = await decisions.approve_pending(
            actor, proxy_id, digest=str(given.get("digest", "")), only_clean=given.get("which") != "all"
        )
    except AppError as error:
        return _refused(request, f"/approvals/servers/{proxy_id}", error)
    back, text = f"/approvals/servers/{proxy_id}", f"{plural(count, 'entry is', 'entries are')} approved."
    return redirect(request, back, await with_undo(decisions, actor, proxy_id, back, text))


@post("/approvals/servers/{proxy_id:str}/changes/{verb:str}", opt=ADMIN, include_in_schema=False)
async def decide_changes(
    request: Request[Any, Any, Any],
    proxy_id: FromPath[str],
    verb: FromPath[str],
    actor: NamedDependency[Actor],
    tools: NamedDependency[ToolService],
    decisions: NamedDependency[ToolDecisions],
) -> Response[str]:
    """Approve or reject everything that has changed of a server, as it was seen."""
    if verb not in ("approve", "reject"):
        raise NotFound("There is no such decision.")
    given, back = await request.form(), f"/approvals/servers/{proxy_id}"
    changes = await _open_changes(tools, actor, proxy_id)
    seen = [SeenChange(id=one.id, h_raw=one.after_hash or one.before_hash) for one in changes]
    wanted = DecideChanges(changes=seen, comment=str(given.get("comment", ""))[:2000].strip())
    try:
        if not changes or str(given.get("digest", "")) != _digest(changes):
            raise ReviewOutdated
        outcome = await decisions.decide_changes(actor, proxy_id, wanted, approves=verb == "approve")
    except AppError as error:
        return _refused(request, back, error)
    text = f"{plural(outcome.changed, 'change is', 'changes are')} {DONE[verb]}."
    if outcome.skipped:
        name, why = next(iter(outcome.skipped.items()))
        return redirect(
            request, back, Toast(f"{text} {len(outcome.skipped)} could not be, such as “{name}”: {why}", kind="error")
        )
    return redirect(request, back, await with_undo(decisions, actor, proxy_id, back, text))


@post("/approvals/undo/{undo_id:str}", opt=ADMIN, include_in_schema=False)
async def undo_decision(
    request: Request[Any, Any, Any],
    undo_id: FromPath[str],
    actor: NamedDependency[Actor],
    decisions: NamedDependency[ToolDecisions],
) -> Response[str]:
    """Put everything back as it was before a decision of the last minute."""
    back = local_path(str((await request.form()).get("back", "")), "/approvals")
    try:
        done = await decisions.undo(actor, undo_id)
    except AppError as error:
        return _refused(request, back, error)
    what = f"“{done.names[0]}” is" if done.count == 1 else f"{plural(done.count, 'entry is', 'entries are')}"
    return redirect(request, back, Toast(f"{what} as before."))


@post("/approvals/calls/{call_id:str}", opt=ADMIN, include_in_schema=False)
async def decide_call(
    request: Request[Any, Any, Any],
    call_id: FromPath[str],
    actor: NamedDependency[Actor],
    holds: NamedDependency[Holds],
) -> Response[str]:
    """Release or refuse a held call."""
    given = await request.form()
    wanted = DecideCall(digest=str(given.get("digest", ""))[:64], comment=str(given.get("comment", ""))[:500].strip())
    allowed = given.get("verdict") == "release"
    try:
        call = await holds.decide(actor, call_id, wanted, allowed=allowed)
    except AppError as error:
        return _refused(request, "/approvals", error)
    return redirect(
        request, "/approvals", Toast(f"The call of “{call.tool}” is {'released' if allowed else 'refused'}.")
    )


@post("/proxies/{proxy_id:str}/tools/discover", opt=ADMIN, include_in_schema=False)
async def discover_tools(
    request: Request[Any, Any, Any],
    proxy_id: FromPath[str],
    actor: NamedDependency[Actor],
    pages: NamedDependency[Pages],
    proxies: NamedDependency[ProxyService],
    discovery: NamedDependency[Discovery],
) -> Response[str]:
    """Ask the server now; its answer appears by itself."""
    proxy = await proxies.get(actor, proxy_id)
    if proxies.status(proxy_id).state.serves:
        discovery.begin(proxy_id, "request")
        toast = Toast(f"The server of {proxy.name} is being asked.")
    else:
        toast = Toast(f"{proxy.name} does not run. Start it, then ask again.", kind="error")
    if is_htmx(request):
        return Response(pages.toast_partial(request, toast), media_type="text/html")
    return redirect(request, f"/proxies/{proxy_id}?tab=tools", toast)


async def with_undo(decisions: ToolDecisions, actor: Actor, proxy_id: str, back: str, text: str) -> Toast:
    """The note about a decision, with the way back."""
    latest = await decisions.undoable(actor, proxy_id)
    return (
        Toast(text, undo_url=f"/approvals/undo/{latest[0].id}", undo_values=(("back", back),))
        if latest
        else Toast(text)
    )


async def _open_changes(tools: ToolService, actor: Actor, proxy_id: str) -> list[ChangeView]:
    """Everything that has changed of a server and waits for a decision."""
    return (await tools.changes(actor, ChangeFilter(proxy_id=proxy_id, statuses=("open",)), limit=MAX_QUEUE)).items


def _digest(changes: Sequence[ChangeView]) -> str:
    """What a decision about these changes together is bound to."""
    return sha256(json.dumps(sorted([one.id, one.after_hash, one.before_hash] for one in changes)).encode())


def _refused(request: Request[Any, Any, Any], back: str, error: AppError) -> Response[str]:
    return redirect(request, back, Toast.refused(error))


def _neighbours(queue: Sequence[str], change_id: str) -> tuple[str, str]:
    """Where k and j lead from a change; from one that waits no more, j leads to the first that does."""
    place = queue.index(change_id) if change_id in queue else -1
    following = queue[place + 1] if place + 1 < len(queue) else ""
    before = queue[place - 1] if place > 0 else ""
    return (
        f"/approvals/changes/{before}" if before else "/approvals",
        f"/approvals/changes/{following}" if following else "",
    )


def _indented(text: str) -> str:
    """JSON over lines; nothing but white space is changed."""
    layout = reindented(text)
    return layout.text if layout else text


routes = [
    approvals_page,
    server_review_page,
    change_page,
    decide_change,
    decide_entry,
    approve_server,
    decide_changes,
    undo_decision,
    decide_call,
    discover_tools,
]
