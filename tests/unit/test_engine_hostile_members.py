"""A member says whatever it likes, of every kind there is: it harms its own link at most.

Each type of message, part and datagram has a good sample here, or a test fails; what is sent are
its front parts, it with more behind it, and a hundred mutations, lengths at their extremes among
them. What breaks the form of a message ends the link that brought it (wire.md section 6.3);
nothing else ends anything.
"""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest

from meshnet.engine import Engine
from meshnet.gossip.messages import Feed, Have, Want, pack_feed, pack_have, pack_nodes, pack_want
from meshnet.gossip.removals import pack_removal, sign_removal
from meshnet.gossip.spreading import MAX_CLAIMS
from meshnet.gossip.tree import EMPTY_DIGEST, Tree
from meshnet.peering.broadcast import MAX_UNOPENED
from meshnet.wire.datagram import (
    BROADCAST_HEADER,
    HEADER,
    RELAY_HEADER,
    DatagramType,
    PartType,
    pack_part,
)
from meshnet.wire.messages import MessageType
from support.guest import Guest, engine_of
from support.mutations import mutated
from support.records import TOPOLOGY, UNKNOWN, entries_of, fragment, head_of, record
from support.samples import ALICE, BOB, BROADCAST, CAROL, NETWORK_ID, endpoint, ethernet, mac

MUTATIONS = 100
FRAME = ethernet(BROADCAST, mac(1))
ENTRIES = {b"key %d" % number: bytes(200) for number in range(40)}
CAROLS = fragment(CAROL, ENTRIES, sequence=7, channel=UNKNOWN)
CAROLS_HEAD = head_of(CAROLS, UNKNOWN)
CAROLS_TREE = (UNKNOWN, CAROL.name)
NODES = pack_nodes(
    CAROLS_TREE, CAROLS_HEAD.root, [("", Tree.of(ENTRIES.items()).node_at("")), ("0", None)]
)
RELAYED = RELAY_HEADER.pack(BOB.name, ALICE.name, 3)
INITIATION = HEADER.pack(DatagramType.INITIATION, 0, 0, 9, 0) + bytes(147)
SEALED = HEADER.pack(DatagramType.BROADCAST, 0, 0, 9, 0) + bytes(60)

MESSAGES: dict[MessageType, list[bytes]] = {
    MessageType.PING: [bytes(8)],
    MessageType.PONG: [bytes(8)],
    MessageType.DELTA: [
        CAROLS,
        fragment(CAROL, {b"key": b"older"}, sequence=3, channel=UNKNOWN),
        fragment(CAROL, {b"key": b"other"}, sequence=7, channel=UNKNOWN)[:-3] + b"!!!",
        record(BOB, sequence=9, links=[ALICE.name]),
        fragment(BOB, entries_of(trailing=b"later"), sequence=2**64 - 2),
    ],
    MessageType.RELAYED: [RELAYED + INITIATION, RELAYED + bytes(16)],
    MessageType.DIGEST: [bytes(32)],
    MessageType.WANT: [
        pack_want(Want(None, EMPTY_DIGEST, ("", "0", "f" * 64))),
        pack_want(Want(CAROLS_TREE, CAROLS_HEAD.root, ("", "ab"))),
    ],
    MessageType.NODES: [NODES, pack_nodes(None, EMPTY_DIGEST, ())],
    MessageType.HAVE: [pack_have(Have(tuple((bytes((n,)) * 8, 2**64 - 1) for n in range(256))))],
    MessageType.FEED: [pack_feed(Feed(True, (bytes(8),) * 256)), pack_feed(Feed(False, ()))],
    MessageType.UNNEEDED: [b""],
    MessageType.REMOVAL: [
        pack_removal(sign_removal(BOB, NETWORK_ID, UNKNOWN, CAROLS_HEAD)),
        pack_removal(sign_removal(BOB, NETWORK_ID, TOPOLOGY, CAROLS_HEAD)),
    ],
}
PARTS: dict[PartType, list[bytes]] = {
    PartType.FRAME: [FRAME, FRAME[:13], FRAME + bytes(9000)],
    PartType.PROBE: [bytes(8)],
    PartType.PROBE_ACK: [bytes(8)],
    PartType.RELAY: [
        RELAYED + HEADER.pack(DatagramType.DATA, 0, 0, 1, 1) + bytes(32),
        RELAY_HEADER.pack(BOB.name, CAROL.name, 255)
        + HEADER.pack(DatagramType.DATA, 0, 0, 1, 1)
        + bytes(32),
    ],
    PartType.MESSAGE: [bytes(15) + b"\1\5topic" + bytes(100)],
    PartType.MESSAGE_ACK: [bytes(17)],
    PartType.BROADCAST: [
        BROADCAST_HEADER.pack(CAROL.name, 255) + SEALED,
        BROADCAST_HEADER.pack(ALICE.name, 0) + SEALED,
    ],
    PartType.KEY_WANT: [CAROL.name + bytes(4)],
    PartType.KEY: [CAROL.name + bytes(113)],
}
DATAGRAMS: dict[DatagramType, list[bytes]] = {
    kind: [HEADER.pack(kind, 0, 0, 0x600D, 2**63) + bytes(120)] for kind in DatagramType
}


