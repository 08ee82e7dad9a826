"""Shortest routes: against a slow obvious router, and what nobody may gain by lying."""

from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from meshnet.ids import PeerName
from meshnet.topology.routes import MAX_HOPS, Route, shortest_routes

US, A, B, C = (PeerName(bytes(15) + bytes((number,))) for number in range(4))
PEERS = [PeerName(bytes(15) + bytes((number,))) for number in range(9)]
VIEWS = st.dictionaries(st.sampled_from(PEERS), st.sets(st.sampled_from(PEERS), max_size=6))


def slow_distances(us: PeerName, links: dict[PeerName, set[PeerName]]) -> dict[PeerName, int]:
    """Relax every edge until nothing changes."""
    edges = [(a, b) for a in links for b in links[a] if a in links.get(b, set()) and a != b]
    distance = {us: 0}
    for _ in PEERS:
        for a, b in edges:
            if a in distance and distance[a] + 1 < distance.get(b, 99):
                distance[b] = distance[a] + 1
    return {peer: hops for peer, hops in distance.items() if peer != us}


@given(VIEWS)
def test_hops_are_those_of_a_slow_obvious_router(links: dict[PeerName, set[PeerName]]) -> None:
    routes = shortest_routes(US, links)
    assert {peer: route.hops for peer, route in routes.items()} == slow_distances(US, links)


@given(VIEWS)
def test_who_is_on_the_way_is_one_hop_nearer(links: dict[PeerName, set[PeerName]]) -> None:
    for peer, route in shortest_routes(US, links).items():
        assert route.via in links[US]
        rest = shortest_routes(route.via, links).get(peer)
        assert (rest.hops if rest is not None else 0) == route.hops - 1


def test_a_link_counts_only_when_both_ends_announce_it() -> None:
    assert shortest_routes(US, {US: {A}, A: {US, B}, B: set()}) == {A: Route(A, 1)}
    assert shortest_routes(US, {US: {A}, A: set()}) == {}


def test_ties_go_to_the_lesser_name() -> None:
    links = {US: {B, A}, A: {US, C}, B: {US, C}, C: {A, B}}
    assert shortest_routes(US, links)[C] == Route(A, 2)


def test_a_peer_that_names_itself_changes_nothing() -> None:
    assert shortest_routes(US, {US: {US, A}, A: {A, US}}) == {A: Route(A, 1)}


def test_what_is_further_than_the_bound_is_not_reached() -> None:
    chain = [PeerName(number.to_bytes(16, "big")) for number in range(MAX_HOPS + 3)]
    links: dict[PeerName, set[PeerName]] = {peer: set() for peer in chain}
    for one, other in itertools.pairwise(chain):
        links[one].add(other)
        links[other].add(one)
    assert max(route.hops for route in shortest_routes(chain[0], links).values()) == MAX_HOPS
