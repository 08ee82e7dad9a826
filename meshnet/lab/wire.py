"""One direction of the wire of a lab's host: frames go in, and come out when they have arrived.

The kernel of a lab need not have netem. A wire here is a link of some rate with a short queue
before it, and behind it a way that takes some time. Pure: time comes in as ``now``.
"""

from __future__ import annotations

from collections import deque
from random import Random

from meshnet.lab.impairments import Impairments

# Our choice: as a plain switch has it. More would show as delay, which is asked for by itself.
MAX_QUEUE_S = 0.05
# ... but a slow link, too, takes a burst of full frames, such as a handshake.
MAX_QUEUE_BYTES = 32 * 1514
# On the way at once: bounds the memory, about 25 MB of full frames for each direction.
MAX_FRAMES = 16_384


class Wire:
    """Frames in the order in which they were put; what does not fit the queue is lost."""

    def __init__(self, impairments: Impairments, rng: Random) -> None:
        """``loss_percent`` is not for this part: the hub sees to it."""
        self._delay_s = impairments.delay_s
        self._jitter_s = impairments.jitter_s
        self._rate = impairments.rate_bits_per_s
        self._max_queue_s = 0.0
        if self._rate:
            self._max_queue_s = max(MAX_QUEUE_S, 8 * MAX_QUEUE_BYTES / self._rate)
        self._rng = rng
        self._under_way: deque[tuple[float, bytes]] = deque()
        self._sent_at = 0.0
        self._last_arrival = 0.0
        self.lost = 0

    def put(self, frame: bytes, now: float) -> None:
        """Send ``frame`` at ``now``, which never goes back."""
        start = max(now, self._sent_at)
        if start - now > self._max_queue_s or len(self._under_way) >= MAX_FRAMES:
            self.lost += 1
            return
        self._sent_at = start + 8 * len(frame) / self._rate if self._rate else now
        arrival = self._sent_at + self._delay_s
        if self._jitter_s:
            arrival += self._rng.uniform(0.0, self._jitter_s)
        self._last_arrival = max(arrival, self._last_arrival)
        self._under_way.append((self._last_arrival, frame))

    def arrived(self, now: float) -> list[bytes]:
        """What has arrived by ``now``, each frame once."""
        frames = []
        while self._under_way and self._under_way[0][0] <= now:
            frames.append(self._under_way.popleft()[1])
        return frames

    @property
    def next_arrival(self) -> float | None:
        """When ``arrived`` has something; None when nothing is under way."""
        return self._under_way[0][0] if self._under_way else None
