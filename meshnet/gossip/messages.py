"""What peers say about fragments: the bodies of gossip messages (wire.md section 6.3).

Everything here raises MalformedError for what no peer would send: the carrier of such bytes is to
blame, whoever wrote the content.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator

from meshnet.gossip.fragments import (
    HEAD_BYTES,
    MAX_KEY_BYTES,
    MAX_VALUE_BYTES,
    Fragment,
    Head,
    pack_channel,
    parse_head,
    read_channel,
)
from meshnet.gossip.tree import (
    FANOUT,
    Change,
    Entry,
    Inner,
    Node,
    Path,
    Tree,
    inner_digest,
    leaves_of,
    size_of,
    spot_of,
)
from meshnet.ids import PEER_NAME_BYTES, ChannelId, PeerName
from meshnet.values import Value
from meshnet.wire.crypto import HASH_BYTES
from meshnet.wire.cursor import Cursor, MalformedError

# From wire.md section 6.3.
MAX_PATH_DIGITS = 2 * HASH_BYTES
MAX_PATHS = 64
"""In one WANT."""
MAX_CHANGES = 1024
"""In one DELTA. Each costs two hashes and a way through the tree, however little it takes here."""
MAX_PLACES = 256
"""In one HAVE or FEED."""
PLACE_BYTES = 8
WHOLE_BELOW_BYTES = 2048
"""A node with this much below it, or a single entry, is told as its entries."""

# Our choice: about a millisecond's work for who reads it.
MAX_BODY_BYTES = 32 * 1024

_EMPTY, _INNER, _ENTRIES = 0, 1, 2
_U16 = struct.Struct(">H").pack
_ANNOUNCED, _CHANGED, _MOVED_ON = 0, 1, 2


class InnerNode(Value):
    """A node's children by their digests, None where there is none."""

    children: tuple[bytes | None, ...]

    @property
    def digest(self) -> bytes:
        bitmap = sum(1 << n for n, child in enumerate(self.children) if child is not None)
        return inner_digest(bitmap, [child for child in self.children if child is not None])


class Entries(Value):
    """All that is below a node; nothing, when there is no such node."""

    entries: tuple[Entry, ...]


Told = InnerNode | Entries
TreeId = tuple[ChannelId, PeerName] | None
"""Whose entries: a writer's fragment of a channel, or, for None, the index of all heads."""


class Want(Value):
    """A request for nodes of the tree whose root has this digest (all zero for the index)."""

    tree: TreeId
    root: bytes
    paths: tuple[Path, ...]


class Nodes(Value):
    """The answer, as far as it fits; the same root as in the question.

    Without any nodes: there is no such fragment any more.
    """

    tree: TreeId
    root: bytes
    nodes: tuple[tuple[Path, Told], ...]


class Have(Value):
    """What the sender holds and has not told: places and sequences of fragments."""

    fragments: tuple[tuple[bytes, int], ...]


class Feed(Value):
    """Whether the receiver shall tell news at once; and what of it now, by its places."""

    eager: bool
    places: tuple[bytes, ...]


class Delta(Value):
    """A head, and what changed to get there from the tree with root ``base``.

    ``base`` is None when it is only announced: whoever wants the content has to ask. ``answers``
    is true for one that stands for the answer to a WANT, since the tree is another one now.
    """

    channel: ChannelId
    head: Head
    base: bytes | None
    changes: tuple[Change, ...] = ()
    answers: bool = False


def pack_want(want: Want) -> bytes:
    paths = b"".join(_pack_path(path) for path in want.paths)
    return _pack_tree(want.tree) + want.root + bytes((len(want.paths),)) + paths


def parse_want(body: bytes) -> Want:
    cursor = Cursor(body)
    tree, root = _read_tree(cursor), cursor.read_bytes(HASH_BYTES)
    if (count := cursor.read_u8()) > MAX_PATHS:
        raise MalformedError(f"{count} paths wanted at once")
    paths = tuple(_read_path(cursor) for _ in range(count))
    cursor.finish()
    return Want(tree, root, paths)


