"""Making policies in the browser: new, import, the builder, publishing, rolling back, deleting.

The builder's form and JSON stand side by side; whichever side is changed is sent, and the other one comes back with what
lint says. The JSON is what is saved.
"""

from collections.abc import Sequence
from typing import Any

import msgspec
from litestar import Request, Response, get, post
from litestar.datastructures import FormMultiDict, UploadFile
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery

from app.errors import AppError, ValidationFailed
from app.http.confirm import confirmation, is_confirmed
from app.http.filters import number
from app.http.page import Form, Pages, Toast, redirect
from app.policies import builder, builder_fields, builder_view, documents, rule_words
from app.policies.errors import PolicyTooSlow
from app.policies.importing import import_text
from app.policies.item_words import words_of
from app.policies.library import PolicyLibrary
from app.policies.schemas import DocumentView
from app.policies.service import PolicyService
from app.security.permissions import Actor
from rules.importers.pattern_lists import slug
from rules.importers.reading import MAX_IMPORT_BYTES
from rules.model import Target
from rules.packs import Problem, Rule

VIEWER = {"role": "viewer"}
ADMIN = {"role": "admin"}
HOME = (("/policies", "Policies"),)
MAX_FORM_FIELDS = 20_000
FOUND_RULES = 12


@get("/policies/new", opt=ADMIN, include_in_schema=False)
async def new_policy_page(
    request: Request[Any, Any, Any],
    pages: NamedDependency[Pages],
    library: NamedDependency[PolicyLibrary],
    template: FromQuery[str] = "",
) -> Response[str]:
    """From a template, or blank."""
    known = template if not library.unknown([template]) else ""
    values = {"template": known, "name": f"{known}-own"[:60] if known else "", "type": "both"}
    return await _new(request, pages, library, Form(values), 200)


@post("/policies/new", opt=ADMIN, include_in_schema=False)
async def create_policy(
    request: Request[Any, Any, Any],
    actor: NamedDependency[Actor],
    pages: NamedDependency[Pages],
    library: NamedDependency[PolicyLibrary],
    policies: NamedDependency[PolicyService],
) -> Response[str]:
    """Make the draft and open the builder."""
    given = await request.form()
    values = {name: str(given.get(name, "")).strip() for name in ("template", "name", "title", "type")}
    try:
        value: dict[str, Any] = {"type": values["type"] or "both"}
        if values["template"]:
            value = documents.as_value(library.get(values["template"]))
        name = values["name"] or slug(values["title"])
        value = {**value, "name": name, "title": values["title"] or value.get("title", "")}
        note = f"From the template {values['template']}" if values["template"] else ""
        made = await policies.create(actor, value, note)
    except AppError as error:
        return await _new(request, pages, library, Form(values).refused(error), error.status)
    return redirect(request, f"/policies/{made.name}?tab=builder", Toast("The draft is made. Nothing enforces it yet."))


@get("/policies/import", opt=ADMIN, include_in_schema=False)
async def import_page(request: Request[Any, Any, Any], pages: NamedDependency[Pages]) -> Response[str]:
    """Choose a file, or paste its text."""
    return await _import(request, pages, Form({}), 200)


@post("/policies/import", opt=ADMIN, include_in_schema=False, request_max_body_size=2 * MAX_IMPORT_BYTES)
async def import_file(
    request: Request[Any, Any, Any],
    actor: NamedDependency[Actor],
    pages: NamedDependency[Pages],
    policies: NamedDependency[PolicyService],
) -> Response[str]:
    """Show what the file brings and what it does not; with `save` keep it as a draft."""
    given = await request.form()
    values = {"policy_text": str(given.get("policy_text", "")), "name": str(given.get("name", "")).strip()}
    try:
        content, name = await _uploaded(given)
        values |= {"policy_text": content, "filename": name}
        found, problems, remarks = await import_text(policies, content, name, save_as=values["name"])
    except AppError as error:
        names = {"content": "policy_text"}
        return await _import(request, pages, Form(values).refused(error, names), error.status)
    document = found.document
    values["name"] = str(document.get("name", ""))
    form, status = Form(values), 200
    if given.get("save"):
        try:
            made = await policies.create(actor, document, f"Imported from {found.dialect}")
            return redirect(request, f"/policies/{made.name}?tab=builder", Toast("The import is kept as a draft."))
        except AppError as error:
            form, status = form.refused(error), error.status
    return await _import(
        request,
        pages,
        form,
        status,
        found=found,
        problems=problems,
        remarks=remarks,
        text=documents.canonical(document),
    )


