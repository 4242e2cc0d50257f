"""Pages of the accounts: log in, change one's password, log out."""

from typing import Any

from litestar import Request, Response, get, post
from litestar.di import NamedDependency

from app.accounts.service import Accounts
from app.errors import AppError
from app.http.page import Form, Pages, Toast, redirect
from app.security.origin import local_path
from app.security.permissions import Actor
from app.security.sessions import SessionCookies

ONE_OWN_PASSWORD = {"role": "viewer", "before_password_change": True}


@get("/login", opt={"role": "public"}, include_in_schema=False)
async def login_page(request: Request[Any, Any, Any], pages: NamedDependency[Pages]) -> Response[str]:
    """The login form, or the console for somebody who is logged in."""
    wanted = local_path(request.query_params.get("next"))
    if request.scope.get("user") is not None:
        return redirect(request, wanted)
    return await pages.page(request, "accounts/login.html", title="Log in", form=Form({"next": wanted}))


@post("/login", opt={"role": "public"}, include_in_schema=False)
async def log_in(
    request: Request[Any, Any, Any],
    pages: NamedDependency[Pages],
    accounts: NamedDependency[Accounts],
    session_cookies: NamedDependency[SessionCookies],
) -> Response[str]:
    """Start a session, or show the form again saying only that the pair is wrong."""
    given = await request.form()
    wanted = local_path(str(given.get("next", "")))
    try:
        login = await accounts.log_in(
            str(given.get("username", "")),
            str(given.get("password", "")),
            ip=request.client.host if request.client else "",
            user_agent=request.headers.get("user-agent", ""),
            request_id=request.scope["state"].get("request_id", ""),
        )
    except AppError as error:
        form = Form({"next": wanted, "username": str(given.get("username", ""))}).refused(error)
        answer = await pages.page(request, "accounts/login.html", title="Log in", form=form, status=error.status)
        for name, value in error.headers.items():
            answer.set_header(name, value)
        return answer
    target = "/password" if login.user.must_change_password else wanted
    return redirect(request, target, cookies=session_cookies.start(login.token, login.digest))


@post("/logout", opt=ONE_OWN_PASSWORD, include_in_schema=False)
async def log_out(
    request: Request[Any, Any, Any],
    actor: NamedDependency[Actor],
    accounts: NamedDependency[Accounts],
    session_cookies: NamedDependency[SessionCookies],
) -> Response[str]:
    """End the session on the server and in the browser."""
    await accounts.log_out(actor)
    return redirect(request, "/login", cookies=session_cookies.end())


@get("/password", opt=ONE_OWN_PASSWORD, include_in_schema=False)
async def password_page(
    request: Request[Any, Any, Any], actor: NamedDependency[Actor], pages: NamedDependency[Pages]
) -> Response[str]:
    """The form for one's own password; after a one-time password it is the only page there is."""
    return await _password_form(request, pages, actor, Form(), 200)


@post("/password", opt=ONE_OWN_PASSWORD, include_in_schema=False)
async def change_password(
    request: Request[Any, Any, Any],
    actor: NamedDependency[Actor],
    pages: NamedDependency[Pages],
    accounts: NamedDependency[Accounts],
    session_cookies: NamedDependency[SessionCookies],
) -> Response[str]:
    """Set one's own password; every other session of this person ends."""
    given = await request.form()
    new = str(given.get("new_password", ""))
    if new != str(given.get("repeat_password", "")):
        form = Form(errors={"repeat_password": "The two new passwords differ."})
        return await _password_form(request, pages, actor, form, 422)
    try:
        login = await accounts.change_password(
            actor,
            str(given.get("current_password", "")),
            new,
            user_agent=request.headers.get("user-agent", ""),
        )
    except AppError as error:
        return await _password_form(request, pages, actor, Form().refused(error), error.status)
    toast = Toast("Your password is changed. Other sessions are ended.")
    return redirect(request, "/", toast, cookies=session_cookies.start(login.token, login.digest))


async def _password_form(
    request: Request[Any, Any, Any], pages: Pages, actor: Actor, form: Form, status: int
) -> Response[str]:
    return await pages.page(
        request,
        "accounts/password.html",
        title="Change password",
        form=form,
        forced=actor.must_change_password,
        status=status,
    )


routes = [login_page, log_in, log_out, password_page, change_password]
