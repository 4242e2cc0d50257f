"""Canaries: seen wherever they are not at home, whole or in pieces, and never shown."""

from __future__ import annotations

import base64
import hashlib
import json
from itertools import pairwise
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rules.canaries import Canary, CanaryWatch
from rules.model import Action, Finding, Severity, Target, Text

VALUE = "REF-7F3K92QXHM4TB6WD"
ANYWHERE = {"proxy_id": "prx_2", "principal_id": "key_2"}


def watch(**home: object) -> CanaryWatch:
    return CanaryWatch([Canary(id="can_01ab", name="payroll", value=VALUE, **home)])  # type: ignore[arg-type]


def seen(watcher: CanaryWatch, text: str, *, direction: str = "request", **where: str) -> list[Finding]:
    texts = [Text(Target.PROMPT, "/messages/0/content", text)]
    return watcher.scan(texts, direction=direction, **{**ANYWHERE, **where})


def test_a_canary_without_a_home_is_seen_everywhere() -> None:
    [finding] = seen(watch(), f"see {VALUE}.")
    assert (finding.start, finding.end) == (4, 4 + len(VALUE))
    assert (finding.severity, finding.action, finding.pack) == (Severity.CRITICAL, Action.ALERT, "canary")
    assert finding.path == "/messages/0/content"


def test_the_finding_does_not_show_the_value() -> None:
    [finding] = seen(watch(), VALUE)
    assert VALUE not in repr(finding)
    assert finding.evidence == "payroll: REF-…(20)"
    assert VALUE not in repr(Canary(id="can_1", name="n", value=VALUE))


@pytest.mark.parametrize("text", ["", "REF-7F3K92QXHM4TB6W", "ref 7f3k92qxhm4tb6wd", "a plain sentence"])
def test_other_texts_are_no_sightings(text: str) -> None:
    assert seen(watch(), text) == []


def test_case_does_not_matter() -> None:
    assert len(seen(watch(), VALUE.lower())) == 1


@pytest.mark.parametrize("before", ["", "a", "ab", "abc", "the row is: "])
@pytest.mark.parametrize("after", ["", "?", "??", " and more"])
@pytest.mark.parametrize("value", [VALUE, "naïve-token-ÿÿ>>??>>"])
def test_inside_base64_and_hexadecimal_it_is_seen(before: str, after: str, value: str) -> None:
    watcher = CanaryWatch([Canary(id="can_01ab", name="payroll", value=value)])
    data = f"{before}{value}{after}".encode()
    for encoded in (
        base64.b64encode(data).decode(),
        base64.urlsafe_b64encode(data).decode(),
        data.hex(),
        data.hex().upper(),
    ):
        [finding] = seen(watcher, f"see {encoded} there")
        assert 4 <= finding.start < finding.end <= 4 + len(encoded)
        assert finding.rule_id == "CANARY-01AB"
    other = base64.b64encode(f"{before}{value[:-3]}{after}".encode()).decode()
    assert seen(watcher, other) == []


@pytest.mark.parametrize("value", [VALUE, "payroll.secret+42@corp.example", 'Gehälter "Müller" / 2031'])
def test_in_an_address_and_in_json_it_is_seen(value: str) -> None:
    watcher = CanaryWatch([Canary(id="can_01ab", name="payroll", value=value)])
    every = "".join(f"%{byte:02x}" for byte in value.encode())
    encoded = {quote(value), quote(value, safe=""), quote_plus(value), every, every.upper(), json.dumps(value)}
    for spelt in encoded | {json.dumps({"to": value}, ensure_ascii=False)}:
        [finding] = seen(watcher, f"see {spelt} there")
        assert 4 <= finding.start < finding.end <= 4 + len(spelt)


def test_at_home_it_may_be_seen() -> None:
    home = watch(proxy_ids=frozenset({"prx_1"}), principal_ids=frozenset({"key_1"}))
    assert seen(home, VALUE, proxy_id="prx_1", principal_id="key_1") == []
    assert len(seen(home, VALUE, proxy_id="prx_2", principal_id="key_1")) == 1
    assert len(seen(home, VALUE, proxy_id="prx_1", principal_id="key_2")) == 1


