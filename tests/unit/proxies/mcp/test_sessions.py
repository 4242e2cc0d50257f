"""Sessions: whose they are, how long they live, how many there are (L-01..L-03)."""

from __future__ import annotations

from typing import Any

from proxies.mcp.event_ids import MAX_EVENT_ID_BYTES, seal, unseal
from proxies.mcp.sessions import MAX_OPEN_REQUESTS, IdTable, Session, SessionStore, remember, take


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def open_session(store: SessionStore, **changes: Any) -> Session:
    values: dict[str, Any] = {
        "proxy_id": "p",
        "principal_id": "alice",
        "upstream_id": "up",
        "version": "2025-11-25",
        "capabilities": frozenset(),
    }
    return store.open(**{**values, **changes})


def test_L_01_ids_are_long_visible_and_different() -> None:
    store = SessionStore()
    ids = {open_session(store).id for _ in range(100)}
    assert len(ids) == 100
    assert all(len(id) >= 32 and all("!" <= character <= "~" for character in id) for id in ids)


def test_L_01_a_session_exists_for_its_principal_and_proxy_only() -> None:
    store = SessionStore()
    session = open_session(store)
    assert store.find(session.id, proxy_id="p", principal_id="alice") is session
    assert store.find(session.id, proxy_id="p", principal_id="bob") is None
    assert store.find(session.id, proxy_id="q", principal_id="alice") is None
    assert store.find("unknown", proxy_id="p", principal_id="alice") is None


def test_a_closed_session_is_gone_and_closing_twice_is_harmless() -> None:
    store = SessionStore()
    session = open_session(store)
    store.close(session)
    store.close(session)
    assert len(store) == 0
    assert store.find(session.id, proxy_id="p", principal_id="alice") is None


def test_idle_sessions_expire_and_used_ones_do_not() -> None:
    clock = Clock()
    store = SessionStore(idle_seconds=60, clock=clock)
    idle, used = open_session(store), open_session(store)
    clock.now += 40
    assert store.find(used.id, proxy_id="p", principal_id="alice") is used
    clock.now += 40
    assert store.find(used.id, proxy_id="p", principal_id="alice") is used
    assert store.find(idle.id, proxy_id="p", principal_id="alice") is None
    assert len(store) == 1


def test_an_open_stream_holds_its_session_and_ends_with_it() -> None:
    clock = Clock()
    store = SessionStore(idle_seconds=60, clock=clock)
    session = open_session(store)
    ended: list[str] = []
    session.enders.add(lambda: ended.append("stream"))
    clock.now += 100
    assert store.find(session.id, proxy_id="p", principal_id="alice") is session
    assert ended == []
    store.close(session)
    assert ended == ["stream"]


def test_a_principal_at_its_bound_loses_its_own_oldest_session_only() -> None:
    store = SessionStore(max_per_principal=2)
    bobs = open_session(store, principal_id="bob")
    first, second, third = (open_session(store) for _ in range(3))
    assert store.find(bobs.id, proxy_id="p", principal_id="bob") is bobs
    assert store.find(first.id, proxy_id="p", principal_id="alice") is None
    assert store.find(second.id, proxy_id="p", principal_id="alice") is second
    assert store.find(third.id, proxy_id="p", principal_id="alice") is third


def test_the_store_as_a_whole_is_bounded() -> None:
    store = SessionStore(max_sessions=3)
    sessions = [open_session(store, principal_id=f"user-{index}") for index in range(5)]
    assert len(store) == 3
    assert store.find(sessions[-1].id, proxy_id="p", principal_id="user-4") is sessions[-1]


def test_the_id_never_shows_in_a_repr() -> None:
    session = open_session(SessionStore())
    assert session.id not in repr(session)
    assert "up" not in repr(session).split()


def test_L_12_an_open_request_can_be_taken_once_and_ids_keep_their_type() -> None:
    table: IdTable = {}
    remember(table, 1, "roots/list")
    assert take(table, "1") is None
    assert take(table, None) is None
    assert take(table, 1) == "roots/list"
    assert take(table, 1) is None


def test_the_table_of_open_requests_forgets_the_oldest() -> None:
    table: IdTable = {}
    for id in range(MAX_OPEN_REQUESTS + 1):
        remember(table, id, "ping")
    assert len(table) == MAX_OPEN_REQUESTS
    assert take(table, 0) is None
    assert take(table, MAX_OPEN_REQUESTS) == "ping"


def test_L_09_event_ids_come_back_as_they_were_sent() -> None:
    for id in ("1", "stream/7:42", "ü", ""):
        sealed = seal(b"key", id)
        assert sealed is not None
        assert sealed.isascii()
        assert unseal(b"key", sealed) == id


def test_L_09_an_event_id_of_another_session_or_a_made_up_one_is_unknown() -> None:
    sealed = seal(b"key", "42")
    assert sealed is not None
    for presented in (sealed[:-4] + "AAAA", "42", "", "ü", "x" * 5000, sealed + "AAAA"):
        assert unseal(b"key", presented) is None
    assert unseal(b"other key", sealed) is None


def test_L_09_an_id_too_long_for_a_header_is_not_offered() -> None:
    assert seal(b"key", "x" * (MAX_EVENT_ID_BYTES + 1)) is None
