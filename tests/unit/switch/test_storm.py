"""How much is flooded for each side, and how often a storm is told of."""

from __future__ import annotations

import pytest

from meshnet.switch import storm
from meshnet.switch.storm import (
    FLOOD_BURST_BYTES,
    FLOOD_BURST_COPIES,
    FLOOD_BYTES_PER_S,
    FLOOD_COPIES_PER_S,
    TELL_INTERVAL_S,
    StormLimit,
)
from support.samples import ALICE, BOB, identity

SMALL, LARGE = 60, 9000


def admitted(limit: StormLimit, *, copies: int, size: int, duration_s: float) -> int:
    """Frames let through of a storm of 5 times what is allowed."""
    per_s = 5 * FLOOD_COPIES_PER_S / copies
    steps = int(duration_s * per_s)
    return sum(limit.take(ALICE.name, copies, size, step / per_s) for step in range(steps))


@pytest.mark.parametrize("copies", [1, 10, 100])
def test_small_frames_are_limited_by_number_of_copies(copies: int) -> None:
    sent = copies * admitted(StormLimit(), copies=copies, size=SMALL, duration_s=10.0)
    assert sent == pytest.approx(FLOOD_BURST_COPIES + 10 * FLOOD_COPIES_PER_S, rel=0.01)


@pytest.mark.parametrize("copies", [1, 10])
def test_large_frames_are_limited_by_bytes(copies: int) -> None:
    sent = copies * admitted(StormLimit(), copies=copies, size=LARGE, duration_s=10.0)
    assert sent * LARGE == pytest.approx(FLOOD_BURST_BYTES + 10 * FLOOD_BYTES_PER_S, rel=0.01)


def test_what_is_usual_is_never_limited() -> None:
    # A hundred peers, and 45 broadcasts a second for ever.
    limit = StormLimit()
    assert all(limit.take(None, 100, SMALL, step / 45) for step in range(45 * 60))


def test_each_side_has_its_own_allowance() -> None:
    limit = StormLimit()
    while limit.take(ALICE.name, 1, SMALL, 0.0):
        pass
    assert limit.take(BOB.name, 1, SMALL, 0.0)
    assert limit.take(None, 1, SMALL, 0.0)


def test_so_many_sides_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storm, "_MAX_SIDES", 3)
    limit = StormLimit()
    for number in range(10):
        assert limit.take(identity(number).name, 1, SMALL, 0.0)
    assert len(limit._buckets) == 3


def test_a_clock_that_stands_or_steps_back_gives_nothing() -> None:
    limit = StormLimit()
    while limit.take(None, 1, SMALL, 10.0):
        pass
    assert not limit.take(None, 1, SMALL, 10.0)
    assert not limit.take(None, 1, SMALL, 9.0)
    assert not limit.take(None, 1, SMALL, 9.00001)


def test_a_storm_is_told_of_at_its_start_and_once_a_minute() -> None:
    limit = StormLimit()
    told = 0
    for step in range(int(5 * TELL_INTERVAL_S)):
        while limit.take(None, 100, SMALL, float(step)):
            pass
        told += limit.is_news(None, float(step))
    assert told == 5