def pack_nodes(tree: TreeId, root: bytes, nodes: Iterable[tuple[Path, Node | None]]) -> bytes:
    """As many of ``nodes`` as fit, at least one if there is any."""
    packed: list[bytes] = []
    size = 0
    for path, node in nodes:
        told = _pack_path(path) + _pack_node(node)
        size += len(told)
        if packed and size > MAX_BODY_BYTES:
            break
        packed.append(told)
    return _pack_tree(tree) + root + bytes((len(packed),)) + b"".join(packed)


def parse_nodes(body: bytes) -> Nodes:
    cursor = Cursor(body)
    tree, root = _read_tree(cursor), cursor.read_bytes(HASH_BYTES)
    if (count := cursor.read_u8()) > MAX_PATHS:
        raise MalformedError(f"{count} nodes for at most {MAX_PATHS} paths")
    nodes = tuple((_read_path(cursor), _read_node(cursor)) for _ in range(count))
    cursor.finish()
    return Nodes(tree, root, nodes)


def pack_announcement(channel: ChannelId, head: Head, *, answers: bool = False) -> bytes:
    return pack_channel(channel) + head.raw + bytes((_MOVED_ON if answers else _ANNOUNCED,))


def pack_delta(
    channel: ChannelId, fragment: Fragment, base: Tree, *, limit_bytes: int | None = MAX_BODY_BYTES
) -> bytes:
    """The head of ``fragment``, and what has changed since ``base``.

    An announcement instead, when that does not fit.
    """
    packed: list[bytes] = []
    size_bytes = 0
    for count, piece in enumerate(pieces_of_delta(channel, fragment, base)):
        packed.append(piece)
        size_bytes += len(piece)
        if limit_bytes is not None and (size_bytes > limit_bytes or count > MAX_CHANGES):
            return pack_announcement(channel, fragment.head)
    return b"".join(packed)


def pieces_of_delta(channel: ChannelId, fragment: Fragment, base: Tree) -> Iterator[bytes]:
    """What `pack_delta` joins, for who does it bit by bit: first the head, then each change."""
    yield pack_channel(channel) + fragment.head.raw + bytes((_CHANGED,)) + base.digest
    for key, _, value in fragment.tree.changes_since(base):
        yield _pack_change(key, value)


def parse_delta(body: bytes, *, limit: int | None = MAX_CHANGES) -> Delta:
    """With at most ``limit`` changes; any number where None."""
    cursor = Cursor(body)
    channel, head = read_channel(cursor), parse_head(cursor.read_bytes(HEAD_BYTES))
    if (form := cursor.read_u8()) in (_ANNOUNCED, _MOVED_ON):
        cursor.finish()
        return Delta(channel, head, None, answers=form == _MOVED_ON)
    if form != _CHANGED:
        raise MalformedError(f"delta of form {form}")
    base, changes = cursor.read_bytes(HASH_BYTES), _read_changes(cursor, limit)
    return Delta(channel, head, base, changes)


def place_of(channel: ChannelId, writer: PeerName) -> bytes:
    """A short name for a fragment, whose spot in the index begins so."""
    return bytes.fromhex(spot_of(pack_channel(channel) + writer)[: 2 * PLACE_BYTES])


def pack_have(have: Have) -> bytes:
    return b"".join(place + sequence.to_bytes(8, "big") for place, sequence in have.fragments)


def parse_have(body: bytes) -> Have:
    each = PLACE_BYTES + 8
    if len(body) % each or not 0 < len(body) <= MAX_PLACES * each:
        raise MalformedError(f"announcements of {len(body)} bytes")
    cursor = Cursor(body)
    count = len(body) // each
    return Have(tuple((cursor.read_bytes(PLACE_BYTES), cursor.read_u64()) for _ in range(count)))


def pack_feed(feed: Feed) -> bytes:
    return bytes((feed.eager,)) + b"".join(feed.places)


def parse_feed(body: bytes) -> Feed:
    cursor = Cursor(body)
    if (form := cursor.read_u8()) > 1:
        raise MalformedError(f"feed of form {form}")
    if cursor.left % PLACE_BYTES or cursor.left > MAX_PLACES * PLACE_BYTES:
        raise MalformedError(f"places of {cursor.left} bytes")
    count = cursor.left // PLACE_BYTES
    return Feed(bool(form), tuple(cursor.read_bytes(PLACE_BYTES) for _ in range(count)))


