"""What our own links cost: takes up what has been measured of them, says what to announce."""

from __future__ import annotations

from collections.abc import Iterable

from meshnet.ids import PeerName
from meshnet.peering.buckets import TokenBuckets
from meshnet.topology.cost import HOP_COST, CostMeter

Sample = tuple[PeerName, float | None]
"""(who was probed, the round trip in seconds); None for a probe that came to nothing."""

# Our choice: however a link swings, all others hear of it once a minute.
CHANGES_PER_S = 1.0 / 60.0
CHANGES_AT_ONCE = 2.0


class LinkCosts:
    """A meter for each link that has been measured."""

    def __init__(self) -> None:
        self._meters: dict[PeerName, CostMeter] = {}
        # Outlives the link, or one that comes and goes would be told of without end.
        self._allowed: TokenBuckets[PeerName] = TokenBuckets(CHANGES_PER_S, CHANGES_AT_ONCE)

    def of(self, peer: PeerName) -> int:
        """What we announce of our link to ``peer``."""
        meter = self._meters.get(peer)
        return meter.cost if meter is not None else HOP_COST

    def is_settled(self, peer: PeerName) -> bool:
        """Whether the link to ``peer`` needs to be looked at only as often as any idle one."""
        meter = self._meters.get(peer)
        return meter is None or meter.is_settled

    def take_up(self, samples: Iterable[Sample], now: float, *, by_udp: bool) -> bool:
        """Whether a cost to be announced is another now."""
        changed = False
        for peer, rtt_s in samples:
            meter = self._meters.setdefault(peer, CostMeter())
            if rtt_s is None:
                meter.lost()
            else:
                meter.answered(rtt_s, by_udp=by_udp)
            wanted = meter.wanted_step()
            if wanted != meter.announced_step and self._allowed.take(peer, 1.0, now):
                meter.announced_step = wanted
                changed = True
        return changed

    def forget(self, peer: PeerName) -> None:
        """The link to ``peer`` is gone."""
        self._meters.pop(peer, None)
