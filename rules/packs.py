"""Rule packs: their shape and how they are read.

A pack is a JSON file (`schema/rulepack.schema.json`); `lint` says whether it is sound. The structs here are the only
description of the format: the schema file is generated from them. Reading is strict: unknown fields, duplicate keys
and wrong types are problems, and a pack with one problem is not loaded at all.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec

from rules.format_words import in_words
from rules.model import Target

MAX_PACK_BYTES = 16 * 1024 * 1024
MAX_RULES = 10_000
MAX_PATTERN_CHARS = 2_000
MAX_PATTERNS_PER_LIST = 64
MAX_WITHIN_CHARS = 500
MAX_EXAMPLE_CHARS = 20_000
MAX_LABEL_CHARS = 24

SHIPPED = Path(__file__).parent / "packs"
"""The directory of the shipped packs, also inside a frozen executable."""

NOT_PACKS = frozenset({"waivers.json"})
"""Files of a pack directory that are not packs."""

PatternText = Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_PATTERN_CHARS)]
Flags = Annotated[str, msgspec.Meta(pattern="^(i?m?s?|i?s?m?|m?i?s?|m?s?i?|s?i?m?|s?m?i?)$")]
Within = Annotated[int, msgspec.Meta(ge=1, le=MAX_WITHIN_CHARS)]
Group = Annotated[int, msgspec.Meta(ge=0, le=99)]
RuleId = Annotated[str, msgspec.Meta(pattern="^[A-Z][A-Z0-9]*(-[A-Z0-9]+)+$", max_length=64)]
Label = Annotated[str, msgspec.Meta(pattern="^[A-Z][A-Z0-9_]{1,23}$")]
PackName = Annotated[str, msgspec.Meta(pattern="^[a-z0-9]+(-[a-z0-9]+)*$", max_length=64)]
Title = Annotated[str, msgspec.Meta(min_length=1, max_length=200)]
Prose = Annotated[str, msgspec.Meta(max_length=4_000)]
Example = Annotated[str, msgspec.Meta(max_length=MAX_EXAMPLE_CHARS)]
View = Literal["raw", "normalized", "decoded"]
StreamMode = Literal["buffer", "window", "detect-only"]
Direction = Literal["request", "response"]

_NOT_IN_LABEL = re.compile("[^A-Z0-9]+")
_STEP = re.compile(r"\.([^.\[\]]+)|\[(\d+|\.\.\.)\]")


class _Strict(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Base of everything in a pack: immutable, and a misspelt field is an error instead of a silent gap."""


class Pattern(_Strict, frozen=True):
    """One regular expression in the syntax that Hyperscan, RE2 and Python share. Classes such as `\\w` are ASCII."""

    re: PatternText
    flags: Flags = ""
    """Any of `i` (ignore case), `m` (`^` and `$` at lines) and `s` (`.` matches newline)."""


class Near(_Strict, frozen=True):
    """A pattern that must lie in the anchor and the `within` characters before and behind it."""

    re: PatternText
    within: Within
    flags: Flags = ""


class Absent(_Strict, frozen=True):
    """A pattern that must not lie in the anchor and `within` characters around it; without `within`, nowhere in the text.

    With `overlaps`, which goes with `within`, it may lie there as long as it shares no character with the anchor: what
    stands beside a value is no reason to let the value go.
    """

    re: PatternText
    within: Within | None = None
    flags: Flags = ""
    overlaps: bool = False


class Match(_Strict, frozen=True):
    """When a rule hits.

    The anchors are the hits of the first `all` pattern or, without `all`, of every `any` pattern. The other `all`
    patterns must occur somewhere in the same text, and at least one of `any`. An anchor counts when every `near`
    and no `none` pattern is in its range and the validators accept its captured value; the rule hits when at least
    `min_count` anchors count, and each of them is a finding.
    """

    all: Annotated[tuple[Pattern, ...], msgspec.Meta(max_length=MAX_PATTERNS_PER_LIST)] = ()
    any: Annotated[tuple[Pattern, ...], msgspec.Meta(max_length=MAX_PATTERNS_PER_LIST)] = ()
    near: Annotated[tuple[Near, ...], msgspec.Meta(max_length=MAX_PATTERNS_PER_LIST)] = ()
    none: Annotated[tuple[Absent, ...], msgspec.Meta(max_length=MAX_PATTERNS_PER_LIST)] = ()
    min_count: Annotated[int, msgspec.Meta(ge=1, le=1_000)] = 1


