"""Any body is a gossip message or index entry that packs to the same bytes, or MalformedError.

The first byte chooses which it is read as. An absent node has two forms, of which we write one.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from fuzz.plan import Plan, piece
from meshnet.gossip.fragments import HEAD_BYTES, pack_channel, sign_fragment
from meshnet.gossip.messages import (
    MAX_PATHS,
    Feed,
    Have,
    InnerNode,
    Nodes,
    Want,
    _pack_change,
    _pack_path,
    _pack_tree,
    pack_announcement,
    pack_delta,
    pack_feed,
    pack_have,
    pack_index_entry,
    pack_nodes,
    pack_want,
    parse_delta,
    parse_feed,
    parse_have,
    parse_index_entry,
    parse_nodes,
    parse_want,
)
from meshnet.gossip.tree import EMPTY, Tree
from meshnet.ids import ChannelId
from meshnet.wire.cursor import MalformedError
from support.samples import ALICE, BOB, NETWORK_ID

COVERS = tuple(
    f"meshnet.gossip.messages:{name}"
    for name in (
        *("parse_want", "parse_nodes", "parse_delta", "parse_index_entry"),
        *("parse_have", "parse_feed"),
        *("_read_tree", "_read_path", "_read_node", "_read_changes", "_read_key", "_read_value"),
    )
)

_WANT, _NODES, _DELTA, _INDEX_ENTRY, _HAVE, _FEED = range(6)
_CHANNEL = ChannelId("fuzz", "opaque")


def check(data: bytes) -> None:
    plan = Plan(data)
    kind = plan.number() % 6
    with contextlib.suppress(MalformedError):
        if kind == _WANT:
            body = plan.rest()
            assert pack_want(parse_want(body)) == body
        elif kind == _NODES:
            body = plan.rest()
            said = parse_nodes(body)
            packed = _packed_nodes(said)
            assert packed == body or (parse_nodes(packed) == said and len(packed) < len(body))
        elif kind == _DELTA:
            _delta(plan.rest())
        elif kind == _HAVE:
            body = plan.rest()
            assert pack_have(parse_have(body)) == body
        elif kind == _FEED:
            body = plan.rest()
            assert pack_feed(parse_feed(body)) == body
        else:
            entry = plan.piece(), plan.rest()
            assert pack_index_entry(*parse_index_entry(entry)) == entry


def _delta(body: bytes) -> None:
    delta = parse_delta(body)
    if delta.base is None:
        assert pack_announcement(delta.channel, delta.head, answers=delta.answers) == body
        return
    changes = b"".join(_pack_change(key, value) for key, value in delta.changes)
    assert pack_channel(delta.channel) + delta.head.raw + b"\1" + delta.base + changes == body


def _packed_nodes(said: Nodes) -> bytes:
    """As docs/wire.md section 6.3 has it: `pack_nodes` writes only what a tree of ours can have."""
    packed = _pack_tree(said.tree) + said.root + bytes((len(said.nodes),))
    for path, node in said.nodes:
        packed += _pack_path(path)
        if isinstance(node, InnerNode):
            bitmap = sum(1 << n for n, child in enumerate(node.children) if child is not None)
            packed += b"\1" + bitmap.to_bytes(2, "big")
            packed += b"".join(child for child in node.children if child is not None)
        elif node.entries:
            packed += b"\2" + bytes((len(node.entries),))
            packed += b"".join(piece(key, 2) + piece(value, 2) for key, value in node.entries)
        else:
            packed += b"\0"
    return packed


def seeds() -> Iterator[bytes]:
    small = Tree.of([(b"key", b"value"), (b"other", b"")])
    large = Tree.of((bytes((number,)), bytes(200)) for number in range(40))
    for tree in (None, (_CHANNEL, BOB.name)):
        for paths in ((), ("",), ("a", "0f", "f" * 64), tuple("0" for _ in range(MAX_PATHS))):
            yield bytes((_WANT,)) + pack_want(Want(tree, bytes(32), paths))
        yield bytes((_WANT,)) + _pack_tree(tree) + bytes(32) + b"\xff"
        for root in (small, large, EMPTY):
            nodes = [("", root.root), ("a", None), ("0f", small.root)]
            yield bytes((_NODES,)) + pack_nodes(tree, root.digest, nodes)
    places = [bytes((number,)) * 8 for number in range(3)]
    yield bytes((_HAVE,)) + pack_have(Have(tuple((place, 2**40 + 1) for place in places)))
    yield bytes((_HAVE,)) + bytes(15)
    yield bytes((_FEED,)) + pack_feed(Feed(True, tuple(places)))
    yield bytes((_FEED, 0))
    yield bytes((_FEED, 2))
    yield bytes((_FEED, 1)) + bytes(7)
    yield bytes((_WANT,)) + b"\0" + bytes(32) + b"\x01\x41" + bytes(33)
    yield bytes((_WANT,)) + b"\0" + bytes(32) + b"\x01\x01\x0f"
    yield bytes((_WANT,)) + b"\2"
    head = bytes((_NODES,)) + b"\0" + bytes(32) + b"\x01\x00"
    yield head + b"\3"
    yield head + b"\2\1" + piece(bytes(513), 2)
    yield head + b"\2\1" + piece(b"key", 2) + b"\xff\xff"
    first, second = (
        sign_fragment(ALICE, NETWORK_ID, _CHANNEL, tree, incarnation=1, sequence=number)
        for number, tree in enumerate((small, large))
    )
    yield bytes((_DELTA,)) + pack_delta(_CHANNEL, first, EMPTY)
    yield bytes((_DELTA,)) + pack_delta(_CHANNEL, first, Tree.of([(b"gone", b"")]))
    yield bytes((_DELTA,)) + pack_delta(_CHANNEL, second, first.tree, limit_bytes=200)
    for answers in (False, True):
        yield bytes((_DELTA,)) + pack_announcement(_CHANNEL, first.head, answers=answers)
    said = bytes((_DELTA,)) + pack_channel(_CHANNEL) + first.head.raw
    yield said + b"\3"
    yield said + b"\0more"
    yield said + b"\1" + bytes(32) + piece(b"key", 2) + b"\2"
    key, value = pack_index_entry(_CHANNEL, first.head)
    yield bytes((_INDEX_ENTRY,)) + piece(key) + value
    yield bytes((_INDEX_ENTRY,)) + piece(key[:-1] + b"\0") + value
    yield bytes((_INDEX_ENTRY,)) + piece(key) + value[: HEAD_BYTES - 1]
