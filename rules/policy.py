"""The policy document: its shape, and how it is read and written.

A policy selects rule packs, changes single rules of them (`overrides`), adds rules of its own (`detections`), decides
on what a call is rather than on what it says (`rules`: model, tool, arguments, length, time, client), and bounds how
often (`rate_limits`). The structs here are the only description of the format; `schema/policy.schema.json` is
generated from them. Reading is strict: an unknown field or a wrong type is a problem, never a gap in the protection.

`policy_lint` says whether a document that can be read is sound; `verdicts` says what it means.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from rules.packs import (
    Flags,
    Pack,
    PackName,
    PatternText,
    Problem,
    Prose,
    Rule,
    StreamMode,
    convert_problem,
    parse_json,
)

MAX_POLICY_BYTES = 1024 * 1024
MAX_RULES = 500
MAX_OVERRIDES = 500
MAX_DETECTIONS = 500
MAX_RATE_LIMITS = 20
MAX_LIST_ITEMS = 500
MAX_WINDOW_SECONDS = 86_400
MAX_HOLD_SECONDS = 900

SHIPPED_POLICIES = Path(__file__).parent / "policies"
"""The directory of the shipped policies, one file each, also inside a frozen executable."""
OWN_PACK_PREFIX = "own-"
"""A policy's own detections are compiled as the pack `own-NAME`; no other pack may be called so."""

DEFAULT_ACTION_ID = "default-action"
"""What a refusal by the default action is called; no rule may have this id."""

PolicyName = Annotated[str, Meta(pattern="^[a-z0-9]+(-[a-z0-9]+)*$", max_length=60)]
ItemId = Annotated[str, Meta(pattern="^[A-Za-z0-9][A-Za-z0-9_.:-]*$", max_length=64)]
Glob = Annotated[str, Meta(min_length=1, max_length=200)]
Globs = Glob | Annotated[tuple[Glob, ...], Meta(min_length=1, max_length=MAX_LIST_ITEMS)]
"""One or several globs: `*` any characters, `?` one; everything else stands for itself."""
Scalar = str | int | float | bool | None
Count = Annotated[int, Meta(ge=0, le=1_000_000_000)]
Score = Annotated[int, Meta(ge=1, le=100_000)]
Window = Annotated[str, Meta(pattern="^[1-9][0-9]{0,4}[smhd]$")]

Enforcement = Literal["enforce", "log_only"]
PolicyType = Literal["llm", "mcp", "a2a", "both"]
RuleAction = Literal["allow", "deny", "tag", "alert", "redact", "log", "hold"]
Severity = Literal["info", "low", "medium", "high", "critical"]

_WINDOW_SECONDS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}


