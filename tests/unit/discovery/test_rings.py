"""The links that rings ask for: few, alike at both ends, and enough to hold a mesh together."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Mapping, Set

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshnet.discovery.rings import Rings, ring_count
from meshnet.ids import PeerName
from support.samples import NETWORK_ID

Graph = Mapping[PeerName, Set[PeerName]]


def named(number: int) -> PeerName:
    return PeerName(hashlib.blake2b(number.to_bytes(4, "big"), digest_size=16).digest())


def rings_of(peers: list[PeerName], count: int = 3) -> Rings:
    rings = Rings(NETWORK_ID, count)
    for peer in peers:
        rings.add(peer)
    return rings


def graph(rings: Rings, peers: list[PeerName]) -> dict[PeerName, frozenset[PeerName]]:
    return {peer: rings.neighbours_of(peer) for peer in peers}


def distances(links: Graph, start: PeerName) -> dict[PeerName, int]:
    """To whom there is a way, among those that have a row."""
    found, frontier = {start: 0}, [start]
    for peer in frontier:
        for other in links[peer]:
            if other in links and other not in found:
                found[other] = found[peer] + 1
                frontier.append(other)
    return found


@given(
    st.lists(st.tuples(st.booleans(), st.integers(0, 30)), max_size=60),
    st.integers(1, 5),
    st.randoms(use_true_random=False),
)
def test_links_depend_on_the_members_alone(
    changes: list[tuple[bool, int]], count: int, draw: random.Random
) -> None:
    rings, members = Rings(NETWORK_ID, count), set()
    for comes, number in changes:
        if comes:
            rings.add(named(number))
            members.add(named(number))
        else:
            rings.discard(named(number))
            members.discard(named(number))
    peers = sorted(members)
    draw.shuffle(peers)
    links = graph(rings_of(peers, count), peers)
    assert links == graph(rings, peers)
    assert len(rings) == len(members)
    for peer, beside in links.items():
        assert peer in rings
        assert peer not in beside
        assert min(len(peers) - 1, 1) <= len(beside) <= 2 * count
        assert all(peer in links[other] for other in beside), "wanted by both ends or by none"
        assert len(distances(links, peer)) == len(peers), "connected"


def test_who_comes_or_goes_changes_few_links() -> None:
    peers, count = [named(number) for number in range(200)], 4
    rings = rings_of(peers, count)
    before = graph(rings, peers)
    rings.add(named(1000))
    after = graph(rings, peers)
    changed = {peer for peer in peers if before[peer] != after[peer]}
    assert changed == rings.neighbours_of(named(1000))
    rings.discard(named(1000))
    assert graph(rings, peers) == before


def test_networks_and_rings_have_orders_of_their_own() -> None:
    peers = [named(number) for number in range(50)]
    others = Rings(b"another!", 3)
    for peer in peers:
        others.add(peer)
    assert graph(others, peers) != graph(rings_of(peers), peers)
    one, two = (rings_of(peers, count) for count in (1, 2))
    for peer in peers:
        assert one.neighbours_of(peer) < two.neighbours_of(peer), "who has more rings has these too"


def test_the_place_on_a_ring_is_what_the_specification_says() -> None:
    peers = [named(number) for number in range(20)]

    def place(peer: PeerName) -> bytes:
        what = (0).to_bytes(2, "big") + NETWORK_ID + peer
        return hashlib.blake2b(what, digest_size=8, person=b"meshnet ring").digest()

    ordered = sorted(peers, key=place)
    assert rings_of(peers, 1).neighbours_of(ordered[0]) == {ordered[1], ordered[-1]}


@pytest.mark.parametrize(("degree", "rings"), [(1, 1), (3, 1), (4, 2), (8, 2), (12, 3), (32, 8)])
def test_rings_take_half_of_the_links_and_are_two_where_they_fit(degree: int, rings: int) -> None:
    assert ring_count(degree) == rings
    assert degree < 8 or 2 * ring_count(degree) <= degree / 2


def test_a_thousand_peers_are_few_links_apart_and_outlive_the_death_of_half() -> None:
    peers = [named(number) for number in range(1000)]
    rings = rings_of(peers, ring_count(32))
    links = graph(rings, peers)
    assert sum(map(len, links.values())) / len(peers) <= 16
    assert max(max(distances(links, peer).values()) for peer in peers[:20]) <= 5
    draw = random.Random(1)
    for _ in range(10):
        alive = set(draw.sample(peers, 500))
        left = {peer: links[peer] & alive for peer in alive}
        linked = [peer for peer in alive if left[peer]]
        assert len(distances(left, linked[0])) == len(linked)
