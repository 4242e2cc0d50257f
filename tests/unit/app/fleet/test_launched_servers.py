"""Proxies that start their server: the list of programs, the command, the environment that nobody sees again."""

from __future__ import annotations

import os
import sqlite3
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest

from app.fleet.state import ProxyState, WorkerReport, judge
from app.launch.users import user_problem
from proxies.contract import ListenerStatus, ServerReport
from tests.support.console import Console
from tests.support.memory_fleet import MemoryFleet
from tests.support.tab import Tab, tab_of

SECRET = "a-secret-for-the-server"
COMMAND = ["npx", "-y", "@example/server"]
PROXY = {"name": "Local", "type": "mcp", "transport": "stdio", "port": 4100, "launch_command": COMMAND}
FORM = {
    "type": "mcp",
    "transport": "stdio",
    "name": "Local",
    "host": "127.0.0.1",
    "port": "4100",
    "auth_type": "bearer",
    "auth_value": "left over from another choice",
    "launch_command": "npx\r\n-y\r\n@example/server",
    "launch_environment": f"TOKEN={SECRET}\r\nOTHER=env:OTHER_TOKEN",
    "policy_names": ["mcp-standard-security"],
    "enforcement": "enforce",
    "require_auth": "on",
}


async def send(console: Console, method: str, path: str, body: Any = None) -> httpx.Response:
    return await console.client.request(method, f"/api/v1/{path}", headers=console.admin, json=body)


@pytest.fixture
async def listed(console: Console) -> Console:
    """A console whose list allows npx with a fixed first argument."""
    answer = await send(console, "POST", "launch-programs", {"program": "npx", "first_arguments": ["-y"]})
    assert answer.status_code == 201
    return console


@pytest.fixture
async def made(listed: Console) -> dict[str, Any]:
    """A proxy with a stored and a referred value."""
    environment = {"TOKEN": SECRET, "OTHER": "env:PATH"}
    answer = await send(listed, "POST", "proxies", {**PROXY, "launch_environment": environment})
    assert answer.status_code == 201, answer.text
    found: dict[str, Any] = answer.json()["data"]
    return found


async def test_P_05_a_listed_command_reaches_the_workers_and_its_values_nobody_else(
    listed: Console, made: dict[str, Any], fleet: MemoryFleet, tmp_path: Path
) -> None:
    assert made["launch_command"] == COMMAND
    assert made["target_url"] == ""
    assert made["launch_environment"] == [
        {"name": "OTHER", "reference": "env:PATH"},
        {"name": "TOKEN", "reference": None},
    ]
    (proxy,) = fleet.configuration.proxies
    assert proxy.mcp.transport == "stdio"
    assert proxy.mcp.stdio.argv == tuple(COMMAND)
    assert proxy.mcp.stdio.environment["TOKEN"] == SECRET
    assert proxy.mcp.stdio.environment["OTHER"].startswith("/")
    assert SECRET not in repr(proxy.mcp.stdio)
    for path in ("proxies", f"proxies/{made['id']}", "audit", f"proxies/{made['id']}/running"):
        assert SECRET not in (await send(listed, "GET", path)).text
    entries = (await send(listed, "GET", "audit?event_type=proxy.created")).json()["data"]["items"]
    assert entries[0]["details"]["launch_command"] == COMMAND
    with sqlite3.connect(tmp_path / "data" / "ostiary.db") as database:
        assert SECRET not in str(database.execute("select launch_environment from proxies").fetchall())


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"launch_command": []}, "launch_command"),
        ({"launch_command": ["uvx", "-y", "x"]}, "launch_command"),
        ({"launch_command": ["npx", "@example/server"]}, "launch_command"),
        ({"launch_command": ["/usr/bin/npx", "-y", "x"]}, "launch_command"),
        ({"launch_command": ["npx; rm -rf /"]}, "launch_command"),
        ({"launch_command": ["sh", "-c", "npx -y"]}, "launch_command"),
        ({"launch_command": ["npx", "-y", "a\0b"]}, "launch_command"),
        ({"target_url": "https://api.example.org"}, "target_url"),
        ({"launch_directory": "relative"}, "launch_directory"),
        ({"launch_environment": {"LD_PRELOAD": "/tmp/x.so"}}, "launch_environment"),
        ({"launch_environment": {"NODE_OPTIONS": "--require /tmp/x"}}, "launch_environment"),
        ({"launch_environment": {"no name": "x"}}, "launch_environment"),
        ({"launch_environment": {"TOKEN": None}}, "launch_environment"),
        ({"launch_environment": {"TOKEN": "env:"}}, "launch_environment"),
        ({"launch_environment": {"TOKEN": "x\0"}}, "launch_environment"),
        ({"launch_environment": {f"V{number}": "x" for number in range(65)}}, "launch_environment"),
        ({"upstream_auth": {"type": "bearer", "value": "x"}}, "upstream_auth"),
        ({"type": "llm"}, "transport"),
        ({"transport": "carrier-pigeon"}, "transport"),
        ({"transport": "http"}, "launch_command"),
        ({"transport": "http", "launch_command": [], "launch_environment": {"A": "b"}}, "launch_environment"),
        ({"transport": "sse", "launch_command": []}, "target_url"),
    ],
)
async def test_P_05_what_may_not_be_started_is_refused(listed: Console, changes: dict[str, Any], field: str) -> None:
    answer = await send(listed, "POST", "proxies", PROXY | changes)
    assert answer.status_code == 422, answer.text
    assert field in answer.json()["fields"]


