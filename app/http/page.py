"""HTML answers: one template gives the whole page, or a fragment of it for htmx.

`Pages` holds the template environment and what every page shows around its content (who is logged in, badges, theme,
version). Everything is autoescaped; an undefined name in a template is an error, never an empty string.
"""

import base64
import binascii
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any
from urllib.parse import parse_qsl, quote, urlencode, urlsplit

import jinja2
import msgspec
from litestar import Request, Response
from litestar.datastructures import Cookie

from app import clock
from app.errors import AppError
from app.http import formats
from app.http.assets import Assets
from app.http.evidence import evidence, evidence_alone, evidence_of
from app.http.hostile import hostile
from app.http.htmx import is_htmx
from app.http.rule_url import comes_by_policy, rule_url
from app.paths import TEMPLATES
from app.security.permissions import Actor
from app.undo import UNDO_SECONDS, UNDO_WORDS
from app.version import __version__

NAVIGATION = (
    ("overview", "/", "home", "Overview", ""),
    ("proxies", "/proxies", "server-2", "Proxies", "proxies"),
    ("traffic", "/traffic", "activity", "Traffic", ""),
    ("alerts", "/alerts", "bell", "Alerts", "alerts"),
    ("policies", "/policies", "shield-check", "Policies", ""),
    ("scanner", "/scanner", "search", "Scanner", ""),
    ("approvals", "/approvals", "circle-check", "Approvals", "approvals"),
    ("inventory", "/inventory", "package", "Inventory", ""),
    ("access", "/access", "key", "Access", ""),
    ("audit", "/audit", "file-text", "Audit", ""),
    ("settings", "/settings", "settings", "Settings", ""),
)
"""What the rail shows: key, address, icon, word, badge. A page appears here when it exists."""

ADMIN_ONLY = frozenset({"audit", "settings"})


def _section_of(path: str) -> tuple[str, str, str, str, str]:
    """The section of the console that an address lies in; the overview for one that lies in none."""
    first = path.strip("/").partition("/")[0]
    return next((item for item in NAVIGATION[1:] if item[0] == first), NAVIGATION[0])


TOAST_COOKIE = "ostiary_toast"
MAX_TOAST_COOKIE_CHARACTERS = 3500
MAX_TOASTS = 4
TOAST_COOKIE_SECONDS = 30
THEMES = ("light", "dark", "system")
_ADDRESS_CHARACTERS = "/?#[]@!$&'()*+,;=:%"
"""What an address may hold besides letters, digits and `-._~`; an escape in it stays as it is."""


class Toast(msgspec.Struct, frozen=True):
    """A short note about what just happened, with a way back where there is one."""

    text: str
    kind: str = "ok"
    undo_url: str = ""
    undo_values: tuple[tuple[str, str], ...] = ()
    until: float = 0.0
    """Unix time at which the way back closes; set when the toast goes out."""

    @classmethod
    def refused(cls, error: AppError) -> "Toast":
        """What was asked for did not happen, and what to do about it."""
        return cls(" ".join(dict.fromkeys([error.message, error.remediation])), kind="error")

    @property
    def left_ms(self) -> int:
        """For how long the way back is still open."""
        return max(0, round((self.until - clock.utcnow().timestamp()) * 1000))


class Badges(msgspec.Struct, frozen=True):
    """The counts in the rail."""

    urgent_alerts: int = 0
    """Open alerts that are critical or high."""
    failed_proxies: int = 0
    open_approvals: int = 0
    """Changes and servers that wait for a decision, and held calls."""


class Shell(msgspec.Struct, frozen=True, kw_only=True):
    """What surrounds the content of a page."""

    username: str
    role: str
    version: str
    address: str
    theme: str
    rail: str
    csrf_token: str
    urgent_alerts: int = 0
    failed_proxies: int = 0
    open_approvals: int = 0
    toasts: tuple[Toast, ...] = ()


class Form(msgspec.Struct, frozen=True):
    """A form as it is shown again: what was typed, and what is wrong with it."""

    values: Mapping[str, Any] = {}
    errors: Mapping[str, str] = {}
    message: str = ""
    remediation: str = ""

    def refused(self, error: AppError, names: Mapping[str, str] | None = None) -> "Form":
        """The form after `error`; `names` maps the error's field names to the form's where they differ."""
        renamed = {(names or {}).get(key, key): text for key, text in error.fields.items()}
        return Form(self.values, renamed, error.message, error.remediation)


