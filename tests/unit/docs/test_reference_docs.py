"""What the code offers is in the documents: whoever adds a route, code, metric, state or rule has to say what it means.

The names are read from the code, as objects where that is possible and from the syntax tree where they only exist in calls.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import msgspec
import pytest

from app.errors import AppError
from app.fleet.state import ProxyState
from app.http.events import RESYNC, TOPICS
from app.mcp_server.connect import claude_desktop
from app.mcp_server.tools import TOOLS
from app.paths import DataDirectory
from proxies.contract import Outcome
from proxies.llm.surfaces import Surface
from proxies.mcp import eras, methods
from rules.lint import lint_pack
from rules.model import Action, Confidence, Severity, Target
from rules.packs import SHIPPED, Match, Pack, Rule, Taxonomy, load_directory
from rules.validators import _JUDGES, _RAISERS
from scripts import scanner_doc
from scripts.routes_doc import console_routes

ROOT = Path(__file__).resolve().parents[3]
API_PREFIX = "/api/v1/"
REFUSALS = {"Refusal": 1, "RequestRefused": 1, "RPCRefusal": 2}
"""Which positional argument of each exception is its code."""


def document(name: str) -> str:
    return (ROOT / "docs" / name).read_text(encoding="utf-8")


def missing(names: set[str], *documents: str) -> list[str]:
    """Names that stand in no code span of these documents."""
    text = "\n".join(map(document, documents))
    assert names
    return sorted(name for name in names if f"`{name}`" not in text)


def trees(*folders: str) -> Iterator[ast.Module]:
    for folder in folders:
        for path in sorted((ROOT / folder).rglob("*.py")):
            yield ast.parse(path.read_text(encoding="utf-8"))


def strings(node: ast.AST) -> Iterator[str]:
    """Every string below a node; an f-string counts for nothing, its name is made at run time."""
    if isinstance(node, ast.JoinedStr):
        return
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield node.value
    for child in ast.iter_child_nodes(node):
        yield from strings(child)


# --- The console ------------------------------------------------------------------------------------------------------


def test_every_api_route_is_documented_with_its_method() -> None:
    text = document("api.md")
    routes = [row for row in console_routes() if row.path.startswith(API_PREFIX) and row.method != "HEAD"]
    assert len(routes) > 40
    for row in routes:
        path = re.sub(r":\w+}", "}", row.path.removeprefix(API_PREFIX))
        assert re.search(rf"`{row.method} {re.escape(path)}[?`]", text), f"{row.method} {path} is not in docs/api.md"


def test_no_documented_call_is_gone() -> None:
    known = {
        (row.method, re.sub(r":\w+}", "}", row.path.removeprefix(API_PREFIX)))
        for row in console_routes()
        if row.path.startswith(API_PREFIX)
    }
    documented = set(re.findall(r"`(GET|POST|PUT|PATCH|DELETE) ([a-z][^`?]*)[?`]", document("api.md")))
    assert documented <= known


def test_every_error_code_of_the_console_is_documented() -> None:
    console_routes()  # Imports every feature.
    codes = {error.code for error in descendants(AppError) if error.__module__.startswith("app.")} | {AppError.code}
    assert len(codes) > 25
    assert missing(codes, "api.md") == []


def descendants(parent: type[AppError]) -> Iterator[type[AppError]]:
    for child in parent.__subclasses__():
        yield child
        yield from descendants(child)


def test_every_event_topic_is_documented() -> None:
    assert missing({*TOPICS, RESYNC}, "api.md") == []
    assert missing({*TOPICS, RESYNC}, "operations.md") == []


def test_every_proxy_state_has_its_row() -> None:
    rows = set(re.findall(r"^\| `(\w+)` \| .+ \|$", document("operations.md"), re.MULTILINE))
    assert {state.value for state in ProxyState} <= rows


def test_every_metric_is_documented_under_its_exported_name() -> None:
    kinds = {"Counter": "_total", "CounterMetricFamily": "_total"}
    names = set()
    for call in calls("app"):
        name = called(call)
        if name.endswith(("Counter", "Gauge", "Histogram", "MetricFamily")) and call.args:
            names |= {text + kinds.get(name, "") for text in strings(call.args[0]) if text.startswith("ostiary_")}
    assert len(names) >= 11
    assert missing(names, "operations.md") == []
    assert set(re.findall(r"^\| `(ostiary_\w+)`", document("operations.md"), re.MULTILINE)) == names


def test_every_audit_event_is_documented() -> None:
    event = re.compile(r"(?:auth|user|token|apikey|proxy|alert|mcp)\.[a-z_]+(?:\.[a-z]+)?")
    names = {text for tree in trees("app") for text in strings(tree) if event.fullmatch(text)}
    assert len(names) >= 18
    assert missing(names, "api.md") == []


def test_everything_in_the_data_directory_is_documented(tmp_path: Path) -> None:
    directory = DataDirectory(tmp_path)
    paths = [value for value in vars(directory).values() if isinstance(value, Path) and value != tmp_path]
    assert len(paths) >= 7
    text = document("operations.md")
    assert [path.name for path in paths if not re.search(rf"`{re.escape(path.name)}[`/]", text)] == []


def test_every_flag_is_documented() -> None:
    source = (ROOT / "app" / "cli.py").read_text(encoding="utf-8")
    internal = {"--channel-fd", "--sockets-fd", "--spool-dir"}
    assert missing(set(re.findall(r'"(--[a-z-]+)"', source)) - internal, "configuration.md") == []


def test_no_document_names_a_setting_that_does_not_exist() -> None:
    configuration = document("configuration.md")
    variables = set(re.findall(r"`([A-Z]{2,}(?:_[A-Z]+)+)`", document("operations.md")))
    assert variables - set(re.findall(r"`([A-Z_]+)`", configuration)) == set()


# --- The proxies ------------------------------------------------------------------------------------------------------


def calls(*folders: str) -> Iterator[ast.Call]:
    for tree in trees(*folders):
        yield from (node for node in ast.walk(tree) if isinstance(node, ast.Call))


def called(call: ast.Call) -> str:
    return call.func.id if isinstance(call.func, ast.Name) else getattr(call.func, "attr", "")


def proxy_codes() -> set[str]:
    """Every code that a client or a record can show, but for those made of an upstream's status."""
    codes: set[str] = set()
    for tree in trees("proxies"):
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and called(node) in REFUSALS and len(node.args) > REFUSALS[called(node)]:
                codes |= set(strings(node.args[REFUSALS[called(node)]]))
            elif isinstance(node, ast.keyword) and node.arg == "code":
                codes |= set(strings(node.value))
            elif isinstance(node, ast.Assign | ast.AnnAssign) and node.value is not None:
                targets = node.targets if isinstance(node, ast.Assign) else [node.target]
                if {getattr(target, "attr", getattr(target, "id", "")) for target in targets} & {
                    "code",
                    "default_code",
                    "error_code",
                }:
                    codes |= set(strings(node.value))
    return {code for code in codes if re.fullmatch(r"[a-z]+(?:_[a-z]+)+", code)}