async def test_P_05_a_change_keeps_the_values_that_it_does_not_give(
    listed: Console, made: dict[str, Any], fleet: MemoryFleet
) -> None:
    path = f"proxies/{made['id']}"
    await send(listed, "PATCH", path, {"description": "new"})
    assert fleet.configuration.proxies[0].mcp.stdio.environment["TOKEN"] == SECRET
    answer = await send(listed, "PATCH", path, {"launch_environment": {"TOKEN": None, "MORE": "2"}})
    assert [variable["name"] for variable in answer.json()["data"]["launch_environment"]] == ["MORE", "TOKEN"]
    assert fleet.configuration.proxies[0].mcp.stdio.environment == {"TOKEN": SECRET, "MORE": "2"}


async def test_P_05_another_command_does_not_get_values_that_were_given_for_this_one(
    listed: Console, made: dict[str, Any], fleet: MemoryFleet
) -> None:
    path = f"proxies/{made['id']}"
    moved = {"launch_command": ["npx", "-y", "@evil/server"]}
    refused = await send(listed, "PATCH", path, moved)
    assert refused.status_code == 422
    assert "enter the value of TOKEN again" in refused.json()["fields"]["launch_environment"]
    kept = {**moved, "launch_environment": {"TOKEN": SECRET, "OTHER": None}}
    assert (await send(listed, "PATCH", path, kept)).status_code == 200
    assert fleet.configuration.proxies[0].mcp.stdio.argv[-1] == "@evil/server"


async def test_ADM_16_a_program_that_is_taken_off_the_list_fails_its_proxies_at_once(
    listed: Console, made: dict[str, Any], fleet: MemoryFleet
) -> None:
    (entry,) = (await send(listed, "GET", "launch-programs")).json()["data"]["items"]
    assert entry["proxies"] == ["Local"]
    assert (await send(listed, "DELETE", f"launch-programs/{entry['id']}")).status_code == 200
    assert "not on the list" in fleet.configuration.broken[made["id"]]
    assert fleet.configuration.proxies[0].mcp.stdio is None
    assert (await send(listed, "DELETE", f"launch-programs/{entry['id']}")).status_code == 404
    entries = (await send(listed, "GET", "audit?event_type=launch_program")).json()["data"]["items"]
    assert [one["event_type"] for one in entries] == ["launch_program.removed", "launch_program.allowed"]


