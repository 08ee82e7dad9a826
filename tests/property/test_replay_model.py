"""The replay window against a set of all counters ever seen."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from meshnet.wire.replay import WINDOW, ReplayWindow

# Steps from the newest: close by, across blocks of 64, at both ends of the window, far ahead.
STEPS = st.one_of(
    st.integers(-70, 70),
    st.integers(-WINDOW - 10, -WINDOW + 10),
    st.integers(-17_000, -16_000),
    st.integers(0, 20_000),
    st.sampled_from([64, 16320, 16384, 2**32, 2**62]),
)


@given(st.lists(STEPS, max_size=200))
def test_no_counter_is_accepted_twice_and_the_promised_window_is_kept(steps: list[int]) -> None:
    window, newest = ReplayWindow(), 0
    seen: set[int] = set()
    for step in steps:
        counter = min(max(newest + step, 0), 2**64 - 1)
        foreseen = not window.has_seen(counter)
        accepted = window.accept(counter)
        assert accepted == foreseen
        if counter in seen:
            assert not accepted, "a replay"
        elif counter + WINDOW >= newest or not seen:
            assert accepted, "within the promised window"
        if accepted:
            seen.add(counter)
            newest = max(newest, counter)


@given(st.permutations(range(200)))
def test_any_order_within_the_window_is_accepted_once(order: list[int]) -> None:
    window = ReplayWindow()
    assert all(window.accept(counter) for counter in order)
    assert not any(window.accept(counter) for counter in order)
