"""Whether so much is new that to compare with a neighbour would show what is on its way anyway.

Digests of the whole state differ as long as news is spreading: where dozens of peers start at once
each of hundreds of links would have its ends look through each other's heads, again and again, and
find what deltas bring in the next moment. So a comparison that finds a difference waits until
nothing has come for a while. Not for ever: in a mesh where there is always news it is still the
only thing that finds what got lost. And not with somebody to whom there was no other way, whose
news comes by nothing else.
"""

from __future__ import annotations

import math

from meshnet.ids import PeerName

# Our choice. Some times longer than news takes through a mesh of a thousand.
CALM_AFTER_S = 1.0
COMPARED_LATEST_S = 30.0


class Restlessness:
    """Follows what comes, and holds who is to be compared with when nothing does."""

    def __init__(self) -> None:
        self._calm_at = -math.inf
        self._waiting: dict[PeerName, float] = {}
        """Since when."""

    def stir(self, now: float) -> None:
        """A neighbour has told something new."""
        self._calm_at = now + CALM_AFTER_S

    def puts_off(self, peer: PeerName, now: float) -> bool:
        """Whether to compare with ``peer`` has to wait; if so it is named by `pop_due` in time."""
        if now >= self._calm_at:
            return False
        self._waiting.setdefault(peer, now)
        return True

    def forget(self, peer: PeerName) -> None:
        self._waiting.pop(peer, None)

    def pop_due(self, now: float) -> list[PeerName]:
        """With whom to compare now."""
        due = [peer for peer in self._waiting if now >= self._due_at(peer)]
        for peer in due:
            del self._waiting[peer]
        return due

    def next_deadline(self) -> float | None:
        return min(map(self._due_at, self._waiting), default=None)

    def _due_at(self, peer: PeerName) -> float:
        return min(self._calm_at, self._waiting[peer] + COMPARED_LATEST_S)
