"""The counts beside the words in the rail."""

from __future__ import annotations

from app.alerts.service import AlertService
from app.fleet.service import ProxyService
from app.fleet.state import ProxyState
from app.http.page import Badges
from app.security.permissions import Actor
from app.tools.holds import Holds
from app.tools.service import ToolService


class RailBadges:
    """Counts open critical and high alerts, failed proxies, and decisions that wait."""

    def __init__(self, *, alerts: AlertService, proxies: ProxyService, tools: ToolService, holds: Holds) -> None:
        self._alerts = alerts
        self._proxies = proxies
        self._tools = tools
        self._holds = holds

    async def __call__(self, actor: Actor) -> Badges:
        """The counts for the tenant of this actor."""
        rows = await self._proxies.rows(actor)
        failed = sum(self._proxies.status(row.id).state is ProxyState.FAILED for row in rows)
        waiting = await self._tools.open_reviews(actor) + await self._holds.count_waiting(actor)
        return Badges(urgent_alerts=await self._alerts.urgent(actor), failed_proxies=failed, open_approvals=waiting)
