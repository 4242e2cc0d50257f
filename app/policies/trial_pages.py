"""Trying policies in the browser: the playground, replays, and false positives."""

import re
from typing import Any

from litestar import Request, Response, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery

from app.errors import AppError, NotFound, ValidationFailed
from app.guidelines.questions import of_evaluation
from app.guidelines.service import GuidelineService
from app.http.forms import convert, lines
from app.http.htmx import is_htmx
from app.http.marked import SEVERITIES, Highlight, highlighted
from app.http.page import Form, Pages, Toast, redirect
from app.policies import builder, documents
from app.policies.errors import PolicyInvalid
from app.policies.evaluation import Evaluator
from app.policies.feedback import Feedback, MarkFalsePositive
from app.policies.library import PolicyLibrary
from app.policies.replays import Replays
from app.policies.service import PolicyService
from app.policies.trial_schemas import (
    MAX_TEXT_CHARS,
    Evaluate,
    EvaluatedFinding,
    EvaluatedText,
    EvaluationView,
    StartReplay,
)
from app.policies.tried import read
from app.policies.views import page_of_rows
from app.security.origin import local_path
from app.security.permissions import Actor
from rules.model import Target
from rules.packs import parse_json

VIEWER = {"role": "viewer"}
ADMIN = {"role": "admin"}
HOME = (("/policies", "Policies"),)
MAX_SHOWN_CHARS = 20_000
WHAT_IT_IS = "what-it-is"
"""Reads a message of an API as one, and everything else as a prompt."""
PLAYGROUND_FIELDS = (
    *("message", "subject", "target", "direction", "log_only"),
    *("model", "client", "client_ip", "headers", "at"),
    *("context_source", "context_chunks", "context_origins", "context_threshold"),
)


@get("/policies/playground", opt=ADMIN, include_in_schema=False)
async def playground_page(
    request: Request[Any, Any, Any],
    actor: NamedDependency[Actor],
    pages: NamedDependency[Pages],
    library: NamedDependency[PolicyLibrary],
    policies: NamedDependency[PolicyService],
    evaluator: NamedDependency[Evaluator],
    subject: FromQuery[str] = "",
) -> Response[str]:
    """Paste a message, choose a policy, see what happens."""
    context = playground_context(library, evaluator, subject=subject, drafts=await _drafts(actor, policies))
    return await _playground(request, pages, context)


@post("/policies/playground", opt=ADMIN, include_in_schema=False)
async def run_playground(
    request: Request[Any, Any, Any],
    actor: NamedDependency[Actor],
    pages: NamedDependency[Pages],
    library: NamedDependency[PolicyLibrary],
    policies: NamedDependency[PolicyService],
    evaluator: NamedDependency[Evaluator],
    guidelines: NamedDependency[GuidelineService],
) -> Response[str]:
    """Judge the message; the answer is the result beside the form, without scripts the page with both."""
    given = await request.form()
    values = {name: str(given.get(name, "")) for name in PLAYGROUND_FIELDS}
    found: dict[str, Any] = {"form": Form(values), "outcome": None}
    status = 200
    try:
        outcome = await evaluator.evaluate(await _wanted(actor, policies, values))
        cited = await guidelines.cited(actor, of_evaluation(outcome))
        found |= {"outcome": outcome, "cited": cited, "texts": [_drawn(text, outcome) for text in outcome.texts]}
    except PolicyInvalid as error:
        # The fields are places in the draft, not of this form.
        found["form"], status = Form(values, {"subject": error.message}, error.message), error.status
    except AppError as error:
        found["form"], status = Form(values).refused(error), error.status
    if is_htmx(request):
        return pages.answer(request, "policies/_outcome.html", status=status, **found)
    drafts = await _drafts(actor, policies)
    context = playground_context(library, evaluator, subject=values["subject"], drafts=drafts)
    return await _playground(request, pages, context | found, status)


