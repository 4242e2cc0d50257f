"""docs/routes.md says what the router says."""

from __future__ import annotations

from scripts.routes_doc import TARGET, console_routes, render


def test_ADM_13_every_route_is_in_the_committed_table() -> None:
    committed = TARGET.read_text(encoding="utf-8")
    current = render(console_routes())
    unlisted = sorted(set(current.splitlines()) - set(committed.splitlines()))
    gone = sorted(set(committed.splitlines()) - set(current.splitlines()))
    assert not unlisted, f"not in docs/routes.md, run scripts/routes_doc.py and read the difference: {unlisted}"
    assert not gone, f"no longer a route, run scripts/routes_doc.py: {gone}"
    assert committed == current


def test_ADM_13_every_route_names_a_known_role() -> None:
    assert {row.role for row in console_routes()} == {"public", "viewer", "admin"}


def test_ADM_05_whatever_changes_something_needs_an_administrator_or_is_about_oneself() -> None:
    own = {"/api/v1/auth/login", "/api/v1/auth/logout", "/api/v1/auth/password", "/login", "/logout", "/password"}
    own.add("/mcp")  # Takes messages; the one tool that does something beyond reading asks for the role itself.
    changing = [row for row in console_routes() if row.method not in ("GET", "HEAD")]
    assert changing
    assert [row for row in changing if row.role != "admin" and row.path not in own] == []
