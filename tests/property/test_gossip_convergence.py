"""Any number of peers that write, link, lose links and stall end up with equal digests."""

from __future__ import annotations

import itertools
import random

from hypothesis import given, note
from hypothesis import strategies as st

from meshnet.gossip.events import Changed
from meshnet.gossip.tree import Tree
from meshnet.ids import PeerName
from support.gossip_net import CHANNELS, Net


@given(st.integers(2, 6), st.integers(0, 2**32))
def test_gossip_reaches_equal_digests_whatever_happened(peers: int, seed: int) -> None:
    draw = random.Random(seed)
    net = Net(peers)
    names = list(net.nodes)
    for _ in range(draw.randrange(150)):
        a, b = draw.choice(names), draw.choice(names)
        act = draw.random()
        if act < 0.25:
            key = b"key%d" % draw.randrange(40)
            value = None if draw.random() < 0.2 else draw.randbytes(draw.choice((1, 20, 3000)))
            net.write(a, draw.choice(CHANNELS), key, value)
        elif act < 0.4:
            net.link(a, b)
        elif act < 0.47:
            net.unlink(a, b)
        elif act < 0.55:
            net.nodes[a].set_writable(b, draw.random() < 0.5)
        elif act < 0.75:
            net.collect(a)
        else:
            net.deliver(a, b)
    for one, other in itertools.pairwise(names):
        net.link(one, other)
    net.settle()
    net.settle()  # Those a writer was to tell by itself, and did not, learn by comparing.
    note(str(net.queues))
    assert len({node.replica.index.digest for node in net.nodes.values()}) == 1
    for name, node in net.nodes.items():
        assert all(isinstance(event, Changed) for event in net.events[name])
        held = {key: dict(fragment.tree) for key, fragment in node.replica}
        assert held == net.seen[name]
        assert len({node.replica.digest(channel) for channel in CHANNELS}) <= 2


def fill(net: Net, who: PeerName, entries: int) -> None:
    net.publish(who, Tree.of((b"entry %d" % n, b"value %d" % n) for n in range(entries)))


def test_equal_states_cost_a_digest_each_way() -> None:
    net = Net(2)
    a, b = net.nodes
    net.link(a, b)
    fill(net, a, 10_000)
    net.settle()
    net.unlink(a, b)
    # A link that comes again costs the head of what is each end's own, and nothing for the rest.
    net.sent.clear()
    net.link(a, b)
    net.settle()
    net.sent.clear()
    net.settle()
    assert 0 < net.sent_bytes <= 200


def test_one_changed_entry_of_10000_costs_little_after_a_partition() -> None:
    net = Net(2)
    a, b = net.nodes
    net.link(a, b)
    fill(net, a, 10_000)
    net.settle()
    net.unlink(a, b)
    net.write(a, CHANNELS[0], b"entry 5000", b"another")
    net.sent.clear()
    net.link(a, b)
    net.settle()
    fragment = net.held(b, a)
    assert fragment is not None
    assert fragment.tree.get(b"entry 5000") == b"another"
    assert net.sent_bytes <= 20_000


def test_a_stalled_neighbour_gets_merged_changes() -> None:
    net = Net(2)
    a, b = net.nodes
    net.link(a, b)
    net.settle()
    net.nodes[a].set_writable(b, False)
    for number in range(1000):
        net.write(a, CHANNELS[0], b"counter", b"%d" % number)
        net.collect(a)
    assert not net.queues[a, b]
    net.nodes[a].set_writable(b, True)
    net.collect(a)
    assert len(net.queues[a, b]) == 1
    net.deliver(a, b)
    fragment = net.held(b, a)
    assert fragment is not None
    assert dict(fragment.tree) == {b"counter": b"999"}
