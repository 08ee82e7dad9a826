"""Best routes: the examples; `tests/property/test_routes_model.py` has the laws."""

from __future__ import annotations

import itertools
from collections.abc import Mapping

from meshnet.ids import PeerName
from meshnet.testing.slow_routes import slow_routes
from meshnet.topology.graph import LinkGraph
from meshnet.topology.routes import MAX_HOPS, Route, RouteTable

US, A, B, C, D = PEERS = [PeerName(bytes(15) + bytes((number,))) for number in range(5)]
NO_LIMIT = 10**9


def both_ways(*links: tuple[PeerName, PeerName, int]) -> dict[PeerName, dict[PeerName, int]]:
    """What the peers announce when both ends say the same."""
    announced: dict[PeerName, dict[PeerName, int]] = {}
    for one, other, cost in links:
        announced.setdefault(one, {})[other] = cost
        announced.setdefault(other, {})[one] = cost
    return announced


def graph_of(announced: Mapping[PeerName, Mapping[PeerName, int]]) -> LinkGraph:
    graph = LinkGraph(US)
    for peer, costs in announced.items():
        graph.announce(peer, costs)
    return graph


def routes_of(announced: Mapping[PeerName, Mapping[PeerName, int]]) -> dict[PeerName, Route]:
    table = RouteTable(graph_of(announced), US)
    table.work(NO_LIMIT)
    assert not table.behind
    return table.routes


def test_a_link_between_others_counts_only_when_both_ends_announce_it() -> None:
    known = both_ways((US, A, 5), (A, B, 5))
    assert routes_of(known) == {A: Route(5, 1, A), B: Route(10, 2, A)}
    del known[B][A]
    assert routes_of(known) == {A: Route(5, 1, A)}


def test_our_own_links_are_facts_and_so_is_that_we_have_none() -> None:
    assert routes_of({US: {A: 5}}) == {A: Route(5, 1, A)}
    assert routes_of({A: {US: 5}}) == {}


def test_a_link_costs_what_its_dearer_end_says() -> None:
    assert routes_of({US: {A: 5}, A: {US: 7}})[A].cost == 7
    assert routes_of({US: {A: 9}, A: {US: 7}})[A].cost == 9


def test_cheap_comes_before_short_and_short_before_the_lesser_name() -> None:
    assert routes_of(both_ways((US, C, 30), (US, A, 10), (A, C, 10)))[C] == Route(20, 2, A)
    assert routes_of(both_ways((US, C, 20), (US, A, 10), (A, C, 10)))[C] == Route(20, 1, C)
    square = both_ways((US, B, 10), (US, A, 10), (B, C, 10), (A, C, 10))
    assert routes_of(square)[C] == Route(20, 2, A)


def test_a_peer_that_names_itself_changes_nothing() -> None:
    assert routes_of({US: {US: 1, A: 5}, A: {A: 1, US: 5}}) == {A: Route(5, 1, A)}


def test_what_is_further_than_the_bound_is_not_reached() -> None:
    chain = [PeerName(number.to_bytes(16, "big")) for number in range(MAX_HOPS + 3)]
    links = both_ways(*((one, other, 1) for one, other in itertools.pairwise(chain)))
    assert max(route.hops for route in routes_of(links).values()) == MAX_HOPS


def test_a_neighbour_is_reached_though_the_cheap_way_to_it_is_too_long() -> None:
    ring = [PeerName(number.to_bytes(16, "big")) for number in range(MAX_HOPS + 4)]
    links = both_ways(
        *((one, other, 1) for one, other in itertools.pairwise(ring)), (US, ring[-1], 1000)
    )
    assert routes_of(links)[ring[-1]] == Route(1000, 1, ring[-1])
    assert routes_of(links).keys() == set(ring[1:])


def test_the_slow_router_finds_what_is_there_to_see() -> None:
    announced = both_ways((US, A, 5), (A, B, 5), (US, B, 11), (C, D, 1))
    assert slow_routes(US, announced) == {A: Route(5, 1, A), B: Route(10, 2, A)}


def test_the_former_routes_are_in_use_until_the_new_ones_are_done() -> None:
    graph = graph_of(both_ways((US, A, 5), (A, B, 5), (B, C, 5)))
    table = RouteTable(graph, US)
    table.work(NO_LIMIT)
    former = dict(table.routes)
    table.changed.clear()
    table.mark(graph.announce(US, {}))
    pieces = 0
    while table.behind:
        assert table.routes == former
        assert not table.changed
        table.work(1)
        pieces += 1
    assert pieces >= 3
    assert table.routes == {}
    assert table.changed.keys() == {A, B, C}
    assert table.work(1) == 0


def test_first_hops_can_be_chosen() -> None:
    graph = graph_of(both_ways((US, A, 5), (US, B, 50), (A, B, 5), (A, C, 5), (B, C, 5)))
    table = RouteTable(graph, US)
    for chosen, used in (({B}, {B}), ({A, B}, {A}), (set(), set())):
        table.use_first_hops(frozenset(chosen))
        table.work(NO_LIMIT)
        assert {route.via for route in table.routes.values()} == used


def test_a_change_far_away_costs_what_it_changes() -> None:
    # A star with a far end: 2,000 peers that a change at the end does not concern.
    hub, *leaves = [PeerName(number.to_bytes(16, "big")) for number in range(1, 2000)]
    far = leaves[-1]
    graph = graph_of(both_ways((US, hub, 1), *((hub, leaf, 1) for leaf in leaves)))
    table = RouteTable(graph, US)
    assert table.work(NO_LIMIT) > 2000
    end = PeerName(b"\xff" * 16)
    marks = [*graph.announce(far, {hub: 1, end: 1}), *graph.announce(end, {far: 1})]
    table.mark(marks)
    assert table.work(NO_LIMIT) < 20
    assert table.routes[end] == Route(3, 3, hub)


def test_work_that_finds_only_ourselves_to_look_at_has_worked() -> None:
    table = RouteTable(graph_of({}), US)
    table.use_first_hops(frozenset({A}))
    table.use_first_hops(frozenset({US, A}))
    assert table.behind
    assert table.work(NO_LIMIT) > 0
    assert not table.behind
