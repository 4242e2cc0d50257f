"""Questions to a legacy client: answered once, by their id, or not at all (E-05)."""

from __future__ import annotations

import asyncio

import pytest

from proxies.mcp.bridge import questions as questions_module
from proxies.mcp.bridge.questions import Questions
from proxies.mcp.messages import result_response


async def test_E_05_an_answer_finds_its_question_once() -> None:
    questions = Questions()
    answer, asked = questions.ask("roots/list", None)
    other, _ = questions.ask("roots/list", None)
    assert asked.id is not None
    questions.answered(result_response("unknown", {}))
    questions.answered(result_response(asked.id, {"roots": []}))
    questions.answered(result_response(asked.id, {"roots": [1]}))
    assert (await answer).result == {"roots": []}
    assert not other.done()
    questions.close()
    assert (await other).error is not None
    await asyncio.sleep(0)
    assert len(questions) == 0


async def test_E_05_a_client_that_never_answers_is_not_waited_for_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(questions_module, "PATIENCE_SECONDS", 0.01)
    answer, _ = Questions().ask("roots/list", None)
    async with asyncio.timeout(10):
        assert (await answer).error is not None


async def test_E_05_too_many_questions_are_answered_by_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(questions_module, "MAX_OPEN", 1)
    questions = Questions()
    questions.ask("roots/list", None)
    answer, _ = questions.ask("roots/list", None)
    assert answer.done()
    assert answer.result().error is not None
