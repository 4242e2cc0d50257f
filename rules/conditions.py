"""Do the conditions of a policy rule hold for a call? Compiled once for each policy, asked once for each message.

Names compare with globs: exactly for a rule that allows, without case for every other, so that a different spelling
neither opens what was not meant nor slips past a denial.
"""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

from msgspec import UNSET

from rules import cron, json_path
from rules.derived_view import DerivedView
from rules.facts import (
    ARGUMENTS,
    HEADER_PREFIX,
    MESSAGE_COUNT,
    ROLE_COUNT,
    TEXTS,
    TOKEN_ESTIMATE,
    TOOLS,
    Facts,
    ToolCall,
)
from rules.globs import GlobSet
from rules.matching import MAX_VALUES_PER_RULE
from rules.model import Target, Text
from rules.patterns import Regexp, key_of, regexp
from rules.policy import ArgumentMatch, Conditions, ContentMatch, Globs, Schedule
from rules.redact import merged_spans

MAX_CONTENT_HITS = 20_000
"""Places of one `message_content` pattern in all texts of a message; one with more cannot be judged."""

MAX_MESSAGE_DEPTH = 3
"""Steps of the path of a message at most."""

Check = Callable[[Facts], bool]


class TooManyHits(Exception):
    """A pattern is found more often in a message than can be masked."""


class ContentHit(NamedTuple):
    """Where a `message_content` pattern was found; offsets are characters."""

    text: Text
    start: int
    end: int


class CompiledConditions:
    """The conditions of one rule."""

    def __init__(self, match: Conditions, *, exact: bool) -> None:
        """Compile; raises ValueError for what lint refuses. `exact` compares names with their case."""
        fold = not exact
        self._every_call = exact
        self._checks = list(_checks(match, fold))
        self._recorded = list(_recorded_checks(match, fold))
        self._tool = _ToolCondition(match, fold) if match.tool_name is not None or match.tool_arguments else None
        self._content = _ContentCondition(match.message_content, exact) if match.message_content is not None else None
        self.header_names = frozenset(name.lower() for name in match.header)

    @property
    def reads_views(self) -> bool:
        """Whether they look into texts also as normalisation makes them; see `facts.with_views`."""
        return self._content is not None and not self._every_call

    @property
    def about_tools(self) -> bool:
        """Whether they ask about tool calls: only such rules are asked about an answer."""
        return self._tool is not None

    @property
    def about_arguments(self) -> bool:
        """Whether they ask about the arguments of tool calls."""
        return self._tool is not None and self._tool.asks_for_arguments

    def hold(self, facts: Facts) -> bool:
        """Whether all of them hold. Of several tool calls one is enough; a rule that allows needs all to fit."""
        if not all(check(facts) for check in self._checks):
            return False
        if self._recorded and not all(check(facts) for _, check in self._recorded):
            return False
        if self._tool is not None:
            calls = facts.tool_calls
            fits = map(self._tool.fits, calls)
            if not (bool(calls) and all(fits) if self._every_call else any(fits)):
                return False
        return self._content is None or next(self._content.hits(facts), None) is not None

    def undecided(self, facts: Facts) -> frozenset[str]:
        """The facts that are not known and on which alone it depends whether they hold; none where it is known."""
        if not facts.unknown or not all(check(facts) for check in self._checks):
            return frozenset()
        missing = {fact for fact, _ in self._recorded} & facts.unknown
        if not all(check(facts) for fact, check in self._recorded if fact not in missing):
            return frozenset()
        if self._tool is not None:
            asked = {TOOLS, ARGUMENTS} if self._tool.asks_for_arguments else {TOOLS}
            if asked & facts.unknown and (TOOLS in facts.unknown or any(map(self._tool.is_named, facts.tool_calls))):
                missing |= asked & facts.unknown
            elif not any(map(self._tool.fits, facts.tool_calls)):
                return frozenset()
        if self._content is not None and next(self._content.hits(facts), None) is None:
            return frozenset(missing | {TEXTS}) if TEXTS in facts.unknown else frozenset()
        return frozenset(missing)

    def fitting_call(self, facts: Facts) -> ToolCall | None:
        """The first tool call that they are about."""
        if self._tool is None:
            return None
        return next(filter(self._tool.fits, facts.tool_calls), None)

    def content_hit(self, facts: Facts) -> ContentHit | None:
        """The first that `message_content` finds."""
        return next(self._content.hits(facts), None) if self._content is not None else None

    def content_hits(self, facts: Facts) -> list[ContentHit]:
        """Everything that `message_content` finds, in the order of the texts; raises `TooManyHits`."""
        return list(self._content.hits(facts)) if self._content is not None else []


