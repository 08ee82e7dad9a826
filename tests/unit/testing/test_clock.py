"""Virtual time: in order, in equal steps, and never standing still unnoticed."""

from __future__ import annotations

import pytest

from meshnet.testing.clock import Clock, TimeStandsStillError


def test_what_is_planned_happens_at_its_time_and_in_order() -> None:
    clock, seen = Clock(100.0), list[tuple[float, str]]()

    def plan(delay_s: float, name: str) -> None:
        clock.call_after(delay_s, lambda: seen.append((clock.now, name)))

    for delay_s, name in ((3.0, "c"), (1.0, "a"), (2.0, "b"), (1.0, "a too")):
        plan(delay_s, name)
    clock.run_for(2.5)
    assert seen == [(101.0, "a"), (101.0, "a too"), (102.0, "b")]
    assert clock.now == 102.5
    assert clock.next_at() == 103.0


def test_what_is_planned_for_the_past_happens_now() -> None:
    clock, seen = Clock(100.0), list[float]()
    clock.call_at(1.0, lambda: seen.append(clock.now))
    clock.run_for(0.0)
    assert seen == [100.0]


def test_a_timer_that_is_cancelled_does_not_go_off() -> None:
    clock, seen = Clock(), list[int]()
    timer = clock.call_after(1.0, lambda: seen.append(1))
    clock.call_after(2.0, lambda: seen.append(2))
    timer.cancel()
    clock.run_for(5.0)
    timer.cancel()
    assert seen == [2]


def test_an_action_may_plan_others() -> None:
    clock, seen = Clock(0.0), list[float]()

    def again() -> None:
        seen.append(clock.now)
        if len(seen) < 3:
            clock.call_after(1.0, again)

    clock.call_after(1.0, again)
    clock.run_for(10.0)
    assert seen == [1.0, 2.0, 3.0]


def test_a_step_ends_at_the_limit_and_nothing_is_a_step_nowhere() -> None:
    clock = Clock(0.0)
    assert not clock.step()
    assert clock.now == 0.0
    clock.call_at(5.0, lambda: None)
    assert not clock.step(4.0)
    assert clock.now == 4.0
    assert clock.step(5.0)


def test_time_that_stands_still_is_noticed() -> None:
    clock = Clock(max_actions_at_once=50)

    def spin() -> None:
        clock.call_after(0.0, spin)

    spin()
    with pytest.raises(TimeStandsStillError, match="stands still"):
        clock.run_for(1.0)


def test_many_actions_over_time_are_no_standstill() -> None:
    clock = Clock(max_actions_at_once=50)
    for number in range(500):
        clock.call_after(number // 50 * 0.001, lambda: None)
    clock.run_for(1.0)
    assert clock.next_at() is None
