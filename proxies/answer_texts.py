"""The texts of one streamed answer on their way to the client: inspected, redacted, restored, piece by piece.

Each running text goes through the rules, then a redactor that holds back what a rule may still find, then an unmasker
that holds back what may become a placeholder. The arguments of a tool call wait until they are complete where a rule
blocks what stands in them: a client can use nothing of them before, and no part of a blocked call reaches it. Where
nothing is to be masked, restored or held, a text is only inspected.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any, Final, Literal

import msgspec

from proxies.exchange import Exchange
from proxies.pipeline import ResponseInspector, inspect_response
from proxies.refusal import Refusal
from proxies.steps.mask import SIGNED_TYPES, masking_failed, span_of
from proxies.steps.restore import HOSTED_CALLS, drop_stale
from rules.masking.json_strings import JSONStrings, Transformer
from rules.masking.redact import MAX_HELD_CHARACTERS, HeldTooLong, Redactor
from rules.masking.spans import Span, for_good
from rules.masking.unmask import Unmasker
from rules.model import Finding, Target, Text

MAX_REPEATED_CHARACTERS: Final = 8 * 1024 * 1024
"""Bound of the texts that are kept to be repeated at the end of a stream."""
SENT_COST_CHARACTERS: Final = 64
"""What remembering one of them costs besides."""
MAX_BROKEN_CHARACTERS: Final = 256 * 1024
"""Bound of arguments that are kept to be read again as plain text, should they turn out not to be JSON."""
MAX_WAITING_CHARACTERS: Final = 4 * 1024 * 1024
"""Bound of all arguments of one answer that wait until they are complete."""

OWN_CALLS: Final = frozenset({"function_call_arguments", "custom_tool_call_input", "apply_patch_call_operation_diff"})
"""Events about calls that the caller carries out itself."""
_EVENT: Final = "response."

Place = Literal["said", "called", "sealed"]
"""Which values may stand in a text: those of an answer, those that a policy leaves in calls that the caller carries out, or none
of the caller's: in reasoning and in calls that the provider carries out."""

Mode = Literal["text", "arguments", "fixed"]
"""What a running text is: plain, JSON in pieces, or something that must not be changed (signed reasoning)."""


class Piece(msgspec.Struct, frozen=True):
    """The next piece of one running text, and the member of the event in which it stands."""

    key: str
    target: Target
    path: str
    text: str
    holder: dict[str, Any] = {}
    member: str = ""
    around: dict[str, Any] = {}
    """The object that describes the text, with members that fit only it: probabilities, offsets."""
    mode: Mode = "text"
    restorable: bool = True
    """Whether values may be put back: not into a call that the provider carries out."""


