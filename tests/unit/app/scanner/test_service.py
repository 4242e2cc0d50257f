"""Scans in the console: started, watched, judged, kept, compared; gates and alerts. The worker is played."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import pytest_asyncio
from sqlalchemy import select

from app.alerts.repository import AlertFilter
from app.audit.models import AuditEntry
from app.errors import ValidationFailed
from app.fleet.errors import ProxyNotFound
from app.policies.errors import PolicyNotFound
from app.scanner.blocking import blocked_tools, closed
from app.scanner.errors import NoScanner, NotConfirmed, ScanEnded, ScanNotFinished, ScanNotFound, TooManyScans
from app.scanner.repository import ScanRepository
from app.scanner.schemas import LiftTool, ScanView, SetGate, StartScanRequest
from app.scanner.service import ScannerService
from proxies.contract import CancelScan, EntryRule, MCPControl, ScanFinished, ScanProgress, StartScan
from rules.model import Action, Finding, Severity, Target
from rules.scanning import ServerFacts
from tests.support.features import ADMIN, Bench, features_on
from tests.support.records import CALL, FINDING
from tests.support.tab import call_of
from tests.unit.rules.scanning.test_checks import facts, tool

SHELL = tool("run_shell", "Runs a shell command.")
CLEAN = tool("add_numbers", "Adds numbers.", schema={"type": "object", "properties": {}})


@pytest_asyncio.fixture
async def bench(tmp_path: Path, used_data: Path) -> AsyncIterator[Bench]:
    async with features_on(tmp_path, used_data) as made:
        yield made


def scanner(bench: Bench) -> ScannerService:
    return bench.features.scanner


async def mcp_proxy(bench: Bench, name: str = "tools", port: int = 4100) -> str:
    made = await bench.proxy(name, port, type="mcp", target_url="https://mcp.example.org/mcp")
    return made.id


async def finish(bench: Bench, view: ScanView, found: ServerFacts | None, failure: str = "") -> ScanView:
    """The worker answers; the scan once it has ended."""
    bench.fleet.report(ScanFinished(view.id, found, failure))
    async with asyncio.timeout(10):
        while (now := await scanner(bench).get(ADMIN, view.id)).state == "running":
            await asyncio.sleep(0.01)
        await scanner(bench).ended(view.id)  # What follows for the workers is done as well.
    return now


async def scanned(bench: Bench, proxy_id: str, *tools: Any) -> ScanView:
    view = await scanner(bench).begin(ADMIN, StartScanRequest(proxy_id=proxy_id))
    return await finish(bench, view, facts(*tools))


async def test_SYP_SCAN_1_a_scan_of_a_proxy_from_order_to_result(bench: Bench) -> None:
    proxy_id = await mcp_proxy(bench)
    view = await scanner(bench).begin(ADMIN, StartScanRequest(proxy_id=proxy_id))
    assert (view.state, view.name, view.progress) == ("running", "tools", 0)
    (order,) = bench.fleet.scan_orders
    assert isinstance(order, StartScan)
    assert (order.id, order.target.target_url, order.active) == (view.id, "https://mcp.example.org/mcp", False)
    bench.fleet.hooks.on_scan(ScanProgress(view.id, 45, "asking again"))
    now = await scanner(bench).get(ADMIN, view.id)
    assert (now.progress, now.stage) == (45, "asking again")
    with pytest.raises(ScanNotFinished):
        await scanner(bench).result(ADMIN, view.id)
    done = await finish(bench, view, facts(SHELL))
    assert (done.state, done.progress, done.passed) == ("done", 100, False)
    assert done.counts["high"] == 1
    result = await scanner(bench).result(ADMIN, view.id)
    assert result.findings[0].rule_id == "MCP-CAPABILITY-001"
    assert (await scanner(bench).latest(ADMIN, proxy_id)).id == view.id
    assert (await scanner(bench).page(ADMIN, proxy_id=proxy_id)).total == 1


async def test_SYP_SCAN_6_findings_raise_alerts_and_audit_entries(bench: Bench) -> None:
    proxy_id = await mcp_proxy(bench)
    await scanned(bench, proxy_id, SHELL)
    alerts = (await bench.features.alerts.page(ADMIN, AlertFilter(proxy_id=proxy_id))).items
    assert [(one.rule_id, one.severity, one.pack, one.path) for one in alerts] == [
        ("MCP-CAPABILITY-001", "high", "mcp-scanner", "/tools/0")
    ]
    # The same finding in the next scan is no news.
    await scanned(bench, proxy_id, SHELL)
    assert (await bench.features.alerts.page(ADMIN, AlertFilter(proxy_id=proxy_id))).total == 1
    async with bench.database.reader() as session:
        events = list(await session.scalars(select(AuditEntry.event_type).order_by(AuditEntry.sequence)))
    assert events[-4:] == ["mcp.scan.started", "mcp.scan.finished"] * 2


async def test_SYP_SCAN_6_tools_with_bad_findings_are_blocked_and_can_be_lifted(bench: Bench) -> None:
    proxy_id = await mcp_proxy(bench)
    await scanned(bench, proxy_id, SHELL, CLEAN)

    async def blocked() -> frozenset[str]:
        async with bench.database.reader() as session:
            return (await blocked_tools(session)).get(proxy_id, frozenset())

    assert await blocked() == frozenset()
    before = len(bench.fleet.configurations)
    view = await scanner(bench).set_gate(ADMIN, proxy_id, SetGate(severity="high"))
    assert [(one.name, one.severity, one.lifted) for one in view.tools] == [("run_shell", "high", False)]
    assert await blocked() == {"run_shell"}
    assert len(bench.fleet.configurations) == before + 1
    view = await scanner(bench).lift(ADMIN, proxy_id, LiftTool(tool="run_shell"))
    assert view.tools[0].lifted
    assert await blocked() == frozenset()
    await scanner(bench).lift(ADMIN, proxy_id, LiftTool(tool="run_shell", lifted=False))
    assert await blocked() == {"run_shell"}
    await scanner(bench).set_gate(ADMIN, proxy_id, SetGate(severity="critical"))
    assert await blocked() == frozenset()
    with pytest.raises(ProxyNotFound):
        await scanner(bench).set_gate(ADMIN, "prx_none", SetGate(severity="high"))


async def test_SYP_SCAN_6_a_better_scan_lets_tools_pass_again_at_once(bench: Bench) -> None:
    proxy_id = await mcp_proxy(bench)
    await scanner(bench).set_gate(ADMIN, proxy_id, SetGate(severity="high"))
    await scanned(bench, proxy_id, SHELL)
    before = len(bench.fleet.configurations)
    await scanned(bench, proxy_id, CLEAN)
    assert len(bench.fleet.configurations) == before + 1, "workers are told"
    await scanned(bench, proxy_id, CLEAN)
    assert len(bench.fleet.configurations) == before + 1, "nothing has changed for them"


async def test_the_scan_that_a_gate_rests_on_is_never_forgotten(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.scanner.service.KEPT_SCANS", 2)
    proxy_id = await mcp_proxy(bench)
    await scanner(bench).set_gate(ADMIN, proxy_id, SetGate(severity="high"))
    of_proxy = await scanned(bench, proxy_id, SHELL)
    for number in range(3):
        order = StartScanRequest(target_url=f"https://s{number}.example/mcp")
        await finish(bench, await scanner(bench).begin(ADMIN, order), facts(CLEAN))
    async with bench.database.reader() as session:
        assert await blocked_tools(session) == {proxy_id: {"run_shell"}}
    assert of_proxy.id in [scan.id for scan in (await scanner(bench).page(ADMIN)).items]


async def test_lists_and_gates_do_not_read_whole_results(bench: Bench) -> None:
    await scanned(bench, await mcp_proxy(bench), SHELL)
    async with bench.database.reader() as session:
        repository = ScanRepository(session)
        (listed,), _ = await repository.page(proxy_id="", limit=10, offset=0)
        (latest,) = (await repository.latest_of_proxies()).values()
        assert "result" not in {*vars(listed), *vars(latest)}


async def test_a_gate_keeps_a_bounded_number_of_lifted_tools(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.scanner.service.MAX_LIFTED", 2)
    proxy_id = await mcp_proxy(bench)
    for name in ("a", "b", "b"):
        await scanner(bench).lift(ADMIN, proxy_id, LiftTool(tool=name))
    with pytest.raises(ValidationFailed) as refused:
        await scanner(bench).lift(ADMIN, proxy_id, LiftTool(tool="c"))
    assert "Refuse one of them again" in refused.value.fields["tool"]
    await scanner(bench).lift(ADMIN, proxy_id, LiftTool(tool="b", lifted=False))
    await scanner(bench).lift(ADMIN, proxy_id, LiftTool(tool="c"))


async def test_a_scan_that_has_ended_is_not_cancelled(bench: Bench) -> None:
    done = await scanned(bench, await mcp_proxy(bench), CLEAN)
    with pytest.raises(ScanEnded) as refused:
        await scanner(bench).cancel(ADMIN, done.id)
    assert "done" in refused.value.message
    assert not any(isinstance(order, CancelScan) for order in bench.fleet.scan_orders)


async def test_an_alert_says_that_the_tool_is_refused(bench: Bench) -> None:
    proxy_id = await mcp_proxy(bench)
    await scanner(bench).set_gate(ADMIN, proxy_id, SetGate(severity="high"))
    await scanned(bench, proxy_id, SHELL)
    (alert,) = (await bench.features.alerts.page(ADMIN, AlertFilter(proxy_id=proxy_id))).items
    assert alert.action == "block"
    assert "Calls of this tool are refused" in alert.description


def test_SYP_SCAN_6_a_control_is_closed_for_blocked_tools() -> None:
    control = MCPControl(tools={"a": EntryRule(("hash",)), "b": EntryRule(("other",))})
    rules = closed(control, frozenset({"a", "c"})).tools
    assert rules["a"] == EntryRule((), enabled=False, reason="scan")
    assert rules["b"] == EntryRule(("other",))
    assert rules["c"].reason == "scan"
    assert closed(control, frozenset()) is control


async def test_SYP_SCAN_4_recorded_answers_are_judged_too(bench: Bench) -> None:
    proxy_id = await mcp_proxy(bench)
    finding: Finding = msgspec.structs.replace(
        FINDING, target=Target.TOOL_RESULT, pack="tool-poisoning", severity=Severity.HIGH, action=Action.ALERT
    )
    record = call_of(proxy_id, findings=(finding,), action=Action.ALERT, operation="tools/call weather")
    await bench.features.ingest([record])
    await scanned(bench, proxy_id, tool("weather"))
    page = await scanner(bench).page(ADMIN)
    result = await scanner(bench).result(ADMIN, page.items[0].id)
    answer = next(one for one in result.findings if one.check == "MCP-RESPONSE-001")
    assert (answer.subject, answer.severity, answer.rule_id) == ("weather", "critical", finding.rule_id)
    assert CALL.id not in answer.evidence


async def test_two_scans_of_a_target_are_compared(bench: Bench) -> None:
    proxy_id = await mcp_proxy(bench)
    first = await scanned(bench, proxy_id, SHELL)
    assert await scanner(bench).comparison(ADMIN, first.id) is None
    second = await scanned(bench, proxy_id, tool("drop_table", "Deletes a table."))
    compared = await scanner(bench).comparison(ADMIN, second.id)
    assert compared is not None
    assert compared.scan_id == first.id
    assert len(compared.new) == 1
    assert compared.gone == ["A tool has far-reaching capabilities"]


async def test_tools_of_other_scanned_servers_count_as_collisions(bench: Bench) -> None:
    office, more = await mcp_proxy(bench, "office", 4101), await mcp_proxy(bench, "more", 4102)
    await scanned(bench, office, tool("send_mail"))
    second = await scanned(bench, more, tool("send_mail"))
    result = await scanner(bench).result(ADMIN, second.id)
    assert "MCP-NAME-005" in {one.check for one in result.findings}

    await bench.features.proxies.delete(ADMIN, office)
    third = await scanned(bench, more, tool("send_mail"))
    result = await scanner(bench).result(ADMIN, third.id)
    assert "MCP-NAME-005" not in {one.check for one in result.findings}


async def test_active_probes_need_the_name_of_the_target(bench: Bench) -> None:
    proxy_id = await mcp_proxy(bench)
    with pytest.raises(NotConfirmed):
        await scanner(bench).begin(ADMIN, StartScanRequest(proxy_id=proxy_id, active=True))
    view = await scanner(bench).begin(ADMIN, StartScanRequest(proxy_id=proxy_id, active=True, confirmation="tools"))
    assert view.active
    assert bench.fleet.scan_orders[-1].active  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("request_", "error"),
    [
        (StartScanRequest(), ValidationFailed),
        (StartScanRequest(proxy_id="prx_none"), ProxyNotFound),
        (StartScanRequest(proxy_id="p", target_url="https://a.example"), ValidationFailed),
        (StartScanRequest(target_url="file:///etc/passwd"), ValidationFailed),
        (StartScanRequest(target_url="http://169.254.169.254/mcp"), ValidationFailed),
        (StartScanRequest(target_url="http://127.0.0.1:8080/mcp"), ValidationFailed),
        (StartScanRequest(target_url="https://a.example/mcp", policy="nobody"), PolicyNotFound),
        (StartScanRequest(target_url="https://a.example/mcp", active=True, confirmation="yes"), NotConfirmed),
    ],
)
async def test_what_cannot_be_scanned_is_refused(
    bench: Bench, request_: StartScanRequest, error: type[Exception]
) -> None:
    with pytest.raises(error):
        await scanner(bench).begin(ADMIN, request_)
    assert bench.fleet.scan_orders == []


async def test_llm_and_disabled_proxies_are_not_scanned(bench: Bench) -> None:
    llm = await bench.proxy()
    with pytest.raises(ValidationFailed):
        await scanner(bench).begin(ADMIN, StartScanRequest(proxy_id=llm.id))
    disabled = await bench.proxy("off", 4105, type="mcp", target_url="https://a.example/mcp", enabled=False)
    with pytest.raises(ValidationFailed) as refused:
        await scanner(bench).begin(ADMIN, StartScanRequest(proxy_id=disabled.id))
    assert "disabled" in refused.value.fields["proxy_id"]


async def test_two_scans_at_a_time_and_a_cancelled_one_gives_its_place(bench: Bench) -> None:
    url = StartScanRequest(target_url="https://a.example/mcp")
    first = await scanner(bench).begin(ADMIN, url)
    await scanner(bench).begin(ADMIN, url)
    with pytest.raises(TooManyScans):
        await scanner(bench).begin(ADMIN, url)
    assert (await scanner(bench).cancel(ADMIN, first.id)).state == "cancelled"
    assert bench.fleet.scan_orders[-1] == CancelScan(first.id)
    bench.fleet.hooks.on_scan(ScanFinished(first.id, facts()))
    await scanner(bench).begin(ADMIN, url)
    assert (await scanner(bench).get(ADMIN, first.id)).state == "cancelled"
    with pytest.raises(ScanNotFound):
        await scanner(bench).cancel(ADMIN, "scn_none")


async def test_a_failed_scan_says_why(bench: Bench) -> None:
    view = await scanner(bench).begin(ADMIN, StartScanRequest(target_url="https://a.example/mcp"))
    done = await finish(bench, view, None, "The upstream does not accept connections.")
    assert (done.state, done.error) == ("failed", "The upstream does not accept connections.")
    with pytest.raises(ScanNotFinished, match="does not accept"):
        await scanner(bench).result(ADMIN, view.id)


async def test_without_a_worker_nothing_waits(bench: Bench) -> None:
    bench.fleet.has_worker = False
    with pytest.raises(NoScanner):
        await scanner(bench).begin(ADMIN, StartScanRequest(target_url="https://a.example/mcp"))
    (scan,) = (await scanner(bench).page(ADMIN)).items
    assert scan.state == "failed"


async def test_a_worker_that_dies_with_its_scan_is_noticed(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.scanner.runs.PATIENCE_SECONDS", 0.01)
    view = await scanner(bench).begin(ADMIN, StartScanRequest(target_url="https://a.example/mcp"))
    async with asyncio.timeout(10):
        while (now := await scanner(bench).get(ADMIN, view.id)).state == "running":
            await asyncio.sleep(0.01)
    assert (now.state, now.error) == ("failed", "The worker did not answer.")


async def test_scans_of_an_earlier_console_are_over(bench: Bench) -> None:
    view = await scanner(bench).begin(ADMIN, StartScanRequest(target_url="https://a.example/mcp"))
    await scanner(bench).start()
    assert (await scanner(bench).get(ADMIN, view.id)).error == "The console was stopped."


async def test_names_that_a_database_cannot_hold_do_not_stop_a_scan(bench: Bench) -> None:
    done = await scanned(bench, await mcp_proxy(bench), tool("run_shell\x00", "Runs a shell command."))
    assert done.state == "done"
