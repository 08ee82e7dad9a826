"""A channel's value out of its fragments, bit by bit.

Joining a hundred thousand entries takes a second, and frames must not wait for it: so the value
catches up with the fragments in slices. For each writer it remembers the version of the fragment
that it has joined.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from itertools import islice
from typing import Any, Generic, TypeVar

from meshnet.crdt.base import Lattice
from meshnet.gossip.tree import EMPTY, Difference, Tree
from meshnet.ids import PeerName
from meshnet.wire.cursor import MalformedError

LatticeT = TypeVar("LatticeT", bound=Lattice[Any])
OnBad = Callable[[PeerName, bytes, MalformedError], None]


class Fold(Generic[LatticeT]):
    """``value`` is the join of what has been joined so far; `is_behind` while that is not all.

    ``trees``: every writer's entries as they are now, a live view. ``on_bad`` is told of entries
    that mean nothing to the type; None: that has been done.
    """

    def __init__(
        self, kind: type[LatticeT], trees: Mapping[PeerName, Tree], on_bad: OnBad | None
    ) -> None:
        self.value = kind()
        self._kind = kind
        self._trees = trees
        self.on_bad = on_bad
        self._joined: dict[PeerName, Tree] = {}
        self._behind: dict[PeerName, None] = dict.fromkeys(trees)
        self._under_way: tuple[PeerName, Tree, Iterator[Difference]] | None = None
        self.only_grew = True
        """False once a writer has taken back what it had said: the value may still hold that."""

    @property
    def is_behind(self) -> bool:
        return bool(self._behind) or self._under_way is not None

    def changed(self, writer: PeerName) -> None:
        """``writer``'s entries are others now."""
        self._behind[writer] = None

    def write(self, writer: PeerName, delta: LatticeT, before: Tree, now: Tree) -> list[Any]:
        """Join an update at once, by which ``writer``'s entries become ``now``; what changes."""
        under_way = self._under_way is not None and self._under_way[0] == writer
        if self._joined.get(writer, EMPTY) is before and not under_way:
            self._joined[writer] = now
            self._behind.pop(writer, None)
        else:
            # Of what was there before something is still to be joined.
            self._behind[writer] = None
        return self.value.apply(delta)

    def catch_up(self, limit: int) -> list[Any]:
        """Join up to ``limit`` changed entries; what users see change."""
        changes: list[Any] = []
        while limit > 0 and self.is_behind:
            if self._under_way is None:
                writer = next(iter(self._behind))
                del self._behind[writer]
                tree = self._trees.get(writer, EMPTY)
                since = tree.changes_since(self._joined.get(writer, EMPTY))
                self._under_way = (writer, tree, since)
            writer, tree, since = self._under_way
            piece = list(islice(since, limit))
            if len(piece) < limit:
                self._joined[writer] = tree
                self._under_way = None
            limit -= len(piece)
            if piece:
                changes += self._join(writer, piece)
        return changes

    def _join(self, writer: PeerName, piece: list[Difference]) -> list[Any]:
        def bad(key: bytes, error: MalformedError) -> None:
            if self.on_bad is not None:
                self.on_bad(writer, key, error)

        there = {key: now for key, _, now in piece if now is not None}
        delta = self._kind.from_entries(there, writer, bad)
        before = {key: old for key, old, _ in piece if old is not None}
        if before:
            gone = self._kind.from_entries(
                {key: now for key, _, now in piece if now is None}, writer, overlook
            )
            grown = delta.copy()
            grown.apply(gone)
            if self.only_grew:
                # What is there now must say all that was there, and why the rest is gone: who
                # comes later sees nothing else. (A change cut into pieces may fail this without
                # need; that costs a fold, not the value.)
                whole = grown.copy()
                whole.apply(self._kind.from_entries(before, writer, overlook))
                self.only_grew = whole == delta
            delta = grown
        return self.value.apply(delta)


def overlook(_key: bytes, _error: MalformedError) -> None:
    """For what has been told once already."""
