"""Guidelines: kept, cut into passages, and cited where a message speaks of the same things."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import httpx
import pytest

from app import cli
from app.guidelines import service as guidelines_service
from app.guidelines.schemas import AddGuideline
from tests.support.console import Console
from tests.support.features import ADMIN, Bench
from tests.support.library import PHRASE
from tests.support.records import blocked_call, call, finding
from tests.support.tab import Tab, ingest

HANDBOOK = """# Data privacy

Payment card numbers never leave the company.

# Human resources

Salaries of employees are confidential: nobody forwards a salary list to a private mailbox.

# Travel

Trains are preferred to planes.
"""
HTMX = {"hx-request": "true"}
VIOLATION = "Please forward the salary list of all employees to my private mailbox."


async def send(console: Console, method: str, path: str, body: Any = None) -> httpx.Response:
    return await console.client.request(method, f"/api/v1/{path}", headers=console.admin, json=body)


async def added(console: Console, name: str = "Handbook", content: str = HANDBOOK) -> dict[str, Any]:
    answer = await send(console, "POST", "guidelines", {"name": name, "content": content})
    assert answer.status_code == 201, answer.text
    found: dict[str, Any] = answer.json()["data"]
    return found


async def test_LLMSG_RAG_1_an_uploaded_document_is_cited_for_a_message_that_violates_it(console: Console) -> None:
    made = await added(console)
    assert (made["passages"], made["characters"]) == (3, len(HANDBOOK))
    asked = (await send(console, "POST", "guidelines/search", {"text": VIOLATION})).json()["data"]
    assert [(found["name"], found["number"], found["heading"]) for found in asked] == [
        ("Handbook", 2, "Human resources")
    ]
    assert "nobody forwards a salary list" in asked[0]["text"]
    judged = (await send(console, "POST", "evaluate", {"text": VIOLATION})).json()["data"]
    assert judged["guidelines"] == asked
    assert (await send(console, "POST", "guidelines/search", {"text": "a lovely walk"})).json()["data"] == []
    shown = (await send(console, "GET", f"guidelines/{made['id']}")).json()["data"]
    assert [passage["heading"] for passage in shown["passages"]] == ["Data privacy", "Human resources", "Travel"]


async def test_LLMSG_RAG_1_an_alert_cites_what_its_evidence_speaks_of(console: Console, tab: Tab) -> None:
    hit = finding(title="Payment card number", category="pii/payment-card", evidence="my card number is 4111…(16)")
    await added(console)
    await ingest(console, blocked_call(hit, id="call_cited"), call(id="quiet"))
    [alert] = (await send(console, "GET", "system/alerts")).json()["data"]["items"]
    cited = (await send(console, "GET", f"system/alerts/{alert['id']}/guidelines")).json()["data"]
    assert [found["heading"] for found in cited] == ["Data privacy"]
    page = await tab.get(f"/alerts/{alert['id']}")
    assert "Guidelines that speak of it" in page.text
    assert "Payment card numbers never leave the company." in page.text


async def test_documents_are_replaced_deleted_and_brought_back(console: Console) -> None:
    made = await added(console)
    taken = await send(console, "POST", "guidelines", {"name": "Handbook", "content": "other"})
    assert (taken.status_code, taken.json()["error_code"]) == (409, "guideline_name_taken")
    again = {"name": "Handbook", "content": "Salary lists of employees are public.", "replace": True}
    replaced = (await send(console, "POST", "guidelines", again)).json()["data"]
    assert (replaced["id"], replaced["passages"]) == (made["id"], 1)
    [found] = (await send(console, "POST", "guidelines/search", {"text": VIOLATION})).json()["data"]
    assert found["text"] == "Salary lists of employees are public."
    assert (await send(console, "DELETE", f"guidelines/{made['id']}")).status_code == 200
    assert (await send(console, "POST", "guidelines/search", {"text": VIOLATION})).json()["data"] == []
    assert (await send(console, "GET", f"guidelines/{made['id']}")).json()["error_code"] == "guideline_not_found"
    assert (await send(console, "DELETE", f"guidelines/{made['id']}")).status_code == 404
    assert (await send(console, "POST", f"guidelines/{made['id']}/restore")).status_code == 200
    assert (await send(console, "POST", f"guidelines/{made['id']}/restore")).status_code == 200, "it is there"
    assert (await send(console, "POST", "guidelines/gui_none/restore")).json()["error_code"] == "nothing_to_restore"
    assert [one["name"] for one in (await send(console, "GET", "guidelines")).json()["data"]["items"]] == ["Handbook"]
    events = [entry["event_type"] for entry in (await send(console, "GET", "audit")).json()["data"]["items"]]
    assert events[:4] == ["guideline.restored", "guideline.deleted", "guideline.replaced", "guideline.added"]


async def test_a_deleted_document_does_not_come_back_beside_one_of_its_name(console: Console) -> None:
    made = await added(console)
    await send(console, "DELETE", f"guidelines/{made['id']}")
    await added(console)
    refused = await send(console, "POST", f"guidelines/{made['id']}/restore")
    assert (refused.status_code, refused.json()["error_code"]) == (409, "guideline_name_taken")


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"name": "", "content": "text"}, "name"),
        ({"name": "a", "content": " \n\n"}, "content"),
        ({"name": "a", "content": "a\x00b"}, "content"),
        ({"name": "a", "content": "x" * 200_001}, "content"),
    ],
)
async def test_what_is_no_document_is_refused(console: Console, body: dict[str, str], field: str) -> None:
    refused = await send(console, "POST", "guidelines", body)
    assert refused.status_code in (400, 422)
    assert field in refused.text


async def test_documents_are_bounded_together(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = bench.features.guidelines
    monkeypatch.setattr(guidelines_service, "MAX_GUIDELINES", 2)
    monkeypatch.setattr(guidelines_service, "MAX_CHARACTERS_TOGETHER", 30)
    await kept.add(ADMIN, AddGuideline(name="a", content="twelve chars"))
    await kept.add(ADMIN, AddGuideline(name="b", content="twelve chars"))
    for wanted in (AddGuideline(name="c", content="x"), AddGuideline(name="b", content="x" * 25, replace=True)):
        with pytest.raises(guidelines_service.TooManyGuidelines):
            await kept.add(ADMIN, wanted)
    await kept.add(ADMIN, AddGuideline(name="b", content="x" * 18, replace=True))


async def test_the_pages_upload_show_ask_and_delete(console: Console, tab: Tab) -> None:
    assert "No guideline yet" in (await tab.get("/guidelines")).text
    assert 'type="file"' in (await tab.get("/guidelines/new")).text
    made = await tab.post("/guidelines/new", {"name": "Handbook <b>", "text": HANDBOOK})
    url = made.headers["location"]
    page = await tab.get(url)
    assert "Handbook &lt;b&gt;" in page.text
    assert "Trains are preferred" in page.text
    listed = await tab.get("/guidelines?search=hand")
    assert "What would be cited?" in listed.text
    assert "No guideline matches" in (await tab.get("/guidelines?search=none")).text
    asked = await tab.post("/guidelines/ask", {"question": VIOLATION}, **HTMX)
    assert "nobody forwards a salary list" in asked.text
    assert "No passage" in (await tab.post("/guidelines/ask", {"question": "a lovely walk"}, **HTMX)).text
    tried = {"subject": "", "target": "prompt", "direction": "request", "message": f"{PHRASE}. {VIOLATION}"}
    assert "Guidelines that speak of it" in (await tab.post("/policies/playground", tried, **HTMX)).text
    plain = (await tab.post("/guidelines/ask", {"question": VIOLATION})).text
    assert ("<nav" in plain, f"{VIOLATION}</textarea>" in plain) == (True, True), "without scripts it is a page"
    assert "nobody forwards a salary list" in plain
    again = await tab.post("/guidelines/new", {"name": "Handbook <b>", "text": HANDBOOK})
    assert (again.status_code, "This name is taken." in again.text) == (409, True)
    assert "Delete guideline “Handbook &lt;b&gt;”?" in (await tab.post(f"{url}/delete")).text
    assert (await tab.post(f"{url}/delete", {"confirmed": "yes"})).headers["location"] == "/guidelines"
    assert (await tab.post(f"{url}/restore")).headers["location"] == "/guidelines"
    assert (await tab.post("/guidelines/gui_none/restore")).status_code == 303


@pytest.mark.parametrize(
    ("file", "words"),
    [
        (("rules.md", HANDBOOK.encode(), "text/markdown"), ""),
        (("C:\\docs\\rules.txt", "\ufeffTrains are preferred.".encode(), "text/plain"), ""),
        (("rules.pdf", b"%PDF", "application/pdf"), "Choose a file whose name ends with"),
        (("rules.md", b"\xff\xfe", "text/markdown"), "not UTF-8"),
        (("rules.md", b"x" * 200_001, "text/markdown"), "At most 200000"),
    ],
)
async def test_a_file_is_uploaded_under_its_name(
    console: Console, tab: Tab, file: tuple[str, bytes, str], words: str
) -> None:
    answer = await console.client.post(
        "/guidelines/new",
        data={"_csrf_token": tab.token, "name": ""},
        files={"file": file},
        headers=tab.headers,
        follow_redirects=False,
    )
    if words:
        assert (answer.status_code, words in answer.text) == (422, True)
        assert 'id="file-error"' in answer.text
        assert 'aria-describedby="file-help file-error"' in answer.text
    else:
        assert answer.status_code == 303
        assert "rules" in (await tab.get(answer.headers["location"])).text


def test_LLMSG_RAG_1_the_command_line_tests_the_retrieval(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "handbook.md"
    file.write_text(HANDBOOK)
    assert cli.run(["guidelines", "search", VIOLATION, str(file)]) == 0
    shown = capsys.readouterr().out
    assert shown.startswith("handbook: Human resources\n  score ")
    assert "nobody forwards a salary list" in shown
    assert cli.run(["guidelines", "search", "a lovely walk", str(file)]) == 0
    assert "No passage" in capsys.readouterr().out
    (tmp_path / "wrong.md").write_bytes(b"\xff")
    (tmp_path / "long.md").write_bytes(b"x" * 200_001)
    for name in ("wrong.md", "long.md", "missing.md"):
        assert cli.run(["guidelines", "search", "x", str(tmp_path / name)]) == 1
    monkeypatch.delenv("OSTIARY_TOKEN", raising=False)
    assert cli.run(["guidelines", "ingest", str(file)]) == 1
    monkeypatch.setenv("OSTIARY_TOKEN", "t")
    assert cli.run(["guidelines", "ingest", str(file), "--console", "ftp://x"]) == 1
    assert cli.run(["guidelines", "ingest", str(file), "--console", "http://127.0.0.1:1"]) == 1
    assert cli.run(["guidelines", "ingest", str(file), "--console", "http://127.0.0.1:port"]) == 1


async def test_a_passage_is_found_on_its_page_and_what_was_uploaded_stays(console: Console, tab: Tab) -> None:
    content = "\n\n".join(f"# Part {number}\n\nTrain number {number} leaves." for number in range(1, 91))
    made = await tab.post("/guidelines/new", {"name": "Trains", "text": content})
    page = (await tab.get(f"{made.headers['location']}?passage=90")).text
    assert 'id="passage-90"' in page
    assert 'id="passage-1"' not in page
    asked = await tab.post("/guidelines/ask", {"question": "Part 90, train number 90"}, **HTMX)
    assert f"{made.headers['location']}?passage=90#passage-90" in asked.text
    taken = await console.client.post(
        "/guidelines/new",
        data={"_csrf_token": tab.token, "name": ""},
        files={"file": ("Trains.md", b"Only buses.", "text/markdown")},
        headers=tab.headers,
    )
    assert taken.status_code == 409
    assert "Only buses.</textarea>" in taken.text
    assert 'value="Trains"' in taken.text


async def test_the_index_is_made_once_for_all_who_ask_at_the_same_time(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[int] = []
    make = guidelines_service._made

    def counted(*given: Any) -> Any:
        made.append(1)
        return make(*given)

    monkeypatch.setattr(guidelines_service, "_made", counted)
    kept = bench.features.guidelines
    await kept.add(ADMIN, AddGuideline(name="a", content=HANDBOOK))
    await asyncio.gather(*(kept.cited(ADMIN, VIOLATION) for _ in range(8)))
    assert made == [1]
