"""The binding's traps (detection §1.2) under load."""

from __future__ import annotations

import gc
import threading
from hashlib import sha256

import hyperscan
import pytest

from rules import loaded_database
from rules.database_parts import Part
from rules.hyperscan_database import (
    MAX_ENDS,
    BlockDatabase,
    BlockPart,
    EngineError,
    StreamDatabase,
    StreamPart,
    compile_block,
    compile_stream,
)
from rules.patterns import PatternKey, key_of
from rules.prefilter import LONG_RUN
from tests.unit.rules.databases import block_part, in_pieces, of_keys, stream_part, whole_texts

KEYS = [PatternKey("needle", ""), PatternKey(r"\bx{1,3}\b", "i"), PatternKey(r"end$", ""), PatternKey("é.{0,9}ü", "s")]


@pytest.fixture(scope="module")
def block() -> BlockDatabase:
    return whole_texts(KEYS)


@pytest.fixture(scope="module")
def database() -> StreamDatabase:
    return in_pieces(KEYS)


def test_a_scan_names_the_patterns_and_where_each_first_ends(block: BlockDatabase) -> None:
    assert block.scan(b"a needle, XX, needle xx end") == {0: 8, 1: 12, 2: 27}
    assert block.scan("é🙂🙂🙂🙂🙂🙂🙂🙂🙂ü".encode()) == {3: 40}
    assert block.scan(b"") == {}


def test_numbers_can_be_given() -> None:
    block = BlockDatabase([block_part(KEYS[:2], (7, 40))])
    assert block.scan(b"a needle, XX") == {7: 8, 40: 12}
    stream = StreamDatabase([stream_part(KEYS[:2], (7, 40))]).open_stream()
    stream.feed(b"a needle, XX ")
    assert stream.hits == {7: 8, 40: 12}
    stream.close()


def test_a_stream_finds_patterns_across_pieces_and_at_the_end(database: StreamDatabase) -> None:
    stream = database.open_stream()
    for piece in (b"a nee", b"dle, the e", b"nd"):
        stream.feed(piece)
    assert stream.hits == {0: 8}
    stream.close()
    assert stream.hits == {0: 8, 2: 17}
    stream.close()
    with pytest.raises(EngineError):
        stream.feed(b"x")


def test_thousands_of_open_streams_keep_their_own_hits(database: StreamDatabase) -> None:
    streams = [database.open_stream() for _ in range(3000)]
    gc.collect()
    for number, stream in enumerate(streams):
        stream.feed(b"nee" if number % 2 else b"pin")
    for stream in streams:
        stream.feed(b"dle x ")
    assert all(stream.hits == ({0: 6, 1: 8} if number % 2 else {1: 8}) for number, stream in enumerate(streams))
    for stream in streams[::2]:
        stream.close()
    # The other half is collected unclosed, which must free its state as well.
    del stream, streams
    gc.collect()
    last = database.open_stream()
    last.feed(b"needle")
    assert last.hits == {0: 6}
    last.close()


