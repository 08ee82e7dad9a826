"""Whatever nodes a neighbour gives, the result is what the head says, or MalformedError, Unusable.

A plan: what we have already, the heads (each with a tree of whatever shape, whose root is the
head's), and how the answers are changed on their way.
"""

from __future__ import annotations

from collections.abc import Iterator

from fuzz.plan import Plan, piece
from meshnet.gossip.fetch import Fetch, Unusable
from meshnet.gossip.fragments import MAX_FRAGMENT_BYTES, Head, parse_head
from meshnet.gossip.messages import MAX_PATHS, Entries, InnerNode, Told
from meshnet.gossip.tree import (
    EMPTY_DIGEST,
    ENTRY_BYTES,
    FANOUT,
    Entry,
    Leaf,
    Path,
    Tree,
    build,
    spot_of,
)
from meshnet.wire.crypto import HASH_BYTES
from meshnet.wire.cursor import MalformedError
from support.records import head_body
from support.samples import BOB

COVERS = ("meshnet.gossip.fetch",)

_NONE, _ENTRIES, _INNER, _HONEST, _CHAIN = range(5)
_AS_ASKED, _OTHER_PATH, _OTHER_NODE, _EMPTY_NODE, _RETARGET = range(5)
_MOST_ROUNDS = 200


class _Lie:
    """The tree behind a head: its nodes by path, as the neighbour would tell them."""

    def __init__(self, plan: Plan) -> None:
        self.told: dict[Path, Told] = {}
        root = self._node(plan, "")
        size = plan.number()
        # Small numbers are offsets to what is right.
        self.size_bytes = max(0, self._size + size - 128) if size else self._size
        body = head_body(BOB, Tree(), sequence=plan.number(), size_bytes=self.size_bytes)
        body = body[:-HASH_BYTES] + root
        # The head's signature is checked before a fetch begins.
        self.head: Head = parse_head(body + bytes(64))

    @property
    def _size(self) -> int:
        entries = [
            e for told in self.told.values() if isinstance(told, Entries) for e in told.entries
        ]
        return min(MAX_FRAGMENT_BYTES, sum(ENTRY_BYTES + len(k) + len(v) for k, v in entries))

    def _node(self, plan: Plan, path: Path) -> bytes:
        """The digest of a node made as the plan says, however little it fits where it stands."""
        kind = _NONE if plan.over else plan.number() % 5
        if kind == _INNER and len(path) < 70:
            bitmap = plan.number(2)
            children = [
                self._node(plan, path + f"{number:x}") if bitmap >> number & 1 else None
                for number in range(FANOUT)
            ]
            self.told[path] = inner = InnerNode(tuple(children))
            return inner.digest
        if kind == _CHAIN:
            return self._chain(plan, path, plan.number() % 80)
        if kind == _HONEST:
            return self._honest(path, plan.number() % 64)
        if kind == _ENTRIES:
            entries = [(plan.piece(), plan.piece()) for _ in range(plan.number() % 8)]
            return self._entries(path, entries)
        return EMPTY_DIGEST

    def _chain(self, plan: Plan, path: Path, length: int) -> bytes:
        """A node above one child, and so on: deeper than any tree has to be."""
        if length == 0 or len(path) > 66:
            return self._node(plan, path)
        child = self._chain(plan, path + "0", length - 1)
        self.told[path] = inner = InnerNode((child, *[None] * (FANOUT - 1)))
        return inner.digest

    def _honest(self, path: Path, count: int) -> bytes:
        """Entries that do belong there."""
        numbers = (number.to_bytes(2, "big") for number in range(count * 16 ** min(len(path), 2)))
        keys = [key for key in numbers if spot_of(key).startswith(path)]
        return self._entries(path, [(key, key) for key in keys[:count]])

    def _entries(self, path: Path, entries: list[Entry]) -> bytes:
        self.told[path] = Entries(tuple(entries))
        leaves = {leaf.spot: leaf for leaf in (Leaf(key, value) for key, value in entries)}
        try:
            node = build(leaves, len(path))
        except IndexError:
            return bytes(HASH_BYTES)
        return EMPTY_DIGEST if node is None else node.digest