async def test_P_05_a_missing_variable_breaks_this_proxy_only(listed: Console, fleet: MemoryFleet) -> None:
    body = {**PROXY, "launch_environment": {"TOKEN": "env:NO_SUCH_VARIABLE_HERE"}}
    made = (await send(listed, "POST", "proxies", body)).json()["data"]
    assert fleet.configuration.broken == {
        made["id"]: "The value env:NO_SUCH_VARIABLE_HERE is missing: the variable is not set."
    }


async def test_P_05_an_environment_that_cannot_be_opened_breaks_this_proxy_only(
    listed: Console, made: dict[str, Any], fleet: MemoryFleet, tmp_path: Path
) -> None:
    with sqlite3.connect(tmp_path / "data" / "ostiary.db") as database:
        database.execute("update proxies set launch_environment = 'damaged'")
    await fleet.refresh()
    assert "Enter its values again" in fleet.configuration.broken[made["id"]]
    assert (await send(listed, "GET", f"proxies/{made['id']}")).json()["data"]["launch_environment"] == []


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"program": "sh"}, "program"),
        ({"program": "/bin/bash"}, "program"),
        ({"program": "env"}, "program"),
        ({"program": "../npx"}, "program"),
        ({"program": "/opt/../bin/x"}, "program"),
        ({"program": "/opt/"}, "program"),
        ({"program": "a b"}, "program"),
        ({"program": ""}, "program"),
        ({"program": "npx", "first_arguments": ["\0"]}, "first_arguments"),
        ({"program": "npx", "first_arguments": ["x" * 4000] * 3}, "first_arguments"),
    ],
)
async def test_P_05_a_shell_or_a_vague_name_is_not_a_program(console: Console, body: Any, field: str) -> None:
    answer = await send(console, "POST", "launch-programs", body)
    assert answer.status_code == 422
    assert field in answer.json()["fields"]


async def test_an_entry_is_listed_once(listed: Console) -> None:
    again = await send(listed, "POST", "launch-programs", {"program": "npx", "first_arguments": ["-y"]})
    assert (again.status_code, again.json()["error_code"]) == (409, "launch_program_listed")
    wider = await send(listed, "POST", "launch-programs", {"program": "npx"})
    assert wider.status_code == 201


