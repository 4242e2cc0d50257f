"""JSON endpoints of the alerts."""

from typing import Annotated

from litestar import get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery, JSONBody, QueryParameter

from app.alerts.repository import SORTS, AlertFilter
from app.alerts.schemas import AlertGroup, AlertNote, AlertSummary, AlertView, BulkChange, BulkResult
from app.alerts.service import MAX_GROUPS, AlertService
from app.alerts.workflow import AlertAction, AlertStatus
from app.errors import NotFound
from app.guidelines.questions import of_alert
from app.guidelines.schemas import CitedPassage
from app.guidelines.service import GuidelineService
from app.http.envelope import DEFAULT_LIMIT, Envelope, Listing, page_of
from app.http.filters import search_text, words
from app.security.permissions import Actor
from rules.model import Severity

VIEWER = {"role": "viewer"}
ADMIN = {"role": "admin"}
TAGS = ["alerts"]
SEVERITIES = tuple(severity.word for severity in reversed(Severity))
STATUSES = tuple(status.value for status in AlertStatus)
VERBS = {action.value.replace("_", "-"): action for action in AlertAction}
"""The actions by the word in the address."""

GroupLimit = Annotated[int, QueryParameter(ge=1, le=MAX_GROUPS)]


def _filter(
    severity: list[str] | None, status: list[str] | None, proxy_id: str, rule_id: str, call_id: str, search: str
) -> AlertFilter:
    return AlertFilter(
        severities=words("severity", severity, SEVERITIES),
        statuses=words("status", status, STATUSES),
        proxy_id=proxy_id,
        rule_id=rule_id,
        call_id=call_id,
        search=search_text(search),
    )


@get("/api/v1/system/alerts", opt=VIEWER, tags=TAGS)
async def list_alerts(
    actor: NamedDependency[Actor],
    alerts: NamedDependency[AlertService],
    severity: FromQuery[list[str] | None] = None,
    status: FromQuery[list[str] | None] = None,
    proxy_id: FromQuery[str] = "",
    rule_id: FromQuery[str] = "",
    call_id: FromQuery[str] = "",
    search: FromQuery[str] = "",
    sort: FromQuery[str] = "",
    limit: FromQuery[int] = DEFAULT_LIMIT,
    offset: FromQuery[int] = 0,
) -> Envelope[Listing[AlertView]]:
    """Alerts, newest first; `severity` and `status` may be given several times or comma-separated."""
    limit, offset = page_of(limit, offset)
    wanted = _filter(severity, status, proxy_id, rule_id, call_id, search)
    return Envelope(await alerts.page(actor, wanted, limit=limit, offset=offset, sort=SORTS.asked(sort)))


@get("/api/v1/system/alerts/summary", opt=VIEWER, tags=TAGS)
async def summarise_alerts(
    actor: NamedDependency[Actor], alerts: NamedDependency[AlertService]
) -> Envelope[AlertSummary]:
    """How many alerts are open by severity, and how many there are by status."""
    return Envelope(await alerts.summary(actor))


@get("/api/v1/system/alerts/groups", opt=VIEWER, tags=TAGS)
async def group_alerts(
    actor: NamedDependency[Actor],
    alerts: NamedDependency[AlertService],
    severity: FromQuery[list[str] | None] = None,
    status: FromQuery[list[str] | None] = None,
    proxy_id: FromQuery[str] = "",
    rule_id: FromQuery[str] = "",
    search: FromQuery[str] = "",
    limit: GroupLimit = 50,
) -> Envelope[list[AlertGroup]]:
    """The newest 5,000 matching alerts by rule and proxy, the largest groups first."""
    wanted = _filter(severity, status, proxy_id, rule_id, "", search)
    return Envelope(await alerts.groups(actor, wanted, limit=limit))


@post("/api/v1/system/alerts/bulk", opt=ADMIN, status_code=200, tags=TAGS)
async def change_alerts(
    data: JSONBody[BulkChange], actor: NamedDependency[Actor], alerts: NamedDependency[AlertService]
) -> Envelope[BulkResult]:
    """One action on up to 500 alerts; alerts that it does not apply to are skipped and counted."""
    return Envelope(await alerts.change_many(actor, data))


@get("/api/v1/system/alerts/{alert_id:str}", opt=VIEWER, tags=TAGS)
async def get_alert(
    alert_id: FromPath[str], actor: NamedDependency[Actor], alerts: NamedDependency[AlertService]
) -> Envelope[AlertView]:
    """One alert."""
    return Envelope(await alerts.get(actor, alert_id))


@get("/api/v1/system/alerts/{alert_id:str}/guidelines", opt=VIEWER, tags=TAGS)
async def alert_guidelines(
    alert_id: FromPath[str],
    actor: NamedDependency[Actor],
    alerts: NamedDependency[AlertService],
    guidelines: NamedDependency[GuidelineService],
) -> Envelope[list[CitedPassage]]:
    """The passages of the company's guidelines, two at most, that speak of what the alert is about."""
    return Envelope(await guidelines.cited(actor, of_alert(await alerts.get(actor, alert_id))))


@post("/api/v1/system/alerts/{alert_id:str}/{verb:str}", opt=ADMIN, status_code=200, tags=TAGS)
async def change_alert(
    alert_id: FromPath[str],
    verb: FromPath[str],
    actor: NamedDependency[Actor],
    alerts: NamedDependency[AlertService],
    data: JSONBody[AlertNote | None] = None,
) -> Envelope[AlertView]:
    """Acknowledge, resolve, false-positive (the rule should not have hit) or reopen one alert."""
    if verb not in VERBS:
        raise NotFound("There is no such action.")
    return Envelope(await alerts.change(actor, alert_id, VERBS[verb], note=data.note if data else ""))


routes = [
    list_alerts,
    summarise_alerts,
    group_alerts,
    change_alerts,
    get_alert,
    alert_guidelines,
    change_alert,
]