def check(data: bytes) -> None:
    plan = Plan(data)
    have = Tree.of((plan.piece(), plan.piece()) for _ in range(plan.number() % 4))
    lie = _Lie(plan)
    fetch = Fetch(lie.head, have)
    try:
        for _ in range(_MOST_ROUNDS):
            if fetch.finished:
                break
            step = plan.number() % 5
            if step == _RETARGET:
                lie = _Lie(plan)
                fetch.retarget(lie.head)
                continue
            paths = fetch.paths_to_ask()
            assert 0 < len(paths) <= MAX_PATHS
            fetch.give(_answers(lie, paths, step, plan))
            # A parent may tell of a little more than its entries will turn out to be.
            assert fetch.held_bytes <= 2**20
        else:
            return
        fragment = fetch.result()
    except (MalformedError, Unusable):
        return
    assert fragment.head == lie.head
    assert fragment.tree.digest == lie.head.root
    assert fragment.tree.size_bytes == lie.head.size_bytes
    assert Tree.of(fragment.tree).digest == fragment.tree.digest, "of another shape"


def _answers(lie: _Lie, paths: tuple[Path, ...], step: int, plan: Plan) -> list[tuple[Path, Told]]:
    answers = [(path, lie.told.get(path, Entries(()))) for path in paths]
    number = plan.number() % len(answers) if step else 0
    path, told = answers[number]
    if step == _OTHER_PATH:
        answers[number] = (plan.piece().hex()[:64], told)
    elif step == _OTHER_NODE:
        answers[number] = (path, Entries(((plan.piece(), plan.piece()),)))
    elif step == _EMPTY_NODE:
        answers[number] = (path, InnerNode((None,) * FANOUT))
    return answers


def _honest(count: int) -> bytes:
    return bytes((_HONEST, count))


def seeds() -> Iterator[bytes]:
    nothing, entry = b"\0", piece(b"key") + piece(b"value")
    yield nothing
    for root in (bytes((_NONE,)), _honest(0), _honest(1), _honest(40)):
        yield nothing + root
        yield b"\1" + entry + root
        yield nothing + root + bytes((127,))
        yield nothing + root + bytes((129,))
    inner = bytes((_INNER,)) + b"\xff\xff" + _honest(3) * 16
    yield nothing + inner
    yield nothing + inner + bytes((1, 0))
    for step in (_OTHER_PATH, _OTHER_NODE, _EMPTY_NODE):
        yield nothing + inner + bytes((0, 1, _AS_ASKED, step, 2)) + piece(b"\x0f") + piece(b"v")
    yield nothing + inner + bytes((0, 1, _AS_ASKED, _RETARGET)) + inner + bytes((0, 2))
    yield nothing + inner + bytes((0, 1, _AS_ASKED, _RETARGET)) + _honest(40) + bytes((0, 2))
    again = bytes((_INNER,)) + b"\x80\x01" + _honest(3) * 2
    yield nothing + inner + bytes((0, 1, _AS_ASKED, _RETARGET)) + again + bytes((0, 2))
    yield nothing + bytes((_INNER,)) + b"\0\0"
    yield nothing + bytes((_INNER,)) + b"\0\1" + _honest(3)
    for length in (1, 63, 64, 65, 79):
        yield nothing + bytes((_CHAIN, length)) + _honest(2) + bytes((255,))
    yield nothing + bytes((_ENTRIES, 2)) + entry + entry
    yield nothing + bytes((_INNER,)) + b"\0\3" + (bytes((_ENTRIES, 1)) + entry) * 2
    yield bytes((3,)) + entry * 3 + bytes((_ENTRIES, 1)) + entry