@post("/policies/{name:str}/build", opt=ADMIN, include_in_schema=False)
async def build(
    request: Request[Any, Any, Any],
    name: FromPath[str],
    pages: NamedDependency[Pages],
    library: NamedDependency[PolicyLibrary],
    policies: NamedDependency[PolicyService],
) -> Response[str]:
    """One side of the builder was changed: the other side, and what lint says."""
    given = await read_form(request)
    value, problems = document_in(given)
    operation = (given.get("do") or [""])[0]
    side = (given.get("side") or ["form"])[0]
    if value is None:
        return pages.answer(
            request, "policies/_build.html", problems=problems, remarks=[], form=None, text=None, name=name
        )
    value = builder.operated(value, operation) if operation else value
    view = builder_view.after(builder_view.posted_view(given), operation, value)
    problems, remarks = await lint(policies, value)
    redraw = side == "json" or bool(operation)
    return pages.answer(
        request,
        "policies/_build.html",
        name=name,
        text=documents.canonical(value) if side == "form" or operation else None,
        form=form_context(library, value, name, view) if redraw else None,
        problems=problems,
        remarks=remarks,
        items=[f"{key}-{index}" for key in builder_fields.ITEMS for index in view.page(value, key)],
    )


@get("/policies/{name:str}/rules", opt=ADMIN, include_in_schema=False)
async def find_rules(
    request: Request[Any, Any, Any],
    name: FromPath[str],
    pages: NamedDependency[Pages],
    library: NamedDependency[PolicyLibrary],
    q: FromQuery[str] = "",
) -> Response[str]:
    """Rules to override, by id, title or category."""
    text = q.strip().lower()[:100]
    found = [
        rule
        for pack in library.shared_packs.values()
        for rule in pack.rules
        if text and text in f"{rule.id} {rule.title} {rule.category}".lower()
    ]
    return pages.answer(
        request,
        "policies/_found_rules.html",
        rules=found[:FOUND_RULES],
        more=max(0, len(found) - FOUND_RULES),
        q=text,
        name=name,
    )


@post("/policies/{name:str}/rollback", opt=ADMIN, include_in_schema=False)
async def roll_back(
    request: Request[Any, Any, Any],
    name: FromPath[str],
    actor: NamedDependency[Actor],
    pages: NamedDependency[Pages],
    policies: NamedDependency[PolicyService],
) -> Response[str]:
    """Put an earlier version in force again."""
    given = await request.form()
    version = number(str(given.get("version", "")))
    if not version:
        raise ValidationFailed(fields={"version": "Choose a version."})
    if not await is_confirmed(request):
        return await confirmation(
            request,
            pages,
            active="policies",
            crumbs=crumbs(name),
            question=f"Put version {version} of {name} in force again?",
            detail="Proxies that use the policy serve it at once. The versions between stay.",
            label=f"Roll back to version {version}",
            back=f"/policies/{name}",
            can_undo=False,
            values={"version": str(version)},
        )
    done = await policies.roll_back(actor, name, version)
    url = f"/policies/{name}?tab=versions"
    return redirect(request, url, Toast(f"Version {done.version}, as version {version} was, is in force."))


@post("/policies/{name:str}/delete", opt=ADMIN, include_in_schema=False)
async def delete_policy(
    request: Request[Any, Any, Any],
    name: FromPath[str],
    actor: NamedDependency[Actor],
    pages: NamedDependency[Pages],
    policies: NamedDependency[PolicyService],
) -> Response[str]:
    """Delete a policy that nobody uses."""
    if not await is_confirmed(request):
        return await confirmation(
            request,
            pages,
            active="policies",
            crumbs=crumbs(name),
            question=f"Delete the policy {name}?",
            detail="All its versions are removed. Calls and alerts keep its name.",
            label="Delete policy",
            back=f"/policies/{name}",
        )
    try:
        await policies.delete(actor, name)
    except AppError as error:
        return redirect(request, f"/policies/{name}", Toast.refused(error))
    return redirect(request, "/policies", Toast(f"The policy {name} is deleted.", undo_url=f"/policies/{name}/restore"))


@post("/policies/{name:str}/restore", opt=ADMIN, include_in_schema=False)
async def restore_policy(
    request: Request[Any, Any, Any],
    name: FromPath[str],
    actor: NamedDependency[Actor],
    policies: NamedDependency[PolicyService],
) -> Response[str]:
    """Take back that the policy was deleted or its draft discarded."""
    try:
        restored = await policies.restore(actor, name)
    except AppError as error:
        return redirect(request, "/policies", Toast.refused(error))
    if restored == "draft":
        return redirect(request, f"/policies/{name}?tab=builder", Toast(f"The draft of {name} is restored."))
    return redirect(request, f"/policies/{name}", Toast(f"The policy {name} is restored."))


# --- Parts ------------------------------------------------------------------------------------------------------------


