"""Any bytes are a channel, and a head that verifies only as signed, or MalformedError."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from meshnet.errors import AuthenticationError
from meshnet.gossip.fragments import (
    MAX_FRAGMENT_BYTES,
    MAX_SEQUENCE,
    fragment_of,
    pack_channel,
    parse_head,
    read_channel,
    verify_head,
)
from meshnet.gossip.tree import Tree
from meshnet.ids import ChannelId
from meshnet.wire.cursor import Cursor, MalformedError
from support.records import head_body, signed
from support.samples import ALICE, NETWORK_ID

COVERS = (
    "meshnet.gossip.fragments:parse_head",
    "meshnet.gossip.fragments:read_channel",
    "meshnet.gossip.fragments:verify_head",
    "meshnet.gossip.fragments:fragment_of",
)

_TREE = Tree.of([(b"key", b"value")])
_CHANNEL = ChannelId("fuzz", "opaque")


def check(data: bytes) -> None:
    cursor = Cursor(data)
    with contextlib.suppress(MalformedError):
        channel = read_channel(cursor)
        packed = pack_channel(channel)
        assert data.startswith(packed)
        raw = cursor.read_rest()
        head = parse_head(raw)
        assert head.raw == raw
        assert head.sequence <= MAX_SEQUENCE
        assert head.size_bytes <= MAX_FRAGMENT_BYTES
        fragment = fragment_of(head, _TREE)
        assert fragment is None or fragment.tree is _TREE
        with contextlib.suppress(AuthenticationError):
            verify_head(head, NETWORK_ID, channel)
            assert raw in _SIGNED, "nobody signed that"
            assert channel == _CHANNEL


def _heads() -> Iterator[bytes]:
    yield signed(ALICE, head_body(ALICE, _TREE, sequence=1), _CHANNEL)
    yield signed(ALICE, head_body(ALICE, _TREE, sequence=MAX_SEQUENCE), _CHANNEL)
    yield signed(ALICE, head_body(ALICE, _TREE, sequence=MAX_SEQUENCE + 1), _CHANNEL)
    for size_bytes in (0, MAX_FRAGMENT_BYTES, MAX_FRAGMENT_BYTES + 1):
        yield signed(ALICE, head_body(ALICE, _TREE, sequence=1, size_bytes=size_bytes), _CHANNEL)


_SIGNED = frozenset(_heads())


def seeds() -> Iterator[bytes]:
    for head in _heads():
        yield pack_channel(_CHANNEL) + head
        yield pack_channel(ChannelId("other", "opaque")) + head
        yield pack_channel(_CHANNEL) + head[:-1]
        yield pack_channel(_CHANNEL) + head + b"\0"
    yield pack_channel(_CHANNEL)[:-1]
    yield bytes((65,)) + bytes(65)
    yield pack_channel(_CHANNEL) + bytes(148)
