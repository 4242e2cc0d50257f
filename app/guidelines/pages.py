"""Pages of the guidelines."""

from typing import Any

from litestar import Request, Response, get, post
from litestar.datastructures import FormMultiDict, UploadFile
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery

from app.errors import AppError, ValidationFailed
from app.guidelines.schemas import MAX_CHARACTERS, MAX_QUESTION_CHARACTERS, AddGuideline, CitedPassage
from app.guidelines.service import SORTS, GuidelineService
from app.http.confirm import confirmation, is_confirmed
from app.http.envelope import page_of, part_of
from app.http.filters import search_text
from app.http.htmx import is_htmx
from app.http.page import Form, Pages, Toast, redirect, with_query
from app.security.permissions import Actor

VIEWER = {"role": "viewer"}
ADMIN = {"role": "admin"}
HOME = (("/policies", "Policies"),)
LIST = (*HOME, ("/guidelines", "Guidelines"))
PAGE_ROWS = 25
"""Rows of a page, so that it stays below 60 KB."""
PAGE_PASSAGES = 40
MAX_UPLOAD_BYTES = 4 * MAX_CHARACTERS
ENDINGS = (".md", ".markdown", ".txt")


@get("/guidelines", opt=VIEWER, include_in_schema=False)
async def guidelines_page(
    request: Request[Any, Any, Any],
    actor: NamedDependency[Actor],
    pages: NamedDependency[Pages],
    guidelines: NamedDependency[GuidelineService],
    search: FromQuery[str] = "",
    sort: FromQuery[str] = "",
    offset: FromQuery[int] = 0,
) -> Response[str]:
    """The documents, by name unless sorted otherwise."""
    return await _list(request, actor, pages, guidelines, search=search_text(search), sort=sort, offset=offset)


@post("/guidelines/ask", opt=ADMIN, status_code=200, include_in_schema=False)
async def ask_guidelines(
    request: Request[Any, Any, Any],
    actor: NamedDependency[Actor],
    pages: NamedDependency[Pages],
    guidelines: NamedDependency[GuidelineService],
) -> Response[str]:
    """Which passages would be cited for a text."""
    question = str((await request.form()).get("question", ""))[:MAX_QUESTION_CHARACTERS]
    asked = await guidelines.cited(actor, question)
    if is_htmx(request):
        return pages.answer(request, "guidelines/_asked.html", asked=asked)
    return await _list(request, actor, pages, guidelines, asked=asked, question=question)


@get("/guidelines/new", opt=ADMIN, include_in_schema=False)
async def new_guideline_page(request: Request[Any, Any, Any], pages: NamedDependency[Pages]) -> Response[str]:
    """Choose a file, or paste its text."""
    return await _form(request, pages, Form({}), 200)


@post("/guidelines/new", opt=ADMIN, include_in_schema=False, request_max_body_size=2 * MAX_UPLOAD_BYTES)
async def add_guideline(
    request: Request[Any, Any, Any],
    actor: NamedDependency[Actor],
    pages: NamedDependency[Pages],
    guidelines: NamedDependency[GuidelineService],
) -> Response[str]:
    """Keep a document."""
    given = await request.form()
    values: dict[str, Any] = {
        "name": str(given.get("name", "")).strip(),
        "text": str(given.get("text", "")),
        "replace": "on" if given.get("replace") else "",
    }
    try:
        content, name = await _uploaded(given)
        # What was uploaded is shown again as text where it is refused: the browser forgets the file.
        values |= {"name": values["name"] or name, "text": content or values["text"]}
        asked = AddGuideline(name=values["name"], content=values["text"], replace=bool(values["replace"]))
        kept = await guidelines.add(actor, asked)
    except AppError as error:
        return await _form(request, pages, Form(values).refused(error, {"content": "text"}), error.status)
    return redirect(request, f"/guidelines/{kept.id}", Toast(f"“{kept.name}” is kept."))