async def test_the_list_is_bounded(listed: Console, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.launch.service.MAX_PROGRAMS", 1)
    answer = await send(listed, "POST", "launch-programs", {"program": "uvx"})
    assert (answer.status_code, answer.json()["error_code"]) == (409, "too_many_launch_programs")


async def test_P_05_only_administrators_see_and_edit_the_list(listed: Console) -> None:
    viewer = await listed.create_person("vera", "viewer")
    for method, path in (("GET", "launch-programs"), ("POST", "launch-programs"), ("DELETE", "launch-programs/x")):
        answer = await listed.client.request(method, f"/api/v1/{path}", headers=viewer, json={"program": "uvx"})
        assert answer.status_code == 403


SERVER = str(Path(__file__).parents[3] / "stdio_server_program.py")


async def test_P_05_a_server_is_tried_out_once_and_ended(listed: Console, tmp_path: Path) -> None:
    """It is started once, says what it is, and is gone; the audit log has what was started and not its secrets."""
    await send(listed, "POST", "launch-programs", {"program": sys.executable, "max_memory_mb": 512})
    starts = tmp_path / "starts"
    code = (
        f"import runpy, sys; open({str(starts)!r}, 'a').write('x'); sys.argv = [{SERVER!r}]; "
        f"runpy.run_path({SERVER!r}, run_name='__main__')"
    )
    check = {
        "transport": "stdio",
        "launch_command": [sys.executable, "-c", code],
        "launch_environment": {"TOKEN": SECRET},
    }
    found = (await send(listed, "POST", "proxies/test-connection", check)).json()["data"]
    assert found["reachable"], found["message"]
    assert "The server works" in found["message"]
    assert "ended again" in found["message"]
    assert starts.read_text() == "x"
    audit = (await send(listed, "GET", "audit?event_type=proxy.server_tried")).json()["data"]["items"]
    assert [entry["details"]["launch_command"] for entry in audit] == [check["launch_command"]]
    assert SECRET not in str(audit)


async def test_P_05_what_does_not_work_or_may_not_be_started_is_told(listed: Console, tmp_path: Path) -> None:
    await send(listed, "POST", "launch-programs", {"program": sys.executable})
    check = {"transport": "stdio", "launch_command": [sys.executable, "-c", "import sys; sys.exit('no licence')"]}
    found = (await send(listed, "POST", "proxies/test-connection", check)).json()["data"]
    assert found["reachable"] is False
    assert "does not speak MCP" in found["message"]
    assert "no licence" in found["message"]
    gone = await send(listed, "POST", "proxies/test-connection", {**check, "launch_directory": str(tmp_path / "no")})
    assert gone.json()["data"]["message"] == f"The directory {tmp_path / 'no'} is missing."
    await send(listed, "POST", "launch-programs", {"program": "no-such-program"})
    missing = await send(listed, "POST", "proxies/test-connection", {**check, "launch_command": ["no-such-program"]})
    assert missing.json()["data"]["reachable"] is False
    for changes in (
        {"launch_command": ["uvx"]},
        {"launch_command": []},
        {"launch_command": ["sh"]},
        {"launch_environment": {"LD_PRELOAD": "x.so"}},
        {"launch_environment": {"TOKEN": "env:NO_SUCH_VARIABLE"}},
    ):
        answer = await send(listed, "POST", "proxies/test-connection", {**check, **changes})
        assert answer.status_code == 422, changes


async def test_P_05_only_administrators_try_a_server_out(listed: Console) -> None:
    viewer = await listed.create_person("vera", "viewer")
    check = {"transport": "stdio", "launch_command": [sys.executable, "-c", "pass"]}
    answer = await listed.client.post("/api/v1/proxies/test-connection", headers=viewer, json=check)
    assert answer.status_code == 403


async def test_P_05_limits_of_the_entry_that_fixes_most_reach_the_workers(listed: Console, fleet: MemoryFleet) -> None:
    limits = {"max_memory_mb": 256, "max_cpu_seconds": 600}
    await send(listed, "POST", "launch-programs", {"program": "npx", "first_arguments": COMMAND[1:], **limits})
    created = (await send(listed, "POST", "proxies", PROXY)).json()["data"]
    (config,) = [one for one in fleet.configuration.proxies if one.id == created["id"]]
    assert config.mcp is not None
    assert config.mcp.stdio is not None
    assert (config.mcp.stdio.max_memory_mb, config.mcp.stdio.max_cpu_seconds) == (256, 600)
    entries = (await send(listed, "GET", "launch-programs")).json()["data"]["items"]
    assert sorted((one["max_memory_mb"], one["max_cpu_seconds"]) for one in entries) == [(0, 0), (256, 600)]


@pytest.mark.skipif(os.geteuid() != 0, reason="only the superuser starts programs as somebody else")
async def test_P_05_the_user_of_the_entry_reaches_the_workers_and_the_audit_log(
    listed: Console, fleet: MemoryFleet
) -> None:
    entry = {"program": "npx", "first_arguments": COMMAND[1:], "run_as": "nobody"}
    made = await send(listed, "POST", "launch-programs", entry)
    assert (made.status_code, made.json()["data"]["run_as"]) == (201, "nobody")
    created = (await send(listed, "POST", "proxies", PROXY)).json()["data"]
    (config,) = [one for one in fleet.configuration.proxies if one.id == created["id"]]
    assert config.mcp is not None
    assert config.mcp.stdio is not None
    assert config.mcp.stdio.run_as == "nobody"
    audit = (await send(listed, "GET", "audit?event_type=launch_program")).text
    assert '"run_as":"nobody"' in audit.replace(" ", "")
    page = (await (await tab_of(listed)).get("/settings?tab=launch")).text
    assert 'runs as <code><bdi class="hostile">nobody</bdi></code>' in page
    assert "runs as root" in page, "The other entry has no user."


@pytest.mark.parametrize(
    ("name", "superuser", "words"),
    [
        ("", False, None),
        ("nobody", True, None),
        ("nobody", False, "Only an Ostiary that runs as root"),
        ("root", True, "superuser"),
        ("no-such-user", True, "no user of that name"),
        ("a b", True, "name of a user"),
    ],
)
def test_P_05_a_user_that_programs_cannot_run_as_is_refused_with_a_remedy(
    name: str, superuser: bool, words: str | None
) -> None:
    problem = user_problem(name, superuser=superuser)
    assert (words in problem) if words and problem else problem is words


async def test_P_05_an_entry_with_such_a_user_is_not_saved(console: Console) -> None:
    answer = await send(console, "POST", "launch-programs", {"program": "npx", "run_as": "no-such-user"})
    assert (answer.status_code, list(answer.json()["fields"])) == (422, ["run_as"])
    assert (await send(console, "GET", "launch-programs")).json()["data"]["items"] == []


async def test_P_04_who_shares_a_process_reaches_the_workers(listed: Console, fleet: MemoryFleet) -> None:
    created = (await send(listed, "POST", "proxies", {**PROXY, "launch_process": "key"})).json()["data"]
    (config,) = [one for one in fleet.configuration.proxies if one.id == created["id"]]
    assert config.mcp is not None
    assert config.mcp.stdio is not None
    assert (created["launch_process"], config.mcp.stdio.process) == ("key", "key")
    other = {"name": "Other", "type": "mcp", "target_url": "http://localhost:1/mcp", "port": 4101}
    refused = await send(listed, "POST", "proxies", {**other, "launch_process": "shared"})
    assert (refused.status_code, list(refused.json()["fields"])) == (422, ["launch_process"])


@pytest.mark.parametrize("limit", [{"max_memory_mb": 8}, {"max_memory_mb": -1}, {"max_cpu_seconds": "x"}])
async def test_P_05_a_limit_under_which_nothing_starts_is_refused(console: Console, limit: dict[str, Any]) -> None:
    answer = await send(console, "POST", "launch-programs", {"program": "npx", **limit})
    assert answer.status_code in (400, 422)


async def test_W_01_a_websocket_target_may_be_written_either_way(console: Console, fleet: MemoryFleet) -> None:
    body = {"name": "Socket", "type": "mcp", "transport": "websocket", "port": 4101}
    made = await send(console, "POST", "proxies", {**body, "target_url": "wss://mcp.example.org/ws"})
    assert made.json()["data"]["target_url"] == "https://mcp.example.org/ws"
    assert fleet.configuration.proxies[0].mcp.transport == "websocket"
    other = await send(console, "POST", "proxies", {**body, "transport": "http", "target_url": "ws://a.example"})
    assert other.status_code == 422


# --- What the workers report ------------------------------------------------------------------------------------------


async def test_P_02_processes_and_their_log_are_shown_to_whoever_may_see_the_proxy(
    listed: Console, made: dict[str, Any], fleet: MemoryFleet
) -> None:
    fleet.server_reports[made["id"]] = ServerReport(made["id"], 2, "", ("started", "<script>"))
    status = (await send(listed, "GET", f"proxies/{made['id']}/status")).json()["data"]
    assert (status["server_processes"], status["server_log"]) == (2, ["started", "<script>"])
    assert status["target"] == "npx -y @example/server"
    tab = await tab_of(listed)
    page = (await tab.get(f"/proxies/{made['id']}?tab=logs")).text
    assert "2 processes now" in page
    assert "<script>started" not in page
    assert "&lt;script&gt;" in page


def test_P_03_a_server_that_does_not_come_up_degrades_its_proxy() -> None:
    listeners = {"prx_a": ListenerStatus("prx_a", "running", "its program is missing")}
    report = WorkerReport(live=True, listeners=listeners, version=1)
    found = judge("prx_a", wanted=True, failure="", refused="", reports=[report])
    assert found == (ProxyState.DEGRADED, "its program is missing", 1)


# --- Pages ------------------------------------------------------------------------------------------------------------


async def test_P_05_the_wizard_shows_the_exact_command_before_it_saves_it(listed: Console) -> None:
    tab: Tab = await tab_of(listed)
    shown = await tab.post("/proxies/new", FORM)
    assert shown.status_code == 422
    assert "Look at the exact command" in shown.text
    assert SECRET not in shown.text
    assert "OTHER=env:OTHER_TOKEN" in shown.text
    changed = await tab.post("/proxies/new", {**FORM, "launch_confirmed": "npx\n-y\n@other/server"})
    assert changed.status_code == 422, "another command was confirmed"
    # A browser sends every line end as CR and LF; a blank line is no argument.
    typed = {**FORM, "launch_command": "npx\r\n\r\n-y\r\n@example/server"}
    made = await tab.post("/proxies/new", {**typed, "launch_confirmed": "npx\r\n-y\r\n@example/server"})
    assert made.status_code == 303, made.text
    location = made.headers["location"]
    page = (await tab.get(f"{location}?tab=config")).text
    assert "OTHER=env:OTHER_TOKEN\nTOKEN" in page
    assert SECRET not in page
    kept = {**FORM, "launch_environment": "TOKEN\r\nOTHER=env:OTHER_TOKEN"}
    saved = await tab.post(location, {**kept, "launch_confirmed": "npx\n-y\n@example/server", "description": "d"})
    assert saved.status_code == 303, saved.text


async def test_the_command_is_tried_out_from_the_form(listed: Console) -> None:
    tab = await tab_of(listed)
    assert "not on the list" in (await tab.post("/proxies/test-connection", {**FORM, "launch_command": "uvx"})).text
    python = {**FORM, "launch_command": f"{sys.executable}\r\n-c\r\nimport sys; sys.exit('no licence')"}
    await send(listed, "POST", "launch-programs", {"program": sys.executable})
    tried = await tab.post("/proxies/test-connection", {**python, "launch_environment": f"TOKEN={SECRET}"})
    assert "no licence" in tried.text


async def test_P_05_programs_are_allowed_and_removed_in_the_settings(console: Console) -> None:
    tab = await tab_of(console)
    assert "no proxy can start a server" in (await tab.get("/settings?tab=launch")).text
    refused = await tab.post("/settings/launch-programs", {"program": "bash", "first_arguments": "-c"})
    assert refused.status_code == 422
    assert "starts other programs" in refused.text
    for odd in ("9" * 5000, "-1", "many"):
        answer = await tab.post("/settings/launch-programs", {"program": "npx", "max_memory_mb": odd})
        assert answer.status_code == 422
        assert 'id="max_memory_mb-error"' in answer.text
    limits = {"max_memory_mb": " 256", "max_cpu_seconds": ""}
    allowed = {"program": "npx", "first_arguments": "-y\r\n@example/server", "note": "the example", **limits}
    assert (await tab.post("/settings/launch-programs", allowed)).status_code == 303
    await send(console, "POST", "proxies", PROXY)
    page = (await tab.get("/settings?tab=launch")).text
    assert "the example" in page
    assert "at most 256 MB a process" in page
    assert "Local" in page
    (entry,) = (await send(console, "GET", "launch-programs")).json()["data"]["items"]
    asked = await tab.post(f"/settings/launch-programs/{entry['id']}/remove", {})
    assert "Remove npx from the list?" in asked.text
    assert "These proxies fail at once" in asked.text
    assert (await tab.post(f"/settings/launch-programs/{entry['id']}/remove", {"confirmed": "yes"})).status_code == 303
    assert (await send(console, "GET", "launch-programs")).json()["data"]["items"] == []
