"""Every fault of the emulator does what its name says, as often as it was told to."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshnet.testing.emulator import (
    FIRST_RETRANSMISSION_S,
    LAST_RETRANSMISSION_S,
    BurstLoss,
    Conditions,
    Fate,
    Network,
    Stream,
    StreamEnd,
    Transport,
    Way,
)
from meshnet.testing.rng import SeededRng
from meshnet.testing.strategies import conditions

COUNT = 4000


def way(seed: int = 1, **changes: Any) -> Way:
    return Way(Conditions(**changes), SeededRng(seed))


def fates(of: Way, count: int = COUNT, *, every_s: float = 0.001, size: int = 100) -> list[Fate]:
    return [of.send_datagram(size, number * every_s) for number in range(count)]


def share(seen: list[Fate], fault: str) -> float:
    return sum(fate.fault == fault for fate in seen) / len(seen)


# Datagrams.


def test_a_good_way_only_takes_its_time() -> None:
    assert set(fates(way(delay_s=0.02), every_s=0.0)) == {Fate((0.02,), "")}


@pytest.mark.parametrize("loss", [0.01, 0.3, 1.0])
def test_loss(loss: float) -> None:
    seen = fates(way(loss=loss))
    assert share(seen, "lost") == pytest.approx(loss, abs=0.03)
    assert all((fate.fault == "lost") == (fate.arrivals == ()) for fate in seen)


def test_burst_loss_comes_in_bursts() -> None:
    burst = BurstLoss(enter=0.02, leave=0.1)
    lost = [fate.fault == "lost in a burst" for fate in fates(way(burst_loss=burst), 20_000)]
    runs = [len(list(run)) for is_lost, run in itertools.groupby(lost) if is_lost]
    assert sum(lost) / len(lost) == pytest.approx(burst.share, abs=0.03)
    assert burst.share == pytest.approx(1 / 6)
    assert sum(runs) / len(runs) == pytest.approx(10.0, rel=0.2), "1 / leave"


def test_jitter_spreads_but_keeps_the_order() -> None:
    seen = fates(way(delay_s=0.1, jitter_s=0.05), every_s=0.01)
    arrivals = [fate.arrivals[0] for fate in seen]
    delays = [at - number * 0.01 for number, at in enumerate(arrivals)]
    assert arrivals == sorted(arrivals)
    assert min(delays) >= 0.1
    assert 0.14 < max(delays) <= 0.15 + 1e-9
    assert sum(delays) / len(delays) > 0.12


def test_reorder_really_reorders() -> None:
    seen = fates(way(reorder=0.1, reorder_s=0.02))
    arrivals = [fate.arrivals[0] for fate in seen]
    overtaken = sum(later < earlier for earlier, later in itertools.pairwise(arrivals))
    assert share(seen, "reordered") == pytest.approx(0.1, abs=0.02)
    assert overtaken / len(seen) == pytest.approx(0.09, abs=0.02)


def test_duplicates_arrive_twice() -> None:
    seen = fates(way(duplicate=0.25))
    assert share(seen, "duplicated") == pytest.approx(0.25, abs=0.03)
    assert all(len(fate.arrivals) == 1 + (fate.fault == "duplicated") for fate in seen)


def test_rate_limits_and_the_queue_delays_then_drops_its_tail() -> None:
    narrow = way(delay_s=0.0, rate_bytes_per_s=10_000.0, queue_bytes=5_000)
    seen = fates(narrow, 1000, every_s=0.001)  # Ten times what passes.
    arrivals = [fate.arrivals[0] for fate in seen if fate.arrivals]
    assert len(arrivals) * 100 == pytest.approx(10_000 * 1.0 + 5_000, rel=0.05)
    assert share(seen, "queue full") == pytest.approx(0.85, abs=0.02)
    gaps = [later - earlier for earlier, later in itertools.pairwise(arrivals)]
    assert min(gaps) == pytest.approx(0.01), "a datagram of 100 bytes each 10 ms"
    queued = [fate.arrivals[0] - n * 0.001 for n, fate in enumerate(seen) if fate.arrivals]
    assert max(queued) == pytest.approx(0.5, abs=0.02), "5000 bytes at 10000 bytes/s"
    # The queue drains while nothing is sent.
    assert narrow.send_datagram(100, 10.0) == Fate((10.01,), "")


def test_what_does_not_fit_into_the_queue_is_dropped_also_when_it_is_empty() -> None:
    narrow = way(rate_bytes_per_s=1000.0, queue_bytes=300)
    sizes = [200, 100, 1, 300]
    assert [narrow.send_datagram(size, 0.0).fault for size in sizes] == [
        "",
        "",
        "queue full",
        "queue full",
    ]
    assert narrow.send_datagram(301, 10.0).fault == "queue full"
    assert narrow.send_datagram(300, 10.0).fault == ""


def test_equal_seeds_give_equal_fates_and_others_do_not() -> None:
    bad: dict[str, Any] = {"loss": 0.2, "jitter_s": 0.1, "duplicate": 0.2, "reorder": 0.2}
    assert fates(way(1, **bad)) == fates(way(1, **bad))
    assert fates(way(1, **bad)) != fates(way(2, **bad))


def test_one_fault_more_leaves_the_draws_of_the_others() -> None:
    one, both = fates(way(loss=0.3)), fates(way(loss=0.3, jitter_s=0.5, duplicate=0.5))
    assert [fate.fault == "lost" for fate in one] == [fate.fault == "lost" for fate in both]


@given(conditions(), st.lists(st.tuples(st.floats(0.0, 0.1), st.integers(20, 1500)), max_size=60))
def test_whatever_the_conditions_nothing_arrives_before_its_time(
    these: Conditions, sent: list[tuple[float, int]]
) -> None:
    under, now = Way(these, SeededRng(1)), 0.0
    for wait_s, size in sent:
        now += wait_s
        fate = under.send_datagram(size, now)
        assert len(fate.arrivals) <= 2
        assert all(at >= now + these.delay_s for at in fate.arrivals)


@pytest.mark.parametrize(
    "wrong",
    [{"loss": 1.1}, {"loss": -0.1}, {"delay_s": -1.0}, {"rate_bytes_per_s": 0.0}, {"reorder": 2}],
)
def test_conditions_that_cannot_be_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Conditions(**wrong)


# Ways.


def test_one_way_is_changed_and_the_other_is_not() -> None:
    network = Network(SeededRng(1))
    network.impair("a", "b", loss=1.0)
    assert network.way("a", "b").send_datagram(1, 0.0).fault == "lost"
    assert network.way("b", "a").send_datagram(1, 0.0).fault == ""
    network.restore("a", "b")
    assert network.way("a", "b").conditions == Conditions()


def test_what_holds_everywhere_leaves_what_was_changed_for_a_pair() -> None:
    network = Network(SeededRng(1), Conditions(delay_s=0.005))
    network.impair("a", "b", loss=0.5)
    network.impair("a", "b", loss=0.25, jitter_s=0.1)
    network.impair_all(delay_s=0.2, loss=0.9)
    assert network.way("a", "b").conditions == Conditions(delay_s=0.2, loss=0.25, jitter_s=0.1)
    assert network.way("c", "d").conditions == Conditions(delay_s=0.2, loss=0.9)
    network.restore_all()
    assert network.way("a", "b").conditions == Conditions(delay_s=0.005, loss=0.25, jitter_s=0.1)
    assert network.way("c", "d").conditions == Conditions(delay_s=0.005)
    network.clear()
    for pair in (("a", "b"), ("c", "d"), ("e", "f")):
        assert network.way(*pair).conditions == Conditions(delay_s=0.005)


def test_a_cut_is_of_one_way_and_of_what_was_named() -> None:
    network = Network(SeededRng(1))
    network.cut("a", "b", only=Transport.UDP)
    assert network.way("a", "b").send_datagram(1, 0.0) == Fate((), "cut")
    assert network.way("b", "a").cut == set()
    network.cut("a", "b", only=Transport.TCP)
    assert network.way("a", "b").cut == set(Transport)
    network.mend("a", "b")
    assert network.way("a", "b").cut == set()
    network.cut("a", "b")
    network.mend_all()
    assert network.way("a", "b").cut == set()


# Streams.


def read_all(stream: Stream) -> list[tuple[float, bytes | StreamEnd]]:
    seen = []
    while (at := stream.next_deadline()) is not None and at < 1e6:
        seen += [(at, item) for item in stream.read(at)]
    return seen


def test_a_stream_keeps_its_order_whatever_its_way_does() -> None:
    bad = way(delay_s=0.01, jitter_s=0.3, loss=0.3, burst_loss=BurstLoss(0.2, 0.2), duplicate=0.5)
    stream = Stream(bad)
    said = [bytes((number,)) * 10 for number in range(100)]
    for number, data in enumerate(said):
        stream.write(data, number * 0.01)
    stream.write(StreamEnd.CLOSED, 2.0)
    seen = read_all(stream)
    assert [item for _, item in seen] == [*said, StreamEnd.CLOSED]
    assert [at for at, _ in seen] == sorted(at for at, _ in seen)


def test_what_a_stream_would_lose_comes_later() -> None:
    clean, lossy = Stream(way()), Stream(way(loss=0.5))
    for stream in (clean, lossy):
        for number in range(50):
            stream.write(b"x", number * 1.0)
    late = [at - n for n, (at, _) in enumerate(read_all(lossy))]
    assert all(at - n == pytest.approx(0.001) for n, (at, _) in enumerate(read_all(clean)))
    assert sum(delay_s > FIRST_RETRANSMISSION_S for delay_s in late) > 10


def test_a_stream_is_paced_by_the_rate() -> None:
    stream = Stream(way(delay_s=0.0, rate_bytes_per_s=1000.0))
    stream.write(bytes(500), 0.0)
    stream.write(bytes(500), 0.0)
    assert [at for at, _ in read_all(stream)] == [0.5, 1.0]


def test_the_pieces_of_a_stream_are_cut_anew() -> None:
    stream = Stream(way(segment_bytes=7))
    said = [bytes(range(100)), bytes(range(100, 200))]
    for data in said:
        stream.write(data, 0.0)
    stream.write(StreamEnd.RESET, 0.0)
    *pieces, end = [item for _, item in read_all(stream)]
    assert end is StreamEnd.RESET
    assert all(isinstance(piece, bytes) and 1 <= len(piece) <= 7 for piece in pieces)
    assert b"".join(piece for piece in pieces if isinstance(piece, bytes)) == b"".join(said)
    assert len(set(map(len, (p for p in pieces if isinstance(p, bytes))))) > 3, "at random"


def test_a_cut_stalls_a_stream_and_loses_nothing() -> None:
    open_way = way()
    stream = Stream(open_way)
    open_way.cut = frozenset({Transport.TCP})
    stream.write(b"first", 0.0)
    tries = []
    while (at := stream.next_deadline()) is not None and at < 60.0:
        assert stream.read(at) == []
        tries.append(at)
    waits = [later - earlier for earlier, later in itertools.pairwise(tries)]
    assert waits[0] == pytest.approx(FIRST_RETRANSMISSION_S)
    assert all(later == pytest.approx(2 * earlier) for earlier, later in itertools.pairwise(waits))
    stream.write(b"second", 60.0)
    open_way.cut = frozenset()
    assert stream.read(60.5) == [], "TCP does not know that the way is open again"
    after = read_all(stream)
    assert [item for _, item in after] == [b"first", b"second"]
    assert after[0][0] - 60.0 <= LAST_RETRANSMISSION_S


def test_a_machine_that_is_gone_stalls_a_stream_too() -> None:
    stream = Stream(way())
    stream.write(b"x", 0.0)
    assert stream.read(0.001, reachable=False) == []
    assert stream.read(1.0) == [b"x"]