@get("/guidelines/{guideline_id:str}", opt=VIEWER, include_in_schema=False)
async def guideline_page(
    request: Request[Any, Any, Any],
    guideline_id: FromPath[str],
    actor: NamedDependency[Actor],
    pages: NamedDependency[Pages],
    guidelines: NamedDependency[GuidelineService],
    offset: FromQuery[int] = 0,
    passage: FromQuery[int] = 0,
) -> Response[str]:
    """A document in its passages, from an offset or from where the page with one of them begins."""
    found = await guidelines.get(actor, guideline_id)
    if passage > 0:
        offset = (passage - 1) // PAGE_PASSAGES * PAGE_PASSAGES
    return await pages.page(
        request,
        "guidelines/guideline.html",
        title=found.guideline.name,
        active="policies",
        crumbs=LIST,
        guideline=found.guideline,
        list=part_of(found.passages, *page_of(PAGE_PASSAGES, offset)),
        base=f"/guidelines/{guideline_id}",
    )


@post("/guidelines/{guideline_id:str}/delete", opt=ADMIN, include_in_schema=False)
async def delete_guideline(
    request: Request[Any, Any, Any],
    guideline_id: FromPath[str],
    actor: NamedDependency[Actor],
    pages: NamedDependency[Pages],
    guidelines: NamedDependency[GuidelineService],
) -> Response[str]:
    """Forget a document, after a confirmation that names it."""
    if not await is_confirmed(request):
        name = (await guidelines.get(actor, guideline_id)).guideline.name
        return await confirmation(
            request,
            pages,
            active="policies",
            crumbs=LIST,
            question=f"Delete guideline “{name}”?",
            detail="Its passages are cited no more. No rule changes.",
            label="Delete guideline",
            back=f"/guidelines/{guideline_id}",
        )
    name = await guidelines.delete(actor, guideline_id)
    undo_url = f"/guidelines/{guideline_id}/restore"
    return redirect(request, "/guidelines", Toast(f"Guideline “{name}” is deleted.", undo_url=undo_url))


@post("/guidelines/{guideline_id:str}/restore", opt=ADMIN, include_in_schema=False)
async def restore_guideline(
    request: Request[Any, Any, Any],
    guideline_id: FromPath[str],
    actor: NamedDependency[Actor],
    guidelines: NamedDependency[GuidelineService],
) -> Response[str]:
    """Take a deletion back."""
    try:
        guideline = await guidelines.restore(actor, guideline_id)
    except AppError as error:
        return redirect(request, "/guidelines", Toast.refused(error))
    return redirect(request, "/guidelines", Toast(f"Guideline “{guideline.name}” is cited again."))


async def _uploaded(given: FormMultiDict) -> tuple[str, str]:
    """The text and the name of what was uploaded, empty without; raises ValidationFailed for anything but text."""
    upload = given.get("file")
    if not isinstance(upload, UploadFile) or not upload.filename:
        return "", ""
    name = upload.filename.replace("\\", "/").rpartition("/")[2]
    if not name.lower().endswith(ENDINGS):
        raise ValidationFailed(fields={"file": f"Choose a file whose name ends with {', '.join(ENDINGS)}."})
    data = await upload.read(MAX_UPLOAD_BYTES + 1)
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValidationFailed(fields={"file": "The file is not UTF-8 text."}) from error
    if len(text) > MAX_CHARACTERS:
        raise ValidationFailed(fields={"file": f"At most {MAX_CHARACTERS} characters."})
    return text, name.rpartition(".")[0]


async def _list(
    request: Request[Any, Any, Any],
    actor: Actor,
    pages: Pages,
    guidelines: GuidelineService,
    *,
    search: str = "",
    sort: str = "",
    offset: int = 0,
    asked: list[CitedPassage] | None = None,
    question: str = "",
) -> Response[str]:
    order = SORTS.order(sort)
    found = await guidelines.all(actor, search=search, sort=order.sort)
    return await pages.page(
        request,
        "guidelines/list.html",
        title="Guidelines",
        active="policies",
        crumbs=HOME,
        list=part_of(found, *page_of(PAGE_ROWS, offset)),
        order=order,
        search=search,
        base=with_query("/guidelines", search=search, sort=order.param),
        asked=asked,
        question=question,
    )


async def _form(request: Request[Any, Any, Any], pages: Pages, form: Form, status: int) -> Response[str]:
    return await pages.page(
        request,
        "guidelines/new.html",
        title="New guideline",
        active="policies",
        crumbs=LIST,
        form=form,
        status=status,
    )


routes = [
    guidelines_page,
    ask_guidelines,
    new_guideline_page,
    add_guideline,
    guideline_page,
    delete_guideline,
    restore_guideline,
]
