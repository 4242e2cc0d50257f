"""The page that asks before something is taken away, for browsers without scripts; with them a dialog on the page asks."""

from __future__ import annotations

from typing import Any

from litestar import Request, Response

from app.http.page import Pages
from app.undo import UNDO_WORDS


async def is_confirmed(request: Request[Any, Any, Any]) -> bool:
    """Whether the form that was sent is that of the dialog or of this page."""
    return (await request.form()).get("confirmed") == "yes"


async def confirmation(
    request: Request[Any, Any, Any],
    pages: Pages,
    *,
    active: str,
    crumbs: tuple[tuple[str, str], ...],
    question: str,
    detail: str,
    label: str,
    back: str,
    can_undo: bool = True,
    values: dict[str, str] | None = None,
    url: str = "",
) -> Response[str]:
    """Ask the question that names the thing; *label* sends `values` to `url`, by default to the same address again."""
    return await pages.page(
        request,
        "confirm.html",
        title=label,
        active=active,
        crumbs=crumbs,
        question=question,
        detail=f"{detail} {UNDO_WORDS}" if can_undo else detail,
        label=label,
        url=url or request.url.path,
        back=back,
        values=values or {},
    )
