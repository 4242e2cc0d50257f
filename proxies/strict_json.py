"""JSON in which two readers cannot see two things (BODY-04, BODY-05, G-04).

What policy saw must be what the upstream gets. So a body is parsed once, by this parser, and whatever differs between
parsers is refused: duplicate keys at any depth, keys of the protocols that differ only in case, NaN and infinities,
lone surrogates, a byte order mark, bytes that are not UTF-8, trailing data, absurd depth. The upstream gets `dump()` of
the very object that was inspected.

Two parsers share the work. msgspec refuses all of that but repeated and look-alike keys and depth, at a fifth of the cost, so
what it makes is taken where a count shows that no key can have been lost. Whatever is in doubt is read by the standard
library with a look at every pair, which also finds the words for a refusal.
"""

from __future__ import annotations

import json
from collections.abc import Collection
from typing import Any, Final, NoReturn

import msgspec

MAX_DEPTH: Final = 64
MAX_FAST_BYTES: Final = 128 * 1024
"""msgspec keeps the interpreter's lock from the first byte to the last, also in a thread; the standard library hands it back at
every object. A larger text of many small values would hold up everybody (LIM-15)."""

PROTOCOL_KEYS: Final = frozenset(
    """jsonrpc id method params result error code message data name arguments uri model messages role content type text
    input instructions system tools functions tool_calls function_call tool_choice parameters stream stream_options
    prompt metadata _meta cursor description""".split()
)
"""Keys that decide what a message means; an object must not hold a second spelling of one of them."""


class JSONRefused(ValueError):
    """The bytes are not JSON that every reader understands alike. `str()` is a sentence safe to return to the client."""


def parse(data: bytes, *, max_depth: int = MAX_DEPTH) -> Any:
    """The value of one JSON text in UTF-8; raises `JSONRefused` with the reason."""
    if len(data) > MAX_FAST_BYTES:
        return _parse_by_pairs(data, max_depth)
    try:
        value = _decoder.decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return _parse_by_pairs(data, max_depth)
    if type(value) is not dict and type(value) is not list:
        return value
    keys = _plain_keys(value, max_depth)
    return value if keys is not None and _has_no_more_keys(data, value, keys) else _parse_by_pairs(data, max_depth)


def dump(value: Any) -> bytes:
    """The canonical compact form: key order kept, no escapes beyond the necessary, integers of any size exact."""
    try:
        return _encoder.encode(value)
    except (OverflowError, msgspec.MsgspecError):
        # msgspec knows 64-bit integers only; the standard library writes the rest exactly.
        return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode("utf-8")


def refuse_case_variants(value: dict[str, Any], keys: Collection[str]) -> None:
    """Refuse an envelope that spells one of `keys` in another case (GHSA-4gph-2hhr-5mwg: `Name` read as `name`)."""
    for key in value:
        if key not in keys and key.lower() in keys:
            raise JSONRefused(f"The key {key!a} is a second spelling of {key.lower()!a}.")


_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder()
_CONTAINERS: Final = frozenset({dict, list})
_BEFORE_COLON: Final = frozenset({b'"', b" ", b"\t", b"\r", b"\n"})


def _plain_keys(value: Any, max_depth: int) -> int | None:
    """The number of keys in `value`; None where it is too deep or a key may be a second spelling of one of the protocol's."""
    names: list[str] = []
    containers = [value]
    for container in containers:
        if type(container) is dict:
            names += container
            for member in container.values():
                if type(member) in _CONTAINERS:
                    containers.append(member)
        else:
            for member in container:
                if type(member) in _CONTAINERS:
                    containers.append(member)
    if len(containers) > max_depth and _is_deeper_than(value, max_depth):
        return None
    if not "".join(names).islower():
        for name in names:
            if name not in PROTOCOL_KEYS and name.lower() in PROTOCOL_KEYS:
                return None
    return len(names)


def _has_no_more_keys(data: bytes, value: Any, keys: int) -> bool:
    """Whether the text of `value`, which has so many keys, cannot hold more of them, and so none twice.

    Every key is followed by a colon of its own, so it holds no more where there are no more colons, and none where it is what
    `value` is written as. Otherwise: a key ends with a quote or with blanks before its colon; a quote behind a single backslash
    ends nothing. So what is counted is at least the number of keys. Where it is more than that, this knows nothing.
    """
    if data.count(b":") <= keys or data == dump(value):
        return True
    pieces = data.split(b":")
    pieces.pop()  # Behind the last colon ends no key.
    most = 0
    for piece in pieces:
        if piece[-1:] in _BEFORE_COLON:
            most += 1
    if most > keys:
        most -= sum([piece[-2:] == b'\\"' and piece[-3:] != b'\\\\"' for piece in pieces])
    return most <= keys


def _parse_by_pairs(data: bytes, max_depth: int) -> Any:
    """`parse` with a look at every pair of every object."""
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as bad:
        raise JSONRefused(f"The body is not valid UTF-8 (byte {bad.start}).") from None
    if text.startswith("\ufeff"):
        raise JSONRefused("The body starts with a byte order mark.")
    try:
        value = _decode(text)
    except RecursionError:
        raise JSONRefused(f"The body is nested deeper than {max_depth} levels.") from None
    except json.JSONDecodeError as error:
        raise JSONRefused(f"The body is not valid JSON: {error.msg} at character {error.pos}.") from None
    except JSONRefused:
        raise
    except ValueError:
        raise JSONRefused("The body holds a number with too many digits.") from None
    if data.count(b"{") + data.count(b"[") > max_depth and _is_deeper_than(value, max_depth):
        raise JSONRefused(f"The body is nested deeper than {max_depth} levels.")
    # Only an escape can bring a lone surrogate in: the UTF-8 decoder has refused raw ones.
    if "\\" in text and ("\\ud" in text or "\\uD" in text) and not _is_encodable(value):
        raise JSONRefused("The body holds a lone surrogate.")
    return value


def _refuse_constant(name: str) -> NoReturn:
    raise JSONRefused(f"The body holds {name}, which is not JSON.")


def _parse_float(text: str) -> float:
    value = float(text)
    if value - value != 0.0:  # Infinity minus itself is NaN: the literal overflowed.
        raise JSONRefused("The body holds a number beyond the range of a double.")
    return value


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        seen: set[str] = set()
        repeated = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise JSONRefused(f"The key {repeated!a} appears twice in one object.")
    # One islower() over all keys is cheap and rules the slow path out for most objects.
    if value and not (joined := "".join(value)).islower() and joined != joined.lower():
        lowered: set[str] = set()
        for key in value:
            low = key.lower()
            if low in lowered and low in PROTOCOL_KEYS:
                raise JSONRefused(f"One object spells the key {low!a} in two ways.")
            lowered.add(low)
    return value


_decode = json.JSONDecoder(object_pairs_hook=_unique, parse_float=_parse_float, parse_constant=_refuse_constant).decode


def _is_deeper_than(value: Any, limit: int) -> bool:
    level = [value]
    depth = 0
    while level := [v for v in level if type(v) is dict or type(v) is list]:
        depth += 1
        if depth > limit:
            return True
        level = [child for v in level for child in (v.values() if type(v) is dict else v)]
    return False


def _is_encodable(value: Any) -> bool:
    try:
        json.dumps(value, ensure_ascii=False).encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True