async def builder_context(
    actor: Actor, library: PolicyLibrary, policies: PolicyService, name: str, opened: str = ""
) -> dict[str, Any]:
    """What the builder tab shows: the draft or, without one, what is in force; `opened` names items to show open."""
    draft = None if library.is_shipped(name) else await policies.draft(actor, name)
    found: DocumentView = draft or await policies.document(actor, name)
    value, problems = documents.parse(found.text)
    remarks: list[Problem] = []
    if not problems:
        problems, remarks = await lint(policies, value)
    return {
        "draft": draft,
        "text": found.text,
        "digest": documents.digest(found.text),
        "revision": draft.revision if draft else 0,
        "form": form_context(library, value or {}, name, builder_view.first_view(value or {}, opened)),
        "problems": problems,
        "remarks": remarks,
        "refusal": None,
        "unsaved": False,
        "worked": False,
        "conflict": None,
    }


def form_context(library: PolicyLibrary, value: dict[str, Any], name: str, view: builder_view.View) -> dict[str, Any]:
    """The form side of the builder."""
    values = builder.shown(value)
    pages = {key: view.page(value, key) for key in builder_fields.ITEMS}
    return {
        "name": name,
        "values": values,
        "packs": library.packs(),
        "targets": [target.value for target in Target],
        "pages": pages,
        "words": {
            key: {index: words_of(key, item) for index in page if (item := values[key][index])}
            for key, page in pages.items()
        },
        "rare": builder.has_rare(value),
        "page_items": builder_view.PAGE_ITEMS,
        "beyond": {
            key: max(0, len(items) - builder.MAX_ITEMS) for key in pages if isinstance(items := value.get(key), list)
        },
        "open": view.open,
        "conditions": {
            index: _condition(value["detections"][index])
            for index in pages["detections"]
            if (item := values["detections"][index]) and not item["editable"]
        },
        "json_only": builder_fields.JSON_ONLY,
    }


def _condition(detection: Any) -> list[rule_words.Part]:
    """When a detection hits that has no form for its patterns; nothing while it is not sound."""
    try:
        return rule_words.condition(msgspec.convert(detection, Rule))
    except msgspec.ValidationError:
        return []


async def lint(policies: PolicyService, value: Any) -> tuple[list[Problem], list[Problem]]:
    try:
        _, problems, remarks = await policies.check(value)
    except PolicyTooSlow as error:
        return [Problem(documents.ORIGIN, "", f"{error.message} {error.remediation}")], []
    return problems, remarks


async def read_form(request: Request[Any, Any, Any]) -> dict[str, list[str]]:
    given = await request.form()
    values: dict[str, list[str]] = {}
    for key, item in list(given.multi_items())[:MAX_FORM_FIELDS]:
        values.setdefault(key, []).append(str(item))
    return values


def document_in(given: dict[str, list[str]]) -> tuple[dict[str, Any] | None, list[Problem]]:
    """The document that was sent: the JSON, with the form written into it when the form was changed last.

    Scripts say which side that was. Without them it is the form, unless the JSON is no longer what was shown.
    """
    text = (given.get("json") or [""])[0].replace("\r\n", "\n")
    value, problems = documents.parse(text)
    side = (given.get("side") or ["form"])[0]
    if not side:
        side = "form" if (given.get("json.was") or [""])[0] == documents.digest(text) else "json"
    if value is not None and side == "form":
        value = builder.merged(value, given)
    return value, problems


async def _new(
    request: Request[Any, Any, Any], pages: Pages, library: PolicyLibrary, form: Form, status: int
) -> Response[str]:
    return await pages.page(
        request,
        "policies/new.html",
        title="New policy",
        active="policies",
        crumbs=HOME,
        form=form,
        templates=library.policies(),
        status=status,
    )


async def _import(
    request: Request[Any, Any, Any],
    pages: Pages,
    form: Form,
    status: int,
    *,
    found: Any = None,
    problems: Sequence[Problem] = (),
    remarks: Sequence[Problem] = (),
    text: str = "",
) -> Response[str]:
    return await pages.page(
        request,
        "policies/import.html",
        title="Import a policy",
        active="policies",
        crumbs=HOME,
        form=form,
        found=found,
        problems=problems,
        remarks=remarks,
        text=text,
        status=status,
    )


async def _uploaded(given: FormMultiDict) -> tuple[str, str]:
    """The text and the name of what was uploaded, or the pasted text; raises ValidationFailed for other bytes."""
    upload = given.get("file")
    if isinstance(upload, UploadFile) and upload.filename:
        data = await upload.read(MAX_IMPORT_BYTES + 1)
        try:
            return data.decode("utf-8"), upload.filename[:200]
        except UnicodeDecodeError as error:
            raise ValidationFailed(fields={"file": "The file is not UTF-8 text."}) from error
    pasted = str(given.get("policy_text", ""))
    if not pasted.strip():
        raise ValidationFailed(fields={"file": "Choose a file, or paste its text."})
    return pasted, str(given.get("filename", ""))[:200]


def crumbs(name: str) -> tuple[tuple[str, str], ...]:
    return (*HOME, (f"/policies/{name}", name))


routes = [
    new_policy_page,
    create_policy,
    import_page,
    import_file,
    build,
    find_rules,
    roll_back,
    delete_policy,
    restore_policy,
]
