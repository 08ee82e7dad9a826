"""Who is there: all that the mesh around us sees, by links that it announces.

Not a question of routes alone: a peer whose record is not held has no route, yet a neighbour of it
says that it is there. Peers of one component with equal records all answer alike, however they came
to hold them, and that is what makes removals converge (wire.md section 6.7).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from meshnet.ids import PeerName


def peers_present(
    us: PeerName,
    linked: Collection[PeerName],
    announced: Mapping[PeerName, Collection[PeerName]],
) -> frozenset[PeerName]:
    """All whom somebody within reach says to be linked to; us and our neighbours included.

    Within reach is who is joined to us by links that both ends announce, however many; ``linked``
    are ours, which are facts. Costs one look at each announced link.
    """
    present = {us, *linked}
    reached = {us, *linked}
    frontier = list(linked)
    while frontier:
        peer = frontier.pop()
        for neighbour in announced.get(peer, ()):
            present.add(neighbour)
            if neighbour not in reached and peer in announced.get(neighbour, ()):
                reached.add(neighbour)
                frontier.append(neighbour)
    return frozenset(present)
