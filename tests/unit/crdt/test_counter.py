"""Everybody counts up and down, and all counts add up."""

from __future__ import annotations

import pytest

from meshnet.crdt.base import MAX_COUNTER, CounterExhausted, ValueChange
from meshnet.crdt.counter import Counter
from meshnet.crdt.dots import Origin
from meshnet.wire.cursor import MalformedError
from support.samples import ALICE, BOB

A, A_REBORN, B = Origin(ALICE.name, 1), Origin(ALICE.name, 2), Origin(BOB.name, 1)


def u64(*numbers: int) -> bytes:
    return b"".join(number.to_bytes(8, "big") for number in numbers)


def test_counts_of_all_origins_add_up() -> None:
    counter = Counter()
    assert counter.value == 0
    for origin, amount in [(A, 5), (B, -7), (A, -1), (A_REBORN, 2)]:
        before = counter.value
        assert counter.apply(counter.add(origin, amount)) == [ValueChange(before, before + amount)]
    assert counter.value == -1


def test_counts_that_did_not_see_each_other_all_count_once() -> None:
    one, two = Counter().add(A, 5), Counter().add(B, 6)
    assert one.merge(two).merge(one).value == 11


def test_up_and_down_at_once_is_no_change_to_see() -> None:
    both = Counter().add(A, 1).merge(Counter().add(B, -1))
    assert Counter().apply(both) == []


def test_counting_nothing_says_nothing() -> None:
    assert Counter().add(A, 0) == Counter()


def test_totals_end_below_the_maximum() -> None:
    full = Counter().add(A, MAX_COUNTER - 1)
    for amount in (1, MAX_COUNTER):
        with pytest.raises(CounterExhausted):
            full.add(A, amount)
    with pytest.raises(CounterExhausted):
        full.add(B, -MAX_COUNTER)
    assert full.add(A, -1).to_entries(A.peer) == {u64(1): u64(MAX_COUNTER - 1, 1)}


def test_a_writer_counts_for_itself_only() -> None:
    both = Counter().add(A, 5).merge(Counter().add(B, -6))
    assert both.to_entries(A.peer) == {u64(1): u64(5, 0)}
    assert both.to_entries(B.peer) == {u64(1): u64(0, 6)}


@pytest.mark.parametrize(
    ("key", "value"),
    [
        (b"", u64(1, 0)),
        (u64(1) + b"\x00", u64(1, 0)),
        (u64(1), b""),
        (u64(1), u64(0, 0)),
        (u64(1), u64(MAX_COUNTER, 0)),
        (u64(1), u64(0, MAX_COUNTER)),
        (u64(1), u64(1, 0) + b"\x00"),
    ],
)
def test_a_bad_entry_is_refused_and_the_good_one_beside_it_counts(key: bytes, value: bytes) -> None:
    with pytest.raises(MalformedError):
        Counter.from_entries({key: value}, A.peer)
    bad: list[bytes] = []
    entries = {key: value, u64(9): u64(3, 1)}
    assert Counter.from_entries(entries, A.peer, lambda at, _: bad.append(at)).value == 2
    assert bad == [key]
