"""The draft in the browser: saving, publishing and discarding it, and the builder with what could not be saved.

What somebody typed is never thrown away by a refusal: the builder comes back with it, beside what stands in its way.
"""

from typing import Any

from litestar import Request, Response, post
from litestar.di import NamedDependency
from litestar.params import FromPath

from app.errors import AppError
from app.http.confirm import confirmation, is_confirmed
from app.http.filters import number
from app.http.page import Pages, Toast, redirect, with_query
from app.policies import builder, builder_view, documents
from app.policies.builder_pages import ADMIN, HOME, crumbs, document_in, form_context, lint, read_form
from app.policies.diff import Change, diff
from app.policies.errors import DraftOutdated, PolicyInvalid
from app.policies.library import PolicyLibrary
from app.policies.schemas import DocumentView
from app.policies.service import PolicyService
from app.policies.views import TABS, unpublished
from app.security.permissions import Actor


@post("/policies/{name:str}/draft", opt=ADMIN, include_in_schema=False)
async def save_draft(
    request: Request[Any, Any, Any],
    name: FromPath[str],
    actor: NamedDependency[Actor],
    pages: NamedDependency[Pages],
    library: NamedDependency[PolicyLibrary],
    policies: NamedDependency[PolicyService],
) -> Response[str]:
    """Save the draft. `then` says what else: `publish` it; `create` the policy again that is gone; only `show` what was
    typed before the session ended. `do` is a button of the form in a browser without scripts: it saves nothing.

    `over` is the revision of somebody else's draft that is knowingly replaced.
    """
    given = await read_form(request)
    value, problems = document_in(given)
    then, over, typed, note = (_first(given, field) for field in ("then", "over", "json", "note"))
    operation = _first(given, "do")
    text = typed if value is None else documents.canonical(value)
    revision = number(over or _first(given, "revision"))
    try:
        if operation and value is not None:
            worked = builder.operated(value, operation)
            text = documents.canonical(worked)
            return await _builder(request, pages, library, policies, actor, name, given, worked, text, revision)
        if then == "show":
            return await _builder(request, pages, library, policies, actor, name, given, value, text, revision)
        if value is None:
            raise PolicyInvalid(problems)
        if then == "create":
            made = await policies.create(actor, value, note)
            return redirect(request, f"/policies/{made.name}?tab=builder", Toast(f"{made.name} is a draft again."))
        saved = await policies.save_draft(actor, name, value, revision=revision, note=note)
        revision = saved.revision
        if then == "publish" and _first(given, "confirmed") != "yes":
            found, _ = await lint(policies, value)
            if found:
                raise PolicyInvalid(found)
            return await _asked(request, pages, name, saved.revision)
        if then == "publish":
            done = await policies.publish(actor, name, revision=saved.revision)
            return redirect(request, f"/policies/{name}", Toast(f"Version {done.version} of {name} is in force."))
    except AppError as error:
        return await _builder(request, pages, library, policies, actor, name, given, value, text, revision, error)
    url = with_query(f"/policies/{name}", tab="builder", open=builder_view.posted_view(given).query(value))
    return redirect(request, url, Toast(f"The draft is saved (revision {saved.revision})."))


@post("/policies/{name:str}/publish", opt=ADMIN, include_in_schema=False)
async def publish(
    request: Request[Any, Any, Any],
    name: FromPath[str],
    actor: NamedDependency[Actor],
    policies: NamedDependency[PolicyService],
) -> Response[str]:
    """Put the saved draft in force, after the page that asks for it."""
    given = await read_form(request)
    try:
        done = await policies.publish(actor, name, revision=number(_first(given, "revision")) or None)
    except AppError as error:
        return redirect(request, f"/policies/{name}?tab=builder", Toast.refused(error))
    return redirect(request, f"/policies/{name}", Toast(f"Version {done.version} of {name} is in force."))


@post("/policies/{name:str}/discard", opt=ADMIN, include_in_schema=False)
async def discard(
    request: Request[Any, Any, Any],
    name: FromPath[str],
    actor: NamedDependency[Actor],
    pages: NamedDependency[Pages],
    policies: NamedDependency[PolicyService],
) -> Response[str]:
    """Throw the draft away."""
    if not await is_confirmed(request):
        return await confirmation(
            request,
            pages,
            active="policies",
            crumbs=crumbs(name),
            question=f"Discard the draft of {name}?",
            detail="What is in force stays.",
            label="Discard draft",
            back=f"/policies/{name}",
        )
    await policies.discard(actor, name)
    gone = name not in await policies.stored(actor)
    toast = Toast("The draft is discarded.", undo_url=f"/policies/{name}/restore")
    return redirect(request, "/policies" if gone else f"/policies/{name}", toast)


# --- Parts ------------------------------------------------------------------------------------------------------------


def _first(given: dict[str, list[str]], field: str) -> str:
    return (given.get(field) or [""])[0]


async def _asked(request: Request[Any, Any, Any], pages: Pages, name: str, revision: int) -> Response[str]:
    return await confirmation(
        request,
        pages,
        active="policies",
        crumbs=crumbs(name),
        question=f"Publish {name}?",
        detail="The draft is saved. Every proxy that uses it serves it at once. The version before stays and can come back.",
        label="Publish",
        back=f"/policies/{name}?tab=builder",
        can_undo=False,
        values={"revision": str(revision)},
        url=f"/policies/{name}/publish",
    )


async def _builder(
    request: Request[Any, Any, Any],
    pages: Pages,
    library: PolicyLibrary,
    policies: PolicyService,
    actor: Actor,
    name: str,
    given: dict[str, list[str]],
    value: dict[str, Any] | None,
    text: str,
    revision: int,
    error: AppError | None = None,
) -> Response[str]:
    """The builder with what was typed and is not saved, and why."""
    operation = _first(given, "do")
    view = builder_view.after(builder_view.posted_view(given), operation, value or {})
    problems, remarks = await lint(policies, value) if value is not None else (documents.parse(text)[1], [])
    if isinstance(error, PolicyInvalid):
        problems = list(error.problems)
    stored = (await policies.stored(actor)).get(name)
    draft = None if stored is None else await policies.draft(actor, name)
    is_in_force = not library.unknown([name])
    theirs: DocumentView | None = draft
    if theirs is None and is_in_force:
        theirs = await policies.document(actor, name)
    return await pages.page(
        request,
        "policies/policy.html" if stored or is_in_force else "policies/builder_gone.html",
        title=name,
        active="policies",
        crumbs=HOME,
        status=error.status if error else 200,
        policy=library.policy(name) if is_in_force else unpublished(name, stored.type if stored else "both"),
        stored=stored,
        tab="builder",
        tabs=TABS,
        problem="",
        draft=draft,
        text=text,
        digest=documents.digest(text),
        revision=revision,
        form=form_context(library, value or {}, name, view),
        problems=problems,
        remarks=remarks,
        refusal=error,
        unsaved=True,
        worked=bool(operation) and error is None,
        conflict=_differences(theirs, value) if isinstance(error, DraftOutdated) else None,
    )


def _differences(theirs: DocumentView | None, mine: dict[str, Any] | None) -> list[Change]:
    """What saving mine over theirs would change."""
    return diff(documents.parse(theirs.text)[0] if theirs else {}, mine or {})


routes = [save_draft, publish, discard]