def _checks(match: Conditions, fold: bool) -> Iterator[Check]:
    """One function for each condition, the cheap ones first."""
    if match.group is not None:
        yield lambda facts: False
    if match.method is not None:
        methods = GlobSet(match.method, fold_case=fold)
        yield lambda facts: bool(facts.method) and methods.matches(facts.method)
    if match.model is not None:
        models = GlobSet(match.model, fold_case=fold)
        yield lambda facts: bool(facts.model) and models.matches(facts.model)
    if match.client is not None:
        yield _client_check(match.client, fold)
    if match.ip:
        yield _ip_check(match.ip)
    if match.schedule is not None:
        yield _schedule_check(match.schedule)
    if match.message_count is not None or match.role_count or match.token_estimate is not None:
        yield lambda facts: facts.kind == "llm"


def _recorded_checks(match: Conditions, fold: bool) -> Iterator[tuple[str, Check]]:
    """One function for each condition about something that a recorded call may lack, with the name of that."""
    for name, glob in match.header.items():
        yield HEADER_PREFIX + name.lower(), _header_check(name.lower(), GlobSet(glob, fold_case=fold))
    if (count := match.message_count) is not None:
        yield MESSAGE_COUNT, lambda facts: count.holds(facts.message_count)
    for role, bounds in match.role_count.items():
        yield ROLE_COUNT, lambda facts, role=role, bounds=bounds: bounds.holds(facts.role_count(role))  # type: ignore[misc]
    if (tokens := match.token_estimate) is not None:
        yield TOKEN_ESTIMATE, lambda facts: tokens.holds(facts.token_estimate)


def _client_check(globs: Globs, fold: bool) -> Check:
    clients = GlobSet(globs, fold_case=fold)
    return lambda facts: (
        bool(facts.client_id) and (clients.matches(facts.client_id) or clients.matches(facts.client_name))
    )


def _ip_check(texts: Sequence[str]) -> Check:
    networks = [ipaddress.ip_network(text) for text in texts]

    def check(facts: Facts) -> bool:
        if not facts.ip:
            return False
        address: ipaddress.IPv4Address | ipaddress.IPv6Address = ipaddress.ip_address(facts.ip.partition("%")[0])
        if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
            address = address.ipv4_mapped
        return any(address in network for network in networks)

    return check


def _header_check(name: str, glob: GlobSet) -> Check:
    return lambda facts: name in facts.headers and glob.matches(facts.headers[name])


def _schedule_check(schedule: Schedule) -> Check:
    minutes, zone = cron.parse(schedule.cron), ZoneInfo(schedule.time_zone)

    def check(facts: Facts) -> bool:
        if facts.now is None:
            raise ValueError("the time of the call is not known")
        return minutes.names(facts.now.astimezone(zone)) is not schedule.outside

    return check


class _ToolCondition:
    """`tool_name` and `tool_arguments` of one rule; both must fit the same call."""

    def __init__(self, match: Conditions, fold: bool) -> None:
        self._names = GlobSet(match.tool_name, fold_case=fold) if match.tool_name is not None else None
        self._arguments = [(json_path.parse(item.path), _argument_test(item), item) for item in match.tool_arguments]

    @property
    def asks_for_arguments(self) -> bool:
        return bool(self._arguments)

    def is_named(self, call: ToolCall) -> bool:
        """Whether the name of a call fits, whatever its arguments."""
        return self._names is None or self._names.matches(call.name)

    def fits(self, call: ToolCall) -> bool:
        if not self.is_named(call):
            return False
        for path, test, item in self._arguments:
            values = json_path.select(path, call.arguments)
            if item.exists is False:
                if values:
                    return False
            elif not any(map(test, values)):
                return False
        return True