def playground_context(
    library: PolicyLibrary, evaluator: Evaluator, *, subject: str, drafts: list[str]
) -> dict[str, Any]:
    """The form of the playground: policies in force and drafts to choose from."""
    subjects = [(f"draft:{name}", f"{name} (draft)") for name in drafts]
    subjects += sorted(
        ((view.name, view.title or view.name) for view in library.policies()), key=lambda one: one[1].lower()
    )
    known = dict(subjects)
    return {
        "subjects": subjects,
        "form": Form(
            {
                "subject": subject if subject in known else (library.defaults("llm") or [""])[0],
                "target": WHAT_IT_IS,
                "direction": "request",
            }
        ),
        "targets": [target.value for target in Target],
        "max_chars": MAX_TEXT_CHARS,
        "firewall": evaluator.context_firewall,
        "outcome": None,
        "texts": [],
    }


async def _drafts(actor: Actor, policies: PolicyService) -> list[str]:
    return [view.name for view in (await policies.stored(actor)).values() if view.draft_version is not None]


async def _playground(
    request: Request[Any, Any, Any], pages: Pages, context: dict[str, Any], status: int = 200
) -> Response[str]:
    return await pages.page(
        request,
        "policies/playground.html",
        title="Playground",
        active="policies",
        crumbs=HOME,
        status=status,
        **context,
    )


@post("/policies/{name:str}/replay", opt=ADMIN, include_in_schema=False)
async def start_replay(
    request: Request[Any, Any, Any],
    name: FromPath[str],
    actor: NamedDependency[Actor],
    replays: NamedDependency[Replays],
) -> Response[str]:
    """Begin a replay and show it."""
    given = await request.form()
    try:
        asked = convert(
            {
                "source": str(given.get("source", "draft")),
                "days": str(given.get("days", "7")),
                "proxy_ids": [str(value) for value in given.getall("proxy_ids", []) if value],
            },
            StartReplay,
        )
        started = await replays.start(actor, name, asked)
    except AppError as error:
        words = " ".join(dict.fromkeys([error.message, error.remediation]))
        return redirect(request, f"/policies/{name}?tab=replay", Toast(words, kind="error"))
    return redirect(request, f"/policies/{name}?tab=replay&replay={started.id}")


@get("/policies/{name:str}/replays/{replay_id:str}", opt=VIEWER, include_in_schema=False)
async def replay_part(
    request: Request[Any, Any, Any],
    name: FromPath[str],
    replay_id: FromPath[str],
    actor: NamedDependency[Actor],
    pages: NamedDependency[Pages],
    replays: NamedDependency[Replays],
) -> Response[str]:
    """How far a replay is, as a part of its page; it asks again while the replay runs."""
    replay = replays.get(actor, replay_id)
    changes = page_of_rows(replay.changes, 0)
    return pages.answer(request, "policies/_replay.html", replay=replay, changes=changes, name=name)


@post("/policies/{name:str}/replays/{replay_id:str}/cancel", opt=ADMIN, include_in_schema=False)
async def cancel_replay(
    request: Request[Any, Any, Any],
    name: FromPath[str],
    replay_id: FromPath[str],
    actor: NamedDependency[Actor],
    replays: NamedDependency[Replays],
) -> Response[str]:
    """Stop a replay."""
    replays.cancel(actor, replay_id)
    return redirect(request, f"/policies/{name}?tab=replay&replay={replay_id}", Toast("The replay is cancelled."))


@post("/feedback/false-positive", opt=ADMIN, include_in_schema=False)
async def mark_hit(
    request: Request[Any, Any, Any], actor: NamedDependency[Actor], feedback: NamedDependency[Feedback]
) -> Response[str]:
    """Call a hit a false positive, from an alert or a call."""
    given = await request.form()
    names = ("rule_id", "pack", "policy_name", "call_id", "evidence", "note")
    hit = convert({name: str(given.get(name, "")) for name in names}, MarkFalsePositive)
    known = {mark.id for mark in await feedback.of_call(actor, hit.call_id)}
    mark = await feedback.mark(actor, hit)
    # A mark that was there before is not this button's to take back.
    toast = Toast(f"It was marked as a false positive of {hit.rule_id} already.")
    if mark.id not in known:
        toast = Toast(
            f"Marked as a false positive of {hit.rule_id}.",
            undo_url=f"/feedback/{mark.id}/withdraw",
            undo_values=(("back", str(given.get("back", ""))[:300]),),
        )
    return redirect(request, local_path(str(given.get("back", "")), "/alerts"), toast)


