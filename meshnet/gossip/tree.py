"""An ordered map whose content has one digest: a persistent hash tree over the entries.

What a writer signs is the root's digest, and who holds the tree can prove any part of it (wire.md
section 6.2). Where an entry stands is decided by the hash of its key, so that equal content always
has the same shape, however it came about, and nobody can choose keys that make the tree deep. Trees
are values: a change gives a new one that shares all but one way from the root with the old, so it
costs O(log n), and old ones can be kept to tell what has changed since.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator, Mapping, Sequence

from meshnet.wire.crypto import HASH_BYTES, blake2b

# From wire.md section 6.2.
FANOUT = 16
ENTRY_BYTES = 64
"""What an entry counts besides its key and value, so that many small ones are not for nothing."""

EMPTY_DIGEST = bytes(HASH_BYTES)

# Our choice. "We are linked to P" is the same entry in the records of all of P's neighbours: such
# small ones are made once, so many of them as a mesh of thousands has.
SHARED_VALUE_BYTES = 8
MAX_SHARED_LEAVES = 8192
_DIGITS = {f"{number:x}": number for number in range(FANOUT)}

Entry = tuple[bytes, bytes]
"""(key, value)."""
Change = tuple[bytes, bytes | None]
"""(key, new value); None for an entry that is gone."""
Difference = tuple[bytes, bytes | None, bytes | None]
"""(key, value before, value now), None for absent."""
Path = str
"""Where a node stands: the hexadecimal digits that the spots of all entries below it begin with."""


class Leaf:
    """One entry. Its place is worked out when it is asked for: kept, it would take half the memory.

    Who makes many takes `leaf_of`.
    """

    __slots__ = ("digest", "key", "value")

    count = 1

    def __init__(self, key: bytes, value: bytes) -> None:
        self.key = key
        self.value = value
        self.digest = blake2b(len(key).to_bytes(2, "big") + key + value, b"meshnet-leaf")

    @property
    def spot(self) -> str:
        """The hash of its key, as hexadecimal digits."""
        return spot_of(self.key)

    @property
    def size_bytes(self) -> int:
        return ENTRY_BYTES + len(self.key) + len(self.value)


class Inner:
    """Two entries or more, by the next digit of their spots."""

    __slots__ = ("children", "count", "digest", "size_bytes")
    digest: bytes

    def __init__(self, children: Sequence[Node | None]) -> None:
        self.children = tuple(children)
        self.count = self.size_bytes = bitmap = 0
        digests = []
        for number, child in enumerate(self.children):
            if child is not None:
                bitmap |= 1 << number
                digests.append(child.digest)
                self.count += child.count
                self.size_bytes += child.size_bytes
        self.digest = inner_digest(bitmap, digests)


Node = Leaf | Inner


def leaf_of(key: bytes, value: bytes) -> Leaf:
    """The leaf of an entry: a new one, or one that others have too."""
    return _shared_leaf(key, value) if len(value) <= SHARED_VALUE_BYTES else Leaf(key, value)


_shared_leaf = functools.lru_cache(MAX_SHARED_LEAVES)(Leaf)


def size_of(entry: Entry) -> int:
    """What an entry counts."""
    return ENTRY_BYTES + len(entry[0]) + len(entry[1])


def spot_of(key: bytes) -> str:
    return blake2b(key, b"meshnet-spot").hex()


def inner_digest(bitmap: int, digests: Iterable[bytes]) -> bytes:
    """The digest of a node whose children are these, in order; bit n of ``bitmap``: the n-th."""
    return blake2b(bitmap.to_bytes(2, "big") + b"".join(digests), b"meshnet-inner")


class Tree:
    """An immutable map of bytes to bytes."""

    __slots__ = ("root",)

    def __init__(self, root: Node | None = None) -> None:
        self.root = root

    @classmethod
    def of(cls, entries: Iterable[Entry]) -> Tree:
        return EMPTY.updated(entries)

    @property
    def digest(self) -> bytes:
        return EMPTY_DIGEST if self.root is None else self.root.digest

    @property
    def size_bytes(self) -> int:
        """Keys, values and `ENTRY_BYTES` for each entry."""
        return 0 if self.root is None else self.root.size_bytes

    def __len__(self) -> int:
        return 0 if self.root is None else self.root.count

    def __iter__(self) -> Iterator[Entry]:
        """All entries, in the order of their spots."""
        return ((leaf.key, leaf.value) for leaf in leaves_of(self.root))

    def get(self, key: bytes) -> bytes | None:
        node, spot, depth = self.root, spot_of(key), 0
        while isinstance(node, Inner):
            node = node.children[_DIGITS[spot[depth]]]
            depth += 1
        return node.value if node is not None and node.key == key else None

    def updated(self, changes: Iterable[Change]) -> Tree:
        """The tree with these changes; of several to one key the last counts."""
        batch = dict(changes)
        if not batch:
            return self
        spots = [
            (spot_of(key), leaf_of(key, value) if value is not None else None)
            for key, value in batch.items()
        ]
        root = _updated(self.root, 0, spots)
        return self if root is self.root else Tree(root)

    def node_at(self, path: Path) -> Node | None:
        """What holds all entries whose spots begin with ``path``."""
        node = self.root
        for depth, digit in enumerate(path):
            if not isinstance(node, Inner):
                below = node is not None and node.spot.startswith(path[depth:], depth)
                return node if below else None
            node = node.children[_DIGITS[digit]]
        return node

    def changes_since(self, old: Tree) -> Iterator[Difference]:
        """What makes this out of ``old``; it costs what has changed, not what is there."""
        return _differences(old.root, self.root)


EMPTY = Tree()


def build(leaves: Mapping[str, Leaf], depth: int) -> Node | None:
    """The node at ``depth`` digits of path that holds these, by their spots, which agree so far."""
    return _build(list(leaves.items()), depth)


def leaves_of(node: Node | None) -> Iterator[Leaf]:
    """All entries below ``node``, in the order of their spots."""
    below = [node] if node is not None else []
    while below:
        node = below.pop()
        if isinstance(node, Leaf):
            yield node
        else:
            below += [child for child in node.children[::-1] if child is not None]


def _build(leaves: Sequence[tuple[str, Leaf]], depth: int) -> Node | None:
    if len(leaves) < 2:
        return leaves[0][1] if leaves else None
    groups: dict[int, list[tuple[str, Leaf]]] = {}
    for placed in leaves:
        groups.setdefault(_DIGITS[placed[0][depth]], []).append(placed)
    children: list[Node | None] = [None] * FANOUT
    for number, group in groups.items():
        children[number] = _build(group, depth + 1)
    return Inner(children)


def _updated(
    node: Node | None, depth: int, changes: Sequence[tuple[str, Leaf | None]]
) -> Node | None:
    """``node`` with ``changes``, of different spots; itself when they change nothing."""
    if isinstance(node, Inner):
        groups: dict[int, list[tuple[str, Leaf | None]]] = {}
        for change in changes:
            groups.setdefault(_DIGITS[change[0][depth]], []).append(change)
        children = list(node.children)
        for number, group in groups.items():
            children[number] = _updated(children[number], depth + 1, group)
        if all(new is old for new, old in zip(children, node.children, strict=True)):
            return node
        present = [child for child in children if child is not None]
        if len(present) < 2 and (not present or isinstance(present[0], Leaf)):
            return present[0] if present else None
        return Inner(children)
    leaves = {spot: leaf for spot, leaf in changes if leaf is not None}
    if node is not None:
        place = node.spot
        replaced = any(spot == place for spot, _ in changes)
        same = leaves.get(place)
        if not replaced or (same is not None and same.digest == node.digest):
            leaves[place] = node
    return _build(list(leaves.items()), depth)


def _differences(old: Node | None, new: Node | None) -> Iterator[Difference]:
    if old is new or (old is not None and new is not None and old.digest == new.digest):
        return
    if isinstance(old, Inner) and isinstance(new, Inner):
        for old_child, new_child in zip(old.children, new.children, strict=True):
            yield from _differences(old_child, new_child)
        return
    before = {leaf.key: leaf.value for leaf in leaves_of(old)}
    for leaf in leaves_of(new):
        known = before.pop(leaf.key, None)
        if known != leaf.value:
            yield leaf.key, known, leaf.value
    for key, value in before.items():
        yield key, value, None
