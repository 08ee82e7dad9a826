"""Removals, writes, partitions and returns in any order: equal digests, nobody's own data lost."""

from __future__ import annotations

import itertools
import random

from hypothesis import example, given
from hypothesis import strategies as st

from meshnet.errors import DropReason
from meshnet.gossip.events import Ignored
from meshnet.gossip.removals import pack_removal, sign_removal
from meshnet.ids import PeerName
from meshnet.wire.identity import Identity
from meshnet.wire.messages import MessageType
from support.gossip_net import CHANNELS, Net
from support.samples import NETWORK_ID

STRANGER = Identity.of_seed(b"\x99" * 32)


class Mesh:
    """A net of which peers die, return, and remove each other, rightly or out of malice."""

    def __init__(self, peers: int, seed: int) -> None:
        self.draw = random.Random(seed)
        self.net = Net(peers)
        self.down: set[PeerName] = set()

    @property
    def up(self) -> list[PeerName]:
        return [name for name in self.net.nodes if name not in self.down]

    def act(self) -> None:
        draw, net, up = self.draw, self.net, self.up
        a, b = draw.choice(up), draw.choice(up)
        act = draw.random()
        if act < 0.2:
            net.write(a, draw.choice(CHANNELS), b"key%d" % draw.randrange(9), draw.randbytes(9))
        elif act < 0.35:
            net.link(a, b)
        elif act < 0.42:
            net.unlink(a, b)
        elif act < 0.5 and len(up) > 2:
            if draw.random() < 0.3:
                # It takes leave for good, of all that it wrote, and may come back all the same.
                for channel in CHANNELS:
                    net.nodes[a].remove(channel, a, net.now)
                net.collect(a)
                for other in net.nodes:
                    while net.deliver(a, other):
                        pass
            self.down.add(a)
            for other in net.nodes:
                net.unlink(a, other)
        elif act < 0.56 and self.down:
            self.down.remove(draw.choice(sorted(self.down)))
        elif act < 0.66:
            self.remove(a)
        elif act < 0.7:
            self.remove_in_malice(a, b)
        elif act < 0.85:
            net.collect(a)
        else:
            net.deliver(a, b)

    def remove(self, remover: PeerName) -> None:
        """As `meshnet rmpeer` does: of a peer that the remover does not see."""
        net = self.net
        gone = [name for name in net.nodes if not net.sees(remover, name)]
        if gone:
            net.nodes[remover].remove(self.draw.choice(CHANNELS), self.draw.choice(gone), net.now)
            net.watch(remover)

    def remove_in_malice(self, victim: PeerName, receiver: PeerName) -> None:
        """Somebody who may have been told all that the victim wrote has the receiver drop it."""
        channel = self.draw.choice(CHANNELS)
        fragment = self.net.held(victim, victim, channel)
        carriers = [a for a, b in self.net.queues if b == receiver]
        if fragment is not None and carriers:
            carrier = self.draw.choice(carriers)
            removal = sign_removal(STRANGER, NETWORK_ID, channel, fragment.head)
            self.net.queues[carrier, receiver].append((MessageType.REMOVAL, pack_removal(removal)))

    def heal(self) -> None:
        """All that are up are joined, and have all the time they need."""
        for one, other in itertools.pairwise(self.up):
            self.net.link(one, other)
        for _ in range(3):
            self.net.settle()


@given(st.integers(2, 6), st.integers(0, 2**32))
@example(3, 1)
def test_removals_in_any_order_end_in_equal_digests(peers: int, seed: int) -> None:
    mesh = Mesh(peers, seed)
    for _ in range(mesh.draw.randrange(200)):
        mesh.act()
    mesh.heal()
    nodes = {name: mesh.net.nodes[name] for name in mesh.up}
    assert len({node.replica.index.digest for node in nodes.values()}) == 1
    for name, node in nodes.items():
        # Nobody who is there has lost anything, at anybody.
        own = {key: fragment for key, fragment in node.replica if key[1] == name}
        for key, fragment in own.items():
            for other in nodes.values():
                held = other.replica.get(*key)
                assert held is not None
                assert held.head == fragment.head
        held_now = {key: dict(fragment.tree) for key, fragment in node.replica}
        assert held_now == mesh.net.seen[name]
        ignored = [event for event in mesh.net.events[name] if isinstance(event, Ignored)]
        assert {event.reason for event in ignored} <= {DropReason.NOT_GONE}


@given(st.integers(3, 6), st.integers(0, 2**32))
def test_what_all_were_told_to_let_go_stays_away(peers: int, seed: int) -> None:
    mesh = Mesh(peers, seed)
    names = list(mesh.net.nodes)
    gone = names[-1]
    mesh.net.write(gone, CHANNELS[0], b"key", b"value")
    mesh.heal()
    mesh.down.add(gone)
    for name in names:
        mesh.net.unlink(gone, name)
    for one in names[:-1]:
        for other in names[:-1]:
            if mesh.draw.random() < 0.5:
                mesh.net.unlink(one, other)
    # Some are cut off while it happens, and two may remove it at once.
    removers = mesh.draw.sample(names[:-1], mesh.draw.randint(1, 2))
    for remover in removers:
        mesh.net.nodes[remover].remove(CHANNELS[0], gone, mesh.net.now)
        mesh.net.watch(remover)
    mesh.net.run()
    mesh.heal()
    assert all(mesh.net.held(name, gone) is None for name in names[:-1])
    # And it returns as new, by writing again or by being seen again.
    mesh.down.clear()
    if mesh.draw.random() < 0.5:
        mesh.net.write(gone, CHANNELS[0], b"key", b"other")
    mesh.heal()
    mine = mesh.net.held(gone, gone)
    assert mine is not None
    for name in names:
        held = mesh.net.held(name, gone)
        assert held is not None
        assert held.head == mine.head
