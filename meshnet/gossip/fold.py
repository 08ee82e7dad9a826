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
    that mean nothing to the type.
    """

    def __init__(self, kind: type[LatticeT], trees: Mapping[PeerName, Tree], on_bad: OnBad) -> None:
        self.value = kind()
        self._kind = kind
        self._trees = trees
        self._on_bad = on_bad
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

    def has_joined(self, writer: PeerName, tree: Tree) -> None:
        """The value holds what ``writer`` says in ``tree``: our own updates count at once."""
        self._joined[writer] = tree
        self._behind.pop(writer, None)

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
            self._on_bad(writer, key, error)

        delta = self._kind.from_entries({key: now for key, _, now in piece}, writer, bad)
        before = {key: old for key, old, _ in piece if old is not None}
        if before and self.only_grew:
            grown = delta.copy()
            grown.apply(self._kind.from_entries(before, writer, overlook))
            self.only_grew = grown == delta
        return self.value.apply(delta)


def overlook(_key: bytes, _error: MalformedError) -> None:
    """For what has been told once already."""
