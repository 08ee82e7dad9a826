"""News reaches everybody by few eager links and announcements, whatever else is lost."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from meshnet.wire.messages import MessageType
from support.gossip_net import CHANNELS, IDENTITIES, Net


def crowd(draw: random.Random, peers: int, rings: int) -> Net:
    """A union of random rings."""
    net = Net(peers)
    for _ in range(rings):
        ring = draw.sample(list(net.nodes), peers)
        for one, other in zip(ring, [*ring[1:], ring[0]], strict=True):
            net.link(one, other)
    net.run()
    return net


def write_some(net: Net, draw: random.Random, times: int) -> None:
    for number in range(times):
        who = draw.choice(list(net.nodes))
        net.write(who, CHANNELS[0], b"key %d" % draw.randrange(5), b"%d" % number)
        for _ in range(draw.randrange(4)):
            net.turn()
            if draw.random() < 0.5:
                net.pass_time()


def digests(net: Net) -> set[bytes]:
    return {node.replica.index.digest for node in net.nodes.values()}


@given(st.integers(2, 30), st.integers(1, 4), st.integers(0, 2**32))
def test_without_losses_nobody_needs_to_compare(peers: int, rings: int, seed: int) -> None:
    draw = random.Random(seed)
    net = crowd(draw, peers, rings)
    write_some(net, draw, 20)
    net.run()
    assert len(digests(net)) == 1


@given(st.integers(2, 12), st.integers(1, 4), st.integers(0, 2**32))
def test_whatever_is_lost_on_the_way_comparing_finds_it(peers: int, rings: int, seed: int) -> None:
    draw = random.Random(seed)
    net = crowd(draw, peers, rings)
    for _ in range(30):
        write_some(net, draw, 1)
        a, b = draw.choice(sorted(net.queues))
        if draw.random() < 0.3:
            net.unlink(a, b)
            net.link(a, b)
        elif draw.random() < 0.5:
            net.queues[a, b].clear()  # As by a neighbour that keeps things to itself.
    net.settle()
    net.settle()
    assert len(digests(net)) == 1


def test_a_change_costs_a_fraction_of_flooding() -> None:
    draw = random.Random(1)
    net = crowd(draw, len(IDENTITIES), 6)
    degree = len(net.queues) / len(net.nodes)
    for _ in range(40):
        write_some(net, draw, 1)
        net.run()
    net.sent.clear()
    times = 20
    for _ in range(times):
        write_some(net, draw, 1)
        net.run()
    assert len(digests(net)) == 1
    full = [to for _, to, kind, _ in net.sent if kind is MessageType.DELTA]
    per_peer = len(full) / times / len(net.nodes)
    assert per_peer < 0.6 * degree, f"{per_peer:.1f} of {degree:.1f} neighbours"
