"""A value that follows fragments in slices, and knows when it cannot."""

from __future__ import annotations

from typing import Any

import pytest

from meshnet.crdt import Counter, ElementChange, Lattice, LwwMap, LwwRegister, Origin, OrMap, OrSet
from meshnet.gossip.fold import Fold
from meshnet.gossip.tree import EMPTY, Tree
from meshnet.ids import PeerName
from meshnet.wire.cursor import MalformedError
from support.samples import ALICE, BOB

A, B = ALICE.name, BOB.name


def entries_of(state: Lattice[Any], writer: PeerName = A) -> Tree:
    return Tree.of(state.to_entries(writer).items())


def set_of(count: int, writer: PeerName = A) -> OrSet:
    value = OrSet()
    for number in range(count):
        value.apply(value.add(Origin(writer, 1), f"{writer.short} {number}"))
    return value


class Counted(OrSet):
    """Counts the entries that are joined."""

    joined = 0

    def join_entry(self, writer: PeerName, key: bytes, value: bytes | None) -> None:
        Counted.joined += 1
        super().join_entry(writer, key, value)


def test_a_slice_joins_no_more_than_it_may_and_in_the_end_all_is_there() -> None:
    trees = {A: entries_of(set_of(250)), B: entries_of(set_of(130, B), B)}
    fold = Fold(Counted, trees, None)
    slices: list[int] = []
    changes: list[Any] = []
    while fold.is_behind:
        Counted.joined = 0
        changes += fold.catch_up(100)
        slices.append(Counted.joined)
    assert max(slices) == 100
    assert sum(slices) == 380
    assert {change.element for change in changes} == set(fold.value)
    assert len(fold.value) == 380
    assert fold.only_grew


def test_what_changes_is_joined_for_what_it_is() -> None:
    state = set_of(1000)
    trees = {A: entries_of(state)}
    fold = Fold(Counted, trees, None)
    fold.catch_up(10_000)
    state.apply(state.add(Origin(A, 1), "one more"))
    trees[A] = entries_of(state)
    fold.changed(A)
    Counted.joined = 0
    assert fold.catch_up(100) == [ElementChange("one more", True)]
    assert Counted.joined == 1


def test_a_removal_that_says_what_it_removes_is_growth() -> None:
    state = set_of(3)
    trees = {A: entries_of(state)}
    fold = Fold(OrSet, trees, None)
    fold.catch_up(100)
    state.apply(state.remove(Origin(A, 1), f"{A.short} 1"))
    trees[A] = entries_of(state)
    fold.changed(A)
    assert fold.catch_up(100) == [ElementChange(f"{A.short} 1", False)]
    assert fold.only_grew
    assert fold.value == state


def later(kind: type[Lattice[Any]]) -> tuple[Tree, Tree]:
    """A writer's entries, and those of it after one more write."""
    origin = Origin(A, 1)
    value = kind()
    trees = []
    for number in range(2):
        if isinstance(value, LwwRegister):
            value.apply(value.put(origin, b"%d" % number))
        elif isinstance(value, LwwMap):
            value.apply(value.put(origin, "key", b"%d" % number))
        elif isinstance(value, OrMap):
            value.apply(value.put(origin, "other key", b"%d" % number))
        elif isinstance(value, OrSet):
            value.apply(value.add(origin, "element"))
        else:
            assert isinstance(value, Counter)
            value.apply(value.add(origin, 1))
        trees.append(entries_of(value))
    return trees[0], trees[1]


@pytest.mark.parametrize("kind", [LwwRegister, LwwMap, OrSet, OrMap, Counter])
def test_a_writer_that_takes_back_what_it_said_is_noticed(kind: type[Lattice[Any]]) -> None:
    first, second = later(kind)
    trees = {A: first}
    fold = Fold(kind, trees, None)
    for tree, grew in ((first, True), (second, True), (first, False)):
        trees[A] = tree
        fold.changed(A)
        fold.catch_up(100)
        assert fold.only_grew is grew


def test_a_dot_that_is_gone_without_a_removal_is_noticed() -> None:
    """Who comes later has never heard of it, so it must not stay removed here."""
    whole, part = entries_of(set_of(2)), entries_of(set_of(1))
    trees = {A: whole}
    fold = Fold(OrSet, trees, None)
    fold.catch_up(100)
    trees[A] = part
    fold.changed(A)
    fold.catch_up(100)
    assert not fold.only_grew


def test_a_bad_entry_that_is_gone_leaves_no_trace_unnoticed() -> None:
    [(key, _)] = list(entries_of(set_of(1)))
    trees = {A: Tree.of([(key, b"\xff no element")])}
    told: list[bytes] = []
    fold = Fold(OrSet, trees, lambda _writer, bad, _error: told.append(bad))
    fold.catch_up(100)
    assert told == [key]
    trees[A] = EMPTY
    fold.changed(A)
    fold.catch_up(100)
    assert told == [key], "that it is gone is no news of a bad entry"
    assert not fold.only_grew


def test_bad_entries_are_told_with_their_writer_and_hide_nothing() -> None:
    good = set_of(5, B)
    told: list[tuple[PeerName, bytes]] = []

    def bad(writer: PeerName, key: bytes, error: MalformedError) -> None:
        told.append((writer, key))

    trees = {A: Tree.of([(b"?", b"")]), B: entries_of(good, B).updated([(b"!", b"")])}
    fold = Fold(OrSet, trees, bad)
    while fold.is_behind:
        fold.catch_up(2)
    assert sorted(told) == sorted([(A, b"?"), (B, b"!")])
    assert fold.value == good


def test_a_write_before_all_was_joined_does_not_hide_the_rest() -> None:
    state = set_of(50)
    before = entries_of(state)
    trees = {A: before}
    fold = Fold(OrSet, trees, None)
    fold.catch_up(10)
    delta = state.add(Origin(A, 1), "at once")
    state.apply(delta)
    trees[A] = entries_of(state)
    assert fold.write(A, delta, before, trees[A]) == [ElementChange("at once", True)]
    assert fold.is_behind
    fold.catch_up(1000)
    assert fold.value == state


def test_a_write_upon_what_is_joined_costs_nothing_more() -> None:
    fold = Fold(OrSet, {}, None)
    state = set_of(1)
    fold.write(A, state, EMPTY, entries_of(state))
    assert not fold.is_behind
    assert fold.value == state