class Capture(_Strict, frozen=True):
    """Which group of an anchor pattern is the value: what validators judge and masking replaces. 0 is the whole hit."""

    group: Group = 0
    redact_as: Label | None = None
    """The word that stands for the value's type in a placeholder, as `EMAIL`; not said, it follows from the category."""
    reversible: bool = False
    """Whether masking may put the value back into what its sender gets to see."""


class Taxonomy(_Strict, frozen=True):
    """Where the rule stands in the public catalogues."""

    owasp_llm: tuple[str, ...] = ()
    owasp_mcp: tuple[str, ...] = ()
    owasp_asi: tuple[str, ...] = ()
    atlas: tuple[str, ...] = ()
    cwe: tuple[str, ...] = ()


class Examples(_Strict, frozen=True):
    """Texts in which the rule must and must not hit; they are its tests."""

    match: Annotated[tuple[Example, ...], msgspec.Meta(min_length=1, max_length=200)]
    no_match: Annotated[tuple[Example, ...], msgspec.Meta(min_length=1, max_length=200)]


class Rule(_Strict, frozen=True):
    """One detection rule."""

    id: RuleId
    title: Title
    category: Annotated[str, msgspec.Meta(pattern="^[a-z0-9-]+(/[a-z0-9-]+)*$", max_length=100)]
    severity: Literal["info", "low", "medium", "high", "critical"]
    confidence: Literal["low", "medium", "high"]
    score: Annotated[int, msgspec.Meta(ge=0, le=100)]
    targets: Annotated[tuple[Target, ...], msgspec.Meta(min_length=1)]
    match: Match
    action: Literal["log", "tag", "alert", "redact", "block"]
    examples: Examples
    rev: Annotated[int, msgspec.Meta(ge=1)] = 1
    direction: Annotated[tuple[Direction, ...], msgspec.Meta(min_length=1)] = ("request", "response")
    views: Annotated[tuple[View, ...], msgspec.Meta(min_length=1)] = ("raw",)
    validators: tuple[str, ...] = ()
    capture: Capture = Capture()
    streams: StreamMode = "window"
    """What becomes of a streamed answer in which a rule that blocks or masks may hit (`stream_modes`)."""
    sensitive: bool | None = None
    """Whether evidence must be masked; not said, it is so for the categories `secrets/…` and `pii/…`."""
    map: Taxonomy = Taxonomy()
    false_positives: Prose = ""
    references: tuple[str, ...] = ()

    @property
    def is_sensitive(self) -> bool:
        """Whether the captured value must never be shown."""
        if self.sensitive is None:
            return self.category.split("/", 1)[0] in ("secrets", "pii")
        return self.sensitive

    @property
    def label(self) -> str:
        """The word for the value's type: `redact_as`, or `EMAIL` for `pii/email` and `AWS_SECRET` for `secrets/aws`."""
        if self.capture.redact_as:
            return self.capture.redact_as
        family, _, rest = self.category.partition("/")
        word = _NOT_IN_LABEL.sub("_", (rest or family).upper()).strip("_")[:MAX_LABEL_CHARS]
        if family == "secrets" and rest:
            word = word[: MAX_LABEL_CHARS - len("_SECRET")].rstrip("_") + "_SECRET"
        return word if len(word) > 1 and word[0].isalpha() else "VALUE"


class Pack(_Strict, frozen=True):
    """A named, versioned set of rules."""

    pack: PackName
    version: Annotated[str, msgspec.Meta(pattern=r"^\d+\.\d+\.\d+$")]
    title: Title
    description: Prose
    rules: Annotated[tuple[Rule, ...], msgspec.Meta(min_length=1, max_length=MAX_RULES)]

    @property
    def name(self) -> str:
        """The name by which policies refer to the pack."""
        return self.pack


class Problem(msgspec.Struct, frozen=True):
    """Why a pack is not accepted, and where."""

    file: str
    pointer: str
    """RFC 6901 JSON pointer into the file; empty for the whole file."""
    reason: str

    def __str__(self) -> str:
        return f"{self.file}#{self.pointer}: {self.reason}"


