"""Getting a fragment's entries from a neighbour, node by node, past what is there already.

Every node is checked against the digest that its parent, and in the end the signed head, has for
it; so nothing is held that its writer has not signed, and a fetch that has to be pointed at a newer
head keeps what it has so far.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Sequence

from meshnet.gossip.fragments import Fragment, Head, fragment_of
from meshnet.gossip.messages import MAX_PATH_DIGITS, MAX_PATHS, InnerNode, Told
from meshnet.gossip.tree import (
    EMPTY_DIGEST,
    ENTRY_BYTES,
    Entry,
    Inner,
    Node,
    Path,
    Tree,
    build,
    leaf_of,
    spot_of,
)
from meshnet.wire.crypto import HASH_BYTES
from meshnet.wire.cursor import MalformedError

# Our choice: so many nodes that have come already are looked through at once, a millisecond's work.
LOOK_NODES = 512
# So many are joined to a tree at once when all have come: each costs a hash over its children.
JOIN_NODES = 16


class Unusable(Exception):
    """The writer signed something that is no fragment. Nobody can make it one."""


class Fetch:
    """One fragment on its way here. ``have``: an older version of it, whose nodes are reused."""

    def __init__(self, head: Head, have: Tree) -> None:
        self.held_bytes = 0
        """About what the nodes cost that have come so far."""
        self._have = have
        # All that has come, for older heads too: of use if the head's nodes lead to it.
        self._nodes: dict[Path, InnerNode | Node] = {}
        self.retarget(head)

    def retarget(self, head: Head) -> None:
        """Go on for a newer head of the same writer.

        What has come is looked through again only bit by bit, in `paths_to_ask`: a writer can sign
        heads faster than that can be done.
        """
        self.head = head
        self._missing: dict[Path, bytes] = {}
        # Nodes of this head that are there, and not yet looked below.
        self._there: list[Path] = []
        self._seen = self._size_bytes = 0
        self._joining: Generator[None, None, Node | None] | None = None
        self._tree: Tree | None = None
        if len(self._nodes) > self._most_nodes:
            self._nodes.clear()
            self.held_bytes = 0
        self._look_for("", head.root)

    @property
    def finished(self) -> bool:
        return not self._missing and not self._there

    def paths_to_ask(self) -> tuple[Path, ...]:
        """What to ask for next; ask for it again until it is given.

        None, while not `finished`: call it again soon, there is more to look through. Raises
        Unusable.
        """
        for _ in range(LOOK_NODES):
            if not self._there or len(self._missing) >= MAX_PATHS:
                break
            path = self._there.pop()
            self._look_below(path, self._nodes[path])
        return tuple(path for path, _ in zip(self._missing, range(MAX_PATHS), strict=False))

    def give(self, nodes: Iterable[tuple[Path, Told]]) -> None:
        """Take an answer.

        Raises MalformedError for nodes that are not those of the head, or none that was asked for
        (the carrier is to blame), and Unusable for those that are but cannot be part of a fragment
        (the writer is).
        """
        missing = len(self._missing)
        took_one = False
        for path, told in nodes:
            wanted = self._missing.get(path)
            if wanted is None:
                continue  # Asked before the fetch was pointed at a newer head.
            node = told if isinstance(told, InnerNode) else self._built(path, told.entries)
            if (EMPTY_DIGEST if node is None else node.digest) != wanted:
                raise MalformedError("a node that is not what its digest says")
            del self._missing[path]
            took_one = True
            if node is not None:
                if (replaced := self._nodes.get(path)) is not None:
                    self.held_bytes -= _cost(replaced)
                self.held_bytes += _cost(node)
                self._nodes[path] = node
                self._look_below(path, node)
        if missing and not took_one:
            raise MalformedError("an answer without a node that was asked for")

    def join(self, limit: int | None = JOIN_NODES) -> bool:
        """Make a tree of what has come, when `finished`: for up to ``limit`` nodes at once.

        True when that is done. Raises Unusable.
        """
        if self._joining is None:
            self._joining = self._joined("", self.head.root)
        joined = 0
        while self._tree is None and (limit is None or joined < limit):
            try:
                next(self._joining)
            except StopIteration as done:
                self._tree = Tree(done.value)
            joined += 1
        return self._tree is not None

    def result(self) -> Fragment:
        """The whole fragment, when `finished`; all at once, if `join` has not done it yet.

        Raises Unusable.
        """
        self.join(limit=None)
        assert self._tree is not None, "there is no limit"
        fragment = fragment_of(self.head, self._tree)
        if fragment is None:
            raise Unusable("the entries do not have the size that the head says")
        return fragment

    @property
    def _most_nodes(self) -> int:
        # Each has two entries below it, but for what chance puts close together.
        return 2 * (self.head.size_bytes // ENTRY_BYTES) + MAX_PATH_DIGITS

    def _look_for(self, path: Path, digest: bytes) -> None:
        """Note as missing what has not come yet."""
        if digest == EMPTY_DIGEST:
            return
        mine = self._have.node_at(path)
        if mine is not None and mine.digest == digest:
            return
        there = self._nodes.get(path)
        if there is not None and there.digest == digest:
            self._there.append(path)
        else:
            self._missing[path] = digest

    def _look_below(self, path: Path, node: InnerNode | Node) -> None:
        self._seen += 1
        if isinstance(node, InnerNode):
            if len(path) == MAX_PATH_DIGITS or self._seen > self._most_nodes:
                raise Unusable("more nodes than the entries need")
            for number, digest in enumerate(node.children):
                if digest is not None:
                    self._look_for(path + f"{number:x}", digest)
        else:
            self._size_bytes += node.size_bytes
            if self._size_bytes > self.head.size_bytes:
                raise Unusable("more entries than the head says")

    def _built(self, path: Path, entries: Sequence[Entry]) -> Node | None:
        leaves = {spot_of(key): leaf_of(key, value) for key, value in entries}
        if len(leaves) != len(entries):
            raise MalformedError("an entry twice")
        if not all(spot.startswith(path) for spot in leaves):
            raise MalformedError("an entry that stands elsewhere")
        return build(leaves, len(path))

    def _joined(self, path: Path, digest: bytes) -> Generator[None, None, Node | None]:
        """The node there; yields after each that has been made."""
        if digest == EMPTY_DIGEST:
            return None
        mine = self._have.node_at(path)
        if mine is not None and mine.digest == digest:
            return mine
        node = self._nodes[path]
        if not isinstance(node, InnerNode):
            return node
        children: list[Node | None] = []
        for number, child in enumerate(node.children):
            below = path + f"{number:x}"
            children.append(None if child is None else (yield from self._joined(below, child)))
        inner = Inner(children)
        if inner.count < 2:
            raise Unusable("a tree of another shape than its entries have")
        yield
        return inner


def _cost(node: InnerNode | Node) -> int:
    if isinstance(node, InnerNode):
        return sum(ENTRY_BYTES + HASH_BYTES for child in node.children if child is not None)
    return node.size_bytes
