"""A value that is made anew: bit by bit, and seen at once when it is all there."""

from __future__ import annotations

import random
import sys
from types import FrameType
from typing import Any

import pytest

from meshnet.crdt import Counter, Lattice, LwwMap, LwwRegister, Origin, OrMap, OrSet
from meshnet.errors import StateError
from meshnet.gossip import channels as channels_module
from meshnet.gossip.channels import OpenChannel
from meshnet.gossip.tree import Tree
from support.channels import ALL_TYPES, Member, fragment_by, fresh_fold, replay, seen
from support.samples import ALICE, BOB, CAROL

LATER = 1000.0
FULL = "cannot write: No space left on device"


def delta_of(value: Lattice[Any], origin: Origin, key: str, text: bytes, remove: bool) -> Any:
    if isinstance(value, LwwRegister):
        return value.put(origin, None if remove else text)
    if isinstance(value, Counter):
        return value.add(origin, -1 if remove else len(text))
    if isinstance(value, OrSet):
        return value.remove(origin, key) if remove else value.add(origin, key)
    assert isinstance(value, LwwMap | OrMap)
    return value.remove(origin, key) if remove else value.put(origin, key, text)


def tree_by(kind: type[Lattice[Any]], origin: Origin, keys: range, text: bytes) -> Tree:
    value = kind()
    for key in keys:
        value.apply(delta_of(value, origin, f"{key}", text, remove=False))
    return Tree.of(value.to_entries(origin.peer).items())


def most_lines_in_a_call(member: Member, opened: OpenChannel[Any]) -> int:
    """Lines run by the longest call of `work`, until there is none left."""
    most = count = 0

    def trace(frame: FrameType, event: str, argument: object) -> Any:
        nonlocal count
        count += event == "line"
        return trace

    before = sys.gettrace()
    while (at := member.channels.next_work_at(LATER)) is not None and at <= LATER:
        count = 0
        sys.settrace(trace)
        try:
            member.channels.work(LATER)
        finally:
            sys.settrace(before)
        most = max(most, count)
    return most


@pytest.mark.parametrize("all_gone", [False, True], ids=["one is gone", "all are others"])
@pytest.mark.parametrize("kind", [LwwMap, OrSet, OrMap])
def test_a_large_value_is_made_anew_in_slices(kind: type[Lattice[Any]], all_gone: bool) -> None:
    most = {}
    for size in (500, 5000):
        member = Member()
        opened = member.channels.open("names", kind)
        tree = tree_by(kind, Origin(BOB.name, 1), range(size), b"x")
        member.hear(opened.id, fragment_by(BOB, opened.id, tree))
        member.catch_up()
        if all_gone:
            tree = tree_by(kind, Origin(BOB.name, 2), range(size // 2, size + size // 2), b"y")
        else:
            tree = tree.updated([(next(iter(tree))[0], None)])
        member.hear(opened.id, fragment_by(BOB, opened.id, tree, 2))
        while opened.refold is None:
            member.channels.work(LATER)
        member.follow()
        view, told = seen(opened.value), len(member.changes)
        most[size] = most_lines_in_a_call(member, opened)
        member.follow()
        for change in member.changes[told:]:
            replay(view, change)
        assert view == seen(opened.value)
        assert opened.value == fresh_fold(member.gossip.replica, opened.id, kind)
    assert most[5000] < 1.5 * most[500]


class Churn:
    """Somebody takes back what it said, while we and others write, in the smallest slices."""

    def __init__(self, kind: type[Lattice[Any]], seed: int) -> None:
        self.draw = random.Random(seed)
        self.kind = kind
        self.member = Member(durable=True)
        self.opened = self.member.channels.open("names", kind)
        self.view = seen(self.opened.value)
        self.told = 0
        self.sequence = 0
        self.carols = kind()

    def watch(self) -> None:
        self.member.follow()
        changes = self.member.changes
        for change in changes[self.told :]:
            replay(self.view, change)
        self.told = len(changes)
        assert self.view == seen(self.opened.value), "users are told of what they see, at once"

    def hear(self, who: Any, tree: Tree) -> None:
        self.sequence += 1
        self.member.hear(self.opened.id, fragment_by(who, self.opened.id, tree, self.sequence))

    def step(self, now: float) -> None:
        draw, member = self.draw, self.member
        key, text, remove = f"{draw.randrange(12)}", draw.randbytes(1), draw.random() < 0.4
        act = draw.random()
        if act < 0.7:
            member.channels.work(now)
        elif act < 0.85:
            origin = member.channels.origin
            delta = delta_of(self.opened.value, origin, key, text, remove)
            try:
                member.channels.update(self.opened, delta)
            except StateError:
                assert self.opened.is_undoing
        elif act < 0.93:
            who = Origin(CAROL.name, 1)
            self.carols.apply(delta_of(self.carols, who, key, text, remove))
            self.hear(CAROL, Tree.of(self.carols.to_entries(CAROL.name).items()))
        elif act < 0.97:
            first = draw.randrange(10)
            keys = range(first, draw.randrange(first, 12))
            who = Origin(BOB.name, draw.randrange(3))
            self.hear(BOB, tree_by(self.kind, who, keys, text))
        elif act < 0.98:
            lost = tree_by(self.kind, Origin(ALICE.name, 2), range(3), text)
            fragment = fragment_by(ALICE, self.opened.id, lost, 2**50 + self.sequence)
            member.gossip.go_above(self.opened.id, fragment.head.sequence)
            member.channels.take_back(self.opened.id, fragment)
        else:
            member.flush(refused=FULL if draw.random() < 0.5 else "")
        self.watch()


@pytest.mark.parametrize("kind", ALL_TYPES)
def test_what_is_written_meanwhile_is_seen_at_once_and_told_once(
    kind: type[Lattice[Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(channels_module, "SLICE_ENTRIES", 1)
    monkeypatch.setattr(channels_module, "OPEN_ENTRIES", 1)
    monkeypatch.setattr(channels_module, "KEYS_FOR_ENTRY", 1)
    made_anew = while_comparing = 0
    for seed in range(20):
        run = Churn(kind, seed)
        for number in range(300):
            fold, comparison = run.opened.fold, run.opened._comparison
            run.step(float(number))
            made_anew += run.opened.fold is not fold
            while_comparing += comparison is not None and run.opened._comparison is comparison
        run.member.catch_up(now=LATER)
        run.member.flush()
        run.member.catch_up(now=2 * LATER)
        run.watch()
        assert run.opened.value == fresh_fold(run.member.gossip.replica, run.opened.id, kind)
    assert made_anew > 40
    assert while_comparing > 100 or kind in (LwwRegister, Counter)


def test_a_value_that_is_replaced_is_left_as_it_was_to_who_holds_it() -> None:
    member = Member()
    opened = member.channels.open("names", OrMap)
    who = Origin(BOB.name, 1)
    trees = [tree_by(OrMap, who, range(count), b"x") for count in (3000, 1)]
    member.hear(opened.id, fragment_by(BOB, opened.id, trees[0]))
    member.catch_up()
    held = opened.value
    member.hear(opened.id, fragment_by(BOB, opened.id, trees[1], 2))
    while opened.value is held:
        member.channels.work(LATER)
        member.follow()
    before = held.copy()
    member.catch_up(now=LATER)
    assert held == before
    assert member.channels.next_work_at(LATER) is None
    assert len(opened.value) == 1
