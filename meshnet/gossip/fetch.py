"""Getting a fragment's entries from a neighbour, node by node, past what is there already.

Every node is checked against the digest that its parent, and in the end the signed head, has for
it; so nothing is held that its writer has not signed, and a fetch that has to be pointed at a newer
head keeps what it has so far.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from meshnet.gossip.fragments import Fragment, Head, fragment_of
from meshnet.gossip.messages import MAX_PATH_DIGITS, MAX_PATHS, InnerNode, Told
from meshnet.gossip.tree import EMPTY_DIGEST, ENTRY_BYTES, Inner, Leaf, Node, Path, Tree, build
from meshnet.wire.cursor import MalformedError


class Unusable(Exception):
    """The writer signed something that is no fragment. Nobody can make it one."""


class Fetch:
    """One fragment on its way here. ``have``: an older version of it, whose nodes are reused."""

    def __init__(self, head: Head, have: Tree) -> None:
        self.head = head
        self._have = have
        self._nodes: dict[Path, InnerNode | Node] = {}
        self._missing: dict[Path, bytes] = {}
        self._size_bytes = 0
        self._look_for("", head.root, {})

    def retarget(self, head: Head) -> None:
        """Go on for a newer head of the same writer."""
        self.head = head
        known, self._nodes = self._nodes, {}
        self._missing.clear()
        self._size_bytes = 0
        self._look_for("", head.root, known)

    @property
    def finished(self) -> bool:
        return not self._missing

    def paths_to_ask(self) -> tuple[Path, ...]:
        """What to ask for next; ask for it again until it is given."""
        return tuple(path for path, _ in zip(self._missing, range(MAX_PATHS), strict=False))

    def give(self, nodes: Iterable[tuple[Path, Told]]) -> None:
        """Take an answer.

        Raises MalformedError for nodes that are not those of the head (the carrier is to blame),
        and Unusable for those that are but cannot be part of a fragment (the writer is).
        """
        for path, told in nodes:
            wanted = self._missing.get(path)
            if wanted is None:
                continue  # Asked before the fetch was pointed at a newer head.
            node = told if isinstance(told, InnerNode) else self._built(path, told.entries)
            if (EMPTY_DIGEST if node is None else node.digest) != wanted:
                raise MalformedError("a node that is not what its digest says")
            del self._missing[path]
            if node is not None:
                self._keep(path, node, {})

    def result(self) -> Fragment:
        """The whole fragment, when `finished`. Raises Unusable."""
        tree = Tree(self._assembled("", self.head.root))
        fragment = fragment_of(self.head, tree)
        if fragment is None:
            raise Unusable("the entries do not have the size that the head says")
        return fragment

    def _look_for(self, path: Path, digest: bytes, known: Mapping[Path, InnerNode | Node]) -> None:
        """Note as missing what neither an older version nor ``known`` has."""
        if digest == EMPTY_DIGEST:
            return
        mine = self._have.node_at(path)
        if mine is not None and mine.digest == digest:
            return
        node = known.get(path)
        if node is None or node.digest != digest:
            self._missing[path] = digest
        else:
            self._keep(path, node, known)

    def _keep(
        self, path: Path, node: InnerNode | Node, known: Mapping[Path, InnerNode | Node]
    ) -> None:
        self._nodes[path] = node
        if isinstance(node, InnerNode):
            # Each has two entries below it, but for what chance puts close together.
            limit = 2 * (self.head.size_bytes // ENTRY_BYTES) + MAX_PATH_DIGITS
            if len(path) == MAX_PATH_DIGITS or len(self._nodes) > limit:
                raise Unusable("more nodes than the entries need")
            for number, digest in enumerate(node.children):
                if digest is not None:
                    self._look_for(path + f"{number:x}", digest, known)
        else:
            self._size_bytes += node.size_bytes
            if self._size_bytes > self.head.size_bytes:
                raise Unusable("more entries than the head says")

    def _built(self, path: Path, entries: Iterable[tuple[bytes, bytes]]) -> Node | None:
        leaves = [Leaf(key, value) for key, value in entries]
        if any(not leaf.spot.startswith(path) for leaf in leaves):
            raise MalformedError("an entry that stands elsewhere")
        if len({leaf.spot for leaf in leaves}) != len(leaves):
            raise MalformedError("an entry twice")
        return build(leaves, len(path))

    def _assembled(self, path: Path, digest: bytes) -> Node | None:
        if digest == EMPTY_DIGEST:
            return None
        mine = self._have.node_at(path)
        if mine is not None and mine.digest == digest:
            return mine
        node = self._nodes[path]
        if not isinstance(node, InnerNode):
            return node
        inner = Inner(
            [
                None if child is None else self._assembled(path + f"{number:x}", child)
                for number, child in enumerate(node.children)
            ]
        )
        if inner.count < 2:
            raise Unusable("a tree of another shape than its entries have")
        return inner
