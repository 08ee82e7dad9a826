"""Shortest routes over the links that peers announce.

Every peer computes its own table from the same announcements. A link counts only when both of its
ends announce it: so nobody can draw traffic by claiming a neighbour, and a link that one end has
lost is gone at once. Ties go to the lesser name, so that all peers of one view agree.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import NamedTuple

from meshnet.ids import PeerName

# Our choice: a route that long means that the announcements are wrong, or hostile.
MAX_HOPS = 16


class Route(NamedTuple):
    """The way to a peer: the neighbour to hand things to, and how many links there are in all."""

    via: PeerName
    hops: int


def shortest_routes(
    us: PeerName, links: Mapping[PeerName, Collection[PeerName]]
) -> dict[PeerName, Route]:
    """Routes from ``us`` to every peer that can be reached, by number of links.

    ``links`` maps each peer to the neighbours it announces, ours included. Breadth first; costs one
    look at each announced link.
    """
    routes: dict[PeerName, Route] = {}
    reached = {us}
    frontier: list[tuple[PeerName, PeerName | None]] = [(us, None)]
    for hops in range(1, MAX_HOPS + 1):
        following: list[tuple[PeerName, PeerName | None]] = []
        for peer, via in frontier:
            for neighbour in sorted(links.get(peer, ())):
                if neighbour not in reached and peer in links.get(neighbour, ()):
                    reached.add(neighbour)
                    first = via if via is not None else neighbour
                    routes[neighbour] = Route(first, hops)
                    following.append((neighbour, first))
        frontier = following
    return routes
