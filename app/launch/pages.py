"""The tab of the settings with the programs that may be started."""

from typing import Any

from litestar import Request, Response, post
from litestar.di import NamedDependency
from litestar.params import FromPath

from app.errors import AppError
from app.http.confirm import confirmation, is_confirmed
from app.http.envelope import page_of, part_of
from app.http.filters import number, search_text
from app.http.forms import convert
from app.http.page import Form, Pages, Toast, redirect, with_query
from app.launch.schemas import AllowProgram, LaunchProgramView
from app.launch.service import SORTS, LaunchService
from app.launch.users import is_superuser
from app.security.permissions import Actor

ADMIN = {"role": "admin"}
LIMITS = ("max_memory_mb", "max_cpu_seconds")
TAB = "/settings?tab=launch"
PAGE_ROWS = 25
"""Rows of a page, so that it stays below 60 KB."""


@post("/settings/launch-programs", opt=ADMIN, include_in_schema=False)
async def allow_program(
    request: Request[Any, Any, Any],
    actor: NamedDependency[Actor],
    pages: NamedDependency[Pages],
    launch: NamedDependency[LaunchService],
) -> Response[str]:
    """Put a program on the list."""
    given = await request.form()
    values = {name: str(given.get(name, "")) for name in ("program", "first_arguments", "note", "run_as", *LIMITS)}
    wanted = {
        **values,
        "first_arguments": [line for line in values["first_arguments"].splitlines() if line],
        **{name: values[name].strip() or 0 for name in LIMITS},
    }
    try:
        allowed = await launch.allow(actor, convert(wanted, AllowProgram))
    except AppError as error:
        return await launch_tab(request, actor, pages, launch, Form(values).refused(error), error.status)
    return redirect(request, TAB, Toast(f"Proxies may start {allowed.program}."))


@post("/settings/launch-programs/{program_id:str}/remove", opt=ADMIN, include_in_schema=False)
async def remove_program(
    request: Request[Any, Any, Any],
    program_id: FromPath[str],
    actor: NamedDependency[Actor],
    pages: NamedDependency[Pages],
    launch: NamedDependency[LaunchService],
) -> Response[str]:
    """Take a program off the list, after a confirmation that names it and the proxies that need it."""
    if not await is_confirmed(request):
        entry = await launch.get(actor, program_id)
        return await confirmation(
            request,
            pages,
            active="settings",
            crumbs=((TAB, "Settings"),),
            question=f"Remove {entry.program} from the list?",
            detail=what_removal_does(entry),
            label="Remove",
            back=TAB,
        )
    program = await launch.remove(actor, program_id)
    undo_url = f"/settings/launch-programs/{program_id}/restore"
    return redirect(request, TAB, Toast(f"Proxies may not start {program} any more.", undo_url=undo_url))


@post("/settings/launch-programs/{program_id:str}/restore", opt=ADMIN, include_in_schema=False)
async def restore_program(
    request: Request[Any, Any, Any],
    program_id: FromPath[str],
    actor: NamedDependency[Actor],
    launch: NamedDependency[LaunchService],
) -> Response[str]:
    """Put a program back on the list."""
    try:
        program = await launch.restore(actor, program_id)
    except AppError as error:
        return redirect(request, TAB, Toast.refused(error))
    return redirect(request, TAB, Toast(f"Proxies may start {program} again."))


def what_removal_does(entry: LaunchProgramView) -> str:
    """The consequence in one sentence."""
    if not entry.proxies:
        return "No proxy needs it."
    return f"These proxies fail at once and their server processes end: {', '.join(entry.proxies)}."


async def launch_tab(
    request: Request[Any, Any, Any],
    actor: Actor,
    pages: Pages,
    launch: LaunchService,
    form: Form | None = None,
    status: int = 200,
) -> Response[str]:
    """The list and the form for a new entry."""
    query = request.query_params
    search, order = search_text(query.get("search", "")), SORTS.order(query.get("sort", ""))
    found = await launch.all(actor, search=search, sort=order.sort)
    shown = part_of(found, *page_of(PAGE_ROWS, number(query.get("offset", ""))))
    return await pages.page(
        request,
        "system/settings.html",
        title="Settings",
        active="settings",
        tab="launch",
        programs=[(entry, what_removal_does(entry)) for entry in shown.items],
        list=shown,
        search=search,
        order=order,
        base=with_query(TAB, search=search, sort=order.param),
        form=form or Form({}),
        is_superuser=is_superuser(),
        status=status,
    )


routes = [allow_program, remove_program, restore_program]
