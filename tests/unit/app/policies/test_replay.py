"""A draft over recorded calls: which verdicts would change, and why."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any

import pytest

from app.access.schemas import CreateKey
from app.fleet.assignments import fitting
from app.fleet.errors import ProxyNotFound
from app.policies.errors import NothingToPublish, ReplayNotFound
from app.policies.library import PolicyLibrary
from app.policies.replays import TooManyReplays
from app.policies.trial_schemas import ReplayView, StartReplay
from proxies.contract import CapturedText, RecordedFacts, TextMark
from rules.model import Action, Decision, Target
from tests.support.console import Console
from tests.support.features import ADMIN, Bench
from tests.support.library import PHRASE
from tests.support.records import blocked_call, call, finding
from tests.support.tab import Tab, toasts_of
from tests.unit.app.policies.test_policy_service import detection, document


def prompt(text: str, **changes: Any) -> CapturedText:
    return CapturedText("request", Target.PROMPT, "/messages/0/content", text, **changes)


async def finished(bench: Bench, replay: ReplayView) -> ReplayView:
    """The replay after its end."""
    kept = bench.features.replays._replays[replay.id]
    assert kept.task is not None
    await asyncio.gather(kept.task, return_exceptions=True)
    return bench.features.replays.get(ADMIN, replay.id)


async def test_a_replay_through_a_proxy_that_is_not_there_is_refused(bench: Bench) -> None:
    """It ran through all others instead."""
    await bench.features.policies.create(ADMIN, document())
    proxy = await bench.proxy()
    with pytest.raises(ProxyNotFound, match="prx_nowhere"):
        await bench.features.replays.start(ADMIN, "ours", StartReplay(proxy_ids=[proxy.id, "prx_nowhere"]))


async def test_a_draft_says_which_recorded_calls_it_would_have_blocked(bench: Bench) -> None:
    await bench.features.policies.create(ADMIN, document())
    await bench.features.policies.publish(ADMIN, "ours")
    proxy = await bench.proxy(policy_names=["ours"])
    await bench.features.ingest(
        [
            call(id="quiet", proxy_id=proxy.id, texts=(prompt("nothing of note"),)),
            call(id="number", proxy_id=proxy.id, texts=(prompt("about EMP-123456"),)),
            blocked_call(finding(), id="stopped", proxy_id=proxy.id, texts=(prompt(f"the {PHRASE}"),)),
            call(id="elsewhere", proxy_id="prx_other", texts=(prompt("about EMP-123456"),)),
            call(id="failed", proxy_id=proxy.id, outcome="upstream_error", texts=(prompt("about EMP-123456"),)),
            call(id="textless", proxy_id=proxy.id),
        ]
    )
    await bench.features.policies.save_draft(ADMIN, "ours", document(detections=[detection()]), revision=0)
    found = await finished(bench, await bench.features.replays.start(ADMIN, "ours", StartReplay()))
    assert (found.state, found.error, found.total, found.done, found.skipped) == ("done", "", 4, 4, 1)
    assert (found.blocked_before, found.blocked_after, found.newly_blocked, found.newly_allowed) == (1, 2, 1, 0)
    assert [(item.call_id, item.before, item.after, item.rule_id) for item in found.changes] == [
        ("number", "allowed", "blocked", "OWN-EMP-1")
    ]
    assert [(one.rule_id, one.newly_blocked, one.newly_allowed, one.other) for one in found.reasons] == [
        ("OWN-EMP-1", 1, 0, 0)
    ]
    assert found.finished_at is not None
    assert [replay.id for replay in bench.features.replays.of_policy(ADMIN, "ours")] == [found.id]


async def test_a_weaker_draft_says_what_it_would_let_pass(bench: Bench) -> None:
    await bench.features.policies.create(ADMIN, document())
    await bench.features.policies.publish(ADMIN, "ours")
    proxy = await bench.proxy(policy_names=["ours"])
    stopped = blocked_call(finding(), id="stopped", proxy_id=proxy.id, texts=(prompt(f"the {PHRASE}"),))
    await bench.features.ingest([stopped])
    quiet = document(overrides=[{"rules": "PI-*", "log_only": True}])
    await bench.features.policies.save_draft(ADMIN, "ours", quiet, revision=0)
    found = await finished(bench, await bench.features.replays.start(ADMIN, "ours", StartReplay()))
    assert (found.newly_allowed, found.changed) == (1, 1)
    assert [(item.before, item.after) for item in found.changes] == [("blocked", "alerted")]
    assert [(one.rule_id, one.newly_blocked, one.newly_allowed, one.other) for one in found.reasons] == [
        ("PI-0001", 0, 1, 0)
    ]
    again = await finished(bench, await bench.features.replays.start(ADMIN, "ours", StartReplay(source="published")))
    assert again.changed == 0


async def test_a_masked_value_counts_as_a_hit_of_the_rule_that_masked_it(bench: Bench) -> None:
    proxy = await bench.proxy()
    masked = prompt("about EMP-…(10)", marks=(TextMark(6, 15, "OWN-EMP-1"), TextMark(0, 3, "GONE-1")))
    await bench.features.ingest([call(id="masked", proxy_id=proxy.id, texts=(masked,))])
    await bench.features.policies.create(ADMIN, document(detections=[detection()]))
    asked = StartReplay(proxy_ids=[proxy.id], days=1)
    found = await finished(bench, await bench.features.replays.start(ADMIN, "ours", asked))
    assert [(item.call_id, item.after) for item in found.changes] == [("masked", "blocked")]


async def test_a_proxy_that_only_logs_would_still_let_everything_pass(bench: Bench) -> None:
    proxy = await bench.proxy(enforcement="log_only")
    await bench.features.ingest([call(id="one", proxy_id=proxy.id, texts=(prompt(PHRASE),))])
    await bench.features.policies.create(ADMIN, document())
    asked = StartReplay(proxy_ids=[proxy.id])
    found = await finished(bench, await bench.features.replays.start(ADMIN, "ours", asked))
    assert [(item.before, item.after) for item in found.changes] == [("allowed", "alerted")]


async def test_the_name_of_a_key_and_the_tools_of_a_model_are_judged_as_they_were(bench: Bench) -> None:
    proxy = await bench.proxy(policy_names=[])
    tool = (
        prompt("hello"),
        CapturedText("response", Target.TOOL_NAME, "/choices/0/message/tool_calls/0/function/name", "shell_exec"),
        CapturedText("response", Target.TOOL_ARGS, "/choices/0/message/tool_calls/0/function/arguments/command", "ls"),
    )
    await bench.features.ingest(
        [
            call(id="bob", proxy_id=proxy.id, principal_id="key_1", principal_name="bob", texts=(prompt("hi"),)),
            call(id="ann", proxy_id=proxy.id, principal_id="key_2", principal_name="ann", texts=(prompt("hi"),)),
            call(id="shell", proxy_id=proxy.id, principal_id="key_2", principal_name="ann", texts=tool),
        ]
    )
    rules = [
        {"id": "not-bob", "action": "deny", "match": {"client": "bob"}},
        {
            "id": "no-ls",
            "action": "deny",
            "match": {"tool_name": "shell_*", "tool_arguments": [{"path": "$.command", "equals": "ls"}]},
        },
    ]
    await bench.features.policies.create(ADMIN, {"name": "ours", "rules": rules})
    found = await finished(bench, await bench.features.replays.start(ADMIN, "ours", StartReplay(proxy_ids=[proxy.id])))
    assert sorted((item.call_id, item.after, item.rule_id) for item in found.changes) == [
        ("bob", "blocked", "not-bob"),
        ("shell", "blocked", "no-ls"),
    ]


async def test_counts_and_headers_are_judged_as_they_were_and_what_was_not_recorded_is_told(bench: Bench) -> None:
    proxy = await bench.proxy(policy_names=[])
    long = RecordedFacts(message_count=9, role_counts={"user": 9}, header_names=("x-team",), headers={"x-team": "blue"})
    short = RecordedFacts(message_count=1, role_counts={"user": 1}, header_names=("x-team",))
    unnamed = RecordedFacts(message_count=1, role_counts={"user": 1})
    await bench.features.ingest(
        [
            call(id="long", proxy_id=proxy.id, facts=long, texts=(prompt("hi"),)),
            call(id="short", proxy_id=proxy.id, facts=short, texts=(prompt("hi"),), texts_omitted=2),
            call(id="unnamed", proxy_id=proxy.id, facts=unnamed, texts=(prompt("hi"),)),
            call(id="older", proxy_id=proxy.id, texts=(prompt("hi"),)),
        ]
    )
    rules = [
        {"id": "long", "action": "deny", "match": {"message_count": {"gt": 5}}},
        {"id": "team", "action": "alert", "match": {"header": {"X-Team": "blue"}}},
    ]
    await bench.features.policies.create(ADMIN, {"name": "ours", "rules": rules})
    found = await finished(bench, await bench.features.replays.start(ADMIN, "ours", StartReplay(proxy_ids=[proxy.id])))
    assert [(item.call_id, item.after, item.rule_id) for item in found.changes] == [("long", "blocked", "long")]
    assert sorted((item.call_id, item.missing) for item in found.undecided_calls) == [
        ("older", ["header x-team", "message_count"]),
        ("unnamed", ["header x-team"]),
    ]
    assert (found.undecided, found.partial, found.blocked_after) == (2, 1, 1)


async def test_what_no_policy_decides_stays_as_it_was(bench: Bench) -> None:
    """A canary and the decision service have the same word, whatever the draft says."""
    proxy = await bench.proxy(policy_names=[])
    planted = finding(rule_id="CANARY-1", pack="canary")
    seen = finding(rule_id="CANARY-1", pack="canary", action=Action.ALERT)
    of_key = Decision(source="rule", rule_id="r", policy="other", level="key", would_action=Action.BLOCK)
    await bench.features.ingest(
        [
            blocked_call(planted, id="blocked", proxy_id=proxy.id, texts=(prompt("hi"),)),
            call(id="alerted", proxy_id=proxy.id, findings=(seen,), action=Action.ALERT, texts=(prompt("hi"),)),
            call(id="both", proxy_id=proxy.id, findings=(seen,), action=Action.ALERT, texts=(prompt(PHRASE),)),
            blocked_call(finding(), id="by-key", proxy_id=proxy.id, decision=of_key, texts=(prompt("hi"),)),
        ]
    )
    await bench.features.policies.create(ADMIN, document())
    found = await finished(bench, await bench.features.replays.start(ADMIN, "ours", StartReplay(proxy_ids=[proxy.id])))
    assert [(item.call_id, item.before, item.after) for item in found.changes] == [("both", "alerted", "blocked")]
    assert found.skipped == 1, "a call that the policies of its key have judged"


async def test_calls_of_a_key_with_its_own_policies_are_judged_by_those(bench: Bench) -> None:
    """The policies of a proxy say nothing about them, and those of the key nothing about other calls."""
    for name in ("ours", "theirs"):
        await bench.features.policies.create(ADMIN, document(name=name, detections=[detection()]))
        await bench.features.policies.publish(ADMIN, name)
        await bench.features.policies.save_draft(ADMIN, name, document(name=name), revision=0)
    proxy = await bench.proxy(policy_names=["ours"])
    made = await bench.features.keys.create(ADMIN, CreateKey(name="app", policy_names=["theirs"]))
    key_id, number = made.api_key.id, prompt("about EMP-123456")
    of_key = Decision(source="detection", rule_id="OWN-EMP-1", policy="theirs", level="key", would_action=Action.BLOCK)
    found = finding(rule_id="OWN-EMP-1", pack="own-theirs")
    await bench.features.ingest(
        [
            call(id="quiet", proxy_id=proxy.id, principal_id=key_id, texts=(prompt(f"the {PHRASE}"),)),
            blocked_call(found, id="by-key", proxy_id=proxy.id, principal_id=key_id, decision=of_key, texts=(number,)),
            blocked_call(finding(), id="other", proxy_id=proxy.id, texts=(number,)),
        ]
    )

    async def replayed(name: str) -> tuple[list[str], int]:
        seen = await finished(bench, await bench.features.replays.start(ADMIN, name, StartReplay()))
        assert (seen.state, seen.error, seen.total) == ("done", "", 3)
        return [f"{one.call_id} {one.before} {one.after}" for one in seen.changes], seen.skipped

    assert await replayed("ours") == (["other blocked allowed"], 2)
    changes, skipped = await replayed("theirs")
    assert sorted(changes) == ["by-key blocked allowed", "quiet allowed blocked"]
    assert skipped == 1


async def test_what_many_keys_share_is_looked_at_once_for_each_proxy(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    await bench.features.policies.create(ADMIN, document(name="theirs", detections=[detection()]))
    await bench.features.policies.publish(ADMIN, "theirs")
    for port in (4000, 4001):
        await bench.proxy(f"proxy-{port}", port=port)
    for number in range(30):
        await bench.features.keys.create(ADMIN, CreateKey(name=f"app-{number}", policy_names=["theirs"]))
    asked: list[str] = []

    def counted(library: PolicyLibrary, names: Iterable[str], kind: str) -> list[str]:
        asked.append(kind)
        return fitting(library, names, kind)

    monkeypatch.setattr("app.policies.replays.fitting", counted)
    await finished(bench, await bench.features.replays.start(ADMIN, "theirs", StartReplay(source="published")))
    assert asked == ["llm", "llm"]


async def test_a_replay_is_cancelled_and_what_it_found_stays(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    await bench.proxy()
    await bench.features.policies.create(ADMIN, document())
    held = asyncio.Event()

    async def hold(*_args: object) -> None:
        await held.wait()

    monkeypatch.setattr(bench.features.replays, "_replay", hold)
    first = await bench.features.replays.start(ADMIN, "ours", StartReplay())
    await bench.features.replays.start(ADMIN, "ours", StartReplay())
    with pytest.raises(TooManyReplays):
        await bench.features.replays.start(ADMIN, "ours", StartReplay())
    assert bench.features.replays.cancel(ADMIN, first.id).state == "cancelled"
    stopped = await finished(bench, first)
    assert (stopped.state, stopped.finished_at is not None) == ("cancelled", True)
    held.set()
    with pytest.raises(ReplayNotFound):
        bench.features.replays.get(ADMIN, "rpl_none")


async def test_a_replay_that_fails_says_so(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    await bench.proxy(policy_names=["llm-standard-security"])
    await bench.features.policies.create(ADMIN, document(packs=["prompt-injection"]))
    await bench.features.policies.publish(ADMIN, "ours")
    with pytest.raises(NothingToPublish):
        await bench.features.replays.start(ADMIN, "ours", StartReplay())

    async def fail(*_args: object) -> None:
        raise RuntimeError("no")

    monkeypatch.setattr(bench.features.evaluator, "judges", fail)
    found = await finished(bench, await bench.features.replays.start(ADMIN, "ours", StartReplay(source="published")))
    assert (found.state, found.error) == ("failed", "It failed; the log has the reason.")


async def test_a_replay_over_the_api(console: Console) -> None:
    headers = console.admin
    made = await console.client.post("/api/v1/policies", headers=headers, json={"policy": document()})
    assert made.status_code == 201
    started = await console.client.post("/api/v1/policies/ours/replay", headers=headers, json={"days": 2})
    assert started.status_code == 202, started.text
    replay = started.json()["data"]
    path = f"/api/v1/policies/ours/replays/{replay['id']}"
    assert (await console.client.get(path, headers=headers)).json()["data"]["days"] == 2
    listed = await console.client.get("/api/v1/policies/ours/replays", headers=headers)
    assert [item["id"] for item in listed.json()["data"]] == [replay["id"]]
    assert (await console.client.delete(path, headers=headers)).status_code == 200
    missing = await console.client.get("/api/v1/policies/ours/replays/none", headers=headers)
    assert missing.json()["error_code"] == "replay_not_found"
    shipped = "/api/v1/policies/llm-standard-security/replay"
    started = await console.client.post(shipped, headers=headers, json={})
    assert started.json()["data"]["source"] == "published", "a shipped policy has no draft"


async def test_a_false_positive_is_marked_once_counted_and_audited(console: Console) -> None:
    headers = console.admin
    hit = {
        "rule_id": "PI-0001",
        "pack": "prompt-injection",
        "call_id": "call_1",
        "evidence": "the phrase",
        "note": "a poem",
    }
    for _ in range(2):
        answer = await console.client.post("/api/v1/feedback/false-positives", headers=headers, json=hit)
        assert answer.status_code == 201, answer.text
    marks = (await console.client.get("/api/v1/rules/PI-0001/false-positives", headers=headers)).json()["data"]
    assert [(mark["note"], mark["marked_by"], mark["call_id"]) for mark in marks] == [("a poem", "admin", "call_1")]
    assert "the phrase" not in str(marks)
    audit = await console.client.get("/api/v1/audit?event_type=rule.", headers=headers)
    assert audit.json()["data"]["total"] == 2
    for status in (200, 404):
        url = f"/api/v1/feedback/false-positives/{marks[0]['id']}"
        assert (await console.client.delete(url, headers=headers)).status_code == status
    assert (await console.client.get("/api/v1/rules/PI-0001/false-positives", headers=headers)).json()["data"] == []
    newest = await console.client.get("/api/v1/audit?event_type=rule.", headers=headers)
    assert newest.json()["data"]["items"][0]["event_type"] == "rule.false_positive_withdrawn"


async def test_a_mark_on_a_call_is_undone_from_its_note(console: Console, tab: Tab) -> None:
    hit = {"rule_id": "PI-0001", "call_id": "call_1", "evidence": "the phrase", "back": "/traffic"}
    [offered] = toasts_of(await tab.post("/feedback/false-positive", hit))
    assert offered.undo_url
    taken_back = await tab.post(offered.undo_url, dict(offered.undo_values))
    assert taken_back.headers["location"] == "/traffic"
    assert [toast.text for toast in toasts_of(taken_back)] == ["The hit of PI-0001 counts again."]
    again = await tab.post(offered.undo_url, dict(offered.undo_values))
    assert [toast.kind for toast in toasts_of(again)] == ["error"]
