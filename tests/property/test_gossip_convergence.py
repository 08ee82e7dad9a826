"""Any number of peers that write, link, lose links and stall end up with equal digests."""

from __future__ import annotations

import random
from collections import deque

from hypothesis import given, note
from hypothesis import strategies as st

from meshnet.gossip.exchange import Changed, Contradicted, Gossip
from meshnet.gossip.tree import EMPTY, Tree
from meshnet.ids import ChannelId, PeerName
from meshnet.wire.identity import Identity
from meshnet.wire.messages import MessageType
from support.samples import NETWORK_ID

CHANNELS = [ChannelId("one", "opaque"), ChannelId("two", "opaque")]
IDENTITIES = [Identity.of_seed(bytes((7, number)) * 16) for number in range(6)]


class Net:
    """Gossip machines joined by ordered queues; what is in a queue is lost when its link breaks."""

    def __init__(self, peers: int) -> None:
        self.nodes = {
            who.name: Gossip(
                who, NETWORK_ID, incarnation=1, first_sequence=0, told_by_writer=self.told
            )
            for who in IDENTITIES[:peers]
        }
        self.queues: dict[tuple[PeerName, PeerName], deque[tuple[MessageType, bytes]]] = {}
        self.seen: dict[PeerName, dict[tuple[ChannelId, PeerName], dict[bytes, bytes]]] = {
            name: {} for name in self.nodes
        }
        self.sent_bytes = 0
        self.now = 0.0

    def told(self, writer: PeerName, peer: PeerName) -> bool:
        return (writer, peer) in self.queues

    def link(self, a: PeerName, b: PeerName) -> None:
        if a != b and (a, b) not in self.queues:
            for one, other in ((a, b), (b, a)):
                self.queues[one, other] = deque()
                self.nodes[one].neighbour_up(other)

    def unlink(self, a: PeerName, b: PeerName) -> None:
        if (a, b) in self.queues:
            for one, other in ((a, b), (b, a)):
                del self.queues[one, other]
                self.nodes[one].neighbour_down(other)

    def write(self, who: PeerName, channel: ChannelId, key: bytes, value: bytes | None) -> None:
        node = self.nodes[who]
        mine = node.replica.get(channel, who)
        tree = (mine.tree if mine is not None else EMPTY).updated([(key, value)])
        node.publish(channel, node.sign(channel, tree))
        self.watch(who)

    def collect(self, who: PeerName) -> None:
        for to, kind, body in self.nodes[who].messages_to_send(self.now):
            self.queues[who, to].append((kind, body))
            self.sent_bytes += len(body) + 1

    def deliver(self, a: PeerName, b: PeerName) -> bool:
        queue = self.queues.get((a, b))
        if not queue:
            return False
        self.nodes[b].receive(a, *queue.popleft(), self.now)
        self.watch(b)
        return True

    def watch(self, who: PeerName) -> None:
        """What the events tell must be what is there."""
        while (event := self.nodes[who].next_event()) is not None:
            assert not isinstance(event, Contradicted)
            if isinstance(event, Changed):
                seen = self.seen[who].setdefault((event.channel, event.writer), {})
                for key, before, now in event.now.changes_since(event.before):
                    assert seen.get(key) == before
                    if now is None:
                        del seen[key]
                    else:
                        seen[key] = now

    def settle(self) -> None:
        for node in self.nodes.values():
            for peer in self.nodes:
                node.set_writable(peer, True)
        for a, b in list(self.queues):
            self.nodes[a].compare_with(b)
        for _ in range(10_000):
            for who in self.nodes:
                self.collect(who)
            if not any([self.deliver(a, b) for a, b in list(self.queues)]):
                return
        raise AssertionError("they never stop talking")


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
    for one, other in zip(names, names[1:], strict=False):
        net.link(one, other)
    net.settle()
    net.settle()  # Those a writer was to tell by itself, and did not, learn by comparing.
    note(str(net.queues))
    assert len({node.replica.index.digest for node in net.nodes.values()}) == 1
    for name, node in net.nodes.items():
        held = {key: dict(fragment.tree) for key, fragment in node.replica}
        assert held == net.seen[name]
        assert len({node.replica.digest(channel) for channel in CHANNELS}) <= 2


def fill(net: Net, who: PeerName, entries: int) -> None:
    node = net.nodes[who]
    tree = Tree.of((b"entry %d" % n, b"value %d" % n) for n in range(entries))
    node.publish(CHANNELS[0], node.sign(CHANNELS[0], tree))
    net.watch(who)


def test_equal_states_cost_a_digest_each_way() -> None:
    net = Net(2)
    a, b = net.nodes
    net.link(a, b)
    fill(net, a, 10_000)
    net.settle()
    net.unlink(a, b)
    # A link that comes again costs the head of what is each end's own, and nothing for the rest.
    net.sent_bytes = 0
    net.link(a, b)
    net.settle()
    net.sent_bytes = 0
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
    net.sent_bytes = 0
    net.link(a, b)
    net.settle()
    fragment = net.nodes[b].replica.get(CHANNELS[0], a)
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
    fragment = net.nodes[b].replica.get(CHANNELS[0], a)
    assert fragment is not None
    assert dict(fragment.tree) == {b"counter": b"999"}