class PackError(Exception):
    """A pack, or a set of packs, is not accepted."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("; ".join(str(problem) for problem in self.problems[:10]))


def load_pack(data: bytes, *, origin: str) -> Pack:
    """The pack in a JSON file whose name is `origin`; raises `PackError` with every problem of its format.

    Whether its patterns compile and its examples hold is for `lint.lint_pack` to say.
    """
    pack, problems = read_pack(data, origin)
    if pack is None or problems:
        raise PackError(problems)
    return pack


def read_pack(data: bytes, origin: str) -> tuple[Pack | None, list[Problem]]:
    """The pack in `data` and the problems of its format; no pack when it cannot be decoded."""
    try:
        document = parse_json(data)
    except ValueError as error:
        return None, [Problem(origin, "", f"not valid JSON: {error}")]
    problems = _format_problems(document, origin)
    if problems:
        return None, problems
    pack = msgspec.convert(document, Pack)
    try:
        dump_packs([pack])
    except UnicodeEncodeError:
        return None, [Problem(origin, "", "holds a lone surrogate, which is not text")]
    seen: dict[str, int] = {}
    for index, rule in enumerate(pack.rules):
        first = seen.setdefault(rule.id, index)
        if first != index:
            problems.append(Problem(origin, f"/rules/{index}/id", f"{rule.id} is already the id of rule {first}"))
    return pack, problems


def _format_problems(document: Any, origin: str) -> list[Problem]:
    """The first format problem of each rule and of the pack's head."""
    rules = document.get("rules") if isinstance(document, dict) else None
    if not isinstance(rules, list) or not 1 <= len(rules) <= MAX_RULES:
        return convert_problem(document, Pack, origin, "")
    by_rule = [convert_problem(rule, Rule, origin, f"/rules/{index}") for index, rule in enumerate(rules)]
    # The head is judged with the sound rules only, so that its own problems show beside those of the others.
    sound = [rule for rule, problems in zip(rules, by_rule, strict=True) if not problems]
    head = convert_problem({**document, "rules": sound}, Pack, origin, "") if sound else []
    return head + [problem for problems in by_rule for problem in problems]


def convert_problem(value: Any, expected: type, origin: str, prefix: str) -> list[Problem]:
    """Why `value`, at the JSON pointer `prefix`, is not of the `expected` type: the first problem, or nothing."""
    try:
        msgspec.convert(value, expected)
    except msgspec.ValidationError as error:
        reason, _, path = str(error).partition(" - at `$")
        steps, words = in_words(reason, _steps(path.rstrip("`")), expected)
        return [Problem(origin, prefix + _pointer(steps), words)]
    return []


def _steps(path: str) -> list[str]:
    """The steps of a path as msgspec writes it (`.rules[0].id`)."""
    return [name or index for name, index in _STEP.findall(path)]


def _pointer(steps: Sequence[str]) -> str:
    return "".join("/" + step.replace("~", "~0").replace("/", "~1") for step in steps)


def load_directory(path: Path) -> dict[str, Pack]:
    """All packs of a directory (`*.json`), by name; raises `PackError` with the problems of all files.

    A directory without a pack is a problem too: to go on without rules would let everything through.
    """
    packs, problems = read_directory(path)
    if problems:
        raise PackError(problems)
    return packs


def read_directory(path: Path) -> tuple[dict[str, Pack], list[Problem]]:
    """The sound packs of a directory, by name, and what is wrong with its other files."""
    packs: dict[str, Pack] = {}
    problems: list[Problem] = []
    for file in sorted(path.glob("*.json")):
        if file.name in NOT_PACKS:
            continue
        try:
            pack = load_pack(file.read_bytes(), origin=file.name)
        except PackError as error:
            problems.extend(error.problems)
            continue
        except OSError as error:
            problems.append(Problem(file.name, "", f"cannot be read: {error.strerror}"))
            continue
        if pack.name in packs:
            problems.append(Problem(file.name, "/pack", f"another file already holds the pack {pack.name!r}"))
            continue
        packs[pack.name] = pack
    if not packs and not problems:
        problems.append(Problem(path.name, "", "there is no pack in this directory"))
    return packs, problems


def parse_json(data: bytes) -> Any:
    """The JSON value in `data`; raises ValueError for anything but strict UTF-8 JSON without duplicate keys."""
    if len(data) > MAX_PACK_BYTES:
        raise ValueError(f"larger than {MAX_PACK_BYTES} bytes")
    try:
        return json.loads(data.decode("utf-8"), object_pairs_hook=_unique, parse_constant=_refuse_constant)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        raise ValueError("an object repeats a key")
    return result


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def json_schema_text() -> str:
    """The JSON schema of a pack, as it stands in `schema/rulepack.schema.json`."""
    return json.dumps(msgspec.json.schema(Pack), indent=2, ensure_ascii=False) + "\n"


_packs_encoder = msgspec.msgpack.Encoder()
_packs_decoder = msgspec.msgpack.Decoder(tuple[Pack, ...])


def dump_packs(packs: Sequence[Pack]) -> bytes:
    """The packs as MessagePack, for the file that a worker loads."""
    return _packs_encoder.encode(tuple(packs))


def read_packs(data: bytes) -> tuple[Pack, ...]:
    """The packs that `dump_packs` wrote; raises msgspec.DecodeError for anything else."""
    return _packs_decoder.decode(data)
