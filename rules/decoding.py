"""Encodings that are undone before a text is read again: base64, base32, hexadecimal, binary, escapes, percent,
quoted-printable and entities.

Each decoder has a trigger, a pattern without which it has nothing to do; Hyperscan looks for the triggers while it
scans the text anyway. Runs (base64) come back as segments that point to the whole run; characters written one by one
(`%69`) are replaced where they stand, so that what surrounds them can be read with them.
"""

from __future__ import annotations

import base64
import binascii
import html
import re
from collections.abc import Callable, Iterator
from string import ascii_letters, digits
from typing import NamedTuple
from urllib.parse import unquote

from rules.derived_view import MAX_VIEW_CHARS, Course, Piece, Segment, is_readable, rewritten
from rules.patterns import Find, PatternKey, find_with, key_of

MAX_RUNS = 2_000
"""Encoded runs of one text that each decoder looks at."""
MAX_CHUNKS = 4
"""Views that one encoded run may fill; what lies behind stays encoded."""
OVERLAP_CHARS = 256
"""What two chunks of a long run share, and how much plain text around replaced characters is read with them."""

_Reader = Callable[[str], str]


class Run(NamedTuple):
    """So many characters of one kind: looked for in a text in which those are marked, which takes next to nothing."""

    marks: bytes
    """By byte: what it becomes."""
    least: bytes

    @classmethod
    def of(cls, members: str, least: int) -> Run:
        """A run of at least so many of some characters."""
        marks = bytes(ord("x") if code < 128 and chr(code) in members else ord(" ") for code in range(256))
        return cls(marks, b"x" * least)


