"""Peers that are gone: since when, and when each is forgotten.

Absence is measured by our own monotonic clock while we run, never by a date: no two hosts' clocks
need agree. What earlier lives of ours saw of it counts on, so who is restarted every week forgets,
too.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

from meshnet.ids import PeerName
from meshnet.ports import Rng
from meshnet.values import Value

DEFAULT_PEER_LEASE_S = 14 * 86400.0
# Our choice: some wait longer than others, at random, by up to this share of the lease. One removes
# the peer then, and the others follow, where all would remove it at once.
LEASE_SPREAD = 1 / 16


class Absence(Value):
    """``since``: by our clock, perhaps before our start. ``was_here``: in this life of ours.

    ``until``: when the lease ends; None: never.
    """

    since: float
    was_here: bool
    until: float | None


class Absences:
    """Which of the peers that we have a record of are gone.

    ``lease_s``: how long each is remembered, None: for ever. ``before``: how long each had been
    gone when our last life ended.
    """

    def __init__(self, lease_s: float | None, before: Mapping[PeerName, float], rng: Rng) -> None:
        self._lease_s = lease_s
        self._before = dict(before)
        self._rng = rng
        self._absent: dict[PeerName, Absence] = {}
        self._reached: frozenset[PeerName] = frozenset()

    def __len__(self) -> int:
        return len(self._absent)

    def get(self, peer: PeerName) -> Absence | None:
        """None: it is not gone."""
        return self._absent.get(peer)

    def follow(self, known: Iterable[PeerName], reached: Collection[PeerName], now: float) -> None:
        """Bring it in line with who is ``known``, and which of them a route reaches."""
        gone = dict.fromkeys(peer for peer in known if peer not in reached)
        for peer in [peer for peer in self._absent if peer not in gone]:
            del self._absent[peer]
        for peer in gone:
            if peer not in self._absent:
                was_here = peer in self._reached
                since = now if was_here else now - self._before.pop(peer, 0.0)
                self._absent[peer] = Absence(since, was_here, self._until(since))
        self._reached = frozenset(reached)
        for peer in self._before.keys() & self._reached:
            del self._before[peer]

    def _until(self, since: float) -> float | None:
        if self._lease_s is None:
            return None
        share = int.from_bytes(self._rng(2), "big") / 2**16
        return since + self._lease_s * (1 + LEASE_SPREAD * share)

    def ended(self, now: float) -> list[PeerName]:
        """Whose leases have ended."""
        return [
            peer
            for peer, absence in self._absent.items()
            if absence.until is not None and absence.until <= now
        ]

    def durations(self, now: float) -> dict[PeerName, float]:
        """How long each has been gone by now: what our next life begins with."""
        return {peer: now - absence.since for peer, absence in self._absent.items()}
