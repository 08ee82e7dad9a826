"""A change costs what it is large, not what the state is: counted in lines run and bytes taken."""

from __future__ import annotations

import functools
import gc
import sys
import tracemalloc
from collections.abc import Callable
from types import FrameType
from typing import Any

import pytest

from meshnet.crdt.base import Lattice
from meshnet.crdt.counter import Counter
from meshnet.crdt.dots import Origin
from meshnet.crdt.lww import LwwMap
from meshnet.crdt.orset import OrMap, OrSet
from support.samples import ALICE, BOB

SMALL, LARGE = 100, 100_000
A, B = Origin(ALICE.name, 1), Origin(BOB.name, 1)


def u64(number: int) -> bytes:
    return number.to_bytes(8, "big")


def text(number: int) -> bytes:
    return b"\x06%06d" % number


@functools.cache
def filled(kind: type[Lattice[Any]], size: int) -> Any:
    """A state with ``size`` entries of Alice's; to be copied."""
    write = {
        LwwMap: lambda n: (text(n), u64(n + 1) + b"\x01x"),
        OrSet: lambda n: (b"+" + u64(1) + u64(2 * n + 1), text(n)),
        OrMap: lambda n: (b"+" + u64(1) + u64(2 * n + 1), u64(1) + text(n) + b"x"),
        Counter: lambda n: (u64(n), u64(1) + u64(0)),
    }[kind]
    return kind.from_entries(dict(map(write, range(size))), A.peer)


CHANGES: dict[str, tuple[type[Lattice[Any]], Callable[[Any], Any]]] = {
    "put in an lww-map": (LwwMap, lambda state: state.put(B, "000050", b"y")),
    "remove from an lww-map": (LwwMap, lambda state: state.remove(B, "000050")),
    "add to an or-set": (OrSet, lambda state: state.add(A, "new")),
    "add again to an or-set": (OrSet, lambda state: state.add(A, "000050")),
    "remove from an or-set": (OrSet, lambda state: state.remove(B, "000050")),
    "put in an or-map": (OrMap, lambda state: state.put(B, "000050", b"y")),
    "count": (Counter, lambda state: state.add(A, 1)),
}


def lines_run(action: Callable[[], object]) -> int:
    count = 0

    def trace(frame: FrameType, event: str, argument: object) -> Any:
        nonlocal count
        count += event == "line"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        action()
    finally:
        sys.settrace(before)
    return count


def bytes_taken(action: Callable[[], object]) -> int:
    """The peak, so that a copy that is thrown away at once counts too."""
    gc.collect()
    tracemalloc.start()
    try:
        action()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("what", CHANGES)
def test_a_change_costs_the_same_in_a_large_state(what: str) -> None:
    kind, mutate = CHANGES[what]
    lines = {}
    for size in (SMALL, LARGE):
        state, own = filled(kind, size).copy(), filled(kind, size).copy()
        deltas: list[Any] = []

        def change() -> None:
            deltas.append(mutate(state))  # noqa: B023 -- called in this turn
            state.apply(deltas[0])  # noqa: B023
            own.publish(deltas[0], A.peer)  # noqa: B023
            own.settle(state, A.peer, deltas[0])  # noqa: B023

        lines[size] = lines_run(change)
        taken = bytes_taken(lambda: state.apply(mutate(state)))  # noqa: B023
        # A list or table that is full moves once in a while; it must not be each time.
        again = bytes_taken(lambda: state.apply(mutate(state)))  # noqa: B023
        assert min(taken, again) < 20_000
    assert lines[LARGE] == lines[SMALL]


def test_a_hostile_run_is_not_walked() -> None:
    everything = {b"-" + A.peer + u64(1) + u64(2 * LARGE): u64(2**64 - 2)}
    state = filled(OrSet, SMALL).copy()
    assert lines_run(lambda: state.apply(OrSet.from_entries(everything, B.peer))) < 300
    assert len(state) == SMALL


@pytest.mark.parametrize(("kind", "put"), [(OrSet, b"\x01k"), (OrMap, u64(1) + b"\x01kx")])
def test_a_key_on_which_many_put_costs_no_more_than_others(
    kind: type[Lattice[Any]], put: bytes
) -> None:
    def puts(first: int, count: int) -> Any:
        dots = range(first, first + count)
        return kind.from_entries({b"+" + u64(1) + u64(n): put for n in dots}, A.peer)

    lines = {}
    for size in (SMALL, LARGE // 10):
        state = puts(1000, size)
        slices = puts(1, 100), puts(1000 + size, 100)
        lines[size] = lines_run(lambda: [state.apply(delta) for delta in slices])  # noqa: B023
        assert state == puts(1, 100).merge(puts(1000, size + 100))
    # A piece of what is kept in order may be cut in two.
    assert lines[LARGE // 10] < 1.1 * lines[SMALL]