class Source:
    """A text to decode, in characters and in the bytes that RE2 reads."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.data = text.encode("utf-8", "replace")
        self._is_ascii = len(self.data) == len(text)
        self._byte = self._char = 0

    def chars(self, position: int) -> int:
        """The character offset of a byte offset."""
        if self._is_ascii:
            return position
        if position < self._byte:
            self._byte = self._char = 0
        self._char += len(self.data[self._byte : position].decode("utf-8", "ignore"))
        self._byte = position
        return self._char

    def spans(self, find: Find, run: Run | None = None) -> Iterator[tuple[int, int]]:
        """The byte spans of the first matches of a pattern, each of which begins with the first characters of a `run`."""
        position = 0
        marked = self.data.translate(run.marks) if run else b""
        for _ in range(MAX_RUNS):
            if run and (position := marked.find(run.least, position)) < 0:
                return
            found = find(self.data, position, len(self.data))
            if found is None:
                return
            yield found[0]
            position = found[0][1]


class Decoder(NamedTuple):
    """One encoding."""

    name: str
    trigger: PatternKey
    decode: Callable[[Source], Iterator[Segment]]
    is_its_own: bool = False
    """Whether what it makes of a text becomes the text again by the same: it is not undone twice."""


def runs(source: Source, find: Find, run: Run | None, chunk_chars: int, read: _Reader) -> Iterator[Segment]:
    """What the matches of a pattern decode to. Long ones are read in chunks, up to the first that is not readable."""
    step = chunk_chars - chunk_chars * OVERLAP_CHARS // MAX_VIEW_CHARS // 4 * 4
    for start, end in source.spans(find, run):
        coded = source.data[start : min(end, start + MAX_CHUNKS * chunk_chars)].decode("utf-8", "replace")
        if not is_readable(read(coded[:64])):
            continue
        place = (Piece(0, source.chars(start), source.chars(end), Course.WHOLE),)
        for at in range(0, max(1, len(coded) - chunk_chars + step), step):
            text = read(coded[at : at + chunk_chars])
            if not is_readable(text):
                break
            yield Segment(text, place)


def in_place(source: Source, find: Find, token: re.Pattern[str], mark: str, read: _Reader) -> Iterator[Segment]:
    """Windows of the text with the tokens in them replaced; `find` finds one with RE2, and each begins with `mark`."""
    position = 0
    while found := find(source.data, position, len(source.data)):
        start, end = found[0]
        first = source.chars(start)
        low = max(0, first - OVERLAP_CHARS)
        window = source.text[low : low + MAX_VIEW_CHARS]
        tokens = list(_tokens(window, token, mark))
        if not tokens:
            return
        window = window[: tokens[-1].end() + OVERLAP_CHARS]
        segment = rewritten(window, low, tokens, lambda found: read(found[0]))
        if is_readable(segment.text):
            yield segment
        # The last token is read again with what stands around it, on both sides of the cut.
        position = max(end, start + len(window[first - low : tokens[-1].start()].encode("utf-8", "replace")))


def _tokens(text: str, token: re.Pattern[str], mark: str) -> Iterator[re.Match[str]]:
    """The tokens of a text, by the character with which each begins."""
    at = text.find(mark)
    while at >= 0:
        match = token.match(text, at)
        if match:
            yield match
        at = text.find(mark, match.end() if match else at + 1)


_POSSIBLE = bytes({*b"\t\n\r", *range(0x20, 0xF5)} - {0x7F, 0xC0, 0xC1})
"""The bytes of readable text in UTF-8."""
_NO_HEXADECIMAL = re.compile("0x|[^0-9A-Fa-f]")


def _bytes_read(data: bytes) -> str:
    """Bytes as text: UTF-16 where every second byte is zero (as PowerShell writes commands), UTF-8 otherwise; nothing where
    so many cannot be of a text that it would not be readable, as most hashes and keys."""
    if len(data) >= 8 and not any(data[1:8:2]) and data[0]:
        return data[: len(data) // 2 * 2].decode("utf-16-le", "replace")
    if len(data.translate(None, _POSSIBLE)) * 10 > len(data):
        return ""
    return data.decode("utf-8", "replace")


_TO_STANDARD_ALPHABET = str.maketrans("-_", "+/", "\r\n=")


def _from_base64(run: str) -> str:
    compact = run.translate(_TO_STANDARD_ALPHABET)
    compact = compact[: len(compact) - (len(compact) % 4 == 1)]
    try:
        return _bytes_read(base64.b64decode(compact + "=" * (-len(compact) % 4)))
    except (binascii.Error, ValueError):
        return ""


def _from_base32(run: str) -> str:
    compact = run.rstrip("=")
    # No number of bytes ends in a group of so many characters: the last one belongs to something else.
    compact = compact[: len(compact) - (len(compact) % 8 in (1, 3, 6))]
    return _bytes_read(base64.b32decode(compact + "=" * (-len(compact) % 8)))


def _from_hexadecimal(run: str) -> str:
    hexadecimal = run if run.isalnum() and "x" not in run else _NO_HEXADECIMAL.sub("", run)
    return _bytes_read(bytes.fromhex(hexadecimal[: len(hexadecimal) // 2 * 2]))


def _from_binary(run: str) -> str:
    bits = re.sub("[^01]", "", run)
    return bytes(int(bits[at : at + 8], 2) for at in range(0, len(bits) - 7, 8)).decode("utf-8", "replace")


def _from_escapes(token: str) -> str:
    codes = [int(code.strip("{}"), 16) for code in re.findall(r"\\(?:[xuU])(\{?[0-9A-Fa-f]+\}?)", token)]
    if "u" not in token.lower():
        return bytes(codes).decode("utf-8", "replace")
    text = "".join(chr(code) for code in codes if code < 0x110000)
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _from_percent(token: str) -> str:
    """Undone twice; `%2569` is `%69` is `i`."""
    return unquote(unquote(token, errors="replace"), errors="replace")


def _from_quoted_printable(token: str) -> str:
    """Bytes as `=69`; a line that ends with `=` goes on in the next one."""
    return binascii.a2b_qp(token).decode("utf-8", "replace")


def _from_entities(token: str) -> str:
    return html.unescape(token).replace("\xa0", " ")


def _run_decoder(
    name: str, trigger: str, pattern: str, chunk_chars: int, read: _Reader, run: Run | None = None
) -> Decoder:
    find = find_with(key_of(pattern, ""))
    return Decoder(name, key_of(trigger, ""), lambda source: runs(source, find, run, chunk_chars, read))


def _token_decoder(name: str, trigger: str, pattern: str, mark: str, read: _Reader) -> Decoder:
    find, token = find_with(key_of(pattern, "")), re.compile(pattern)
    return Decoder(name, key_of(trigger, "i"), lambda source: in_place(source, find, token, mark, read))


_BASE64 = "[A-Za-z0-9+/_-]"
_HEX = "[0-9A-Fa-f]"
_BASE32 = "[A-Z2-7]"

ENCODINGS = (
    _run_decoder(
        "base64",
        _BASE64 + "{24}",
        rf"(?:{_BASE64}{{76}}\r?\n|{_BASE64}{{64}}\r?\n)+{_BASE64}{{1,76}}={{0,2}}|{_BASE64}{{24,}}={{0,2}}",
        MAX_VIEW_CHARS // 3 * 4,
        _from_base64,
        Run.of(f"{ascii_letters}{digits}+/_-", 24),
    ),
    _run_decoder(
        "hex",
        # Of eleven bytes one begins with a digit, and what begins with a digit is found sooner.
        rf"{_HEX}{{24}}|[0-9]{_HEX}(?:(?: |:|-|, ?)(?:0x)?{_HEX}{{2}}){{5}}",
        rf"(?:{_HEX}{{2}}){{12,}}|(?:(?:0x)?{_HEX}{{2}}(?: |:|-|, ?)){{11,}}(?:0x)?{_HEX}{{2}}",
        MAX_VIEW_CHARS * 2,
        _from_hexadecimal,
    ),
    _run_decoder(
        "binary",
        "[01]{8}[ ,]?[01]{8}[ ,]?[01]{8}[ ,]?[01]{8}",
        "[01]{8}(?:[ ,]?[01]{8}){3,}",
        MAX_VIEW_CHARS * 9,
        _from_binary,
    ),
    _token_decoder(
        "escapes",
        r"\\(?:x|u00|u\{|U000000)[2-7][0-9a-f]",
        rf"(?:\\+x{_HEX}{{2}}|\\+u{_HEX}{{4}}|\\+u\{{{_HEX}{{1,6}}\}}|\\+U{_HEX}{{8}})+",
        "\\",
        _from_escapes,
    ),
    _token_decoder(
        "percent",
        "%(?:25)?[2-7][0-9a-f]",
        f"(?:%(?:25){{0,2}}{_HEX}{{2}})+",
        "%",
        _from_percent,
    ),
    _run_decoder("base32", _BASE32 + "{24}", f"{_BASE32}{{24,}}={{0,6}}", MAX_VIEW_CHARS // 5 * 8, _from_base32),
    _token_decoder(
        "quoted-printable",
        # Links hold such a byte here and there, so it takes several together, or the name.
        "=[2-7][0-9a-f]=[2-7][0-9a-f]=[2-7][0-9a-f]|quoted-printable",
        rf"(?:={_HEX}{{2}}|=\r?\n)+",
        "=",
        _from_quoted_printable,
    ),
    _token_decoder(
        "entities",
        "&(?:#[0-9x]|(?:lt|gt|quot|apos|nbsp|amp|colon|sol|lpar|rpar|comma|period|newline|tab|shy|zwj|zwnj);)",
        "(?:&#[0-9]{1,7};?|&#[xX][0-9A-Fa-f]{1,6};?|&[A-Za-z]{2,10};)+",
        "&",
        _from_entities,
    ),
)