def with_query(base: str, **changes: object) -> str:
    """The local address with query parameters added, replaced, or (None or empty) removed."""
    parts = urlsplit(base)
    query = dict(parse_qsl(parts.query))
    for name, value in changes.items():
        if value is None or value == "":
            query.pop(name, None)
        else:
            query[name] = str(value)
    return parts.path + (f"?{urlencode(query)}" if query else "")


def polyline(values: list[float]) -> str:
    """Points of a sparkline in a box 20 high, one step a value."""
    top = max(values, default=0) or 1
    return " ".join(f"{x},{19 - 18 * value / top:.1f}" for x, value in enumerate(values))


def environment(assets: Assets) -> jinja2.Environment:
    """The template environment: autoescape always, undefined names refused."""
    env = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    env.globals["static"] = assets.url
    env.globals["rule_url"] = rule_url
    env.globals["undo_words"] = UNDO_WORDS
    env.globals["comes_by_policy"] = comes_by_policy
    env.filters |= {
        "when": formats.when,
        "moment": formats.moment,
        "number": formats.number,
        "ms": formats.milliseconds,
        "size": formats.size,
        "short_id": formats.short_id,
        "plural": formats.plural,
        "words": formats.words,
        "brief": formats.brief,
        "moment_of": formats.moment_of,
        "hostile": hostile,
        "evidence": evidence,
        "evidence_of": evidence_of,
        "evidence_alone": evidence_alone,
        "with_query": with_query,
        "polyline": polyline,
    }
    return env


class Pages:
    """Renders pages and fragments. `badges` counts for the tenant of an actor."""

    def __init__(self, *, address: str, assets: Assets, badges: Callable[[Actor], Awaitable[Badges]]) -> None:
        self._address = address
        self._assets = assets
        self._badges = badges
        self._environment = environment(assets)

    def __repr__(self) -> str:
        return f"<Pages of {self._address}>"

    @property
    def assets(self) -> Assets:
        """The static files."""
        return self._assets

    async def page(
        self,
        request: Request[Any, Any, Any],
        template: str,
        *,
        title: str,
        active: str = "",
        crumbs: tuple[tuple[str, str], ...] = (),
        stream: str = "",
        status: int = 200,
        **context: Any,
    ) -> Response[str]:
        """The whole page. `stream` is the query of its live stream (`?show=alerts`)."""
        toasts = read_toasts(request)
        actor = request.scope.get("user")
        badges = await self._badges(actor) if actor is not None and not actor.must_change_password else Badges()
        shell = self.shell(request, badges, toasts)
        html = self._render(template, shell, title=title, active=active, crumbs=crumbs, stream=stream, **context)
        # What can be taken back is offered on every page until its time is over; the rest is said once.
        cookies = [toast_cookie([toast for toast in toasts if toast.undo_url])] if toasts else []
        return Response(
            html, status_code=status, media_type="text/html", cookies=cookies, headers={"Cache-Control": "no-store"}
        )

    def fragment(
        self, request: Request[Any, Any, Any], template: str, *, badges: Badges | None = None, **context: Any
    ) -> str:
        """A piece of a page."""
        return self._render(template, self.shell(request, badges or Badges()), **context)

    def answer(
        self,
        request: Request[Any, Any, Any],
        template: str,
        *,
        status: int = 200,
        toast: Toast | None = None,
        **context: Any,
    ) -> Response[str]:
        """A fragment as the answer to htmx, with a toast beside it."""
        html = self.fragment(request, template, **context)
        if toast is not None:
            html += self.toast_partial(request, toast)
        return Response(html, status_code=status, media_type="text/html")

    def toast_partial(self, request: Request[Any, Any, Any], toast: Toast) -> str:
        """The markup that makes htmx add a toast wherever the answer itself goes."""
        note = self.fragment(request, "_toast.html", toast=_timed(toast))
        return f'<hx-partial hx-target="#toasts" hx-swap="beforeend">{note}</hx-partial>'

    def error(self, request: Request[Any, Any, Any], told: AppError, request_id: str) -> Response[str]:
        """What a browser gets when a handler failed: a page, or a toast when htmx asked for a fragment."""
        headers = dict(told.headers)
        if is_htmx(request):
            words = " ".join(dict.fromkeys([told.message, *told.fields.values(), told.remediation]))
            html = self.toast_partial(request, Toast(words, kind="error"))
            return Response(html, status_code=told.status, media_type="text/html", headers=headers)
        actor = request.scope.get("user")
        known = actor is not None and not actor.must_change_password
        key, url, _, word, _ = _section_of(request.url.path)
        # What the API lists with a call, people find in the section.
        is_listed = told.status == 404 and known and "GET /api/" in told.remediation
        html = self._render(
            "errors/error.html" if known else "errors/plain.html",
            self.shell(request, Badges()),
            title=told.message.rstrip("."),
            active=key if known else "",
            section=(url, word),
            crumbs=(),
            stream="",
            heading=f"Error {told.status}",
            code=told.status,
            message=told.message,
            remediation=f"{word} shows what there is." if is_listed else told.remediation,
            request_id=request_id,
        )
        return Response(html, status_code=told.status, media_type="text/html", headers=headers)

    def shell(self, request: Request[Any, Any, Any], badges: Badges, toasts: tuple[Toast, ...] = ()) -> Shell:
        """What surrounds the content, from the request and the counts."""
        actor = request.scope.get("user")
        theme = request.cookies.get("ostiary_theme", "system")
        return Shell(
            username=actor.username if actor else "",
            role=str(actor.role) if actor else "",
            version=__version__,
            address=self._address,
            theme=theme if theme in THEMES else "system",
            rail="narrow" if request.cookies.get("ostiary_rail") == "narrow" else "wide",
            csrf_token=request.scope["state"].get("csrf_token", ""),
            urgent_alerts=badges.urgent_alerts,
            failed_proxies=badges.failed_proxies,
            open_approvals=badges.open_approvals,
            toasts=toasts,
        )

    def _render(self, template: str, shell: Shell, **context: Any) -> str:
        navigation = [item for item in NAVIGATION if shell.role == "admin" or item[0] not in ADMIN_ONLY]
        return self._environment.get_template(template).render(shell=shell, navigation=navigation, **context)