class AnswerTexts:
    """All running texts of one answer. `repeats` says that the API sends whole texts again at their end."""

    __slots__ = (
        "_channels",
        "_exchange",
        "_inspector",
        "_repeats",
        "_sent",
        "_sent_characters",
        "is_active",
    )

    def __init__(self, exchange: Exchange, *, repeats: bool = False) -> None:
        self._exchange = exchange
        self._inspector = ResponseInspector(exchange)
        self._channels: dict[str, _Channel] = {}
        self._repeats = repeats
        self._sent: dict[tuple[bytes, Place], str] = {}
        self._sent_characters = 0
        self.is_active = bool(exchange.masking) or exchange.protection.holds_back
        """Whether texts may come out changed."""

    def feed(self, piece: Piece) -> None:
        """Inspect one piece and leave in the event what may go out of it; raises `Refusal`."""
        if not self.is_active:
            self._inspector.feed(piece.key, piece.target, piece.path, piece.text)
            return
        channel = self._channels.get(piece.key)
        if channel is None:
            channel = self._channels[piece.key] = self._open(piece)
        out = self._guarded(lambda: channel.feed(piece.text))
        if out != piece.text:
            piece.holder[piece.member] = out
            drop_stale((piece.holder, piece.around))

    def close_text(self, key: str) -> str:
        """End one text; what was held of it and may go out now."""
        channel = self._channels.pop(key, None)
        if channel is None:
            self._inspector.close_text(key)
            return ""
        rest = self._guarded(channel.close)
        if self._repeats:
            self._remember(channel)
        return rest

    @property
    def open_count(self) -> int:
        """How many texts are being inspected."""
        return self._inspector.open_count

    @property
    def held_characters(self) -> int:
        """How much is not decided yet, of all texts together."""
        return sum([channel.held_characters for channel in self._channels.values()])

    @property
    def is_holding(self) -> bool:
        """Whether something of a text waits that may go out changed."""
        return any(channel.held_characters or channel.waiting_characters for channel in self._channels.values())

    def open_keys(self) -> list[str]:
        """The texts that have not ended."""
        return list(self._channels)

    def close(self) -> None:
        """End the inspection of every text that has not ended; what they hold does not go out."""
        self._inspector.close()

    def repeat(self, value: Any, path: str = "") -> list[str]:
        """Put the texts that went out in the place of those that an event repeats; the places where that was done."""
        return self._repeated(value, path, "said") if self._sent else []

    def _repeated(self, value: Any, path: str, place: Place) -> list[str]:
        """The texts of one place may be the same as those of another, in which other values may stand."""
        if type(value) is dict and place != "sealed":
            place = _place(value, place)
        places: list[str] = []
        members = value.items() if type(value) is dict else enumerate(value)
        for key, member in list(members):
            below = f"{path}/{str(key).replace('~', '~0').replace('/', '~1')}"
            if type(member) is str:
                digest = _digest(member)
                sent = self._sent.get((digest, place))
                if sent is None and place != "sealed":
                    sent = self._sent.get((digest, "sealed"))
                if sent is not None:
                    places.append(below)
                    if sent != member:
                        value[key] = sent
                        if type(value) is dict:
                            drop_stale((value,))
            elif type(member) is dict or type(member) is list:
                places += self._repeated(member, below, place)
        return places

    def _open(self, piece: Piece) -> _Channel:
        exchange = self._exchange
        restorable = piece.restorable and (piece.target is not Target.TOOL_ARGS or exchange.restores_tool_arguments)

        def running(key: str) -> _RunningText:
            return _RunningText(
                exchange,
                self._inspector,
                exchange.protection.held(piece.target),
                key,
                piece,
                restorable=restorable,
            )

        waits = piece.target is Target.TOOL_ARGS and exchange.protection.streams.holds_arguments
        if piece.mode == "arguments":
            return _Channel(_Arguments(exchange, piece, running), piece, keep=self._repeats, waits=waits)
        return _Channel(running(piece.key), piece, keep=self._repeats, waits=waits)

    def _guarded(self, work: Callable[[], str]) -> str:
        """Run a transformer; whatever goes wrong in one ends the answer, and what was held stays held (RED-STR-7)."""
        try:
            out = work()
            if self.held_characters > MAX_HELD_CHARACTERS:
                raise HeldTooLong(f"more than {MAX_HELD_CHARACTERS} characters of one answer wait")
            if sum(channel.waiting_characters for channel in self._channels.values()) > MAX_WAITING_CHARACTERS:
                raise _arguments_too_large()
            return out
        except Refusal:
            raise
        except Exception as error:
            raise masking_failed(self._exchange, error) from error

    def _remember(self, channel: _Channel) -> None:
        self._sent_characters += channel.characters + SENT_COST_CHARACTERS
        if self._sent_characters > MAX_REPEATED_CHARACTERS:
            raise masking_failed(self._exchange, HeldTooLong("the answer is too long to be repeated"))
        self._sent[channel.digest(), channel.place] = channel.sent()


class _Channel:
    """One running text, and what of it has gone out where that will be repeated."""

    def __init__(self, transformer: _RunningText | _Arguments, piece: Piece, *, keep: bool, waits: bool) -> None:
        self._transformer = transformer
        is_sealed = not piece.restorable or piece.mode == "fixed"
        self.place: Place = "sealed" if is_sealed else "called" if piece.target is Target.TOOL_ARGS else "said"
        self._waits = waits
        self._waiting: list[str] = []
        self.waiting_characters = 0
        """How much is decided and waits for the rest of its text."""
        self._keep = keep
        self._read = hashlib.blake2b(digest_size=16)
        self._sent: list[str] = []
        self.characters = 0

    @property
    def held_characters(self) -> int:
        return self._transformer.held_characters

    def feed(self, text: str) -> str:
        out = self._transformer.feed(text)
        if self._waits:
            self._waiting.append(out)
            self.waiting_characters += len(out)
            out = ""
        if self._keep:
            self._read.update(text.encode("utf-8", "surrogatepass"))
            self._note(out)
        return out

    def close(self) -> str:
        out = "".join(self._waiting) + self._transformer.close()
        if self._keep:
            self._note(out)
        return out

    def digest(self) -> bytes:
        return self._read.digest()

    def sent(self) -> str:
        return "".join(self._sent)

    def _note(self, out: str) -> None:
        self._sent.append(out)
        self.characters += len(out)
        if self.characters > MAX_REPEATED_CHARACTERS:
            raise HeldTooLong("the answer is too long to be repeated")


