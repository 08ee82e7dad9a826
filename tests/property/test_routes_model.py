"""The laws of routes, on whatever peers announce: the table kept up to date by changes is that of
the slow obvious router, both ends find the same cost, and nobody is sent in a circle."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from meshnet.ids import PeerName
from meshnet.testing.slow_routes import slow_routes
from meshnet.topology.graph import LinkGraph
from meshnet.topology.routes import MAX_HOPS, Route, RouteTable

PEERS = [PeerName(bytes(15) + bytes((number,))) for number in range(9)]
US = PEERS[0]
# Few different costs, so that ties are common.
COSTS = st.integers(1, 4)
LINKS = st.dictionaries(st.sampled_from(PEERS), COSTS, max_size=6)
MESHES = st.dictionaries(
    st.tuples(st.sampled_from(PEERS), st.sampled_from(PEERS)).filter(
        lambda ends: ends[0] < ends[1]
    ),
    st.tuples(COSTS, COSTS),
    max_size=24,
)
Announced = dict[PeerName, dict[PeerName, int]]


def announced_by(mesh: dict[tuple[PeerName, PeerName], tuple[int, int]]) -> Announced:
    announced: Announced = {}
    for (one, other), (there, back) in mesh.items():
        announced.setdefault(one, {})[other] = there
        announced.setdefault(other, {})[one] = back
    return announced


def with_facts(announced: Announced) -> Announced:
    """Our own links count whatever the other ends say, and theirs to us only if we have them."""
    ours = announced.get(US, {})
    seen = {peer: dict(costs) for peer, costs in announced.items()}
    for peer, cost in ours.items():
        seen.setdefault(peer, {}).setdefault(US, cost)
    return seen


class RouteMachine(RuleBasedStateMachine):
    """Announcements change at any time, tables are worked on in pieces of any size."""

    @initialize(max_hops=st.sampled_from((2, 3, MAX_HOPS)), source=st.sampled_from(PEERS[:2]))
    def begin(self, max_hops: int, source: PeerName) -> None:
        self.max_hops = max_hops
        self.announced: Announced = {}
        self.graph = LinkGraph(US)
        self.source = source
        self.table = RouteTable(self.graph, source, max_hops)
        self.first_hops: frozenset[PeerName] | None = None
        self.used = dict(self.table.routes)

    @rule(peer=st.sampled_from(PEERS), links=LINKS)
    def announce(self, peer: PeerName, links: dict[PeerName, int]) -> None:
        self.announced[peer] = links
        self.table.mark(self.graph.announce(peer, links))

    @rule(mesh=MESHES)
    def announce_all_anew(self, mesh: dict[tuple[PeerName, PeerName], tuple[int, int]]) -> None:
        announced = announced_by(mesh)
        for peer in PEERS:
            self.announce(peer, announced.get(peer, {}))

    @rule(data=st.data())
    @precondition(lambda self: any(self.announced.values()))
    def change_one_link(self, data: Any) -> None:
        peer = data.draw(st.sampled_from(sorted(p for p, links in self.announced.items() if links)))
        links = dict(self.announced[peer])
        other = data.draw(st.sampled_from(sorted(links)))
        cost = data.draw(st.none() | COSTS)
        if cost is None:
            del links[other]
        else:
            links[other] = cost
        self.announce(peer, links)

    @rule(peer=st.sampled_from(PEERS))
    def die(self, peer: PeerName) -> None:
        self.announce(peer, {})

    @rule(peers=st.frozensets(st.sampled_from(PEERS)))
    def choose_first_hops(self, peers: frozenset[PeerName]) -> None:
        self.first_hops = peers
        self.table.use_first_hops(peers)

    @rule(limit=st.integers(1, 12))
    def work_a_little(self, limit: int) -> None:
        was_behind = self.table.behind
        spent = self.table.work(limit)
        assert (spent > 0) == was_behind
        if self.table.behind:
            assert spent >= limit
            assert self.table.routes == self.used, "not before all is done"
        self._take_up()

    @rule()
    def work_to_the_end(self) -> None:
        while self.table.behind:
            self.table.work(5)
        self._take_up()

    def _take_up(self) -> None:
        if not self.table.behind:
            former, self.used = self.used, dict(self.table.routes)
            different = {p for p in PEERS if former.get(p) != self.used.get(p)}
            assert self.table.changed.keys() == different
            self.table.changed.clear()
            assert self.used == self._slow()

    def _slow(self) -> dict[PeerName, Route]:
        seen = with_facts(self.announced)
        if self.first_hops is not None:
            ours = seen.get(self.source, {})
            seen[self.source] = {p: c for p, c in ours.items() if p in self.first_hops}
        return slow_routes(self.source, seen, self.max_hops)

    @invariant()
    def the_former_routes_are_used_meanwhile(self) -> None:
        if hasattr(self, "table"):
            assert self.table.routes == self.used


TestRouteMachine = RouteMachine.TestCase
TestRouteMachine.settings = settings(max_examples=150, stateful_step_count=30, deadline=None)


def tables(announced: Announced) -> dict[PeerName, dict[PeerName, Route]]:
    """What each peer makes of the same announcements."""
    found = {}
    for peer in PEERS:
        graph = LinkGraph(peer)
        for writer, links in announced.items():
            graph.announce(writer, links)
        table = RouteTable(graph, peer)
        table.work(10**9)
        found[peer] = table.routes
    return found


@given(MESHES)
def test_a_way_costs_the_same_in_both_directions(
    mesh: dict[tuple[PeerName, PeerName], tuple[int, int]],
) -> None:
    found = tables(announced_by(mesh))
    for peer, routes in found.items():
        for other, route in routes.items():
            back = found[other][peer]
            assert (route.cost, route.hops) == (back.cost, back.hops)


@given(MESHES)
def test_who_is_next_is_nearer_so_nobody_is_sent_in_a_circle(
    mesh: dict[tuple[PeerName, PeerName], tuple[int, int]],
) -> None:
    found = tables(announced_by(mesh))
    for peer, routes in found.items():
        for other, route in routes.items():
            cost, hops, at = route.cost, route.hops, route.via
            while at != other:
                rest = found[at][other]
                assert rest.cost < cost
                assert rest.hops < hops
                cost, hops, at = rest.cost, rest.hops, rest.via
            assert hops == 1
            assert at != peer


@given(st.dictionaries(st.sampled_from(PEERS), LINKS))
def test_every_route_is_that_of_the_slow_router_for_any_announcements(announced: Announced) -> None:
    table = RouteTable(LinkGraph(US), US)
    graph = LinkGraph(US)
    for peer, links in announced.items():
        graph.announce(peer, links)
    table = RouteTable(graph, US)
    table.work(10**9)
    assert table.routes == slow_routes(US, with_facts(announced))
