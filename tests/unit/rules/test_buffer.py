"""Where in the texts of a buffer RE2 looks for a pattern, by what Hyperscan found."""

from __future__ import annotations

import pytest

from rules.buffer import APART_BYTES, TextBuffer
from rules.hyperscan_database import MAX_ENDS, Hits
from rules.model import Target, Text
from rules.patterns import Regexps, key_of, reach_of, regexp
from tests.unit.rules.databases import whole_texts

KEYS = [key_of(r"\bsecret\s+words\b", "i"), key_of("token=[0-9]{4}", "")]
REGEXPS = Regexps(KEYS, [reach_of(key) for key in KEYS])
SAMPLES = ["Secret -- words", "token=1234"]


def found(*texts: str) -> tuple[TextBuffer, Hits]:
    buffer = TextBuffer([Text(Target.PROMPT, f"/{index}", text) for index, text in enumerate(texts)])
    return buffer, whole_texts(KEYS).scan(buffer.data, buffer.starts)


@pytest.mark.parametrize("number", range(len(KEYS)))
@pytest.mark.parametrize("fillers", [1, 10, APART_BYTES // 10, 200])
def test_windows_hold_every_match_and_those_that_are_close_are_one(number: int, fillers: int) -> None:
    filler = " ".join(["filler..."] * fillers)
    text = filler.join(["", *[SAMPLES[number]] * 3, ""]).replace(SAMPLES[number], f" {SAMPLES[number]} ")
    for texts, index in (([text], 0), (["before", text, "after"], 1)):
        buffer, hits = found(*texts)
        windows = buffer.windows(index, hits, REGEXPS, number)
        assert windows is not None
        assert len(windows) == (3 if fillers == 200 else 1)
        assert list(windows) == sorted(windows)
        for match in regexp(KEYS[number]).finditer(text.encode()):
            assert any(low <= match.start() and match.end() <= high for low, high in windows)


@pytest.mark.parametrize("number", range(len(KEYS)))
def test_a_pattern_with_very_many_places_may_be_anywhere(number: int) -> None:
    buffer, hits = found(" ".join([SAMPLES[number]] * (MAX_ENDS + 1)))
    assert buffer.windows(0, hits, REGEXPS, number) is None
