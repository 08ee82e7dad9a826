"""The routes there should be, by the slowest and most obvious of ways: what tests compare with."""

from __future__ import annotations

from collections.abc import Mapping

from meshnet.ids import PeerName
from meshnet.topology.routes import MAX_HOPS, Route

Announced = Mapping[PeerName, Mapping[PeerName, int]]
"""What each peer announces: to whom it has links, at which cost."""


def slow_routes(
    source: PeerName, announced: Announced, max_hops: int = MAX_HOPS
) -> dict[PeerName, Route]:
    """The best route from ``source`` to every peer that can be reached.

    A link counts when both ends announce it, at the greater cost. Of all that one link more would
    reach, the best is reached next.
    """
    links = [
        (one, other, max(cost, announced[other][one]))
        for one, costs in announced.items()
        for other, cost in costs.items()
        if one != other and one in announced.get(other, ())
    ]
    routes = {source: Route(0, 0, source)}
    while True:
        within_reach = [
            (Route(route.cost + cost, route.hops + 1, route.via if route.hops else other), other)
            for one, other, cost in links
            if other not in routes and (route := routes.get(one)) and route.hops < max_hops
        ]
        if not within_reach:
            del routes[source]
            return routes
        route, peer = min(within_reach)
        routes[peer] = route