class _RunningText:
    """Inspect, redact, restore."""

    def __init__(
        self,
        exchange: Exchange,
        inspector: ResponseInspector,
        held: frozenset[str],
        key: str,
        piece: Piece,
        *,
        restorable: bool,
    ) -> None:
        self._exchange = exchange
        self._inspector = inspector
        self._held = held
        self._key = key
        self._target = piece.target
        self._path = piece.path
        self._is_fixed = piece.mode == "fixed"
        pending = exchange.protection.ruleset.unfinished(held, piece.target)
        self._redactor = Redactor(pending, self._replace, exchange.masking)
        session = exchange.masking if restorable else None
        self._unmasker = Unmasker(session, exchange.restored) if session else None

    @property
    def held_characters(self) -> int:
        return self._redactor.held_characters + (self._unmasker.held_characters if self._unmasker else 0)

    def feed(self, text: str) -> str:
        found = self._inspector.feed(self._key, self._target, self._path, text)
        if self._is_fixed:
            return text
        undecided = self._inspector.undecided_from(self._key, self._held) if self._held else None
        out = self._redactor.feed(text, _spans(found), undecided)
        return self._unmasker.feed(out) if self._unmasker else out

    def close(self) -> str:
        found = self._inspector.close_text(self._key)
        if self._is_fixed:
            return ""
        out = self._redactor.close(_spans(found))
        return self._unmasker.feed(out) + self._unmasker.close() if self._unmasker else out

    def _replace(self, span: Span, value: str) -> str:
        self._exchange.note_redaction(span.label, "response", span.rule_id)
        return for_good(span, value)


class _Arguments:
    """The arguments of a tool call: every string of the JSON is a text of its own."""

    def __init__(self, exchange: Exchange, piece: Piece, running: Callable[[str], _RunningText]) -> None:
        self._exchange = exchange
        self._piece = piece
        self._running = running
        self._count = 0
        self._open: _RunningText | None = None
        self._raw: list[str] = []
        self._raw_characters = 0
        self._strings = JSONStrings(self._make, self._make)

    @property
    def held_characters(self) -> int:
        return self._open.held_characters if self._open else 0

    def feed(self, text: str) -> str:
        if self._raw_characters <= MAX_BROKEN_CHARACTERS:
            self._raw.append(text)
            self._raw_characters += len(text)
        return self._strings.feed(text)

    def close(self) -> str:
        rest = self._strings.close()
        if not self._strings.is_json:
            # What was read string by string is read again as the plain text that it is.
            whole = Text(self._piece.target, self._piece.path, "".join(self._raw))
            inspect_response(self._exchange, [whole])
        return rest

    def _make(self) -> Transformer:
        self._count += 1
        self._open = self._running(f"{self._piece.key}#{self._count}")
        return self._open


def _place(value: dict[str, Any], around: Place) -> Place:
    """What may stand below an object, by what it says that it is: an item of an answer, or an event."""
    kind = value.get("type")
    if type(kind) is not str:
        return around
    if kind.startswith(_EVENT):
        name = kind.removeprefix(_EVENT).rpartition(".")[0]
        if name in OWN_CALLS:
            return "called"
        is_call = "_call" in name and "_call_output" not in name
        return "sealed" if name.startswith("reasoning") or is_call else around
    if kind in SIGNED_TYPES or kind in HOSTED_CALLS:
        return "sealed"
    return "called" if kind.endswith("_call") else around


def _arguments_too_large() -> Refusal:
    return Refusal(
        502,
        "upstream_too_large",
        "The arguments of a tool call are too large to be held until all of them are decided.",
        remediation="Ask an administrator for the mode 'detect-only' for the rules that block arguments.",
        outcome="upstream_error",
    )


def _spans(found: list[Finding]) -> list[Span]:
    return [span_of(finding) for finding in found]


def _digest(text: str) -> bytes:
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()
