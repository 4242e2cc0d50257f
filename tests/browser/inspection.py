"""What must hold for every page: accessible in both themes, small, and no wider than a phone.

Contrast is most of what axe costs, so the normal run looks at each page in one theme, at its neighbour in the other one;
the nightly run looks at each in both.
"""

from __future__ import annotations

import itertools
from typing import Any, Literal

import pytest
from axe_playwright_python.async_playwright import Axe
from playwright.async_api import Page

MAX_PAGE_BYTES = 60 * 1024
PHONE = {"width": 390, "height": 844}
DESK = {"width": 1280, "height": 860}
Theme = Literal["light", "dark"]
THEMES: tuple[Theme, Theme] = ("light", "dark")
EXTENTS = pytest.mark.parametrize(
    "both_themes", [False, pytest.param(True, marks=pytest.mark.nightly)], ids=["one-theme", "both-themes"]
)
RUN = "options => axe.run(options).then(found => found.violations.map(one => `${one.id}: ${one.nodes[0].html.slice(0, 160)}`))"
CONTRAST_ONLY = ["color-contrast", "link-in-text-block"]
"""The rules that depend on the theme."""
CUT_LISTS = """() => [...document.querySelectorAll(".scroll:has(> table.list)")]
    .filter(box => box.scrollWidth > box.clientWidth)
    .map(box => `“${box.querySelector("caption")?.textContent}” is cut: ${box.scrollWidth} of ${box.clientWidth} pixels`)"""


async def problems_on(page: Page) -> list[str]:
    """What axe finds in the present theme, one line a violation."""
    await page.evaluate(Axe().axe_script)
    return await _violations(page)


async def inspect(page: Page, url: str, theme: Theme, other: Theme | None = None) -> list[str]:
    """Open a page at a desk and look at it in a theme, at its lists, its colours in the `other`, and its width on a phone.

    One line a problem.
    """
    # Without transitions: axe would measure the middle of one.
    await page.emulate_media(color_scheme=theme, reduced_motion="reduce")
    answer = await page.goto(url)
    assert answer is not None
    problems = [] if answer.status == 200 else [f"status {answer.status}"]
    if (size := len(await answer.body())) > MAX_PAGE_BYTES:
        problems.append(f"{size} bytes of HTML")
    # What stands at the right end of a row are its buttons.
    problems += await page.evaluate(CUT_LISTS)
    problems += [f"{theme}: {line}" for line in await problems_on(page)]
    if other is not None:
        await page.emulate_media(color_scheme=other)
        problems += [f"{other}: {line}" for line in await _violations(page, runOnly=CONTRAST_ONLY)]
    await page.set_viewport_size(PHONE)  # type: ignore[arg-type]
    if (width := await page.evaluate("document.documentElement.scrollWidth")) > PHONE["width"]:
        problems.append(f"{width} pixels wide on a phone")
    await page.set_viewport_size(DESK)  # type: ignore[arg-type]
    return problems


async def inspect_all(
    page: Page, origin: str, addresses: list[str], *, both_themes: bool = False
) -> dict[str, list[str]]:
    """The addresses with problems."""
    found = {}
    for address, theme in zip(addresses, itertools.cycle(THEMES)):
        other = THEMES[1 - THEMES.index(theme)] if both_themes else None
        found[address] = await inspect(page, origin + address, theme, other)
    return {address: problems for address, problems in found.items() if problems}


async def _violations(page: Page, **options: Any) -> list[str]:
    found: list[str] = await page.evaluate(RUN, {"resultTypes": ["violations"], **options})
    return found
