"""Token buckets: never more than rate and burst allow, in a bounded table."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from meshnet.peering.buckets import MAX_BUCKETS, TokenBuckets, source_of

# How long after the last try, in seconds; time may also stand still or go back.
STEPS = st.lists(st.floats(-5.0, 20.0, allow_nan=False), max_size=100)


@given(STEPS)
def test_no_more_is_given_than_rate_and_burst_allow(steps: list[float]) -> None:
    buckets: TokenBuckets[str] = TokenBuckets(2.0, 5.0)
    now = newest = 0.0
    given_at: list[float] = []
    for step in steps:
        now += step
        newest = max(newest, now)
        if buckets.take("source", 1.0, now):
            given_at.append(newest)
    forward_s = sum(step for step in steps if step > 0)
    assert len(given_at) <= 5 + 2.0 * forward_s + 1e-6


def test_a_full_bucket_gives_its_burst_and_then_its_rate() -> None:
    buckets: TokenBuckets[str] = TokenBuckets(10.0, 3.0)
    assert [buckets.take("a", 1.0, 0.0) for _ in range(4)] == [True, True, True, False]
    assert not buckets.take("a", 1.0, 0.05)
    assert buckets.take("a", 1.0, 0.16)


def test_time_that_went_back_gives_nothing_and_takes_nothing() -> None:
    buckets: TokenBuckets[str] = TokenBuckets(1.0, 3.0)
    assert buckets.take("a", 1.0, 100.0)
    assert [buckets.take("a", 1.0, 0.0) for _ in range(3)] == [True, True, False]


def test_one_source_does_not_draw_on_another() -> None:
    buckets: TokenBuckets[str] = TokenBuckets(1.0, 1.0)
    assert buckets.take("a", 1.0, 0.0)
    assert not buckets.take("a", 1.0, 0.0)
    assert buckets.take("b", 1.0, 0.0)


def test_the_table_is_bounded_and_the_one_in_use_stays() -> None:
    buckets: TokenBuckets[int] = TokenBuckets(0.0, 1.0)
    assert buckets.take(-1, 1.0, 0.0)
    for number in range(2 * MAX_BUCKETS):
        buckets.take(number, 1.0, 0.0)
        assert not buckets.take(-1, 1.0, 0.0), "forgotten though it is used"
    assert len(buckets) <= MAX_BUCKETS


def test_a_source_is_an_ipv4_address_or_an_ipv6_64() -> None:
    assert source_of("192.0.2.1") != source_of("192.0.2.2")
    assert source_of("2001:db8:0:1::1") == source_of("2001:db8:0:1:ffff::2")
    assert source_of("2001:db8:0:1::1") != source_of("2001:db8:0:2::1")
