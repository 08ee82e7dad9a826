"""To whom of our neighbours a broadcast goes on: the routes as each of them sees them.

A broadcast of a source comes to each peer by the first peer of that one's own way to the source. So
we pass it on to the neighbours whose way to the source begins with us. Peers that know the same
graph so make one tree for each source, without asking each other: everybody has the broadcast from
one neighbour, once (reverse path forwarding, Dalal and Metcalfe, CACM 21, 1978, in the form in
which every peer knows the ways of its neighbours too).

It takes a `RouteTable` for each neighbour. They are made when somebody asks, kept up to date while
somebody does, and forgotten when nobody has for a while.
"""

from __future__ import annotations

from collections.abc import Iterable

from meshnet.ids import PeerName
from meshnet.topology.graph import LinkGraph
from meshnet.topology.routes import RouteTable


class NeighbourViews:
    """The routes of all neighbours of ``graph.us``. After `mark`, `work` until not `behind`."""

    def __init__(self, graph: LinkGraph) -> None:
        self._graph = graph
        self._tables: dict[PeerName, RouteTable] = {}
        # What has been answered since the tables last changed.
        self._children: dict[PeerName, tuple[PeerName, ...]] = {}
        self._in_use = False
        self._asked = False

    @property
    def behind(self) -> bool:
        return any(table.behind for table in self._tables.values())

    def children(self, source: PeerName) -> tuple[PeerName, ...] | None:
        """The neighbours to pass a broadcast of ``source`` on to, sorted.

        None: not known yet. By a graph that is changing it may be another tree than that of other
        peers, and the broadcast may come twice, or not to everybody.
        """
        self._asked = True
        if not self._in_use:
            self._in_use = True
            self._follow_neighbours()
        known = self._children.get(source)
        if known is None and (known := self._find_children(source)) is not None:
            self._children[source] = known
        return known

    def mark(self, peers: Iterable[PeerName]) -> None:
        """The links of these have changed: all that `LinkGraph.announce` gave."""
        if not self._in_use:
            return
        peers = tuple(peers)
        for table in self._tables.values():
            table.mark(peers)
        if self._graph.us in peers:
            self._follow_neighbours()

    def work(self, limit: int) -> int:
        """Look at about ``limit`` links, or fewer if that does: how many were looked at."""
        spent = 0
        for table in self._tables.values():
            if spent >= limit:
                break
            spent += table.work(limit - spent)
            if table.changed:
                table.changed.clear()
                self._children.clear()
        return spent

    def forget_unasked(self) -> None:
        """Drop the tables, unless somebody has asked since the last call."""
        if not self._asked:
            self._in_use = False
            self._tables.clear()
            self._children.clear()
        self._asked = False

    def _follow_neighbours(self) -> None:
        neighbours = self._graph.neighbours(self._graph.us)
        self._tables = {
            peer: self._tables.get(peer) or RouteTable(self._graph, peer)
            for peer in sorted(neighbours)
        }
        self._children.clear()

    def _find_children(self, source: PeerName) -> tuple[PeerName, ...] | None:
        us = self._graph.us
        if source != us and not self._graph.neighbours(source):
            return None
        children = []
        for peer, table in self._tables.items():
            if us not in table.routes:
                return None  # A neighbour has a way to us: its table is not made yet.
            route = table.routes.get(source)
            if route is not None and route.via == us:
                children.append(peer)
        return tuple(children)
