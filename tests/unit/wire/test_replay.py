"""The replay window: each counter once, in any order, as far back as promised."""

from __future__ import annotations

import pytest

from meshnet.wire.replay import WINDOW, ReplayWindow


def test_each_counter_is_accepted_once() -> None:
    window = ReplayWindow()
    assert all(window.accept(counter) for counter in range(1000))
    assert not any(window.accept(counter) for counter in range(1000))


def test_counters_may_come_in_any_order_within_the_window() -> None:
    window = ReplayWindow()
    assert all(window.accept(counter) for counter in reversed(range(WINDOW)))
    assert not any(window.accept(counter) for counter in range(WINDOW))


@pytest.mark.parametrize(
    "newest", [WINDOW, 100_000, 64 * 256 * 3, 64 * 256 * 3 - 1, 2**63, 2**64 - 1]
)
def test_the_whole_promised_window_is_kept_behind_a_jump(newest: int) -> None:
    window = ReplayWindow()
    assert window.accept(newest)
    assert all(window.accept(newest - back) for back in range(1, WINDOW + 1) if newest >= back)
    assert not any(window.accept(newest - back) for back in range(WINDOW + 1) if newest >= back)


def test_what_fell_out_of_the_window_is_refused_though_never_seen() -> None:
    window = ReplayWindow()
    assert window.accept(0)
    assert window.accept(1_000_000)
    assert not window.accept(1)
    assert not window.accept(1_000_000 - 20_000)
    assert window.is_past(1_000_000 - 20_000)
    assert not window.is_past(1_000_000 - WINDOW)
    assert not window.is_past(2_000_000)


def test_moving_on_never_forgets_what_is_still_in_the_window() -> None:
    window = ReplayWindow()
    for counter in range(0, 5 * WINDOW, 7):
        assert window.accept(counter)
        if counter >= 7 * 100:
            assert not window.accept(counter - 7 * 100)
            assert window.accept(counter - 7 * 100 + 1)


def test_the_largest_counter_is_a_counter_like_others() -> None:
    window = ReplayWindow()
    assert window.accept(2**64 - 1)
    assert not window.accept(2**64 - 1)
    assert window.accept(2**64 - 2)
