"""One peer's switch: its ports are the local side (the TAP) and every other peer.

Every flood reaches all peers in one hop, as one copy by one session each, so a frame from a peer is
never sent on to another: split horizon, hence no loops among peers and no duplicates to suppress.
What loops there are lead through somebody's wiring: a MAC address then keeps changing sides.
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
# Our choice. A host that moves changes sides once, one that fails over and back a few times; in a
# loop a MAC address changes sides with every frame that comes round.
FLAPPING_MOVES = 10
FLAPPING_WINDOW_S = 10.0
_MAX_MOVERS = 1024


class Verdict(enum.Enum):
    """Where a frame goes, when it is not to one peer."""

    FLOOD = "flood"
    """To all: from the local side to every peer, from a peer to the local side."""
    LOCAL = "local"
    """Its destination is known to be on the local side."""
    RUNT = "runt"
    OVERSIZED = "oversized"
    BAD_SOURCE = "bad_source"


class Switch:
    """The MAC table and the decisions. ``None`` in the table is the local side.

    ``moves`` counts changes of side. For the data path to drain: ``flapping`` collects MAC
    addresses that keep changing sides, ``arrived`` those that have come to our side by a frame that
    not all peers see.
    """

    def __init__(self, overlay_mtu: int) -> None:
        self.max_frame_bytes = max_frame_bytes(overlay_mtu)
        self.moves = 0
        self.flapping: list[bytes] = []
        self.arrived: list[bytes] = []
        self._table: dict[bytes, tuple[PeerName | None, float]] = {}
        self._movers: dict[bytes, tuple[int, float]] = {}

    def __len__(self) -> int:
        return len(self._table)

    def from_local(self, frame: bytes, now: float) -> PeerName | Verdict:
        """Learn the sender as ours; where does the frame go?"""
        if (fault := self._check(frame)) is not None:
            return fault
        new = self._learn(frame[MAC_BYTES : 2 * MAC_BYTES], None, now)
        if frame[0] & 1:
            return Verdict.FLOOD
        where = self.place_of(frame[:MAC_BYTES], now)
        if new and where is not Verdict.FLOOD:
            # It may have moved here, and some may still send to where it was.
            self.arrived.append(frame[MAC_BYTES : 2 * MAC_BYTES])
        return where

    def from_peer(self, frame: bytes, peer: PeerName, now: float) -> Verdict:
        """Learn the sender as ``peer``'s. `LOCAL` and `FLOOD` both go to the local side."""
        if (fault := self._check(frame)) is not None:
            return fault
        self._learn(frame[MAC_BYTES : 2 * MAC_BYTES], peer, now)
        found = self._table.get(frame[:MAC_BYTES])
        known = found is not None and found[0] is None and now - found[1] <= MAC_AGE_S
        return Verdict.LOCAL if known else Verdict.FLOOD

    def place_of(self, mac: bytes, now: float) -> PeerName | Verdict:
        """The peer that ``mac`` is at, or `LOCAL`; `FLOOD` when that is not known."""
        found = self._table.get(mac)
        if found is None or now - found[1] > MAC_AGE_S:
            return Verdict.FLOOD
        return Verdict.LOCAL if found[0] is None else found[0]

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

    def _learn(self, mac: bytes, where: PeerName | None, now: float) -> bool:
        """Note where ``mac`` is; true when that is new."""
        # The newest sight wins at once, whichever side it is: that is what a move looks like.
        old = self._table.get(mac)
        if old is None:
            if len(self._table) >= MAX_MACS:
                return False  # Not noted, so the next frame would be as new as this one.
            self._table[mac] = (where, now)
            return True
        self._table[mac] = (where, now)
        if old[0] == where:
            return now - old[1] > MAC_AGE_S
        self._moved(mac, now)
        return True

    def _moved(self, mac: bytes, now: float) -> None:
        self.moves += 1
        moves, since = self._movers.pop(mac, (0, now))
        if now - since > FLAPPING_WINDOW_S:
            moves, since = 0, now
        if len(self._movers) >= _MAX_MOVERS:
            del self._movers[next(iter(self._movers))]
        self._movers[mac] = (moves + 1, since)
        if moves + 1 == FLAPPING_MOVES:
            self.flapping.append(mac)
