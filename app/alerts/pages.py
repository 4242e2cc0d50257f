"""Pages of the alerts: triage by list, by group, by keyboard; one alert with its evidence."""

from typing import Any

from litestar import Request, Response, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery

from app.alerts.api import SEVERITIES, STATUSES, VERBS
from app.alerts.repository import SORTS, AlertFilter
from app.alerts.schemas import AlertView, BulkChange
from app.alerts.service import AlertService
from app.alerts.what_became import what_became
from app.alerts.workflow import AlertAction
from app.errors import AppError, NotFound
from app.fleet.service import ProxyService
from app.guidelines.questions import of_alert
from app.guidelines.service import GuidelineService
from app.http.envelope import MAX_LIMIT, page_of
from app.http.filters import search_text
from app.http.formats import plural
from app.http.forms import convert
from app.http.htmx import is_htmx
from app.http.page import Pages, Toast, redirect, with_query
from app.policies import item_words, rule_words
from app.policies.library import PolicyLibrary
from app.security.origin import local_path
from app.security.permissions import Actor
from app.traffic.errors import CallNotFound
from app.traffic.service import TrafficService

VIEWER = {"role": "viewer"}
ADMIN = {"role": "admin"}
HOME = (("/alerts", "Alerts"),)
ANY_STATUS = "any"
MAX_GROUPS = 8
PAGE_ROWS = 20
"""Rows of a page, so that it stays below 60 KB."""
RELATED = 6
PAST = {
    AlertAction.ACKNOWLEDGE: "acknowledged",
    AlertAction.RESOLVE: "resolved",
    AlertAction.FALSE_POSITIVE: "marked as false positive",
    AlertAction.REOPEN: "open again",
}


@get("/alerts", opt=VIEWER, include_in_schema=False)
async def alerts_page(
    request: Request[Any, Any, Any],
    actor: NamedDependency[Actor],
    pages: NamedDependency[Pages],
    alerts: NamedDependency[AlertService],
    proxies: NamedDependency[ProxyService],
    search: FromQuery[str] = "",
    status: FromQuery[str] = "open",
    severity: FromQuery[str] = "",
    proxy_id: FromQuery[str] = "",
    rule_id: FromQuery[str] = "",
    sort: FromQuery[str] = "",
    offset: FromQuery[int] = 0,
) -> Response[str]:
    """What must I do: open alerts first, the address holds the filter."""
    limit, offset = page_of(PAGE_ROWS, offset)
    filters = clean(search=search, status=status, severity=severity, proxy_id=proxy_id, rule_id=rule_id)
    wanted, order = filter_of(filters), SORTS.order(sort)
    known = await proxies.page(actor, limit=MAX_LIMIT)
    return await pages.page(
        request,
        "alerts/list.html",
        title="Alerts",
        active="alerts",
        stream=with_query("?show=alerts", **filters) if not offset and not order.param else "",
        filters=filters,
        filtered=is_filtered(filters),
        base=with_query(address_of(filters), sort=order.param),
        order=order,
        list=await alerts.page(actor, wanted, limit=limit, offset=offset, sort=order.sort),
        groups=await alerts.groups(actor, wanted, limit=MAX_GROUPS),
        proxy_options=[(proxy.id, proxy.name) for proxy in known.items],
    )


@get("/alerts/{alert_id:str}", opt=VIEWER, include_in_schema=False)
async def alert_page(
    request: Request[Any, Any, Any],
    alert_id: FromPath[str],
    actor: NamedDependency[Actor],
    pages: NamedDependency[Pages],
    alerts: NamedDependency[AlertService],
    traffic: NamedDependency[TrafficService],
    library: NamedDependency[PolicyLibrary],
    guidelines: NamedDependency[GuidelineService],
) -> Response[str]:
    """One alert: evidence, why, where from, history."""
    alert = await alerts.get(actor, alert_id)
    same = AlertFilter(rule_id=alert.rule_id, proxy_id=alert.proxy_id)
    related = await alerts.page(actor, same, limit=RELATED + 1)
    return await pages.page(
        request,
        "alerts/detail.html",
        title=alert.title,
        active="alerts",
        crumbs=HOME,
        alert=alert,
        **await _why(traffic, library, actor, alert),
        cited=await guidelines.cited(actor, of_alert(alert)),
        related=[other for other in related.items if other.id != alert.id][:RELATED],
    )


@post("/alerts/bulk", opt=ADMIN, include_in_schema=False)
async def change_alerts(
    request: Request[Any, Any, Any], actor: NamedDependency[Actor], alerts: NamedDependency[AlertService]
) -> Response[str]:
    """One action on the selected alerts, with a way back."""
    given = await request.form()
    back = local_path(str(given.get("back", "")), "/alerts")
    chosen = [str(value) for value in given.getall("alert_ids", [])]
    if not chosen:
        return redirect(request, back, Toast("Select at least one alert.", kind="error"))
    change = convert({"alert_ids": chosen, "action": str(given.get("action", ""))}, BulkChange)
    result = await alerts.change_many(actor, change)
    text = f"{plural(result.changed, 'alert')} {PAST[change.action]}."
    if result.skipped:
        text += f" {result.skipped} could not be: their status does not allow it."
    if not result.changed or change.action is AlertAction.REOPEN:
        return redirect(request, back, Toast(text))
    undo = (("action", AlertAction.REOPEN.value), ("back", back), *(("alert_ids", alert_id) for alert_id in chosen))
    return redirect(request, back, Toast(text, undo_url="/alerts/bulk", undo_values=undo))