def test_every_code_of_the_proxies_is_documented() -> None:
    codes = proxy_codes()
    assert {"blocked_by_policy", "upstream_truncated", "upstream_dns_error", "session_not_found"} <= codes
    assert {"repeated_header", "header_timeout", "body_too_large", "unexpected_response"} <= codes
    assert missing(codes, "llm.md", "mcp.md", "operations.md") == []


def test_every_mcp_method_and_version_is_documented() -> None:
    short = set(methods.CLIENT_REQUESTS["legacy"] | methods.CLIENT_REQUESTS["modern"] | methods.CLIENT_NOTIFICATIONS)
    lists = {name for name in methods.SERVER_NOTIFICATIONS if name.endswith("list_changed")}
    short |= methods.SERVER_REQUESTS.keys() | methods.SERVER_NOTIFICATIONS - lists
    short |= methods.REQUEST_STREAM_NOTIFICATIONS
    assert missing(short, "mcp.md") == []
    assert all(f"{version}" in document("mcp.md") for version in eras.SUPPORTED_VERSIONS)
    assert "`list_changed` of tools, prompts and resources" in document("mcp.md")


def test_every_protocol_and_outcome_of_a_call_is_documented() -> None:
    assert missing({surface.value for surface in Surface} | {"mcp.legacy", "mcp.modern", "http"}, "api.md") == []
    assert missing(set(get_args(Outcome)), "api.md") == []


# --- The rules --------------------------------------------------------------------------------------------------------


def test_every_shipped_rule_is_in_the_list_of_rules() -> None:
    text = document("rules.md")
    rules = {rule.id for pack in load_directory(SHIPPED).values() for rule in pack.rules}
    assert len(rules) >= 60
    assert sorted(rule for rule in rules if f"| {rule} |" not in text) == []


@pytest.mark.parametrize("struct", [Pack, Rule, Match, Taxonomy], ids=lambda struct: struct.__name__)
def test_every_field_of_a_pack_is_documented(struct: type[msgspec.Struct]) -> None:
    assert missing(set(struct.__struct_fields__), "rule-packs.md") == []


def test_every_word_of_a_rule_is_documented() -> None:
    assert missing({target.value for target in Target}, "rule-packs.md") == []
    assert missing({*_JUDGES, *_RAISERS, "entropy>=N"}, "rule-packs.md") == []
    text = document("rule-packs.md")
    words = [action.word for action in Action if action not in (Action.ALLOW, Action.HOLD)]
    words += [*(severity.word for severity in Severity), *(confidence.name.lower() for confidence in Confidence)]
    assert [word for word in words if not re.search(rf"\b{word}\b", text)] == []


def test_AG_PE_10_the_documented_pack_is_sound() -> None:
    blocks = re.findall(r"```json\n(.*?)```", document("rule-packs.md"), re.DOTALL)
    assert len(blocks) == 1
    assert json.loads(blocks[0])["rules"]
    assert lint_pack(blocks[0].encode(), "docs/rule-packs.md") == []


# --- The scanner ------------------------------------------------------------------------------------------------------


def test_the_table_of_checks_is_that_of_the_code() -> None:
    assert scanner_doc.render(document("scanner.md")) == document("scanner.md"), "run scripts/scanner_doc.py"


def test_what_an_assistant_gets_is_documented() -> None:
    assert missing({tool["name"] for tool in TOOLS}, "scanner.md") == []
    blocks = [json.loads(block) for block in re.findall(r"```json\n(.*?)```", document("scanner.md"), re.DOTALL)]
    assert json.loads(claude_desktop("http://127.0.0.1:8080")) in blocks


# --- The documents ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["api.md", "mcp.md", "llm.md", "operations.md", "rule-packs.md", "configuration.md", "scanner.md"]
)
def test_tables_have_as_many_cells_as_their_heads(name: str) -> None:
    columns = 0
    for number, line in enumerate(document(name).splitlines(), 1):
        if not line.startswith("|"):
            columns = 0
            continue
        cells = len(re.findall(r"(?<!\\)\|", line)) - 1
        columns = columns or cells
        assert cells == columns, f"docs/{name}:{number}"
