"""The context firewall's pure part: shape, origins, scores, citations."""

from __future__ import annotations

from typing import Any

import pytest

from rules.context_firewall import (
    MAX_CHUNKS,
    ContextInput,
    ContextMalformed,
    chunk_scores,
    chunk_texts,
    citations,
    origin_allowed,
    take_context,
)
from rules.model import Action, Confidence, Finding, Severity, Target

APPROVED = ["kb://approved/", "https://docs.example.org/handbook"]


def context(*contents: str) -> ContextInput:
    chunks = [{"id": f"doc-{number}", "content": content} for number, content in enumerate(contents)]
    taken = take_context({"context": {"source": "kb://approved/a", "chunks": chunks}})
    assert taken is not None
    return taken


def hit(path: str, rule_id: str, score: int) -> Finding:
    return Finding(
        rule_id=rule_id,
        pack="p",
        title="t",
        category="c",
        severity=Severity.HIGH,
        confidence=Confidence.HIGH,
        score=score,
        action=Action.BLOCK,
        target=Target.DOCUMENT,
        path=path,
        start=0,
        end=1,
        view="raw",
        evidence="",
    )


@pytest.mark.parametrize(
    "source",
    [
        "kb://approved/",
        "kb://approved",
        "kb://approved/hr/leave.md",
        "KB://Approved/hr",
        "https://docs.example.org/handbook",
        "https://docs.example.org/handbook/",
        "https://docs.example.org/handbook/leave",
    ],
)
def test_SLG_CTX_1_sources_below_an_allowed_origin_pass(source: str) -> None:
    assert origin_allowed(source, APPROVED)


@pytest.mark.parametrize(
    "source",
    [
        "kb://approved-not/x",
        "kb://other/approved/",
        "https://docs.example.org/handbooks",
        "https://docs.example.org/",
        "https://docs.example.org.attacker.example/handbook",
        "http://docs.example.org/handbook",
        "kb://approved/../secret",
        "kb://approved/./x",
        "kb://approved/%2e%2e/secret",
        "kb://approved//secret",
        "kb://approved\\..\\secret",
        "kb://approved@other/x",
        "https://docs.example.org/handbook?next=/x",
        "https://docs.example.org/handbook#x",
        "kb://approved/a b",
        "kb://approved/\u202egnp",
        "https://[docs",
        "approved/",
        "",
    ],
)
def test_SLG_CTX_1_other_sources_and_tricks_do_not(source: str) -> None:
    assert not origin_allowed(source, APPROVED)


def test_without_allowed_origins_none_is_allowed() -> None:
    assert not origin_allowed("kb://approved/", [])


def test_SLG_CTX_3_the_member_is_removed_and_read() -> None:
    document: dict[str, Any] = {
        "model": "m",
        "context": {"source": "kb://approved/a", "chunks": [{"id": "1", "content": "text"}]},
    }
    taken = take_context(document)
    assert taken is not None
    assert (taken.source, taken.chunks[0].content) == ("kb://approved/a", "text")
    assert document == {"model": "m"}
    assert take_context(document) is None


@pytest.mark.parametrize(
    "given",
    [
        None,
        [],
        "kb://approved/",
        {"chunks": []},
        {"source": ""},
        {"source": "kb://a", "chunks": [{"content": "no id"}]},
        {"source": "kb://a", "chunks": [{"id": 1, "content": "x"}]},
        {"source": "kb://a", "chunks": "x"},
        {"source": "kb://a", "extra": 1},
        {"source": "kb://a", "chunks": [{"id": "1", "content": "x"}] * (MAX_CHUNKS + 1)},
    ],
)
def test_other_shapes_are_named_and_removed_all_the_same(given: object) -> None:
    document: dict[str, Any] = {"context": given}
    with pytest.raises(ContextMalformed, match="context"):
        take_context(document)
    assert document == {}


def test_SLG_CTX_2_scores_add_up_for_each_chunk_and_each_rule_counts_once() -> None:
    two = context("first", "second")
    first, second = (text.path for text in chunk_texts(two))
    findings = [hit(first, "A-1", 30), hit(first, "A-1", 40), hit(first, "B-1", 15), hit(second, "A-1", 5)]
    assert chunk_scores(two, findings) == [55, 5]
    assert chunk_scores(two, []) == [0, 0]


def test_SLG_CTX_3_citations_name_id_and_digest() -> None:
    [citation] = citations(context("abc"))
    assert citation.id == "doc-0"
    assert citation.sha256 == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