def test_four_threads_scan_and_stream_on_one_database(block: BlockDatabase, database: StreamDatabase) -> None:
    failures: list[object] = []
    shared = [database.open_stream() for _ in range(400)]

    def work(part: int) -> None:
        for number in range(400):
            if block.scan(b"." * 3000 + b"needle") != {0: 3006}:
                failures.append("scan")
            stream = database.open_stream()
            for piece in (b"nee" * 100, b"nee", b"dle xx"):
                stream.feed(piece)
            stream.close()
            if stream.hits != {0: 306, 1: 309}:
                failures.append(stream.hits)
            if number % 4 == part:
                # A stream may be closed by another thread than the one that opened it.
                shared[number].feed(b"needle")
                shared[number].close()

    threads = [threading.Thread(target=work, args=(part,)) for part in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert all(stream.hits == {0: 6} for stream in shared)


def test_a_database_from_elsewhere_is_refused() -> None:
    block, stream = compile_block(of_keys(KEYS)).data, compile_stream(of_keys(KEYS, every=False)).data
    for data in (b"", block[: len(block) // 2], b"\0" * 100):
        with pytest.raises(EngineError):
            BlockPart(Part((), memoryview(data)))
        with pytest.raises(EngineError):
            StreamPart(Part((), memoryview(data)))
    with pytest.raises(EngineError):
        StreamDatabase([StreamPart(Part((), memoryview(block)))]).open_stream()
    with pytest.raises(EngineError):
        BlockDatabase([BlockPart(Part((), memoryview(stream)))]).scan(b"needle")


def test_rulesets_with_the_same_part_hold_it_once_and_let_it_go_with_the_last_of_them() -> None:
    """What a policy of the same packs adds is a few lists; the database takes megabytes."""
    keys = [PatternKey(word, "") for word in ("noodle", "fork", "spoon")]
    block, stream = compile_block(of_keys(keys)).data, compile_stream(of_keys(keys, every=False)).data
    blocks = [BlockPart(Part(numbers, memoryview(bytes(block)))) for numbers in ((0, 1, 2), (7, 8, 9))]
    streams = [StreamPart(Part((0, 1, 2), memoryview(bytes(stream)))) for _ in range(2)]
    assert blocks[0].database is blocks[1].database
    assert streams[0].database is streams[1].database
    assert streams[0].close_lock is streams[1].close_lock
    assert blocks[0].database is not streams[0].database
    first, second = (BlockDatabase([part]).scan(b"a noodle") for part in blocks)
    assert [first, second] == [{0: 8}, {7: 8}]

    kept = [key for key in loaded_database._in_use if key[0] in (sha256(block).digest(), sha256(stream).digest())]
    assert len(kept) == 2
    del blocks, streams
    gc.collect()
    assert not set(kept) & set(loaded_database._in_use)


def test_patterns_that_do_not_compile_together_are_an_engine_error() -> None:
    with pytest.raises(EngineError):
        compile_block([])


class _Broken:
    """Stands for a database whose engine fails at run time, which cannot be provoked from outside."""

    def scan(self, *_arguments: object, **_options: object) -> object:
        raise hyperscan.error("out of memory")

    def __getattr__(self, name: str) -> object:
        raise hyperscan.error("out of memory")


def test_a_failing_engine_is_an_engine_error_and_never_an_empty_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    block, database = whole_texts(KEYS), in_pieces(KEYS)
    assert block.scan(b"") == {}
    stream = database.open_stream()
    with monkeypatch.context() as patched:
        patched.setattr(block._local, "searches", [[(_Broken().scan, block._parts[0].note, None)], [], []])
        patched.setattr(stream, "_open", [(database._parts[0], _Broken())])
        with pytest.raises(EngineError):
            block.scan(b"needle")
        with pytest.raises(EngineError):
            stream.feed(b"needle")
        patched.setattr(database._parts[0], "database", _Broken())
        with pytest.raises(EngineError):
            database.open_stream()
    stream.close()


@pytest.mark.parametrize(
    ("pattern", "text"),
    [(r"abc|a.|[xy]1", "q7ignoreЖq7q7ЖЖx1"), ("[жЖ]|a.", "ignoreignoreignoreЖ"), ("Ж|a.", "ignoreignoreignoreЖ")],
)
def test_a_match_at_the_very_end_of_a_text_is_not_missed(pattern: str, text: str) -> None:
    assert 0 in whole_texts([PatternKey(pattern, "")]).scan(text.encode())


def test_sparse_patterns_tell_all_their_places_up_to_a_bound() -> None:
    block = whole_texts([PatternKey("needles", ""), PatternKey("[a-z]{5}", "")])
    hits = block.scan(b"needles and needles, hay")
    assert (hits.ends[0], len(hits.ends[1])) == ([7, 19], 1)
    assert len(block.scan(b"needles " * 2 * MAX_ENDS).ends[0]) == MAX_ENDS


def test_the_parts_of_a_database_report_together() -> None:
    first, second = KEYS[:1], KEYS[1:2]
    block = BlockDatabase([block_part(first, (5,)), block_part(second, (2,))])
    assert block.scan(b"a needle, XX, needle") == {5: 8, 2: 12}
    stream = StreamDatabase([stream_part(first, (5,)), stream_part(second, (2,))]).open_stream()
    stream.feed(b"a nee")
    stream.feed(b"dle, XX")
    stream.close()
    assert stream.hits == {5: 8, 2: 12}


def test_no_text_has_a_long_run_because_of_its_padding() -> None:
    block = whole_texts([key_of(LONG_RUN, "")])
    assert block.scan(b"") == block.scan(b"a short text") == {}
    assert block.scan(b"." * 48) == {0: 48}
