"""The only place where the parts of the console are put together."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

from litestar import Litestar, Request, Router
from litestar.datastructures import State
from litestar.di import Provide
from litestar.openapi import OpenAPIConfig
from litestar.openapi.plugins import JsonRenderPlugin
from litestar.openapi.spec import Components, SecurityScheme
from litestar.types import ControllerRouterHandler, Message, Scope

from app.access import api as access_api
from app.access import pages as access_pages
from app.accounts import api as accounts_api
from app.accounts import pages as accounts_pages
from app.accounts.directory import Directory
from app.accounts.first_start import deliver_password
from app.accounts.service import Accounts
from app.alerts import api as alerts_api
from app.alerts import pages as alerts_pages
from app.audit import api as audit_api
from app.audit import pages as audit_pages
from app.audit.service import AuditLog
from app.canaries import api as canaries_api
from app.canaries import pages as canaries_pages
from app.database.engine import Database, database_path
from app.database.unit_of_work import provide_reader, provide_writer
from app.errors import NotAuthenticated
from app.features import NAMES as FEATURE_NAMES
from app.features import FleetFactory, build_features
from app.fleet import api as fleet_api
from app.fleet import pages as fleet_pages
from app.guidelines import api as guidelines_api
from app.guidelines import pages as guidelines_pages
from app.http import static, unknown_page
from app.http.assets import Assets
from app.http.events import EventBus
from app.http.headers import OuterLayer
from app.http.page import Pages
from app.http.problem import handle_exception
from app.http.request import ConsoleRequest
from app.launch import api as launch_api
from app.launch import pages as launch_pages
from app.lifespan import Part, lifespan
from app.mcp_server import api as mcp_server_api
from app.overview import api as overview_api
from app.overview import live
from app.overview import pages as overview_pages
from app.overview.badges import RailBadges
from app.paths import DataDirectory
from app.policies import api as policies_api
from app.policies import assignment_api, builder_pages, draft_pages, trial_api, trial_pages
from app.policies import assignment_pages as policy_assignment_pages
from app.policies import global_api as global_policies_api
from app.policies import pages as policies_pages
from app.policies.library import PolicyLibrary
from app.scanner import api as scanner_api
from app.scanner import pages as scanner_pages
from app.security.guards import check_routes, guard
from app.security.keys import Keys
from app.security.origin import perimeter
from app.security.passwords import Passwords
from app.security.permissions import Actor
from app.security.sessions import SessionCookies
from app.security.vault import Vault
from app.settings import Settings
from app.system import api as system_api
from app.system import pages as system_pages
from app.system.logged_errors import LoggedErrors
from app.system.metrics import Metrics
from app.system.service import System
from app.tools import api as tools_api
from app.tools import inventory_pages
from app.tools import pages as tools_pages
from app.traffic import api as traffic_api
from app.traffic import pages as traffic_pages
from app.traffic import redactions_api, redactions_pages
from app.version import __version__

API_ROUTES: Sequence[Sequence[ControllerRouterHandler]] = (
    system_api.routes,
    accounts_api.routes,
    audit_api.routes,
    fleet_api.routes,
    policies_api.routes,
    trial_api.routes,
    assignment_api.routes,
    global_policies_api.routes,
    access_api.routes,
    canaries_api.routes,
    guidelines_api.routes,
    launch_api.routes,
    scanner_api.routes,
    tools_api.routes,
    mcp_server_api.routes,
    traffic_api.routes,
    redactions_api.routes,
    alerts_api.routes,
    overview_api.routes,
)
PAGE_ROUTES: Sequence[Sequence[ControllerRouterHandler]] = (
    static.routes,
    accounts_pages.routes,
    overview_pages.routes,
    fleet_pages.routes,
    traffic_pages.routes,
    redactions_pages.routes,
    alerts_pages.routes,
    policy_assignment_pages.routes,
    builder_pages.routes,
    draft_pages.routes,
    trial_pages.routes,
    policies_pages.routes,
    access_pages.routes,
    canaries_pages.routes,
    guidelines_pages.routes,
    launch_pages.routes,
    scanner_pages.routes,
    tools_pages.routes,
    inventory_pages.routes,
    audit_pages.routes,
    system_pages.routes,
    live.routes,
    unknown_page.routes,
)


def create_app(
    settings: Settings, keys: Keys, *, make_fleet: FleetFactory | None = None, library: PolicyLibrary | None = None
) -> Litestar:
    """The console as an ASGI application.

    The data directory exists and its database has the current schema: `app.startup.prepare` sees to both.
    `settings.port` is the port that is really listened on. Without `make_fleet` there are no workers;
    without `library` the shipped policies and packs apply.
    """
    return assemble(build_state(settings, keys, make_fleet, library or PolicyLibrary.shipped()))


def assemble(state: State) -> Litestar:
    """The routes around the parts in `state`; they look the parts up at each request, so `state` may get others."""
    settings: Settings = state.settings
    app = Litestar(
        route_handlers=[handler for routes in (*API_ROUTES, *PAGE_ROUTES) for handler in routes],
        dependencies=_dependencies(state),
        exception_handlers={Exception: handle_exception},
        guards=[guard],
        lifespan=[lifespan],
        state=state,
        before_send=[_observe],
        openapi_config=_openapi(),
        request_class=ConsoleRequest,
        request_max_body_size=settings.max_request_bytes,
        logging_config=None,
        debug=False,
    )
    check_routes(app)
    app.asgi_handler = OuterLayer(app.asgi_handler, state.perimeter, is_https=settings.is_https)
    return app


def build_state(settings: Settings, keys: Keys, make_fleet: FleetFactory | None, library: PolicyLibrary) -> State:
    """Every long-lived object, made once, in the order in which they need one another."""
    directory = DataDirectory(settings.data_dir)
    database = Database(database_path(settings, directory))
    passwords = Passwords()
    audit = AuditLog(keys.audit)
    accounts = Accounts(database, passwords, audit)
    bus = EventBus()
    vault = Vault(keys.vault)
    metrics = Metrics()
    logged_errors = LoggedErrors(metrics.registry)
    features = build_features(
        settings=settings,
        directory=directory,
        database=database,
        vault=vault,
        audit=audit,
        bus=bus,
        metrics=metrics,
        library=library,
        make_fleet=make_fleet,
    )
    parts = [
        # The first to start and the last to stop: it counts what the others say then.
        Part("logged errors", logged_errors.start, logged_errors.stop),
        Part("database", database.open, database.close),
        Part("accounts", lambda: accounts.ensure_admin(deliver_password(settings)), _nothing),
        *features.parts,
    ]
    badges = RailBadges(alerts=features.alerts, proxies=features.proxies, tools=features.tools, holds=features.holds)
    pages = Pages(address=settings.base_url.partition("://")[2], assets=Assets(), badges=badges)
    return State(
        {
            "pages": pages,
            "badges": badges,
            "render_error": pages.error,
            "settings": settings,
            "data_directory": directory,
            "database": database,
            "vault": vault,
            "session_cookies": SessionCookies(settings, keys),
            "perimeter": perimeter(settings),
            "audit": audit,
            "accounts": accounts,
            "authenticator": accounts,
            "directory": Directory(passwords, audit),
            "bus": bus,
            "fleet": features.fleet,
            "ingest": features.ingest,
            "tool_intake": features.tool_intake,
            **{name: getattr(features, name) for name in FEATURE_NAMES},
            "metrics": metrics,
            "system": System(settings, database, lambda: features.fleet.first_rules_count, lambda: logged_errors.total),
            "parts": parts,
        }
    )


SINGLETONS = (
    "pages",
    "badges",
    "settings",
    "vault",
    "session_cookies",
    "audit",
    "accounts",
    "directory",
    "bus",
    "fleet",
    *FEATURE_NAMES,
    "metrics",
    "system",
    "database",
)


def _dependencies(state: State) -> dict[str, Provide]:
    """What handlers may ask for by name, besides what Litestar itself offers."""
    provided = {name: Provide(_current(state, name), sync_to_thread=False) for name in SINGLETONS}
    provided |= {
        "writer": Provide(provide_writer),
        "reader": Provide(provide_reader),
        "actor": Provide(_provide_actor, sync_to_thread=False),
    }
    return provided


def _current(state: State, name: str) -> Callable[[], Any]:
    return lambda: state[name]


def _provide_actor(request: Request[Any, Any, Any]) -> Actor:
    actor = request.scope.get("user")
    if not isinstance(actor, Actor):
        raise NotAuthenticated
    return actor


async def _nothing() -> None:
    return None


async def _observe(message: Message, scope: Scope) -> None:
    """Count a response under its route's pattern; what no route answers is counted together."""
    if message["type"] != "http.response.start":
        return
    state = scope["litestar_app"].state
    route = scope.get("path_template") or "unmatched"
    started = scope["state"].get("received_at", time.perf_counter())
    state.metrics.observe(str(scope.get("method", "")), route, message["status"], time.perf_counter() - started)


def _openapi() -> OpenAPIConfig:
    return OpenAPIConfig(
        title="Ostiary",
        version=__version__,
        create_examples=False,
        use_handler_docstrings=True,
        render_plugins=[JsonRenderPlugin(path="/openapi.json")],
        openapi_router=Router("/schema", route_handlers=[], opt={"role": "viewer"}),
        components=Components(security_schemes={"bearer": SecurityScheme(type="http", scheme="bearer")}),
        security=[{"bearer": []}],
    )