class _Strict(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Base of everything in a policy: immutable, and a misspelt field is an error."""


class Range(_Strict, frozen=True):
    """Bounds of a number; every one that is given must hold, and one must be given."""

    gt: Count | None = None
    gte: Count | None = None
    lt: Count | None = None
    lte: Count | None = None
    eq: Count | None = None

    def __post_init__(self) -> None:
        if all(bound is None for bound in (self.gt, self.gte, self.lt, self.lte, self.eq)):
            raise ValueError("names no bound: give gt, gte, lt, lte or eq")

    def holds(self, number: int) -> bool:
        """Whether a number is within all bounds."""
        return (
            (self.gt is None or number > self.gt)
            and (self.gte is None or number >= self.gte)
            and (self.lt is None or number < self.lt)
            and (self.lte is None or number <= self.lte)
            and (self.eq is None or number == self.eq)
        )


class ArgumentMatch(_Strict, frozen=True):
    """A condition on the values that a JSONPath (`json_path`) selects in the arguments of a tool call.

    Exactly one operator. It holds when at least one selected value fulfils it; `exists: false` holds when none is
    selected. Equality is strict about types: 1 is neither "1" nor true.
    """

    path: Annotated[str, Meta(min_length=1, max_length=500)]
    matches: PatternText | UnsetType = UNSET
    """A pattern found anywhere in a selected string, or in the JSON text of a number or boolean."""
    equals: Scalar | UnsetType = UNSET
    in_: Annotated[tuple[Scalar, ...], Meta(min_length=1, max_length=MAX_LIST_ITEMS)] | UnsetType = msgspec.field(
        default=UNSET, name="in"
    )
    gt: int | float | UnsetType = UNSET
    lt: int | float | UnsetType = UNSET
    exists: bool | UnsetType = UNSET

    def __post_init__(self) -> None:
        operators = (self.matches, self.equals, self.in_, self.gt, self.lt, self.exists)
        if sum(operator is not UNSET for operator in operators) != 1:
            raise ValueError("needs exactly one of matches, equals, in, gt, lt and exists")


class ContentMatch(_Strict, frozen=True):
    """A pattern found in a message of the request. Without `roles` every role is searched."""

    pattern: PatternText
    roles: Annotated[tuple[Annotated[str, Meta(max_length=40)], ...], Meta(max_length=20)] = ()
    flags: Flags = ""


class Schedule(_Strict, frozen=True):
    """The minutes that a five-field cron expression names (`* 9-17 * * mon-fri`) in a time zone (IANA name).

    With `outside` the other minutes.
    """

    cron: Annotated[str, Meta(min_length=9, max_length=200)]
    time_zone: Annotated[str, Meta(min_length=1, max_length=64)] = "UTC"
    outside: bool = False


class Conditions(_Strict, frozen=True):
    """When a conditional rule applies: every condition that is given must hold. None given: always.

    A condition on something that a call does not have (the model of an MCP call, the tool of a plain prompt) does not
    hold.
    """

    model: Globs | None = None
    tool_name: Globs | None = None
    tool_arguments: Annotated[tuple[ArgumentMatch, ...], Meta(max_length=20)] = ()
    """All on the arguments of the same tool call, and of one that `tool_name` matches."""
    message_content: ContentMatch | None = None
    message_count: Range | None = None
    role_count: Annotated[dict[Annotated[str, Meta(min_length=1, max_length=40)], Range], Meta(max_length=20)] = {}
    token_estimate: Range | None = None
    schedule: Schedule | None = None
    client: Globs | None = None
    """Name or id of the API key."""
    group: Globs | None = None
    """Reserved until groups exist: never holds."""
    ip: Annotated[tuple[Annotated[str, Meta(max_length=64)], ...], Meta(max_length=MAX_LIST_ITEMS)] = ()
    """Networks in CIDR notation, or single addresses."""
    header: Annotated[dict[Annotated[str, Meta(min_length=1, max_length=100)], Glob], Meta(max_length=20)] = {}
    """Globs by name of request header; names compare without case, and every one named must be there."""
    method: Globs | None = None
    """JSON-RPC method."""


class PolicyRule(_Strict, frozen=True):
    """A conditional rule: what happens to a call that fulfils `match`.

    `deny` refuses and beats everything; `allow` only answers a `default_action` of deny and never switches detection
    off; `hold` has a call of an MCP tool wait for a person; `redact` masks what `message_content` found; `tag`, `log`
    and `alert` let the call pass.
    """

    id: ItemId
    action: RuleAction
    match: Conditions = Conditions()
    reason: Annotated[str, Meta(max_length=500)] = ""
    """Told to the client when the rule refuses."""
    description: Prose = ""
    tags: Annotated[tuple[Annotated[str, Meta(min_length=1, max_length=64)], ...], Meta(max_length=20)] = ()
    severity: Severity = "medium"
    """Of the alert that `alert` and `deny` raise."""
    log_only: bool = False


class Override(_Strict, frozen=True):
    """A change to detection rules of this policy.

    It applies to every rule that each given selector matches; of several overrides the last word counts, field by
    field.
    """

    rules: Globs | None = None
    """Globs over rule ids."""
    categories: Globs | None = None
    """Globs over categories."""
    packs: Annotated[tuple[PackName, ...], Meta(max_length=64)] | None = None
    enabled: bool | None = None
    action: Literal["log", "tag", "alert", "redact", "block"] | None = None
    severity: Severity | None = None
    log_only: bool | None = None
    streams: StreamMode | None = None
    """What becomes of streamed answers in which the rule may hit: `window`, `buffer` or `detect-only`."""
    reason: Annotated[str, Meta(max_length=500)] = ""
    """Why, for those who read the policy later."""

    def __post_init__(self) -> None:
        if all(selector is None for selector in (self.rules, self.categories, self.packs)):
            raise ValueError("selects nothing: give rules, categories or packs")
        if all(change is None for change in (self.enabled, self.action, self.severity, self.log_only, self.streams)):
            raise ValueError("changes nothing: give enabled, action, severity, log_only or streams")


class RiskLevels(_Strict, frozen=True):
    """From which sum of scores a message counts as low, medium, high or critical risk."""

    low: Score = 5
    medium: Score = 15
    high: Score = 30
    critical: Score = 50

    def __post_init__(self) -> None:
        if not self.low <= self.medium <= self.high <= self.critical:
            raise ValueError("must rise from low to critical")


class Thresholds(_Strict, frozen=True):
    """Sums of scores at which something happens. A rule counts once, with its highest score; null switches one off."""

    message_block: Score | None = 100
    """Two or more different signals in one message, one of them a blocking rule, refuse it from this sum on."""
    message_alert: Score | None = None
    """Any findings in one message raise an alert from this sum on."""
    conversation_block: Score | None = 100
    """As `message_block`, over all messages of a request or over the recent messages of an MCP session."""
    risk: RiskLevels = RiskLevels()


class RateLimit(_Strict, frozen=True):
    """At most `limit` calls within any `window`, counted apart for each client, key, address or for the whole proxy."""

    id: ItemId
    scope: Literal["client", "key", "ip", "proxy"]
    """`client` is the API key, or the address where there is none."""
    limit: Annotated[int, Meta(ge=1, le=10_000_000)]
    window: Window

    def __post_init__(self) -> None:
        if self.window_seconds > MAX_WINDOW_SECONDS:
            raise ValueError("has a window longer than a day")

    @property
    def window_seconds(self) -> int:
        """The window in seconds."""
        return int(self.window[:-1]) * _WINDOW_SECONDS[self.window[-1]]


class ContextFirewall(_Strict, frozen=True):
    """What retrieved texts a request may name as its `context` (SLG-CTX-1, SLG-CTX-2)."""

    allowed_origins: Annotated[
        tuple[Annotated[str, Meta(min_length=1, max_length=500)], ...], Meta(max_length=MAX_LIST_ITEMS)
    ] = ()
    """URLs below which a source must lie, by whole path segments; without any every source is allowed."""
    risk_threshold: Score = 50
    """A chunk whose findings reach this sum of scores refuses the request: the lower, the stricter."""


class Policy(_Strict, frozen=True):
    """A named set of detections and conditions, and what follows from them."""

    name: PolicyName
    title: Annotated[str, Meta(max_length=200)] = ""
    description: Prose = ""
    type: PolicyType = "both"
    """The proxies that it is meant for; `both` is all of them."""
    enforcement: Enforcement = "enforce"
    default_action: Literal["allow", "deny"] = "allow"
    """What happens to a call that no conditional rule allows or denies."""
    packs: Annotated[tuple[PackName, ...], Meta(max_length=64)] = ()
    overrides: Annotated[tuple[Override, ...], Meta(max_length=MAX_OVERRIDES)] = ()
    detections: Annotated[tuple[Rule, ...], Meta(max_length=MAX_DETECTIONS)] = ()
    rules: Annotated[tuple[PolicyRule, ...], Meta(max_length=MAX_RULES)] = ()
    thresholds: Thresholds = Thresholds()
    rate_limits: Annotated[tuple[RateLimit, ...], Meta(max_length=MAX_RATE_LIMITS)] = ()
    context: ContextFirewall | None = None
    """How the member `context` of LLM requests is checked; without it the member is a text like others."""
    restore_tool_arguments: bool = True
    """Whether masked values go back into the arguments of tool calls that the caller carries out itself."""
    placeholder_hint: bool = False
    """Whether a request with placeholders gets a sentence in its system prompt that asks to copy them exactly."""
    realtime_audio: Literal["pass", "transcribed", "block"] = "pass"
    """Whether audio passes on Realtime connections, where no rule can read it: always, only in sessions that transcribe
    what they hear, or never; of several policies the strictest decides."""
    realtime_close: bool = False
    """Whether a block closes a Realtime connection; otherwise it refuses the event or ends the response."""
    tainted_arguments: Literal["log", "alert", "block"] = "alert"
    """What happens to a call of an MCP tool whose arguments hold a secret, a masked value or a canary that another
    server gave in a result; of several policies the strictest decides."""
    hold_seconds: Annotated[int, Meta(ge=1, le=MAX_HOLD_SECONDS)] = 50
    """How long a call that this policy holds waits for a person; most clients give up after a minute."""
    block_status: Literal[400, 403] = 403
    """HTTP status of a refusal that this policy decides; MCP answers a JSON-RPC error instead."""

    @property
    def own_pack_name(self) -> str:
        """The pack that holds the policy's own detections."""
        return OWN_PACK_PREFIX + self.name

    @property
    def pack_names(self) -> frozenset[str]:
        """The packs whose findings concern this policy."""
        names = {*self.packs, self.own_pack_name} if self.detections else self.packs
        return frozenset(names)

    def own_pack(self) -> Pack | None:
        """The policy's own detections as a pack; None without any."""
        if not self.detections:
            return None
        return Pack(
            pack=self.own_pack_name,
            version="0.0.0",
            title=self.title or self.name,
            description="",
            rules=self.detections,
        )

    def applies_to(self, proxy_type: str) -> bool:
        """Whether the policy is meant for this type of proxy."""
        return self.type in ("both", proxy_type)


class PolicyError(Exception):
    """A policy is not accepted."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("; ".join(str(problem) for problem in self.problems[:10]))


def load_policy(data: bytes, *, origin: str) -> Policy:
    """The policy in a JSON file named `origin`; raises `PolicyError` with every problem of its format."""
    policy, problems = read_policy(data, origin)
    if policy is None or problems:
        raise PolicyError(problems)
    return policy


def read_policy(data: bytes, origin: str) -> tuple[Policy | None, list[Problem]]:
    """The policy in `data` and the problems of its format; no policy when it cannot be decoded."""
    if len(data) > MAX_POLICY_BYTES:
        return None, [Problem(origin, "", f"larger than {MAX_POLICY_BYTES} bytes")]
    try:
        document = parse_json(data)
    except ValueError as error:
        return None, [Problem(origin, "", f"not valid JSON: {error}")]
    return read_document(document, origin)


def read_document(document: Any, origin: str, *, name: str = "") -> tuple[Policy | None, list[Problem]]:
    """The policy in a decoded JSON or YAML document, and the problems of its format.

    A document whose only member is `policy` is opened, and a policy without a name gets `name`: both together make
    the configuration files of AgentGuard readable as they are.
    """
    if isinstance(document, dict) and set(document) == {"policy"}:
        document = document["policy"]
    if isinstance(document, dict) and name and "name" not in document:
        document = {**document, "name": name}
    problems = _format_problems(document, origin)
    if problems:
        return None, problems
    policy = msgspec.convert(document, Policy)
    try:
        dump_policy(policy)
    except UnicodeEncodeError:
        return None, [Problem(origin, "", "holds a lone surrogate, which is not text")]
    return policy, _repeated_ids(policy, origin)


_LISTS: Mapping[str, type] = {
    "overrides": Override,
    "detections": Rule,
    "rules": PolicyRule,
    "rate_limits": RateLimit,
}


def _format_problems(document: Any, origin: str) -> list[Problem]:
    """The first format problem of each item of a list and of the head."""
    if not isinstance(document, dict):
        return convert_problem(document, Policy, origin, "")
    head, problems = dict(document), []
    for field, expected in _LISTS.items():
        items = document.get(field)
        if not isinstance(items, list) or len(items) > MAX_RULES:
            continue
        found = [convert_problem(item, expected, origin, f"/{field}/{index}") for index, item in enumerate(items)]
        # The head is judged with the sound items only, so that its own problems show beside those of the others.
        head[field] = [item for item, wrong in zip(items, found, strict=True) if not wrong]
        problems += [problem for wrong in found for problem in wrong]
    return convert_problem(head, Policy, origin, "") + problems


def _repeated_ids(policy: Policy, origin: str) -> list[Problem]:
    """Rules, detections and rate limits share their names: a verdict names one of them."""
    problems: list[Problem] = []
    seen = {DEFAULT_ACTION_ID: "the default action"}
    for field in ("rules", "detections", "rate_limits"):
        for index, item in enumerate(getattr(policy, field)):
            place = f"/{field}/{index}"
            first = seen.setdefault(item.id, place)
            if first != place:
                problems.append(Problem(origin, f"{place}/id", f"{item.id} is already the id of {first}"))
    return problems


def load_policies(directory: Path = SHIPPED_POLICIES) -> dict[str, Policy]:
    """All policies of a directory (`NAME.json`), by name; raises `PolicyError` with the problems of all files."""
    policies, problems = read_policies(directory)
    if problems:
        raise PolicyError(problems)
    return policies


def read_policies(directory: Path) -> tuple[dict[str, Policy], list[Problem]]:
    """The sound policies of a directory, by name, and what is wrong with its other files."""
    policies: dict[str, Policy] = {}
    problems: list[Problem] = []
    for file in sorted(directory.glob("*.json")):
        try:
            policy = load_policy(file.read_bytes(), origin=file.name)
        except PolicyError as error:
            problems += error.problems
            continue
        except OSError as error:
            problems.append(Problem(file.name, "", f"cannot be read: {error.strerror}"))
            continue
        if policy.name != file.stem:
            problems.append(Problem(file.name, "/name", f"the file of this policy must be {policy.name}.json"))
            continue
        policies[policy.name] = policy
    if not policies and not problems:
        problems.append(Problem(directory.name, "", "there is no policy in this directory"))
    return policies, problems


def dump_policy(policy: Policy) -> bytes:
    """The canonical JSON of a policy: equal policies give equal bytes, and `load_policy` gives the policy back."""
    return msgspec.json.format(msgspec.json.encode(policy, order="deterministic"), indent=2) + b"\n"


def json_schema_text() -> str:
    """The JSON schema of a policy, as it stands in `schema/policy.schema.json`."""
    return json.dumps(msgspec.json.schema(Policy), indent=2, ensure_ascii=False) + "\n"
