"""Answers of a neighbour that take long, worked through bit by bit.

What fits a record may be a thousand entries, each of them hashed three times, or a hundred heads
with a signature each: ten milliseconds and more, in which no frame could pass.
"""

from __future__ import annotations

from collections import deque

from meshnet.gossip.messages import InnerNode, Nodes, Told
from meshnet.gossip.tree import FANOUT, Path

# Our choice: half a millisecond's work.
SLICE_ENTRIES = 50
# A head of the index costs its signature: as much as so many entries.
ENTRIES_FOR_HEAD = 15


class UnreadNodes:
    """A NODES of which some is still to be looked at."""

    def __init__(self, nodes: Nodes) -> None:
        self.tree = nodes.tree
        self.root = nodes.root
        self._nodes = deque(nodes.nodes)
        self._each = ENTRIES_FOR_HEAD if nodes.tree is None else 1

    @property
    def is_long(self) -> bool:
        """Whether it takes more than one `take`."""
        return sum(map(self._cost, self._nodes)) > SLICE_ENTRIES

    @property
    def left(self) -> int:
        """How many nodes nobody has looked at yet."""
        return len(self._nodes)

    def take(self) -> list[tuple[Path, Told]]:
        """The next piece: one node at least, if any is left."""
        piece: list[tuple[Path, Told]] = []
        left = SLICE_ENTRIES
        while self._nodes and left > 0:
            left -= self._cost(self._nodes[0])
            if piece and left < 0:
                break
            piece.append(self._nodes.popleft())
        return piece

    def _cost(self, node: tuple[Path, Told]) -> int:
        told = node[1]
        return FANOUT // 2 if isinstance(told, InnerNode) else len(told.entries) * self._each
