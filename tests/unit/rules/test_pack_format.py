"""Reading packs: what is refused, and how the place and the reason are named (AG-PE-10)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import rules.packs as packs
from rules.packs import PackError, Problem, dump_packs, json_schema_text, load_directory, load_pack, read_packs
from tests.unit.rules.small_packs import pack, pack_bytes, pack_document, rule

GOOD = rule("T-1", {"any": [{"re": "bad"}]}, ("bad", "good"))


def problems_of(data: bytes) -> list[tuple[str, str]]:
    with pytest.raises(PackError) as caught:
        load_pack(data, origin="some.json")
    assert all(problem.file == "some.json" for problem in caught.value.problems)
    assert str(caught.value.problems[0]) in str(caught.value)
    return [(problem.pointer, problem.reason) for problem in caught.value.problems]


def without(key: str) -> dict[str, Any]:
    return {name: value for name, value in GOOD.items() if name != key}


@pytest.mark.parametrize(
    ("document", "pointer", "words"),
    [
        ({**GOOD, "colour": "red"}, "/rules/0/colour", "there is no such member here"),
        (without("title"), "/rules/0/title", "is missing"),
        ({**GOOD, "id": "lower-1"}, "/rules/0/id", "such as OWN-EMP-1"),
        ({**GOOD, "severity": "awful"}, "/rules/0/severity", "awful"),
        ({**GOOD, "score": 101}, "/rules/0/score", "100"),
        ({**GOOD, "targets": ["nowhere"]}, "/rules/0/targets/0", "nowhere"),
        ({**GOOD, "targets": []}, "/rules/0/targets", "needs at least 1 entry"),
        (
            {**GOOD, "match": {"any": [{"re": "a", "flags": "x"}]}},
            "/rules/0/match/any/0/flags",
            "the letters i, m and s",
        ),
        ({**GOOD, "match": {"any": [{"re": "a" * 2001}]}}, "/rules/0/match/any/0/re", "has more than 2000 characters"),
        ({**GOOD, "match": {"any": [{"re": ""}]}}, "/rules/0/match/any/0/re", "needs at least 1 character"),
        ({**GOOD, "match": {"near": [{"re": "a"}]}}, "/rules/0/match/near/0/within", "is missing"),
        ({**GOOD, "match": {"none": [{"re": "a", "within": 501}]}}, "/rules/0/match/none/0/within", "500"),
        ({**GOOD, "examples": {"match": [], "no_match": ["x"]}}, "/rules/0/examples/match", "needs at least 1 entry"),
        ({**GOOD, "action": "allow"}, "/rules/0/action", "allow"),
        ({**GOOD, "capture": {"redact_as": "email"}}, "/rules/0/capture/redact_as", "capital letters"),
        ({**GOOD, "capture": {"redact_as": "E" * 25}}, "/rules/0/capture/redact_as", "capital letters"),
    ],
)
def test_AG_PE_10_a_bad_rule_is_named_by_pointer_and_reason(document: dict[str, Any], pointer: str, words: str) -> None:
    ((found, reason),) = problems_of(pack_bytes("some", document))
    assert (found, words in reason) == (pointer, True), reason


@pytest.mark.parametrize(
    ("category", "capture", "label"),
    [
        ("pii/email", {}, "EMAIL"),
        ("pii/de-tax-id", {}, "DE_TAX_ID"),
        ("secrets/aws", {}, "AWS_SECRET"),
        ("secrets", {}, "SECRETS"),
        ("secrets/some-vendor-with-a-long-name", {}, "SOME_VENDOR_WITH_SECRET"),
        ("test/any/deep", {}, "ANY_DEEP"),
        ("pii/3d-face", {}, "VALUE"),
        ("pii/email", {"redact_as": "MAIL_ADDRESS"}, "MAIL_ADDRESS"),
    ],
)
def test_the_word_of_a_placeholder(category: str, capture: dict[str, Any], label: str) -> None:
    (only,) = pack("some", {**GOOD, "category": category, "capture": capture}).rules
    assert only.label == label
    assert pack("some", {**GOOD, "capture": {"redact_as": label}}).rules[0].label == label


def test_AG_PE_10_every_bad_rule_and_the_head_are_named_at_once() -> None:
    bad = {**GOOD, "id": "T-2", "score": -1}
    document = {**pack_document("some", GOOD, bad, {**bad, "id": "T-3"}, 7), "version": "one", "extra": 1}  # type: ignore[arg-type]
    pointers = [pointer for pointer, _ in problems_of(json.dumps(document).encode())]
    assert sorted(pointers) == ["/rules/1/score", "/rules/2/score", "/rules/3", "/version"]


def test_AG_PE_10_a_repeated_rule_id_is_refused() -> None:
    assert problems_of(pack_bytes("some", GOOD, GOOD)) == [("/rules/1/id", "T-1 is already the id of rule 0")]


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"{", "JSON"),
        (b"\xff", "JSON"),
        (b'{"pack": "a", "pack": "b"}', "repeats a key"),
        (b'{"pack": NaN}', "NaN"),
        (b"[" * 100_000, "nested"),
        (b"[]", "object"),
        (b"{}", "missing"),
        (b" " * (packs.MAX_PACK_BYTES + 1), "larger"),
        (pack_bytes("some", {**GOOD, "title": "\ud800"}), "surrogate"),
    ],
)
def test_what_is_not_a_pack_is_refused(data: bytes, words: str) -> None:
    ((pointer, reason),) = problems_of(data)
    assert pointer == ("/pack" if data == b"{}" else "")
    assert words in reason


def test_a_pack_keeps_its_content_through_messagepack() -> None:
    one = pack("one", {**GOOD, "map": {"owasp_llm": ["LLM01:2025"]}, "sensitive": True})
    assert read_packs(dump_packs([one])) == (one,)
    assert one.rules[0].map.owasp_llm == ("LLM01:2025",)


@pytest.mark.parametrize(
    ("fields", "sensitive"),
    [
        ({"category": "secrets/x"}, True),
        ({"category": "pii/x"}, True),
        ({}, False),
        ({"sensitive": True}, True),
        ({"category": "pii/x", "sensitive": False}, False),
    ],
)
def test_secrets_and_personal_data_are_sensitive_unless_said(fields: dict[str, Any], sensitive: bool) -> None:
    assert pack("one", {**GOOD, **fields}).rules[0].is_sensitive is sensitive


def test_a_directory_gives_its_packs_by_name_or_the_problems_of_all_files(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_bytes(pack_bytes("first", GOOD))
    (tmp_path / "b.json").write_bytes(pack_bytes("second", {**GOOD, "id": "T-2"}))
    (tmp_path / "waivers.json").write_bytes(b"[]")
    (tmp_path / "notes.txt").write_bytes(b"not a pack")
    assert sorted(load_directory(tmp_path)) == ["first", "second"]
    (tmp_path / "c.json").write_bytes(pack_bytes("first", GOOD))
    (tmp_path / "d.json").write_bytes(b"{")
    with pytest.raises(PackError) as caught:
        load_directory(tmp_path)
    assert [(problem.file, problem.pointer) for problem in caught.value.problems] == [
        ("c.json", "/pack"),
        ("d.json", ""),
    ]


@pytest.mark.parametrize("name", ["empty", "missing", "waivers-only"])
def test_a_directory_without_a_pack_is_refused_and_never_no_rules(tmp_path: Path, name: str) -> None:
    directory = tmp_path / name
    if name != "missing":
        directory.mkdir()
    if name == "waivers-only":
        (directory / "waivers.json").write_bytes(b"{}")
    with pytest.raises(PackError, match="no pack in this directory") as caught:
        load_directory(directory)
    assert [problem.file for problem in caught.value.problems] == [name]


def test_the_schema_file_is_the_one_of_the_structs() -> None:
    file = Path(packs.__file__).parent / "schema" / "rulepack.schema.json"
    assert file.read_text(encoding="utf-8") == json_schema_text()


def test_a_problem_reads_as_one_line() -> None:
    assert str(Problem("a.json", "/rules/0", "is wrong")) == "a.json#/rules/0: is wrong"
