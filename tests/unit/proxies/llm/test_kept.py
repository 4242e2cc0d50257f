"""What conversations leave is kept for its caller, as long as it counts, and for so many of them."""

from __future__ import annotations

from proxies.llm.kept import MAX_KEPT, Kept, Key

FIRST: Key = ("prx", "key", "resp_1")


def kept_texts(seconds: float = 60.0, max_weight: int = 100) -> Kept[str]:
    return Kept(seconds=seconds, max_weight=max_weight)


def test_a_value_is_kept_by_proxy_caller_and_id() -> None:
    kept = kept_texts()
    kept.keep(FIRST, "a", 1)
    kept.keep(FIRST, "b", 1)
    assert kept.find(FIRST) == "b"
    assert kept.find(("prx", "other", "resp_1")) is None
    assert repr(kept) == "<Kept 1>"


def test_a_value_is_forgotten_when_its_time_is_over() -> None:
    kept = kept_texts(seconds=0.0)
    kept.keep(FIRST, "a", 1)
    assert len(kept) == 1
    assert kept.find(FIRST) is None
    assert len(kept) == 0


def test_the_oldest_go_first_by_number_and_by_weight() -> None:
    kept = kept_texts(max_weight=MAX_KEPT)
    for number in range(MAX_KEPT + 1):
        kept.keep(("prx", "key", f"resp_{number}"), "", 0)
    assert len(kept) == MAX_KEPT
    assert kept.find(("prx", "key", "resp_0")) is None
    assert kept.find(FIRST) == ""
    kept.keep(FIRST, "heavy", MAX_KEPT)
    kept.keep(("prx", "key", "last"), "light", 1)
    assert (len(kept), kept.find(FIRST), kept.find(("prx", "key", "last"))) == (1, None, "light")
