"""Writes docs/routes.md: every route of the console, its methods and the role it needs, taken from the router itself.

python scripts/routes_doc.py           write the file
python scripts/routes_doc.py --check   exit 1 when the file is not what the router says
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parents[1]
TARGET = ROOT / "docs" / "routes.md"

HEAD = """# Routes and roles

Made by `scripts/routes_doc.py` from the router; a test fails when it is out of date. A route that declares no role
stops the start of the console.

- **public**: no login. **viewer**: any logged-in person or API token. **admin**: administrators only.
- *before change* marks what works while the one-time password is still in force; everything else answers 403 then.
- *static* needs no identity at all and never touches the session.

| Method | Path | Role | |
|---|---|---|---|
"""


class RouteRow(NamedTuple):
    """One line of the table."""

    path: str
    method: str
    role: str
    note: str


def route_rows(app: Any) -> list[RouteRow]:
    """Every route of an application, by path and method; automatic OPTIONS answers are left out."""
    rows = set()
    for route in app.routes:
        for handler in getattr(route, "route_handlers", None) or [route.route_handler]:
            notes = [("before change", "before_password_change"), ("static", "static")]
            note = ", ".join(words for words, name in notes if handler.opt.get(name))
            for method in getattr(handler, "http_methods", {"ASGI"}):
                if method != "OPTIONS":
                    rows.add(RouteRow(route.path, method, str(handler.opt.get("role", "")), note))
    return sorted(rows)


def render(rows: list[RouteRow]) -> str:
    """The whole document."""
    lines = [f"| {row.method} | `{row.path}` | {row.role} | {row.note} |" for row in rows]
    return HEAD + "\n".join(lines) + "\n"


def console_routes() -> list[RouteRow]:
    """The routes of the console as it would start here."""
    from app.application import create_app
    from app.paths import DataDirectory
    from app.policies.library import PolicyLibrary
    from app.security.keys import load_keys
    from app.settings import Settings

    with tempfile.TemporaryDirectory() as temporary:
        settings = Settings(data_dir=Path(temporary) / "data")
        directory = DataDirectory(settings.data_dir)
        directory.create()
        keys = load_keys(settings, directory, may_generate=True)
        return route_rows(create_app(settings, keys, library=PolicyLibrary({}, {})))


def main() -> int:
    """Write or check the file; the exit code."""
    document = render(console_routes())
    if "--check" in sys.argv[1:]:
        is_current = TARGET.exists() and TARGET.read_text(encoding="utf-8") == document
        print(
            "docs/routes.md is current." if is_current else "docs/routes.md is out of date: run scripts/routes_doc.py"
        )
        return 0 if is_current else 1
    TARGET.parent.mkdir(exist_ok=True)
    TARGET.write_text(document, encoding="utf-8")
    print(f"Wrote {TARGET.relative_to(ROOT)}")
    return 0


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    raise SystemExit(main())
