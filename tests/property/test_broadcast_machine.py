"""Peers that pass on frames for all, in any graph, whatever the network does to their parts.

Laws: nobody takes a frame twice, nor its own, nor one that nobody has said; and once everything
that was lost may be sent again, everybody whom a way leads to has taken what was not lost at all.
"""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from meshnet.ids import PeerName
from meshnet.peering.broadcast import Broadcast
from meshnet.topology.records import Description, PeerRecord
from meshnet.wire.ciphers import CipherId
from meshnet.wire.datagram import PartType
from meshnet.wire.key_life import KeyLife
from support.carrier import FakeCarrier
from support.samples import BROADCAST, NETWORK_ID, ethernet, identity, mac, rng

PEOPLE = [identity(number) for number in range(50, 56)]
RECORDS = {
    who.name: PeerRecord(who.name, who.public_key, Description("", 1376, 0, 1, ()), {})
    for who in PEOPLE
}
EDGES = st.sets(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=3)
# (what, who): speak, deliver any part that is under way, deliver it and keep it, let time pass.
STEPS = st.lists(st.tuples(st.sampled_from("sdkt"), st.integers(0, 2**16)), max_size=150)


class Mesh:
    """All parts that are under way are in one bag, from which any is taken next."""

    def __init__(self, edges: set[tuple[int, int]]) -> None:
        self.now = 0.0
        self.said = 0
        self.bag: list[tuple[int, int, PartType, bytes]] = []
        self.carriers = [FakeCarrier(*self._neighbours(number, edges)) for number in range(6)]
        self.peers = [
            Broadcast(
                who,
                NETWORK_ID,
                1,
                CipherId.CHACHA20_POLY1305,
                records=RECORDS,
                carrier=carrier,
                rng=rng(who.name),
                key_life=KeyLife(rekey_after_s=3.0),
            )
            for who, carrier in zip(PEOPLE, self.carriers, strict=True)
        ]
        self.numbers = {who.name: number for number, who in enumerate(PEOPLE)}

    @staticmethod
    def _neighbours(number: int, edges: set[tuple[int, int]]) -> list[PeerName]:
        ways = sorted({*edges, *((b, a) for a, b in edges)})
        return [PEOPLE[b].name for a, b in ways if a == number != b]

    def collect(self) -> None:
        for number, carrier in enumerate(self.carriers):
            self.bag += [(number, self.numbers[to], kind, body) for to, kind, body in carrier.sent]
            carrier.sent.clear()

    def speak(self, number: int) -> bytes:
        self.said += 1
        frame = ethernet(BROADCAST, mac(number + 1), self.said.to_bytes(4, "big"))
        self.peers[number].send(frame, self.now)
        self.collect()
        return frame

    def deliver(self, at: int, *, keep: bool = False) -> None:
        if not self.bag:
            return
        at %= len(self.bag)
        source, to, kind, body = self.bag[at] if keep else self.bag.pop(at)
        self.peers[to].receive(kind, body, PEOPLE[source].name, self.now)
        self.collect()

    def wait(self) -> None:
        self.now += 0.5
        for peer in self.peers:
            peer.handle_timer(self.now)
        self.collect()

    def taken(self, number: int) -> Counter[bytes]:
        return Counter(frame for _, frame in self.carriers[number].delivered)


@given(EDGES, STEPS)
def test_nobody_takes_a_frame_twice_in_any_order_and_with_any_loss(
    edges: set[tuple[int, int]], steps: list[tuple[str, int]]
) -> None:
    mesh = Mesh(edges)
    said: dict[bytes, int] = {}
    for what, which in steps:
        if what == "s":
            said[mesh.speak(which % 6)] = which % 6
        elif what == "t":
            mesh.wait()
        else:
            mesh.deliver(which, keep=what == "k")
    for number in range(6):
        taken = mesh.taken(number)
        assert set(taken.values()) <= {1}
        assert all(said[frame] != number for frame in taken)
        of_whom = [(source, said[frame]) for source, frame in mesh.carriers[number].delivered]
        assert all(mesh.numbers[source] == speaker for source, speaker in of_whom)


@given(EDGES, st.lists(st.integers(0, 5), min_size=1, max_size=8), st.integers(0, 2**16))
def test_without_loss_everybody_in_reach_takes_all_of_it_in_any_order(
    edges: set[tuple[int, int]], speakers: list[int], order: int
) -> None:
    mesh = Mesh(edges)
    said = [(speaker, mesh.speak(speaker)) for speaker in speakers]
    drawn = order
    while mesh.bag:
        drawn = drawn * 1103515245 + 12345 & 0x7FFFFFFF
        mesh.deliver(drawn >> 8)
    for number in range(6):
        reach, frontier = {number}, [number]
        for one in frontier:
            near = {mesh.numbers[name] for name in mesh.carriers[one].neighbours} - reach
            reach |= near
            frontier += sorted(near)
        expected = [frame for speaker, frame in said if speaker in reach and speaker != number]
        assert mesh.taken(number) == Counter(expected)
