"""When a dead worker is started again."""

from app.fleet.restart import RestartPolicy


def test_RUN_04_first_restart_is_immediate_then_the_delays_double() -> None:
    policy = RestartPolicy()
    delays = []
    for second in range(4):
        policy.note_death(second)
        delays.append(policy.delay_seconds(second))
    assert delays == [0.0, 0.2, 0.4, 0.8]
    assert not policy.in_crash_loop(3)


def test_RUN_10_five_deaths_in_a_minute_are_a_crash_loop_with_a_try_every_half_minute() -> None:
    policy = RestartPolicy()
    for second in range(5):
        policy.note_death(second)
    assert policy.in_crash_loop(5)
    assert policy.delay_seconds(5) == 30.0
    policy.note_death(35)
    assert policy.in_crash_loop(35)


def test_RUN_04_deaths_are_forgotten_after_a_minute() -> None:
    policy = RestartPolicy()
    for second in range(5):
        policy.note_death(second)
    assert not policy.in_crash_loop(64.5)
    assert policy.delay_seconds(200) == 0.0
    assert policy.deaths(200) == 0
    assert "0 deaths" in repr(policy)
