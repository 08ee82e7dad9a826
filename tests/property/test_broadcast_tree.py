"""The trees of broadcasts, on whatever mesh and after whatever changes: once all peers know the
same links, a broadcast of anybody reaches each peer that can be reached exactly once."""

from __future__ import annotations

from collections import Counter, deque

from hypothesis import given, settings
from hypothesis import strategies as st

from meshnet.ids import PeerName
from meshnet.testing.slow_routes import slow_routes
from meshnet.topology.graph import LinkGraph
from meshnet.topology.views import NeighbourViews

PEERS = [PeerName(bytes(15) + bytes((number,))) for number in range(8)]
COSTS = st.integers(1, 4)
# What both ends announce of the link between two: its cost, or that there is none.
CHANGES = st.tuples(
    st.sampled_from(PEERS), st.sampled_from(PEERS), st.none() | st.tuples(COSTS, COSTS)
).filter(lambda change: change[0] != change[1])
BATCHES = st.lists(st.lists(CHANGES, min_size=1, max_size=16), min_size=1, max_size=4)


class Everybody:
    """All peers, each with its own graph and its own views of its neighbours."""

    def __init__(self) -> None:
        self.announced: dict[PeerName, dict[PeerName, int]] = {peer: {} for peer in PEERS}
        self.graphs = {peer: LinkGraph(peer) for peer in PEERS}
        self.views = {peer: NeighbourViews(graph) for peer, graph in self.graphs.items()}

    def change(self, one: PeerName, other: PeerName, costs: tuple[int, int] | None) -> None:
        for at, (end, far_end) in enumerate(((one, other), (other, one))):
            links = dict(self.announced[end])
            links.pop(far_end, None)
            if costs is not None:
                links[far_end] = costs[at]
            self.announced[end] = links
            for peer in PEERS:
                self.views[peer].mark(self.graphs[peer].announce(end, links))

    def settle(self) -> None:
        for view in self.views.values():
            while view.behind:
                view.work(7)

    def broadcast(self, source: PeerName) -> Counter[PeerName]:
        """How often it came to each peer."""
        came: Counter[PeerName] = Counter()
        queue = deque([source])
        while queue:
            peer = queue.popleft()
            for child in self.views[peer].children(source) or ():
                came[child] += 1
                assert came.total() < 100, "a broadcast goes in a circle"
                queue.append(child)
        return came


@given(BATCHES)
@settings(deadline=None)
def test_a_broadcast_reaches_each_peer_once(
    batches: list[list[tuple[PeerName, PeerName, tuple[int, int] | None]]],
) -> None:
    mesh = Everybody()
    for changes in batches:
        for one, other, costs in changes:
            mesh.change(one, other, costs)
        for source in PEERS:
            mesh.broadcast(source)  # Now somebody asks, and the tables are kept from here on.
        mesh.settle()
        for source in PEERS:
            reachable = slow_routes(source, mesh.announced)
            assert mesh.broadcast(source) == dict.fromkeys(reachable, 1)