def test_at_home_the_other_direction_is_away() -> None:
    prompt = watch(proxy_ids=frozenset({"prx_1"}), direction="request")
    assert seen(prompt, VALUE, proxy_id="prx_1", direction="request") == []
    assert len(seen(prompt, VALUE, proxy_id="prx_1", direction="response")) == 1


def test_a_canary_may_block() -> None:
    [finding] = seen(watch(action=Action.BLOCK), VALUE)
    assert finding.action is Action.BLOCK


def test_a_value_that_begins_another_does_not_hide_it() -> None:
    longer = Canary(id="can_02", name="longer", value=VALUE + "-EXTRA")
    watcher = CanaryWatch([Canary(id="can_01", name="shorter", value=VALUE), longer])
    assert [finding.evidence.split(":")[0] for finding in seen(watcher, longer.value)] == ["longer"]


def test_special_characters_are_plain_text() -> None:
    watcher = CanaryWatch([Canary(id="can_1", name="odd", value="a+b(c)[d].*?")])
    assert len(seen(watcher, "x a+b(c)[d].*? y")) == 1
    assert seen(watcher, "aab(c)d...") == []


def test_without_canaries_nothing_is_done() -> None:
    watcher = CanaryWatch()
    assert not watcher
    assert seen(watcher, VALUE) == []
    assert watcher.stream(Target.COMPLETION, "/x", direction="response", **ANYWHERE).feed(VALUE) == []


def test_a_value_that_begins_another_does_not_hide_it_in_base64() -> None:
    longer = Canary(id="can_02", name="longer", value=VALUE + "-EXTRA")
    watcher = CanaryWatch([Canary(id="can_01", name="shorter", value=VALUE), longer])
    encoded = base64.b64encode(f"it is {longer.value}.".encode()).decode()
    assert [finding.evidence.split(":")[0] for finding in seen(watcher, encoded)] == ["longer"]


def test_sightings_in_one_text_are_bounded() -> None:
    assert len(seen(watch(), f"{VALUE} " * 1000)) == 20


def test_what_is_at_home_hides_nothing_that_is_not() -> None:
    at_home = Canary(id="can_01", name="home", value=VALUE, proxy_ids=frozenset({"prx_2"}))
    watcher = CanaryWatch([at_home, Canary(id="can_02", name="away", value="another text")])
    [finding] = seen(watcher, f"{VALUE} " * 1000 + "another text")
    assert finding.evidence.startswith("away")


@pytest.mark.parametrize("value", ["REF-{}", "{}" + "ÄҖ界🜚" * 45])
def test_as_many_canaries_as_there_may_be_are_looked_for_in_silence(
    value: str, capfd: pytest.CaptureFixture[str]
) -> None:
    """RE2 writes patterns that it has no memory for to the standard error stream, and the values with them."""
    random = [hashlib.sha256(str(number).encode()).hexdigest()[:20].upper() for number in range(500)]
    canaries = [Canary(id=f"can_{number}", name="n", value=value.format(random[number])) for number in range(500)]
    watcher = CanaryWatch(canaries)
    last = canaries[-1].value
    for said in (last, last.upper(), last.encode().hex(), base64.b64encode(last.encode()).decode()):
        assert [finding.rule_id for finding in seen(watcher, f"see {said} there")] == ["CANARY-499"]
    assert seen(watcher, "see nothing there") == []
    assert capfd.readouterr().err == ""


@given(st.lists(st.integers(0, 80), max_size=12), st.booleans())
def test_every_split_of_a_stream_gives_the_findings_of_the_whole_text(cuts: list[int], twice: bool) -> None:
    text = f"before {VALUE} between {VALUE.lower()} after" if twice else f"{VALUE}"
    places = [0, *sorted(min(cut, len(text)) for cut in cuts), len(text)]
    stream = watch().stream(Target.PROMPT, "/messages/0/content", direction="request", **ANYWHERE)
    found = [finding for start, end in pairwise(places) for finding in stream.feed(text[start:end])]
    assert found == seen(watch(), text)