def _argument_test(item: ArgumentMatch) -> Callable[[Any], bool]:
    """Whether one selected value fulfils the operator."""
    if item.matches is not UNSET:
        expression = regexp(key_of(item.matches, ""))
        return lambda value: _as_text(value) is not None and expression.search(_as_text(value) or b"") is not None
    if item.equals is not UNSET:
        wanted = item.equals
        return lambda value: _same(value, wanted)
    if item.in_ is not UNSET:
        choices = item.in_
        return lambda value: any(_same(value, choice) for choice in choices)
    if item.gt is not UNSET:
        low = item.gt
        return lambda value: _is_number(value) and value > low
    if item.lt is not UNSET:
        high = item.lt
        return lambda value: _is_number(value) and value < high
    return lambda value: True


def _as_text(value: Any) -> bytes | None:
    if isinstance(value, str):
        return value.encode("utf-8", "replace")
    return None if isinstance(value, (dict, list)) else json.dumps(value).encode()


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _same(left: Any, right: Any) -> bool:
    """Equality as JSON has it: 1 and 1.0 are one number, and true is none."""
    if _is_number(left) and _is_number(right):
        return bool(left == right)
    return type(left) is type(right) and bool(left == right)


class _ContentCondition:
    """`message_content` of one rule."""

    def __init__(self, match: ContentMatch, exact: bool) -> None:
        self._expression: Regexp = regexp(key_of(match.pattern, match.flags))
        self._roles = frozenset(match.roles)
        self._exact = exact

    def hits(self, facts: Facts) -> Iterator[ContentHit]:
        """Where the pattern is found, text by text, at most `MAX_VALUES_PER_RULE` times in one; raises `TooManyHits`."""
        count = 0
        roles = {message.path: message.role for message in facts.messages} if self._roles else {}
        for index, text in enumerate(facts.texts):
            if self._roles and _role_of(text, roles) not in self._roles:
                continue
            views = () if self._exact else facts.disguised.get(index, ())
            places = self._in_views(text.text, views) if views else self._places(text.text)
            for start, end in islice(places, MAX_VALUES_PER_RULE):
                if count >= MAX_CONTENT_HITS:
                    raise TooManyHits(f"a pattern of a condition is found more than {MAX_CONTENT_HITS} times")
                count += 1
                yield ContentHit(text, start, end)

    def _in_views(self, text: str, views: Sequence[DerivedView]) -> list[tuple[int, int]]:
        """The places in one text and in its views, in order and each once: of what overlaps the widest."""
        found = list(islice(self._places(text), MAX_VALUES_PER_RULE))
        for view in views:
            places = islice(self._places(view.text), MAX_VALUES_PER_RULE)
            found += (view.raw_span(start, end) for start, end in places if end > start)
        return merged_spans(found)

    def _places(self, text: str) -> Iterator[tuple[int, int]]:
        """The places in one text, in characters; what lies before each is counted once."""
        data = text.encode("utf-8", "replace")
        is_ascii = data.isascii()
        position = counted = characters = 0
        while position <= len(data) and (found := self._expression.search(data, position)) is not None:
            start, end = found.span()
            position = end if end > start else end + 1
            if is_ascii:
                yield start, end
                continue
            characters += len(data[counted:start].decode("utf-8", "replace"))
            counted = start
            yield characters, characters + len(data[start:end].decode("utf-8", "replace"))


def _role_of(text: Text, roles: Mapping[str, str]) -> str:
    """The role of the message that a text belongs to; text outside every message counts as the user's, and the result of a
    tool as the tool's, although some APIs put it into a message of the user."""
    if text.target is Target.TOOL_RESULT:
        return "tool"
    path, end = text.path, 0
    for _ in range(MAX_MESSAGE_DEPTH):
        end = path.find("/", end + 1)
        role = roles.get(path if end < 0 else path[:end])
        if role is not None:
            return role
        if end < 0:
            break
    return "user"