@post("/feedback/{mark_id:str}/withdraw", opt=ADMIN, include_in_schema=False)
async def withdraw(
    request: Request[Any, Any, Any],
    mark_id: FromPath[str],
    actor: NamedDependency[Actor],
    feedback: NamedDependency[Feedback],
) -> Response[str]:
    """Take a mark back."""
    back = local_path(str((await request.form()).get("back", "")), "/alerts")
    try:
        mark = await feedback.withdraw(actor, mark_id)
    except AppError as error:
        return redirect(request, back, Toast.refused(error))
    return redirect(request, back, Toast(f"The hit of {mark.rule_id} counts again."))


@post("/rules/{rule_id:str}/quieten", opt=ADMIN, include_in_schema=False)
async def quieten(
    request: Request[Any, Any, Any],
    rule_id: FromPath[str],
    actor: NamedDependency[Actor],
    library: NamedDependency[PolicyLibrary],
    policies: NamedDependency[PolicyService],
) -> Response[str]:
    """Make a draft in which the rule only logs: of the policy itself, or of a copy of a shipped one."""
    name = str((await request.form()).get("policy", ""))
    known = await policies.stored(actor)
    if name not in known and library.unknown([name]):
        raise NotFound(f"There is no policy named {name}.")
    reason = f"False positives, marked by {actor.username}"
    if library.is_shipped(name):
        copy = f"{name}-own"[:60].rstrip("-")
        if copy not in known:
            value = {**documents.as_value(library.get(name)), "name": copy}
            await policies.create(actor, builder.with_override(value, rule_id, reason), f"{rule_id} only logs")
            return redirect(
                request, f"/policies/{copy}?tab=builder", Toast(f"A copy of {name} in which {rule_id} only logs.")
            )
        name = copy
    draft = await policies.draft(actor, name)
    found = draft or await policies.document(actor, name)
    value, problems = documents.parse(found.text)
    if value is None:
        raise ValidationFailed(fields={"policy": problems[0].reason})
    changed = builder.with_override(value, rule_id, reason)
    await policies.save_draft(
        actor, name, changed, revision=draft.revision if draft else 0, note=f"{rule_id} only logs"
    )
    return redirect(request, f"/policies/{name}?tab=builder", Toast(f"In this draft {rule_id} only logs."))


async def _wanted(actor: Actor, policies: PolicyService, values: dict[str, str]) -> Evaluate:
    """What the form asks; raises ValidationFailed, PolicyNotFound."""
    message = values["message"]
    if not message.strip():
        raise ValidationFailed(fields={"message": "Paste a message to try."})
    if len(message) > MAX_TEXT_CHARS:
        raise ValidationFailed(fields={"message": f"At most {MAX_TEXT_CHARS} characters."})
    document = None
    names = [values["subject"]] if values["subject"] else []
    if values["subject"].startswith("draft:"):
        draft = await policies.draft(actor, values["subject"].removeprefix("draft:"))
        document, problems = documents.parse(draft.text) if draft else (None, [])
        if document is None:
            raise ValidationFailed(fields={"subject": problems[0].reason if problems else "This draft is gone."})
        names = []
    request = _whole(message) if values["target"] == "message" else None
    if values["target"] == WHAT_IT_IS and message.lstrip().startswith("{"):
        request = _recognised(message)
    return convert(
        {
            "text": None if request is not None else message.replace("\r\n", "\n"),
            "request": request,
            "policy_names": names,
            "document": document,
            "target": values["target"] if request is None and values["target"] != WHAT_IT_IS else "prompt",
            "direction": values["direction"] or "request",
            "model": values["model"].strip(),
            "client": values["client"].strip(),
            "client_ip": values["client_ip"].strip(),
            "headers": _headers(values["headers"]),
            "at": values["at"].strip() or None,
            "context": _context(values),
            "context_firewall": _firewall(values),
            "log_only": bool(values["log_only"]),
        },
        Evaluate,
    )


