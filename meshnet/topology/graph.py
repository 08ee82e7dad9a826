"""Who is linked to whom, and what each link costs: the link-state that all routes are computed on.

A link counts only when both of its ends announce it, at the greater of the two costs: so nobody
can draw traffic by claiming a neighbour or by praising a link, a link that one end has lost is gone
at once, and a way costs the same in both directions.
"""

from __future__ import annotations

from collections.abc import Mapping

from meshnet.ids import PeerName

_NOTHING: Mapping[PeerName, int] = {}


class LinkGraph:
    """The links among all peers, as ``us`` knows them.

    Our own links are facts, whether the other end has announced them yet or not.
    """

    def __init__(self, us: PeerName) -> None:
        self.us = us
        self._announced: dict[PeerName, Mapping[PeerName, int]] = {}
        self._costs: dict[PeerName, dict[PeerName, int]] = {}

    def neighbours(self, peer: PeerName) -> Mapping[PeerName, int]:
        """Those to whom ``peer`` has a link that counts, and its cost; a live view."""
        return self._costs.get(peer, _NOTHING)

    def announce(self, peer: PeerName, costs: Mapping[PeerName, int]) -> list[PeerName]:
        """``peer`` says that it has links at these costs, at least 1 each, and no others.

        Keeps ``costs``, which must not change. Gives the ends of all links that are others now.
        """
        before = self._announced.get(peer, _NOTHING)
        if costs:
            self._announced[peer] = costs
        else:
            self._announced.pop(peer, None)
        changed = [
            other
            for other in (*before, *(other for other in costs if other not in before))
            if before.get(other) != costs.get(other) and self._weigh(peer, other)
        ]
        return [peer, *changed] if changed else []

    def _weigh(self, one: PeerName, other: PeerName) -> bool:
        """Bring the link between the two in line with what is announced: is it another now?"""
        cost = self._cost_between(one, other)
        if cost == self._costs.get(one, _NOTHING).get(other):
            return False
        for end, far_end in ((one, other), (other, one)):
            if cost is not None:
                self._costs.setdefault(end, {})[far_end] = cost
            else:
                del self._costs[end][far_end]
                if not self._costs[end]:
                    del self._costs[end]
        return True

    def _cost_between(self, one: PeerName, other: PeerName) -> int | None:
        there = self._announced.get(one, _NOTHING).get(other)
        back = self._announced.get(other, _NOTHING).get(one)
        if one == self.us and back is None:
            back = there
        elif other == self.us and there is None:
            there = back
        if there is None or back is None or one == other:
            return None
        return max(there, back)
