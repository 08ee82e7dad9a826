"""How much we pass on for each neighbour: nobody shall be able to bounce a flood off us."""

from __future__ import annotations

from meshnet.ids import PeerName
from meshnet.peering.buckets import TokenBuckets

# Our choice: 200 Mb/s on average for each neighbour, and half a second of that at once.
RELAY_BYTES_PER_S = 25e6
RELAY_BURST_BYTES = 12.5e6


class RelayBuckets(TokenBuckets[PeerName]):
    """One bucket, of bytes, per neighbour that hands us things for others."""

    __slots__ = ()

    def __init__(self) -> None:
        super().__init__(RELAY_BYTES_PER_S, RELAY_BURST_BYTES)
