"""Is a pack sound? Every answer names the file, the place (JSON pointer) and the reason.

Checked: strict JSON, the format (unknown fields, types, sizes), distinct rule ids, patterns that compile in
Hyperscan, RE2 and Python, stay linear and are neither large nor slow to compile, validators, capture groups, and that
the rule hits each of its `match` examples and none of its `no_match` examples.
"""

from __future__ import annotations

from rules.compiler import compile_ruleset
from rules.engine import Ruleset
from rules.hyperscan_database import EngineError
from rules.model import Text
from rules.packs import Pack, PackError, Problem, Rule, read_pack
from rules.patterns import PatternRefused, key_of
from rules.search_cost import check_pattern
from rules.validators import parse as parse_validators

LISTS = ("all", "any", "near", "none")
MAX_PATTERNS = 3_000
"""Different ones in a pack."""
MAX_PACK_BYTES = 48 * 1024 * 1024
"""Of its compiled databases: every worker holds them."""


def lint_pack(data: bytes, origin: str) -> list[Problem]:
    """Every problem of a pack file named `origin`; empty for a sound pack."""
    pack, problems = read_pack(data, origin)
    if pack is None or problems:
        return problems
    matches = [rule.match for rule in pack.rules]
    different = {key_of(item.re, item.flags) for match in matches for name in LISTS for item in getattr(match, name)}
    if (count := len(different)) > MAX_PATTERNS:
        return [Problem(origin, "/rules", f"holds {count:,} different patterns, more than {MAX_PATTERNS:,}")]
    return _rule_problems(pack, origin) or _example_problems(pack, origin)


def _rule_problems(pack: Pack, origin: str) -> list[Problem]:
    problems: list[Problem] = []
    for index, rule in enumerate(pack.rules):
        pointer = f"/rules/{index}"
        problems += _pattern_problems(rule, origin, pointer)
        for number, name in enumerate(rule.validators):
            try:
                parse_validators([name])
            except ValueError as error:
                problems.append(Problem(origin, f"{pointer}/validators/{number}", str(error)))
    return problems


def _pattern_problems(rule: Rule, origin: str, pointer: str) -> list[Problem]:
    problems: list[Problem] = []
    if not rule.match.all and not rule.match.any:
        problems.append(Problem(origin, f"{pointer}/match", "needs a pattern in all or any"))
    problems += (
        Problem(origin, f"{pointer}/match/none/{number}/overlaps", "says something only together with within")
        for number, item in enumerate(rule.match.none)
        if item.overlaps and item.within is None
    )
    groups: list[int] = []
    for name in LISTS:
        for number, item in enumerate(getattr(rule.match, name)):
            place = f"{pointer}/match/{name}/{number}/re"
            try:
                count = check_pattern(key_of(item.re, item.flags))
            except PatternRefused as error:
                problems.append(Problem(origin, place, str(error)))
                continue
            if (name == "all" and number == 0) or (name == "any" and not rule.match.all):
                groups.append(count)
    if groups and rule.capture.group > max(groups):
        reason = f"no anchor pattern has a group {rule.capture.group}"
        problems.append(Problem(origin, f"{pointer}/capture/group", reason))
    return problems


def _example_problems(pack: Pack, origin: str) -> list[Problem]:
    try:
        compiled = compile_ruleset([pack])
        ruleset = Ruleset.load(compiled.packs_bytes, compiled.database_bytes)
    except (PackError, EngineError) as error:
        return [Problem(origin, "", str(error))]
    if (size := len(compiled.database_bytes)) > MAX_PACK_BYTES:
        return [Problem(origin, "", f"takes {size:,} bytes when compiled, more than {MAX_PACK_BYTES:,}")]
    problems: list[Problem] = []
    for index, rule in enumerate(pack.rules):
        for name, wanted in (("match", True), ("no_match", False)):
            for number, example in enumerate(getattr(rule.examples, name)):
                if hits_example(ruleset, rule, example) is not wanted:
                    reason = f"{rule.id} {'does not hit' if wanted else 'hits'} this example"
                    problems.append(Problem(origin, f"/rules/{index}/examples/{name}/{number}", reason))
    return problems


def hits_example(ruleset: Ruleset, rule: Rule, example: str) -> bool:
    """Whether a rule of the ruleset hits a text, in its own first target and direction."""
    findings = ruleset.scan([Text(rule.targets[0], "", example)], direction=rule.direction[0])
    return any(finding.rule_id == rule.id for finding in findings)
