"""Is a policy sound? Every answer names the file, the place (JSON pointer) and the reason.

`lint_policy` says what is wrong: a policy with a problem is not published. `remarks` says what has no effect, which
an author wants to know and which harms nobody. Both look at the packs only when they are given.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator, Mapping
from zoneinfo import ZoneInfo

import msgspec

from rules import cron, json_path
from rules.context_firewall import origin_allowed
from rules.lint import lint_pack
from rules.model import Target
from rules.packs import Pack, Problem
from rules.patterns import PatternRefused, key_of
from rules.policy import OWN_PACK_PREFIX, Conditions, Policy, PolicyRule, Range, Schedule
from rules.policy_evaluation import CompiledOverride
from rules.search_cost import check_pattern

ROLES = ("user", "assistant", "tool", "system", "developer")
_OF_MODELS = ("model", "message_count", "role_count", "token_estimate")
"""Conditions on what only calls of language models have."""
_Found = tuple[str, str]
"""A JSON pointer and a reason."""
_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")


def lint_read(
    policy: Policy | None, problems: list[Problem], origin: str, packs: Mapping[str, Pack] | None = None
) -> list[Problem]:
    """Every problem of a policy as it was read, with the `problems` of its format; a place is named once."""
    if policy is None:
        return problems
    named = {problem.pointer for problem in problems}
    return problems + [one for one in lint_policy(policy, origin, packs) if one.pointer not in named]


def lint_policy(policy: Policy, origin: str, packs: Mapping[str, Pack] | None = None) -> list[Problem]:
    """Every problem of a policy of correct format; with `packs` also what it takes from them."""
    found = [*_pack_problems(policy, packs), *_detection_problems(policy, packs)]
    for index, origin_url in enumerate(policy.context.allowed_origins if policy.context else ()):
        if not origin_allowed(origin_url, [origin_url]):
            found.append((f"/context/allowed_origins/{index}", "is no plain URL such as kb://approved/"))
    for index, rule in enumerate(policy.rules):
        found += _rule_problems(rule, f"/rules/{index}")
    return [Problem(origin, pointer, reason) for pointer, reason in found]


def _pack_problems(policy: Policy, packs: Mapping[str, Pack] | None) -> Iterator[_Found]:
    for index, name in enumerate(policy.packs):
        if name.startswith(OWN_PACK_PREFIX):
            yield f"/packs/{index}", f"names that begin with {OWN_PACK_PREFIX} belong to policies"
        elif packs is not None and name not in packs:
            yield f"/packs/{index}", f"there is no pack named {name}"
        if name in policy.packs[:index]:
            yield f"/packs/{index}", f"{name} is named twice"


def _detection_problems(policy: Policy, packs: Mapping[str, Pack] | None) -> Iterator[_Found]:
    pack = policy.own_pack()
    if pack is None:
        return
    for problem in lint_pack(msgspec.json.encode(pack), ""):
        yield problem.pointer.replace("/rules", "/detections", 1), problem.reason
    owners = {rule.id: name for name, shipped in (packs or {}).items() for rule in shipped.rules}
    for index, rule in enumerate(policy.detections):
        if rule.id in owners:
            yield f"/detections/{index}/id", f"{rule.id} is a rule of the pack {owners[rule.id]}"


def _rule_problems(rule: PolicyRule, pointer: str) -> Iterator[_Found]:
    match = rule.match
    if rule.action == "hold" and rule.match.tool_name is None and not rule.match.tool_arguments:
        yield f"{pointer}/match", "hold needs tool_name or tool_arguments: only calls of tools can wait for a person"
    if rule.action == "allow" and rule.log_only:
        yield f"{pointer}/log_only", "a rule that allows refuses nothing that could be logged instead"
    if rule.action == "redact" and match.message_content is None:
        yield f"{pointer}/match", "redact needs message_content: it masks what that finds"
    yield from _pattern_problems(match, pointer)
    if match.schedule is not None:
        yield from _schedule_problems(match.schedule, f"{pointer}/match/schedule")
    for index, network in enumerate(match.ip):
        try:
            ipaddress.ip_network(network)
        except ValueError as error:
            yield f"{pointer}/match/ip/{index}", str(error)
    for name in match.header:
        if not _HEADER_NAME.fullmatch(name):
            yield f"{pointer}/match/header", f"{name!r} is not the name of a header"


def _pattern_problems(match: Conditions, pointer: str) -> Iterator[_Found]:
    if content := match.message_content:
        yield from _check_pattern(content.pattern, content.flags, f"{pointer}/match/message_content/pattern")
    for index, argument in enumerate(match.tool_arguments):
        place = f"{pointer}/match/tool_arguments/{index}"
        try:
            json_path.parse(argument.path)
        except json_path.PathRefused as error:
            yield f"{place}/path", str(error)
        if isinstance(argument.matches, str):
            yield from _check_pattern(argument.matches, "", f"{place}/matches")


def _check_pattern(pattern: str, flags: str, pointer: str) -> Iterator[_Found]:
    try:
        check_pattern(key_of(pattern, flags))
    except PatternRefused as error:
        yield pointer, str(error)


def _schedule_problems(schedule: Schedule, pointer: str) -> Iterator[_Found]:
    try:
        cron.parse(schedule.cron)
    except cron.CronRefused as error:
        yield f"{pointer}/cron", str(error)
    try:
        ZoneInfo(schedule.time_zone)
    except (OSError, ValueError, KeyError):  # Which of them depends on what is wrong with the name.
        yield f"{pointer}/time_zone", f"there is no time zone named {schedule.time_zone}"


# --- Remarks ----------------------------------------------------------------------------------------------------------


def remarks(policy: Policy, origin: str, packs: Mapping[str, Pack] | None = None) -> list[Problem]:
    """What in a sound policy has no effect."""
    found = list(_head_remarks(policy))
    for index, rule in enumerate(policy.rules):
        found += _rule_remarks(policy, rule, f"/rules/{index}")
    if packs is not None:
        if policy.context is not None and policy.type in ("llm", "both") and not _reads_documents(policy, packs):
            found.append(
                ("/context/risk_threshold", "no rule of this policy reads documents, so no chunk can reach it")
            )
        known = [(name, rule) for name in policy.packs if name in packs for rule in packs[name].rules]
        known += [(policy.own_pack_name, rule) for rule in policy.detections]
        for index, override in enumerate(policy.overrides):
            selects = CompiledOverride(override).selects
            if not any(selects(name, rule.id, rule.category) for name, rule in known):
                found.append((f"/overrides/{index}", "no rule of this policy is selected"))
    return [Problem(origin, pointer, reason) for pointer, reason in found]


def _head_remarks(policy: Policy) -> Iterator[_Found]:
    decides = policy.packs or policy.detections or policy.rules or policy.rate_limits or policy.context
    if not decides and policy.realtime_audio == "pass":
        yield "", "the policy decides nothing: it has no packs, detections, rules, rate limits or context firewall"
    if policy.context and policy.type not in ("llm", "both"):
        yield "/context", "only requests to language models name a context"
    for name in ("realtime_audio", "realtime_close"):
        if policy.type not in ("llm", "both") and getattr(policy, name) not in ("pass", False):
            yield f"/{name}", "only language models are spoken to over Realtime"
    if policy.default_action == "deny" and not any(rule.action == "allow" for rule in policy.rules):
        yield "/default_action", "every call is refused: no rule allows one"


def _rule_remarks(policy: Policy, rule: PolicyRule, pointer: str) -> Iterator[_Found]:
    match = rule.match
    if match.group is not None:
        yield f"{pointer}/match/group", "there are no groups yet, so this condition never holds"
    if rule.action == "allow" and policy.default_action == "allow":
        yield f"{pointer}/action", "allow has no effect where the default action is allow"
    if rule.action == "deny" and match == Conditions():
        yield f"{pointer}/match", "without a condition it refuses every call"
    if rule.action == "allow" and match == Conditions() and policy.default_action == "deny":
        yield f"{pointer}/match", "without a condition it allows every call"
    if match.schedule is not None and _names_no_date(match.schedule):
        yield f"{pointer}/match/schedule/cron", "there is no such date, so it names no minute"
    if rule.action == "tag" and not rule.tags:
        yield pointer, "the rule has no tags to record"
    if rule.log_only and rule.action in ("tag", "alert", "log"):
        yield f"{pointer}/log_only", f"{rule.action} is never stronger than an alert"
    if policy.type == "llm" and match.method is not None:
        yield f"{pointer}/match/method", "calls of language models have no JSON-RPC method"
    if policy.type == "llm" and rule.action == "hold":
        yield f"{pointer}/action", "only calls of MCP tools can wait for a person"
    of_models = [name for name in _OF_MODELS if getattr(match, name)]
    if policy.type == "mcp":
        for name in of_models:
            yield f"{pointer}/match/{name}", "MCP calls have no model and no messages"
    elif match.method is not None and policy.type != "llm":
        for name in of_models:
            yield f"{pointer}/match/{name}", "no call has both this and a JSON-RPC method"
    yield from _role_remarks(match, pointer)
    yield from _range_remarks(match, pointer)


def _names_no_date(schedule: Schedule) -> bool:
    try:
        return not cron.parse(schedule.cron).names_any
    except cron.CronRefused:
        return False  # A problem, which is named as one.


def _role_remarks(match: Conditions, pointer: str) -> Iterator[_Found]:
    """A misspelt role makes a rule that never holds."""
    named = [
        (f"/message_content/roles/{n}", role) for n, role in enumerate(getattr(match.message_content, "roles", ()))
    ]
    named += [(f"/role_count/{role.replace('~', '~0').replace('/', '~1')}", role) for role in match.role_count]
    for place, role in named:
        if role not in ROLES:
            reason = f"no message has the role {role!r}: there are {', '.join(ROLES[:-1])} and {ROLES[-1]}"
            yield f"{pointer}/match{place}", reason


def _range_remarks(match: Conditions, pointer: str) -> Iterator[_Found]:
    ranges = [("message_count", match.message_count), ("token_estimate", match.token_estimate)]
    ranges += [(f"role_count/{role}", bounds) for role, bounds in match.role_count.items()]
    for name, bounds in ranges:
        if bounds is not None and not _is_possible(bounds):
            yield f"{pointer}/match/{name}", "no number is within these bounds"


def _is_possible(bounds: Range) -> bool:
    """Whether any number holds: if one does, then one beside a bound."""
    given = (bounds.gt, bounds.gte, bounds.lt, bounds.lte, bounds.eq)
    beside = {number + step for number in given if number is not None for step in (-1, 0, 1)}
    return any(number >= 0 and bounds.holds(number) for number in beside)


def _reads_documents(policy: Policy, packs: Mapping[str, Pack]) -> bool:
    rules = [rule for name in policy.packs if name in packs for rule in packs[name].rules]
    return any(Target.DOCUMENT in rule.targets for rule in (*rules, *policy.detections))
