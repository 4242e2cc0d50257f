"""The plan leads from any actual state to any wanted one, in an order in which every step is possible."""

from __future__ import annotations

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from app.fleet.reconcile import Actual, Address, Bind, Binding, Pass, Publish, Unbind, Wanted, WorkerView, plan

ADDRESSES = [Address("127.0.0.1", 4000 + number) for number in range(3)]
PROXIES = ["prx_a", "prx_b", "prx_c"]


def bindings() -> st.SearchStrategy[frozenset[Binding]]:
    """Some proxies at distinct addresses."""
    pairs = st.tuples(st.permutations(PROXIES), st.permutations(ADDRESSES), st.integers(0, 3))
    return pairs.map(
        lambda drawn: frozenset(
            Binding(proxy, address) for proxy, address in zip(drawn[0][: drawn[2]], drawn[1], strict=False)
        )
    )


@st.composite
def situations(draw: st.DrawFn) -> tuple[Wanted, Actual]:
    """Something wanted, and something that may be: workers hold only sockets that the console has bound."""
    wanted_bound = draw(bindings())
    restarting = draw(st.sets(st.sampled_from(PROXIES)))
    served = frozenset(item for item in wanted_bound if item.proxy_id not in restarting)
    single = frozenset(item for item in wanted_bound if draw(st.booleans()))
    wanted = Wanted(bound=wanted_bound, served=served, revision=draw(st.integers(1, 2)), single=single)
    bound = draw(bindings())
    workers = {}
    for slot in range(draw(st.integers(0, 3))):
        held = frozenset(item for item in bound if draw(st.booleans()))
        seen = frozenset(item for item in held if draw(st.booleans()))
        workers[slot] = WorkerView(held=held, served=seen, revision=draw(st.integers(0, 2)))
    return wanted, Actual(bound=bound, workers=workers)


def carry_out(wanted: Wanted, actual: Actual, fails: frozenset[Binding] = frozenset()) -> Actual:
    """Do the plan under the rules that the operating system and the workers impose; some bindings cannot be had."""
    bound = set(actual.bound)
    workers = dict(actual.workers)
    for action in plan(wanted, actual):
        match action:
            case Unbind(binding):
                bound.remove(binding)
            case Bind(binding):
                held = bound.union(*(worker.held for worker in workers.values()))
                assert binding.address not in {item.address for item in held}, "the address is still held"
                bound |= {binding} - fails
            case Pass(slot, binding):
                worker = workers[slot]
                assert binding not in worker.held
                workers[slot] = WorkerView(worker.held | ({binding} & bound), worker.served, worker.revision)
            case Publish(slots, served):
                assert slots
                for slot in slots:
                    here = msgspec.structs.replace(wanted, served=served).share(slot) & bound
                    workers[slot] = WorkerView(workers[slot].held & here, here, wanted.revision)
    return Actual(frozenset(bound), workers)


@given(situations())
def test_RUN_03_doing_the_plan_reaches_what_is_wanted_and_leaves_nothing_to_do(
    situation: tuple[Wanted, Actual],
) -> None:
    wanted, actual = situation
    reached = carry_out(wanted, actual)
    assert reached.bound == wanted.bound
    for slot, worker in reached.workers.items():
        assert (worker.held, worker.served, worker.revision) == (
            wanted.share(slot),
            wanted.share(slot),
            wanted.revision,
        )
    assert plan(wanted, reached) == ()


@given(situations(), st.sets(st.sampled_from(PROXIES)))
def test_RUN_04_a_port_that_cannot_be_bound_stops_no_other_proxy(
    situation: tuple[Wanted, Actual], failing: set[str]
) -> None:
    wanted, actual = situation
    fails = frozenset(item for item in wanted.bound - actual.bound if item.proxy_id in failing)
    reached = carry_out(wanted, actual, fails)
    rest = Wanted(wanted.bound - fails, wanted.served - fails, wanted.revision, wanted.single)
    assert reached.bound == rest.bound
    assert all(worker.served == rest.share(slot) for slot, worker in reached.workers.items())
    assert plan(rest, reached) == ()


def test_a_proxy_with_sessions_is_the_first_workers_alone() -> None:
    shared, single = Binding("prx_a", ADDRESSES[0]), Binding("prx_b", ADDRESSES[1])
    both = frozenset({shared, single})
    wanted = Wanted(both, both, 1, frozenset({single}))
    assert plan(wanted, Actual(both, {0: WorkerView(), 1: WorkerView()})) == (
        Pass(0, shared),
        Pass(0, single),
        Pass(1, shared),
        Publish((0, 1), both),
    )
    assert plan(wanted, Actual(both, {1: WorkerView(frozenset({shared}), frozenset({shared}), 1)})) == ()


def test_nothing_to_do_gives_no_actions() -> None:
    binding = Binding("prx_a", ADDRESSES[0])
    one = frozenset({binding})
    view = WorkerView(held=one, served=one, revision=1)
    assert plan(Wanted(one, one, 1), Actual(one, {0: view})) == ()


def test_move_to_another_port_releases_unbinds_binds_passes_and_publishes() -> None:
    old, new = Binding("prx_a", ADDRESSES[0]), Binding("prx_a", ADDRESSES[1])
    view = WorkerView(held=frozenset({old}), served=frozenset({old}), revision=1)
    wanted = Wanted(frozenset({new}), frozenset({new}), 2)
    assert plan(wanted, Actual(frozenset({old}), {0: view})) == (
        Publish((0,), frozenset()),
        Unbind(old),
        Bind(new),
        Pass(0, new),
        Publish((0,), frozenset({new})),
    )


def test_restarted_worker_gets_all_sockets_and_nothing_is_bound_anew() -> None:
    one = frozenset({Binding("prx_a", ADDRESSES[0])})
    actions = plan(Wanted(one, one, 1), Actual(one, {0: WorkerView()}))
    assert actions == (Pass(0, next(iter(one))), Publish((0,), one))


def test_address_reads_as_in_a_url() -> None:
    assert str(Address("::1", 80)) == "[::1]:80"
    assert str(Address("127.0.0.1", 80)) == "127.0.0.1:80"
