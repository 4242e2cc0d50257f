"""`ostiary check` tells what a file is and names what is wrong with file, place and reason."""

from __future__ import annotations

import json
from typing import Any

from rules.importers.checking import check_file
from rules.packs import dump_packs, read_packs
from tests.unit.rules.small_packs import pack, rule

SMALL = pack("small", rule("SMALL-1", {"any": [{"re": "needle"}]}, ("a needle", "a haystack")))


def checked(document: Any, name: str = "dir/mine.json") -> Any:
    data = document if isinstance(document, bytes) else json.dumps(document).encode()
    return check_file(data, name, {"small": SMALL})


def test_AG_PE_10_a_policy_is_checked_with_the_packs_that_it_names() -> None:
    sound = checked(
        {"name": "mine", "packs": ["small"], "rules": [{"id": "a", "action": "deny", "match": {"model": "x"}}]}
    )
    assert (sound.problems, sound.summary) == ((), "policy mine, 1 packs, 0 own detections, 1 conditional rules")
    bad = checked({"name": "mine", "packs": ["small", "nowhere"]})
    assert [str(problem) for problem in bad.problems] == ["dir/mine.json#/packs/1: there is no pack named nowhere"]
    assert checked({"packs": ["small"], "nmae": "x"}).problems[0].file == "dir/mine.json"


def test_a_policy_without_effect_is_remarked_upon() -> None:
    assert [remark.pointer for remark in checked({"name": "mine"}).remarks] == [""]


def test_a_pack_is_checked_as_a_pack() -> None:
    import msgspec

    (made,) = read_packs(dump_packs([SMALL]))
    assert checked(msgspec.json.encode(made)).summary == "small 1.0.0, 1 rules, all examples hold"
    broken = checked({"pack": "small", "rules": []})
    assert broken.problems


def test_a_file_of_another_product_is_read_and_its_losses_are_told() -> None:
    found = checked({"policyName": "Old", "rules": [{"id": "A_1", "patterns": ["abc", "(?=x)y"]}]})
    assert found.problems == ()
    assert found.summary.startswith("pattern lists old,")
    assert {note.pointer for note in found.notes} == {"/rules/0/id", "/rules/0/patterns/1"}
    yaml = checked(b"default_action: deny\nrules:\n  - {id: a, action: allow}\n", "guard.yaml")
    assert yaml.summary == "policy guard, 0 packs, 0 own detections, 1 conditional rules"


def test_what_is_nothing_at_all_is_refused() -> None:
    assert "neither JSON nor YAML" in checked(b"a: [").problems[0].reason
    assert "no policy" in checked({"colour": "green"}).problems[0].reason


def test_AG_PE_10_a_mistyped_member_of_our_own_policy_is_a_problem_and_not_dropped() -> None:
    rules = [{"id": "a", "action": "deny", "match": {"model": "x"}}]
    found = checked({"name": "ours", "type": "llm", "defualt_action": "deny", "rules": rules})
    assert [problem.reason for problem in found.problems] == [
        "there is no such member here; is `default_action` meant?"
    ]
    assert found.notes == ()