def _whole(message: str) -> dict[str, Any]:
    """The message as JSON; raises ValidationFailed."""
    try:
        request = parse_json(message.encode("utf-8", "replace"))
    except ValueError as error:
        raise ValidationFailed(fields={"message": f"This is not a whole message: {error}."}) from error
    if not isinstance(request, dict):
        raise ValidationFailed(fields={"message": "A whole message is a JSON object."})
    return request


def _recognised(message: str) -> dict[str, Any] | None:
    """The message as JSON where it is one of an API that is known here; None where it is a text like others."""
    try:
        request = _whole(message)
        read(Evaluate(request=request))
    except AppError:
        return None
    return request


def _context(values: dict[str, str]) -> dict[str, Any] | None:
    """The retrieved texts beside the message; None without any. Raises ValidationFailed."""
    source, written = values["context_source"].strip(), values["context_chunks"].replace("\r\n", "\n")
    chunks = [part.strip("\n") for part in re.split(r"(?m)^---+[ \t]*$", written) if part.strip()]
    if not source and not chunks:
        return None
    if not source:
        raise ValidationFailed(fields={"context_source": "Say where the context comes from, as in kb://approved/hr."})
    return {
        "source": source,
        "chunks": [{"id": str(number), "content": content} for number, content in enumerate(chunks, 1)],
    }


def _firewall(values: dict[str, str]) -> dict[str, Any] | None:
    """The context firewall to try; None for those in force. Raises ValidationFailed."""
    origins, threshold = lines(values["context_origins"]), values["context_threshold"].strip()
    if not origins and not threshold:
        return None
    if threshold and not threshold.isdecimal():
        raise ValidationFailed(fields={"context_threshold": "The threshold is a number, as 50."})
    return {"allowed_origins": origins, **({"risk_threshold": int(threshold[:9])} if threshold else {})}


def _headers(text: str) -> dict[str, str]:
    """The headers of a text with one on each line; raises ValidationFailed."""
    headers: dict[str, str] = {}
    for line in filter(None, map(str.strip, text.splitlines())):
        name, colon, value = line.partition(":")
        if not colon or not name.strip():
            raise ValidationFailed(fields={"headers": "Write each header on a line of its own, as name: value."})
        headers[name.strip()] = value.strip()
    return headers


def _drawn(text: EvaluatedText, outcome: EvaluationView) -> dict[str, Any]:
    """A text with its hits highlighted, and what became of it."""
    here = [finding for finding in outcome.findings if finding.path == text.path]
    marks = [Highlight(hit.start, min(hit.end, MAX_SHOWN_CHARS), hit.severity, (hit.rule_id,)) for hit in here]
    return {
        "path": text.path,
        "target": text.target,
        "html": highlighted(text.text[:MAX_SHOWN_CHARS], marks),
        "cut": max(0, len(text.text) - MAX_SHOWN_CHARS),
        "masked": text.masked[:MAX_SHOWN_CHARS] if text.masked != text.text else "",
        "views": text.views,
        "hits": _once(here),
    }


def _once(findings: list[EvaluatedFinding]) -> list[EvaluatedFinding]:
    """The worst hit of each rule, the worst first."""
    ranked = sorted(findings, key=lambda finding: (-SEVERITIES.index(finding.severity), -finding.score, finding.start))
    first: dict[str, EvaluatedFinding] = {}
    for finding in ranked:
        first.setdefault(finding.rule_id, finding)
    return list(first.values())


routes = [
    playground_page,
    run_playground,
    start_replay,
    replay_part,
    cancel_replay,
    mark_hit,
    withdraw,
    quieten,
]
