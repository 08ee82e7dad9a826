"""How much is flooded for each side: a loop in somebody's wiring must not melt the mesh.

Broadcast, multicast and frames to unknown addresses are copied to many; what is known to be at one
place never comes here. The local side pays for each copy, a peer for each frame it hands us.
"""

from __future__ import annotations

from attrs import define

from meshnet.ids import PeerName

# Our choice. A copy costs 20 to 40 us to seal and send, so the worst storm takes a fifth of a core.
# 5,000 copies are 500 frames a second to ten peers: ARP, ND and mDNS of 200 containers are less.
FLOOD_COPIES_PER_S = 5_000.0
# What full frames may take of the underlay: 50 Mb/s.
FLOOD_BYTES_PER_S = 6.25e6
# Two seconds' worth at once: a hundred containers that start together ask for each other.
FLOOD_BURST_COPIES = 10_000.0
FLOOD_BURST_BYTES = 12.5e6
# While a storm lasts it is told this often.
TELL_INTERVAL_S = 60.0
# Sides are ours and authenticated peers; this bounds what is remembered of peers long gone.
_MAX_SIDES = 1024


@define(eq=False, repr=False)
class _Bucket:
    filled_at: float
    copies: float = FLOOD_BURST_COPIES
    size_bytes: float = FLOOD_BURST_BYTES
    told_at: float | None = None


class StormLimit:
    """One token bucket for the local side (``None``), one for each peer."""

    def __init__(self) -> None:
        self._buckets: dict[PeerName | None, _Bucket] = {}

    def take(self, side: PeerName | None, copies: int, frame_bytes: int, now: float) -> bool:
        """True when a frame of that size from ``side`` may be flooded, as ``copies`` copies."""
        bucket = self._buckets.get(side)
        if bucket is None:
            if len(self._buckets) >= _MAX_SIDES:
                del self._buckets[next(iter(self._buckets))]
            bucket = self._buckets[side] = _Bucket(now)
        elapsed_s = max(0.0, now - bucket.filled_at)
        bucket.filled_at = now
        bucket.copies = min(FLOOD_BURST_COPIES, bucket.copies + elapsed_s * FLOOD_COPIES_PER_S)
        bucket.size_bytes = min(
            FLOOD_BURST_BYTES, bucket.size_bytes + elapsed_s * FLOOD_BYTES_PER_S
        )
        size_bytes = copies * frame_bytes
        if bucket.copies < copies or bucket.size_bytes < size_bytes:
            return False
        bucket.copies -= copies
        bucket.size_bytes -= size_bytes
        return True

    def is_news(self, side: PeerName | None, now: float) -> bool:
        """After a refusal: whether to tell of it. True once in `TELL_INTERVAL_S`."""
        bucket = self._buckets[side]
        if bucket.told_at is not None and now - bucket.told_at < TELL_INTERVAL_S:
            return False
        bucket.told_at = now
        return True
