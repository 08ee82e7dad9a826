"""The best way to everyone, kept as links come, go and change their costs.

Every peer computes its own table on the same graph. Of two ways the cheaper is the better, then the
one with fewer links, then the one whose first peer has the lesser name. So a table follows from the
graph alone, however it came about, and peers that know the same graph agree: who is next on the way
has a cheaper one, and no way leads in a circle.

The table is brought up to date by what has changed (DynamicSWSF-FP: Ramalingam and Reps, J.
Algorithms 21, 1996). Each peer has the route that stands in the table and the one that its
neighbours' routes would give it; where the two differ it waits for its turn, the best of all first.
Who has a worse route than its neighbours give takes the better one. Who has a better one, by links
that are gone, loses it first, and those behind it lose what they had through it. What no change
concerns is not looked at.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable
from collections.abc import Set as AbstractSet
from typing import NamedTuple

from meshnet.ids import PeerName
from meshnet.topology.graph import LinkGraph

# Our choice: a route that long means that the announcements are wrong, or hostile.
MAX_HOPS = 16


class Route(NamedTuple):
    """The way to a peer; of two the lesser is the better.

    ``cost`` is that of all links on it, ``hops`` how many these are, ``via`` the neighbour to hand
    things to.
    """

    cost: int
    hops: int
    via: PeerName


class RouteTable:
    """The routes of ``source``. After `mark`, `work` until it is no longer `behind`.

    A way of more than ``max_hops`` links is none. It may hide a dearer one with fewer links, since
    each peer keeps but one.
    """

    def __init__(self, graph: LinkGraph, source: PeerName, max_hops: int = MAX_HOPS) -> None:
        self.routes: dict[PeerName, Route] = {}
        """The way to every peer that can be reached, as it was when the table was last up to date.

        Another dict after each change.
        """
        self.changed: dict[PeerName, None] = {}
        """Those to whom the way is another since the owner last cleared this."""
        self._graph = graph
        self._source = source
        self._max_hops = max_hops
        self._first_hops: AbstractSet[PeerName] | None = None
        # The routes being worked on; `routes` itself while there is nothing to do.
        self._next = self.routes
        self._touched: dict[PeerName, None] = {}
        self._marked: dict[PeerName, None] = {}
        # The peers whose neighbours would give them another route, or none, and that route.
        self._due: dict[PeerName, Route | None] = {}
        # The order in which they have their turn, with what has been overtaken since.
        self._turns: list[tuple[Route, PeerName]] = []
        self.mark(graph.neighbours(source))

    @property
    def behind(self) -> bool:
        """Whether there is work to do before `routes` are those of the graph."""
        return bool(self._marked or self._due)

    def mark(self, peers: Iterable[PeerName]) -> None:
        """The links of these have changed: all that `LinkGraph.announce` gave."""
        self._marked.update(dict.fromkeys(peers))

    def use_first_hops(self, peers: AbstractSet[PeerName]) -> None:
        """Go by none but these of the source's neighbours."""
        before = self._first_hops
        if before is None:
            self.mark(self._graph.neighbours(self._source))
        elif before != peers:
            self.mark(sorted(before ^ peers))
        self._first_hops = peers

    def work(self, limit: int) -> int:
        """Look at about ``limit`` links, or fewer if that does: how many were looked at.

        Until nothing is left to do, `routes` stay as they are.
        """
        if not self.behind:
            return 0
        if self._next is self.routes:
            self._next = dict(self.routes)
        spent = 0
        # All marks first: a turn taken before would go by links that are no more.
        while self._marked and spent < limit:
            peer, _ = self._marked.popitem()
            spent += self._reconsider(peer)
        while self._due and not self._marked and spent < limit:
            spent += self._take_turn()
        if not (self._marked or self._due):
            self._publish()
        return spent

    def _publish(self) -> None:
        former, self.routes = self.routes, self._next
        for peer in self._touched:
            if former.get(peer) != self.routes.get(peer):
                self.changed[peer] = None
        self._touched.clear()
        self._turns.clear()

    def _take_turn(self) -> int:
        """The best of what differs becomes as its neighbours give it."""
        turn, peer = heapq.heappop(self._turns)
        known, given = self._next.get(peer), self._due.get(peer)
        if peer not in self._due or turn != _better(known, given):
            return 1
        self._touched[peer] = None
        if given is not None and (known is None or given < known):
            self._next[peer] = given
            del self._due[peer]
        else:
            # Too good to be true. Without it, those behind it show whether they have another.
            assert known is not None, "of two that differ one is there"
            del self._next[peer]
            self._set_due(peer, given)
            given = None
        return 1 + self._tell_neighbours(peer, known, given)

    def _tell_neighbours(self, peer: PeerName, former: Route | None, route: Route | None) -> int:
        neighbours = self._graph.neighbours(peer)
        routes, due = self._next, self._due
        reaches = route is not None and route.hops < self._max_hops
        spent = 0
        for other, cost in neighbours.items():
            if other == self._source:
                continue
            best = due[other] if other in due else routes.get(other)
            if reaches and route is not None:
                # Most offers are no better: a tuple tells, and a route is made of few.
                offer = (route.cost + cost, route.hops + 1, route.via)
                if best is None or offer < best:
                    self._set_due(other, Route._make(offer))
                    continue
            if former is not None and best is not None and best == self._extended(former, cost):
                # It has its way through us, and that is another now.
                spent += self._reconsider(other)
        return spent + len(neighbours)

    def _reconsider(self, peer: PeerName) -> int:
        """What do the neighbours of ``peer`` give it? How many there are."""
        if peer == self._source:
            return 1  # Its neighbours are marked as well; that it was looked at still counts.
        neighbours = self._graph.neighbours(peer)
        routes = self._next
        best: tuple[int, int, PeerName] | None = None
        for other, cost in neighbours.items():
            if other == self._source:
                if self._first_hops is not None and peer not in self._first_hops:
                    continue
                offer = (cost, 1, peer)
            else:
                route = routes.get(other)
                if route is None or route.hops >= self._max_hops:
                    continue
                offer = (route.cost + cost, route.hops + 1, route.via)
            if best is None or offer < best:
                best = offer
        self._set_due(peer, Route._make(best) if best is not None else None)
        return 1 + len(neighbours)

    def _extended(self, route: Route | None, cost: int) -> Route | None:
        """``route``, and on by a link that costs so much."""
        if route is None or route.hops >= self._max_hops:
            return None
        return Route(route.cost + cost, route.hops + 1, route.via)

    def _set_due(self, peer: PeerName, given: Route | None) -> None:
        known = self._next.get(peer)
        if given == known:
            self._due.pop(peer, None)
            return
        self._due[peer] = given
        turn = _better(known, given)
        assert turn is not None, "of two that differ one is there"
        heapq.heappush(self._turns, (turn, peer))


def _better(one: Route | None, other: Route | None) -> Route | None:
    if one is None or (other is not None and other < one):
        return other
    return one
