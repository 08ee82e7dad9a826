"""A wire takes as long as it is told, keeps the order, and holds a bounded number of frames."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshnet.lab.impairments import Impairments
from meshnet.lab.wire import MAX_FRAMES, MAX_QUEUE_BYTES, MAX_QUEUE_S, Wire

FRAME = bytes(1250)  # 10,000 bits


def wire(**settings: float) -> Wire:
    return Wire(Impairments(**settings), Random(1))


def test_a_wire_without_impairments_delivers_at_once() -> None:
    made = wire()
    made.put(FRAME, 5.0)
    assert made.next_arrival == 5.0
    assert made.arrived(5.0) == [FRAME]
    assert made.next_arrival is None


def test_a_frame_arrives_when_the_delay_is_over_and_not_before() -> None:
    made = wire(delay_s=0.25)
    made.put(FRAME, 1.0)
    assert made.next_arrival == 1.25
    assert made.arrived(1.2499) == []
    assert made.arrived(1.25) == [FRAME]
    assert made.arrived(9.0) == []


def test_frames_follow_each_other_at_the_rate() -> None:
    made = wire(rate_bits_per_s=1_000_000)
    for number in range(3):
        made.put(bytes([number]) * 1250, 1.0)
    for number in range(3):
        arrival = made.next_arrival
        assert arrival is not None
        assert arrival == pytest.approx(1.0 + 0.01 * (number + 1))
        assert made.arrived(arrival) == [bytes([number]) * 1250]


def test_an_idle_link_does_not_save_up_its_rate() -> None:
    made = wire(rate_bits_per_s=1_000_000)
    made.put(FRAME, 1.0)
    made.put(FRAME, 50.0)
    assert made.arrived(49.0) == [FRAME]
    assert made.next_arrival == pytest.approx(50.01)


@pytest.mark.parametrize("rate", [10_000.0, 1_000_000.0, 1e9])
def test_what_does_not_fit_the_queue_is_lost(rate: float) -> None:
    made = wire(rate_bits_per_s=rate)
    count = 20_000
    for _ in range(count):
        made.put(FRAME, 1.0)
    kept = len(made.arrived(1e9))
    assert kept + made.lost == count
    fits = max(MAX_QUEUE_S * rate / 8, MAX_QUEUE_BYTES) / len(FRAME)
    assert fits <= kept <= fits + 2


def test_a_long_wire_holds_a_bounded_number_of_frames() -> None:
    made = wire(delay_s=10.0)
    for _ in range(MAX_FRAMES + 5):
        made.put(FRAME, 1.0)
    assert made.lost == 5
    assert len(made.arrived(11.0)) == MAX_FRAMES


@given(
    gaps=st.lists(st.floats(0, 0.5), min_size=1, max_size=60),
    delay_s=st.floats(0, 1),
    jitter_s=st.floats(0, 1),
    rate=st.sampled_from([0.0, 1e5, 1e7]),
    seed=st.integers(0, 2**32),
)
def test_none_overtakes_another_or_comes_early(
    gaps: list[float], delay_s: float, jitter_s: float, rate: float, seed: int
) -> None:
    made = Wire(Impairments(delay_s=delay_s, jitter_s=jitter_s, rate_bits_per_s=rate), Random(seed))
    now, put_at = 0.0, {}
    for number, gap in enumerate(gaps):
        now += gap
        frame = number.to_bytes(2, "big")
        lost = made.lost
        made.put(frame, now)
        if made.lost == lost:
            put_at[frame] = now
    arrived = []
    while (at := made.next_arrival) is not None:
        for frame in made.arrived(at):
            assert at >= put_at[frame] + delay_s
            arrived.append(frame)
    assert arrived == sorted(put_at)
