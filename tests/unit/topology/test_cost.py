"""What is told of a link: what has really changed, soon, and nothing else."""

from __future__ import annotations

import random
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshnet.topology.cost import (
    FAR_STEPS,
    HOP_COST,
    LOSS_GAIN,
    MAX_COST,
    CostMeter,
    cost_of_step,
    pack_cost,
    parse_cost,
)

SAMPLE_INTERVAL_S = 5.0
SAMPLES_PER_HOUR = round(3600 / SAMPLE_INTERVAL_S)


def changes(meter: CostMeter, samples: Sequence[float | None]) -> list[tuple[int, int]]:
    """(number of the sample, the cost told then), without any limit to how often."""
    found = []
    for number, rtt_s in enumerate(samples, start=1):
        if rtt_s is None:
            meter.lost()
        else:
            meter.answered(rtt_s, by_udp=True)
        if (step := meter.wanted_step()) != meter.announced_step:
            meter.announced_step = step
            found.append((number, meter.cost))
    return found


@pytest.mark.parametrize("jitter", [0.2, 0.5])
@pytest.mark.parametrize("rtt_ms", [0.3, 2.0, 8.0, 30.0, 100.0, 300.0])
@pytest.mark.parametrize("seed", range(5))
def test_a_round_trip_that_jitters_is_told_once(rtt_ms: float, jitter: float, seed: int) -> None:
    rng = random.Random(seed)
    meter = CostMeter()

    def hours(count: float) -> list[float]:
        around = [
            rng.uniform(1 - jitter, 1 + jitter) for _ in range(round(SAMPLES_PER_HOUR * count))
        ]
        return [rtt_ms / 1e3 * each for each in around]

    told = changes(meter, hours(0.05))
    assert len(told) <= 2
    assert told == [] or rtt_ms > 5.0
    assert changes(meter, hours(1.0)) == []
    exact = HOP_COST + rtt_ms * 10
    assert exact / 2 < meter.cost < exact * 2


def test_what_is_near_is_not_told_at_all() -> None:
    meter = CostMeter()
    assert changes(meter, [0.0005, 0.004, 0.0002, 0.002] * 200) == []
    assert pack_cost(meter.cost) == b""


def test_a_step_is_told_after_three_samples_and_back_again() -> None:
    meter = CostMeter()
    changes(meter, [0.005] * 100)
    [(number, cost)] = changes(meter, [0.1] * 100)
    assert number == 3
    assert 900 < cost < 1300
    [(number, cost)] = changes(meter, [0.005] * 100)
    assert number == 3
    assert cost <= 200


def test_single_strange_round_trips_are_not_told() -> None:
    meter = CostMeter()
    assert changes(meter, ([0.002] * 9 + [1.5]) * 100) == []
    # Two in a row are no better, if that is seldom.
    assert changes(meter, [0.002] * 100 + [3.0, 3.0] + [0.002] * 100) == []


def test_what_swings_from_one_side_to_the_other_is_no_step() -> None:
    meter = CostMeter()
    changes(meter, [0.1] * 50)
    assert FAR_STEPS > 1
    assert changes(meter, [0.002, 0.1, 0.3] * 100) == []


@pytest.mark.parametrize("loss", [0.2, 0.36])
def test_a_fifth_that_is_lost_is_told_and_so_is_that_it_is_over(loss: float) -> None:
    rng = random.Random(1)
    meter = CostMeter()
    changes(meter, [0.002] * 50)
    told = changes(meter, [None if rng.random() < loss else 0.002 for _ in range(150)])
    assert told
    assert told[0][0] <= 3 / LOSS_GAIN
    assert meter.cost > HOP_COST
    # Down to the least there is, with nothing left of it.
    changes(meter, [0.002] * 200)
    assert meter.cost == HOP_COST


def test_a_loss_now_and_then_is_not_told() -> None:
    rng = random.Random(1)
    meter = CostMeter()
    assert (
        changes(meter, [None if rng.random() < 0.02 else 0.002 for _ in range(SAMPLES_PER_HOUR)])
        == []
    )


def test_a_link_by_which_no_datagram_passes_costs_more_whatever_it_measures() -> None:
    by_udp, by_link = CostMeter(), CostMeter()
    for _ in range(3):
        by_udp.answered(0.001, by_udp=True)
        by_link.answered(0.001, by_udp=False)
    by_link.announced_step = by_link.wanted_step()
    assert by_udp.wanted_step() == 0
    assert by_link.cost >= 3 * HOP_COST


@pytest.mark.parametrize(
    ("samples", "settled"),
    [
        ([], True),
        ([0.001] * 30, True),
        ([0.001] * 30 + [0.2], False),
        ([0.001] * 30 + [0.2] * 3, True),
        ([0.001] * 30 + [None], False),
        ([0.001] * 30 + [None] + [0.001] * 40, True),
    ],
)
def test_what_may_have_changed_is_not_settled_until_that_is_clear(
    samples: list[float | None], settled: bool
) -> None:
    meter = CostMeter()
    changes(meter, samples)
    assert meter.is_settled is settled


@given(st.lists(st.none() | st.floats(-1.0, 1e9), max_size=60))
def test_whatever_is_measured_the_cost_is_one_that_can_be_told(
    samples: list[float | None],
) -> None:
    meter = CostMeter()
    for _, cost in changes(meter, samples):
        assert HOP_COST <= cost <= MAX_COST
        assert parse_cost(pack_cost(cost)) == cost


@given(st.binary(max_size=8))
def test_whatever_is_told_is_within_bounds(value: bytes) -> None:
    assert HOP_COST <= parse_cost(value) <= MAX_COST


def test_more_bytes_than_we_know_are_a_later_versions() -> None:
    assert parse_cost((500).to_bytes(2, "big") + b"later") == 500
    assert parse_cost(b"") == parse_cost(b"\x05") == HOP_COST


def test_steps_rise_up_to_the_most_that_can_be_told() -> None:
    costs = [cost_of_step(step) for step in range(20)]
    assert costs[:3] == [HOP_COST, 141, 200]
    assert costs == sorted(costs)
    assert costs[-1] == MAX_COST
