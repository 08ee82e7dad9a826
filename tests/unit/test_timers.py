"""Named deadlines: one per key, given back in order, once."""

from __future__ import annotations

from meshnet.timers import Timers, on_the_second


def test_nothing_is_due_where_nothing_is_set() -> None:
    timers: Timers[str] = Timers()
    assert timers.next_deadline() is None
    assert timers.pop_due(1e9) == []


def test_due_keys_come_in_order_and_once() -> None:
    timers: Timers[str] = Timers()
    for key, deadline in (("late", 3.0), ("early", 1.0), ("middle", 2.0), ("never", 9.0)):
        timers.set(key, deadline)
    assert timers.next_deadline() == 1.0
    assert timers.pop_due(3.0) == ["early", "middle", "late"]
    assert timers.pop_due(3.0) == []
    assert timers.next_deadline() == 9.0


def test_a_deadline_is_due_at_its_very_time() -> None:
    timers: Timers[str] = Timers()
    timers.set("a", 1.0)
    assert timers.pop_due(0.999) == []
    assert timers.pop_due(1.0) == ["a"]


def test_equal_deadlines_come_in_the_order_they_were_set() -> None:
    timers: Timers[object] = Timers()
    keys = [object(), "b", 3, None]  # They cannot be compared: only the times are.
    for key in keys:
        timers.set(key, 1.0)
    assert timers.pop_due(1.0) == keys


def test_setting_again_replaces() -> None:
    timers: Timers[str] = Timers()
    timers.set("a", 1.0)
    timers.set("a", 5.0)
    assert timers.next_deadline() == 5.0
    assert timers.pop_due(4.0) == []
    timers.set("a", 2.0)
    assert timers.pop_due(4.0) == ["a"]
    assert timers.next_deadline() is None


def test_a_cancelled_key_never_comes_and_can_be_set_again() -> None:
    timers: Timers[str] = Timers()
    timers.set("a", 1.0)
    timers.cancel("a")
    timers.cancel("was never set")
    assert timers.next_deadline() is None
    timers.set("a", 2.0)
    assert timers.pop_due(5.0) == ["a"]


def test_a_wish_that_comes_again_and_again_is_not_put_off() -> None:
    timers: Timers[str] = Timers()
    for now in range(100):
        timers.set_if_unset("key", now + 10)
    assert timers.next_deadline() == 10
    assert timers.pop_due(10) == ["key"]
    timers.set_if_unset("key", 20)
    assert timers.next_deadline() == 20


def test_on_the_second_is_never_late_and_less_than_a_second_early() -> None:
    for deadline in (5.0, 5.001, 5.999):
        assert on_the_second(deadline) == 5.0


def test_deadlines_that_are_replaced_without_end_take_no_room() -> None:
    timers: Timers[int] = Timers()
    for number in range(10_000):
        timers.set(number % 10, 1e6 - number)
    assert len(timers) == 10
    assert len(timers._heap) < 100
    assert timers.pop_due(1e6) == [9, 8, 7, 6, 5, 4, 3, 2, 1, 0]