def bodies(good: list[bytes], seed: object) -> Iterator[bytes]:
    """Everything that may be made of ``good`` ones."""
    drawn = random.Random(f"hostile {seed}")
    for body in good:
        yield body
        yield from (body[:size] for size in {0, 1, len(body) // 2, max(len(body) - 1, 0)})
        yield body + b"\0"
        yield (body + bytes(65000))[:65000]
    for _ in range(MUTATIONS):
        yield mutated(drawn.choice(good), good, drawn)[:65000]


class Scene:
    """Alice between Bob, who is hostile, and Carol, who has written something."""

    def __init__(self) -> None:
        self.bob = Guest(engine_of()).dial()
        self.carol = self.bob.beside(CAROL, at=endpoint(3)).dial()
        self.carol.say(MessageType.DELTA, CAROLS)
        self.session = self.bob.open_session()
        self.check()

    @property
    def engine(self) -> Engine:
        return self.bob.engine

    def check(self) -> None:
        """What must be so whatever Bob has said."""
        engine = self.engine
        assert self.carol.established(), "another's link"
        held = engine.gossip.replica.get(UNKNOWN, CAROL.name)
        assert held is not None
        assert held.head == CAROLS_HEAD, "another's data"
        assert dict(held.tree) == ENTRIES
        asked = len(self.carol.messages(MessageType.PONG))
        self.carol.say(MessageType.PING, b"12345678")
        assert len(self.carol.messages(MessageType.PONG)) == asked + 1, "good messages are served"
        for neighbour in engine.gossip._neighbours.values():
            assert len(neighbour.claims) + len(neighbour.to_want) <= MAX_CLAIMS
            lists = (neighbour.requests, neighbour.unread, neighbour.to_ask, neighbour.removed)
            assert max(map(len, lists)) <= 64
        assert len(engine.gossip._fetches) <= MUTATIONS
        assert len(engine._broadcast._unopened) <= MAX_UNOPENED
        assert len(list(engine._sessions)) <= 2
        assert len(engine.data_path._by_index) <= 10
        assert not engine.data_path.messages


def test_every_kind_has_a_sample() -> None:
    assert set(MESSAGES) == set(MessageType)
    assert set(PARTS) == set(PartType)
    assert set(DATAGRAMS) == set(DatagramType)


@pytest.mark.parametrize("kind", MessageType, ids=lambda kind: kind.name)
def test_messages_of_every_type_harm_their_own_link_at_most(kind: MessageType) -> None:
    scene = Scene()
    for body in bodies(MESSAGES[kind], kind):
        if not scene.bob.established():
            scene.check()
            scene = Scene()
        scene.bob.say(kind, body)
    scene.bob.wait(3.0)
    scene.check()


@pytest.mark.parametrize(
    "kind", [kind for kind in MessageType if kind is not MessageType.UNNEEDED], ids=lambda k: k.name
)
def test_messages_of_good_form_harm_no_link_at_all(kind: MessageType) -> None:
    scene = Scene()
    for body in MESSAGES[kind] * 3:
        if kind is not MessageType.NODES:  # What nobody asked for means nothing, the index aside.
            scene.bob.say(kind, body)
    scene.bob.say(MessageType.NODES, NODES)
    assert scene.bob.established()
    scene.check()


@pytest.mark.parametrize("kind", PartType, ids=lambda kind: kind.name)
def test_parts_of_every_type_harm_no_link(kind: PartType) -> None:
    scene = Scene()
    for body in bodies(PARTS[kind], kind):
        scene.bob.give(scene.session.seal(pack_part(kind, body)))
    payloads = [pack_part(kind, body) for body in PARTS[kind]]
    for payload in bodies(payloads, f"payload {kind}"):
        scene.bob.give(scene.session.seal(payload))
    assert scene.bob.established()
    scene.check()
    scene.bob.frames.clear()
    scene.bob.wait(5.0)
    scene.bob.give(scene.session.seal(pack_part(PartType.FRAME, FRAME)))
    assert scene.bob.frames == [FRAME]


@pytest.mark.parametrize("kind", DatagramType, ids=lambda kind: kind.name)
def test_datagrams_of_every_type_harm_no_link(kind: DatagramType) -> None:
    scene = Scene()
    for datagram in bodies(DATAGRAMS[kind], kind):
        scene.bob.give(datagram)
    assert scene.bob.established()
    scene.check()
    scene.bob.frames.clear()
    scene.bob.give(scene.session.seal(pack_part(PartType.FRAME, FRAME)))
    assert scene.bob.frames == [FRAME]