@post("/alerts/{alert_id:str}/{verb:str}", opt=ADMIN, include_in_schema=False)
async def change_alert(
    request: Request[Any, Any, Any],
    alert_id: FromPath[str],
    verb: FromPath[str],
    actor: NamedDependency[Actor],
    pages: NamedDependency[Pages],
    alerts: NamedDependency[AlertService],
) -> Response[str]:
    """Acknowledge, resolve, false-positive or reopen; answers with the row."""
    if verb not in VERBS:
        raise NotFound("There is no such action.")
    action = VERBS[verb]
    given = await request.form()
    back = local_path(str(given.get("back", "")), "/alerts")
    try:
        alert = await alerts.change(actor, alert_id, action, note=str(given.get("note", ""))[:2000])
    except AppError as error:
        if is_htmx(request):
            raise
        return redirect(request, back, Toast(error.message, kind="error"))
    toast = Toast(f"“{alert.title}” is {PAST[action]}.")
    if action is not AlertAction.REOPEN:
        toast = Toast(toast.text, undo_url=f"/alerts/{alert_id}/reopen", undo_values=(("back", back),))
    if is_htmx(request):
        return pages.answer(request, "alerts/_row.html", toast=toast, alert=alert)
    return redirect(request, back, toast)


def clean(*, search: str, status: str, severity: str, proxy_id: str, rule_id: str) -> dict[str, str]:
    """The filter in the address, with words that are none left out."""
    return {
        "search": search_text(search),
        "status": status if status in (*STATUSES, ANY_STATUS) else "open",
        "severity": severity if severity in SEVERITIES else "",
        "proxy_id": proxy_id[:64],
        "rule_id": rule_id[:100],
    }


def is_filtered(filters: dict[str, str]) -> bool:
    """Whether the list shows anything but all open alerts."""
    return filters["status"] != "open" or any(filters[name] for name in filters if name != "status")


def address_of(filters: dict[str, str]) -> str:
    """The address of the list with this filter; the usual status is left out."""
    status = filters["status"] if filters["status"] != "open" else ""
    return with_query("/alerts", **{**filters, "status": status})


def filter_of(filters: dict[str, str]) -> AlertFilter:
    """The filter that the address names."""
    return AlertFilter(
        severities=(filters["severity"],) if filters["severity"] else (),
        statuses=() if filters["status"] == ANY_STATUS else (filters["status"],),
        proxy_id=filters["proxy_id"],
        rule_id=filters["rule_id"],
        search=filters["search"],
    )


def matches(alert: AlertView, filters: dict[str, str]) -> bool:
    """Whether a new or changed alert belongs into a list with this filter."""
    text = filters["search"].lower()
    searched = (alert.title, alert.rule_id, alert.evidence, alert.client_ip, alert.principal_name, alert.proxy_name)
    return (
        filters["status"] in (ANY_STATUS, alert.status)
        and filters["severity"] in ("", alert.severity)
        and filters["proxy_id"] in ("", alert.proxy_id)
        and filters["rule_id"] in ("", alert.rule_id)
        and text in " ".join((*searched, alert.id, alert.call_id)).lower()
    )


async def _why(traffic: TrafficService, library: PolicyLibrary, actor: Actor, alert: AlertView) -> dict[str, Any]:
    """The rule as it is now, and the call behind the alert with its finding, the one that decided and the sum of its scores;
    without them when it is no longer kept."""
    detection, conditional = (
        library.rule(alert.pack, alert.rule_id),
        library.conditional_rule(alert.pack, alert.rule_id),
    )
    rule = {
        "condition": rule_words.condition(detection) if detection else [],
        "conditions": item_words.when(conditional) if conditional else [],
    }
    try:
        call = await traffic.get(actor, alert.call_id)
    except CallNotFound:
        return {"call": None, "finding": None, "total_score": 0, "became": what_became(alert, None), **rule}
    scores: dict[str, int] = {}
    for finding in call.findings:
        scores[finding.rule_id] = max(scores.get(finding.rule_id, 0), finding.score)
    first = {finding.rule_id: finding for finding in reversed(call.findings)}
    decided_by = call.decision.rule_id if call.decision else ""
    return {
        "call": call,
        "finding": first.get(alert.rule_id),
        "decider": first.get(decided_by) if decided_by != alert.rule_id else None,
        "total_score": sum(scores.values()),
        "became": what_became(alert, call),
        **rule,
    }


routes = [alerts_page, alert_page, change_alerts, change_alert]