def redirect(
    request: Request[Any, Any, Any], url: str, toast: Toast | None = None, cookies: list[Cookie] | None = None
) -> Response[str]:
    """Go to a local address after a change; the toast is shown there, beside those that can still be taken back."""
    # A name that the request's address brought may stand in it: whatever no header can hold is escaped.
    url = quote(url, safe=_ADDRESS_CHARACTERS)
    kept = list(cookies or [])
    waiting = [other for other in read_toasts(request) if other.undo_url and other.undo_url != request.url.path]
    if toast is not None:
        waiting.append(_timed(toast))
    if toast is not None or len(waiting) != len(read_toasts(request)):
        kept.append(toast_cookie(waiting))
    if is_htmx(request):
        return Response("", media_type="text/html", headers={"HX-Redirect": url}, cookies=kept)
    return Response("", status_code=303, media_type="text/html", headers={"Location": url}, cookies=kept)


def _timed(toast: Toast) -> Toast:
    """The toast with the moment at which its way back closes."""
    if not toast.undo_url or toast.until:
        return toast
    return msgspec.structs.replace(toast, until=clock.utcnow().timestamp() + UNDO_SECONDS)


def toast_cookie(toasts: Sequence[Toast]) -> Cookie:
    """The cookie that carries toasts over a redirect, the newest last. What does not fit goes: older toasts first, then
    the way back of the newest."""
    kept = list(toasts)[-MAX_TOASTS:]
    while len(kept) > 1 and len(_encoded(kept)) > MAX_TOAST_COOKIE_CHARACTERS:
        del kept[0]
    value = _encoded(kept)
    if len(value) > MAX_TOAST_COOKIE_CHARACTERS:
        value = _encoded([Toast(kept[-1].text[:300], kept[-1].kind)])
    age_seconds = TOAST_COOKIE_SECONDS if kept else 0
    return Cookie(TOAST_COOKIE, value=value, path="/", max_age=age_seconds, httponly=True, samesite="strict")


def _encoded(toasts: Sequence[Toast]) -> str:
    return base64.urlsafe_b64encode(msgspec.msgpack.encode(toasts)).decode() if toasts else ""


def read_toasts(request: Request[Any, Any, Any]) -> tuple[Toast, ...]:
    """The toasts that the requests before left behind; none for anything that is not ours or no longer true."""
    value = request.cookies.get(TOAST_COOKIE, "")
    if not value:
        return ()
    try:
        encoded = base64.urlsafe_b64decode(value.encode("ascii", "replace"))
        toasts = msgspec.msgpack.decode(encoded, type=tuple[Toast, ...])
    except (binascii.Error, msgspec.DecodeError):
        return ()
    return tuple(toast for toast in toasts[-MAX_TOASTS:] if not toast.undo_url or _is_offered(toast))


def _is_offered(toast: Toast) -> bool:
    """Whether the way back is still open, and leads to this console."""
    return toast.left_ms > 0 and toast.undo_url.startswith("/") and not toast.undo_url.startswith("//")
