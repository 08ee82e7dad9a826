"""How long to wait: longer each time, never too long, never in step."""

from __future__ import annotations

import pytest

from meshnet.discovery.backoff import (
    CEILING_S,
    FIRST_DELAY_S,
    MAX_DIALS_PER_S,
    ceiling_s,
    delay_s,
    fraction,
)
from support.samples import rng


def longest(size: int) -> bytes:
    return b"\xff" * size


@pytest.mark.parametrize("failures", [1, 2, 5, 64, 65, 10**6])
def test_a_wait_is_between_half_of_its_bound_and_its_bound(failures: int) -> None:
    low, high = (delay_s(failures, CEILING_S, source) for source in (bytes, longest))
    assert low == pytest.approx(high / 2, rel=1e-6)
    assert FIRST_DELAY_S / 2 <= low < high <= CEILING_S


def test_waits_grow_up_to_the_ceiling() -> None:
    waits = [delay_s(failures, CEILING_S, longest) for failures in range(1, 20)]
    assert waits == sorted(waits)
    assert waits[0] == pytest.approx(FIRST_DELAY_S)
    assert waits[-1] == pytest.approx(CEILING_S)


def test_many_targets_together_keep_to_the_rate() -> None:
    for targets in (1, 20, 1000):
        ceiling = ceiling_s(targets)
        mean_s = (delay_s(100, ceiling, bytes) + delay_s(100, ceiling, longest)) / 2
        assert targets / mean_s <= MAX_DIALS_PER_S / 0.74


def test_fractions_fill_the_unit_interval() -> None:
    assert fraction(bytes) == 0.0
    assert 0.999 < fraction(longest) < 1.0
    drawn = [fraction(source) for source in [rng("fractions")] for _ in range(1000)]
    assert 0.45 < sum(drawn) / len(drawn) < 0.55
    assert len(set(drawn)) == 1000
