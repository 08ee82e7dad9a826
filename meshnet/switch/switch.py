"""One peer's switch: its ports are the local side (the TAP) and every other peer.

In a full mesh every flood reaches all peers in one hop, so a frame from a peer is never sent on to
another: split horizon, hence no loops.
"""

from __future__ import annotations

import enum

from meshnet.ids import PeerName
from meshnet.switch.ethernet import HEADER_BYTES, MAC_BYTES, max_frame_bytes

# Our choice: as Linux bridges do (br_private.h: 300 s).
MAC_AGE_S = 300.0
SWEEP_INTERVAL_S = 60.0
# Bounds what a peer that invents source addresses can make us hold. Past it nothing new is learned,
# and the frames to those addresses are flooded, which is slower but right.
MAX_MACS = 16384


class Verdict(enum.Enum):
    """Where a frame goes, when it is not to one peer."""

    FLOOD = "flood"
    LOCAL = "local"
    """Its destination is on the side it came from: nothing to carry."""
    RUNT = "runt"
    OVERSIZED = "oversized"
    BAD_SOURCE = "bad_source"


class Switch:
    """The MAC table and the decisions. ``None`` in the table is the local side."""

    def __init__(self, overlay_mtu: int) -> None:
        self.max_frame_bytes = max_frame_bytes(overlay_mtu)
        self._table: dict[bytes, tuple[PeerName | None, float]] = {}

    def __len__(self) -> int:
        return len(self._table)

    def from_local(self, frame: bytes, now: float) -> PeerName | Verdict:
        """Learn the sender as ours; where does the frame go?"""
        if (fault := self._check(frame)) is not None:
            return fault
        self._learn(frame[MAC_BYTES : 2 * MAC_BYTES], None, now)
        if frame[0] & 1:
            return Verdict.FLOOD
        found = self._table.get(frame[:MAC_BYTES])
        if found is None or now - found[1] > MAC_AGE_S:
            return Verdict.FLOOD
        return Verdict.LOCAL if found[0] is None else found[0]

    def from_peer(self, frame: bytes, peer: PeerName, now: float) -> Verdict:
        """Learn the sender as ``peer``'s. `Verdict.LOCAL`: give it to the local side."""
        if (fault := self._check(frame)) is not None:
            return fault
        self._learn(frame[MAC_BYTES : 2 * MAC_BYTES], peer, now)
        return Verdict.LOCAL

    def forget_peer(self, peer: PeerName) -> None:
        """Unlearn all that was behind ``peer``: what it served may turn up elsewhere."""
        self._table = {mac: entry for mac, entry in self._table.items() if entry[0] != peer}

    def sweep(self, now: float) -> None:
        """Drop entries past their age; call it each `SWEEP_INTERVAL_S`."""
        self._table = {
            mac: entry for mac, entry in self._table.items() if now - entry[1] <= MAC_AGE_S
        }

    def _check(self, frame: bytes) -> Verdict | None:
        if len(frame) < HEADER_BYTES:
            return Verdict.RUNT
        if len(frame) > self.max_frame_bytes:
            return Verdict.OVERSIZED
        if frame[MAC_BYTES] & 1:
            # A group address cannot send (IEEE 802.3 section 3.2.3): learning it would let one
            # frame capture all broadcast traffic.
            return Verdict.BAD_SOURCE
        return None

    def _learn(self, mac: bytes, where: PeerName | None, now: float) -> None:
        # The newest sight wins at once, whichever side it is: that is what a move looks like.
        if mac in self._table or len(self._table) < MAX_MACS:
            self._table[mac] = (where, now)
