"""Frames for peers with whom a session is being set up: kept for a moment, so that none is lost.

What a host sends first is often all there is (a SYN, a query); the handshake takes a round trip.
"""

from __future__ import annotations

from attrs import define, field

from meshnet.ids import PeerName
from meshnet.timers import Timers

# Our choice. A handshake takes milliseconds, or a few tries of `sessions.FIRST_RETRY_S`; later than
# this, who waits for an answer has sent again.
HOLD_S = 3.0
# Two windows of TCP for each peer, and 2 MiB in all.
MAX_HELD_FRAMES = 128
MAX_HELD_BYTES = 128 * 1024
MAX_HELD_FRAMES_IN_ALL = 2048
MAX_HELD_BYTES_IN_ALL = 2 * 1024 * 1024


@define(eq=False, repr=False)
class _Held:
    frames: list[bytes] = field(factory=list)
    size_bytes: int = 0


class HeldFrames:
    """In order for each peer, bounded for each and in all."""

    def __init__(self) -> None:
        self._held: dict[PeerName, _Held] = {}
        self._count = 0
        self._size_bytes = 0
        self._timers: Timers[PeerName] = Timers()

    def __len__(self) -> int:
        """How many frames are held."""
        return self._count

    def __contains__(self, peer: PeerName) -> bool:
        return peer in self._held

    def put(self, peer: PeerName, frame: bytes, now: float) -> bool:
        """Hold ``frame`` for ``peer``, no longer than its first; False when there is no room."""
        held = self._held.get(peer)
        of_peer = (len(held.frames), held.size_bytes) if held is not None else (0, 0)
        if (
            of_peer[0] >= MAX_HELD_FRAMES
            or of_peer[1] + len(frame) > MAX_HELD_BYTES
            or self._count >= MAX_HELD_FRAMES_IN_ALL
            or self._size_bytes + len(frame) > MAX_HELD_BYTES_IN_ALL
        ):
            return False
        if held is None:
            held = self._held[peer] = _Held()
            self._timers.set(peer, now + HOLD_S)
        held.frames.append(frame)
        held.size_bytes += len(frame)
        self._count += 1
        self._size_bytes += len(frame)
        return True

    def take(self, peer: PeerName) -> list[bytes]:
        """All that is held for ``peer``, in order; it is held no more."""
        held = self._held.pop(peer, None)
        if held is None:
            return []
        self._timers.cancel(peer)
        self._count -= len(held.frames)
        self._size_bytes -= held.size_bytes
        return held.frames

    def pop_overdue(self, now: float) -> int:
        """Let go what has waited too long; how many frames that were."""
        return sum(len(self.take(peer)) for peer in self._timers.pop_due(now))

    def next_deadline(self) -> float | None:
        return self._timers.next_deadline()
