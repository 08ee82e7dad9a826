"""How much we pass on for each neighbour: nobody shall be able to bounce a flood off us."""

from __future__ import annotations

from meshnet.ids import PeerName

# Our choice: 200 Mb/s on average for each neighbour, and half a second of that at once.
RELAY_BYTES_PER_S = 25e6
RELAY_BURST_BYTES = 12.5e6
# Neighbours are authenticated, so this bounds what a process remembers of those long gone.
_MAX_BUCKETS = 1024


class RelayBuckets:
    """One bucket per neighbour that hands us things for others."""

    __slots__ = ("_buckets",)

    def __init__(self) -> None:
        self._buckets: dict[PeerName, tuple[float, float]] = {}

    def take(self, neighbour: PeerName, size_bytes: int, now: float) -> bool:
        """True when ``neighbour`` may have that many bytes passed on now."""
        tokens, filled_at = self._buckets.get(neighbour, (RELAY_BURST_BYTES, now))
        tokens = min(RELAY_BURST_BYTES, tokens + (now - filled_at) * RELAY_BYTES_PER_S)
        allowed = tokens >= size_bytes
        if neighbour not in self._buckets and len(self._buckets) >= _MAX_BUCKETS:
            del self._buckets[next(iter(self._buckets))]
        self._buckets[neighbour] = (tokens - size_bytes if allowed else tokens, now)
        return allowed
