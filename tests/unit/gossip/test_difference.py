"""What comparing costs: as much as differs, however much there is (design section 6)."""

from __future__ import annotations

import functools

import pytest

from meshnet.gossip.fragments import Fragment, sign_fragment
from meshnet.gossip.tree import Tree
from meshnet.wire.messages import MessageType
from support.gossip_net import CHANNELS, IDENTITIES, Net
from support.samples import NETWORK_ID, identity

ONE = CHANNELS[0]
A, B = (who.name for who in IDENTITIES[:2])
WRITERS = 1000
# Of design section 6: for equal states, and for one that is newer of ten thousand.
EQUAL_BYTES = 200
ONE_NEWER_BYTES = 20_000


@functools.cache
def written(number: int, sequence: int) -> Fragment:
    tree = Tree.of([(b"key", b"value %d" % sequence), (b"other", bytes(100))])
    who = identity(1000 + number)
    return sign_fragment(who, NETWORK_ID, ONE, tree, incarnation=1, sequence=sequence)


def compared(newer: int, writers: int = WRITERS) -> Net:
    """Two that hold the same of all, but that one has something newer of some: now they meet."""
    net = Net(2)
    for number in range(writers):
        net.nodes[A].publish(ONE, written(number, 1 + (number < newer)))
        net.nodes[B].publish(ONE, written(number, 1))
    for name in (A, B):
        net.watch(name)
    net.link(A, B)
    net.run()
    assert net.nodes[A].replica.index.digest == net.nodes[B].replica.index.digest
    for number in range(newer):
        held = net.held(B, written(number, 1).head.writer)
        assert held is not None
        assert held.head == written(number, 2).head
    return net


def test_who_holds_the_same_finds_so_out_by_two_digests() -> None:
    net = compared(0)
    assert [kind for *_, kind, _ in net.sent] == [MessageType.DIGEST] * 2
    assert net.sent_bytes <= EQUAL_BYTES


def test_one_newer_record_of_a_thousand_writers_is_found_by_looking_at_few() -> None:
    net = compared(1)
    assert net.sent_bytes <= ONE_NEWER_BYTES
    # And hardly dearer than among ten times fewer.
    assert net.sent_bytes <= 2 * compared(1, WRITERS // 10).sent_bytes


@pytest.mark.parametrize("newer", [4, 16])
def test_the_cost_is_as_what_differs(newer: int) -> None:
    assert compared(newer).sent_bytes <= newer * compared(1).sent_bytes