def _pack_change(key: bytes, value: bytes | None) -> bytes:
    if value is None:
        return len(key).to_bytes(2, "big") + key + b"\0"
    return len(key).to_bytes(2, "big") + key + b"\1" + len(value).to_bytes(2, "big") + value


def _read_changes(cursor: Cursor, limit: int | None) -> tuple[Change, ...]:
    changes: list[Change] = []
    while cursor.left:
        if limit is not None and len(changes) == limit:
            raise MalformedError(f"more than {limit} changes at once")
        key = _read_key(cursor)
        if (there := cursor.read_u8()) > 1:
            raise MalformedError(f"change of form {there}")
        changes.append((key, _read_value(cursor) if there else None))
    return tuple(changes)


def pack_index_entry(channel: ChannelId, head: Head) -> Entry:
    """A head as an entry of the index of all heads."""
    return pack_channel(channel) + head.writer, head.raw


def parse_index_entry(entry: Entry) -> tuple[ChannelId, Head]:
    cursor, head = Cursor(entry[0]), parse_head(entry[1])
    channel = read_channel(cursor)
    if cursor.read_rest() != head.writer:
        raise MalformedError("index entry of another writer")
    return channel, head


def _pack_tree(tree: TreeId) -> bytes:
    if tree is None:
        return b"\0"
    channel, writer = tree
    return b"\1" + pack_channel(channel) + writer


def _read_tree(cursor: Cursor) -> TreeId:
    if (form := cursor.read_u8()) > 1:
        raise MalformedError(f"tree of form {form}")
    if form == 0:
        return None
    return read_channel(cursor), PeerName(cursor.read_bytes(PEER_NAME_BYTES))


def _pack_path(path: Path) -> bytes:
    return bytes((len(path),)) + bytes.fromhex(path if len(path) % 2 == 0 else path + "0")


def _read_path(cursor: Cursor) -> Path:
    if (digits := cursor.read_u8()) > MAX_PATH_DIGITS:
        raise MalformedError(f"path of {digits} digits")
    path = cursor.read_bytes((digits + 1) // 2).hex()
    if path[digits:].strip("0"):
        raise MalformedError("path with leftovers")
    return path[:digits]


def _pack_node(node: Node | None) -> bytes:
    if node is None:
        return bytes((_EMPTY,))
    if isinstance(node, Inner) and node.size_bytes > WHOLE_BELOW_BYTES:
        bitmap = sum(1 << n for n, child in enumerate(node.children) if child is not None)
        digests = b"".join(child.digest for child in node.children if child is not None)
        return bytes((_INNER,)) + bitmap.to_bytes(2, "big") + digests
    leaves = list(leaves_of(node))
    pieces = [bytes((_ENTRIES, len(leaves)))]
    for leaf in leaves:
        key, value = leaf.key, leaf.value
        pieces += (_U16(len(key)), key, _U16(len(value)), value)
    return b"".join(pieces)


def _read_node(cursor: Cursor) -> Told:
    form = cursor.read_u8()
    if form == _EMPTY:
        return Entries(())
    if form == _INNER:
        bitmap = cursor.read_u16()
        return InnerNode(
            tuple(cursor.read_bytes(HASH_BYTES) if bitmap >> n & 1 else None for n in range(FANOUT))
        )
    if form != _ENTRIES:
        raise MalformedError(f"node of form {form}")
    count = cursor.read_u8()
    entries = tuple((_read_key(cursor), _read_value(cursor)) for _ in range(count))
    # Each costs who reads it two hashes, however little it takes here.
    if count > 1 and sum(map(size_of, entries)) > WHOLE_BELOW_BYTES:
        raise MalformedError(f"{count} entries, which are too much for one node")
    return Entries(entries)


def _read_key(cursor: Cursor) -> bytes:
    return cursor.read_sized(MAX_KEY_BYTES, "key")


def _read_value(cursor: Cursor) -> bytes:
    return cursor.read_sized(MAX_VALUE_BYTES, "value")
