"""Whom to be linked to when everybody is too many: neighbours on rings of pseudo-random order.

Each ring puts the peers in another order, and a peer wants the one before it and the one behind it
in each. So everybody who knows the same peers wants the same links, without a word about it; a
peer that comes or goes changes two links of a ring; and the links of several rings together are an
expander: the graph stays connected though many peers die, and few links lie between any two.

Unions of random Hamiltonian cycles: Law and Siu, "Distributed construction of random expander
networks" (INFOCOM 2003). Orders by hashes of names instead of negotiated ones: Rapid's (Suresh et
al., USENIX ATC 2018).
"""

from __future__ import annotations

import hashlib
from bisect import bisect_left, insort

from meshnet.ids import PeerName

# From wire.md section 6.6.
_PLACE_BYTES = 8
_PLACE_LABEL = b"meshnet ring"


def ring_count(degree: int) -> int:
    """How many rings there are for up to ``degree`` links: their links are half of these at most.

    The other half are links that came about otherwise, and room for those of a moment of change.
    One ring alone is no expander, so there are two wherever two fit.
    """
    return max(degree // 4, 2 if degree >= 4 else 1)


class Rings:
    """Some peers on ``count`` rings of one network. Equal members have equal neighbours."""

    def __init__(self, network_id: bytes, count: int) -> None:
        self._network_id = network_id
        self._rings: list[list[tuple[bytes, PeerName]]] = [[] for _ in range(count)]
        self._places: dict[PeerName, list[tuple[bytes, PeerName]]] = {}

    def __contains__(self, peer: PeerName) -> bool:
        return peer in self._places

    def __len__(self) -> int:
        return len(self._places)

    def add(self, peer: PeerName) -> None:
        """Put ``peer`` into its place on each ring; nothing happens when it is there."""
        if peer in self._places:
            return
        self._places[peer] = places = [
            (self._place(number, peer), peer) for number in range(len(self._rings))
        ]
        for ring, place in zip(self._rings, places, strict=True):
            insort(ring, place)

    def discard(self, peer: PeerName) -> None:
        """Take ``peer`` out; nothing happens when it is not there."""
        for ring, place in zip(self._rings, self._places.pop(peer, ()), strict=False):
            del ring[bisect_left(ring, place)]

    def neighbours_of(self, peer: PeerName) -> frozenset[PeerName]:
        """Who stands beside ``peer``, itself a member, on any of the rings."""
        beside = set()
        for ring, place in zip(self._rings, self._places[peer], strict=True):
            at = bisect_left(ring, place)
            beside.add(ring[at - 1][1])
            beside.add(ring[(at + 1) % len(ring)][1])
        beside.discard(peer)
        return frozenset(beside)

    def _place(self, number: int, peer: PeerName) -> bytes:
        what = number.to_bytes(2, "big") + self._network_id + peer
        return hashlib.blake2b(what, digest_size=_PLACE_BYTES, person=_PLACE_LABEL).digest()
