"""What a link costs: measured round trips and losses as one number, which seldom changes.

A way costs the sum of its links, so the cost of a link is a time: what every link costs however
fast it is, plus the round trip, and more of that where datagrams are lost, since what is lost has
to be sent again (ETX: De Couto et al., MobiCom 2003; round trips as Babel counts them, RFC 9616).

Every other cost goes to all peers and has all of them look for better routes. So a cost is told in
steps, and only when it is off by more than a step (hysteresis, as in RFC 8966 appendix A.3); and a
single strange round trip counts for nothing. What jitters around one value is told once.
"""

from __future__ import annotations

import math
import statistics
from collections import deque

# From wire.md section 6.4.
COST_UNIT_S = 1e-4
HOP_COST = 100
"""What a link costs that is as fast as can be, and one of which nothing is told: 10 ms. So a detour
over one more link has to save as much to be taken."""
MAX_COST = 0xFFFF

# Our choice. Two steps are a factor of two.
STEPS_PER_DOUBLING = 2.0
# A path that loses a fifth of what is sent, in one direction, is told of.
HYSTERESIS_STEPS = 1.25
# While a mean is young, what was told by it is corrected sooner: so that later, when jitter comes
# on top of what it is off by, both together do not come up to the above.
YOUNG_STEPS = 0.75
# So little above the least nothing is told any more, whatever was told before.
LEAST_STEPS = 0.6
# Nothing is said of a link on less, and so many in a row that are far off are the new truth.
ENOUGH_SAMPLES = 3
FAR_STEPS = 2.0
# With a sample every 5 s this smooths over two minutes. Losses are all or nothing and need
# more of that; a path that loses something is sampled every second (keepalive.LOSSY_INTERVAL_S).
RTT_GAIN = 1.0 / 24.0
LOSS_GAIN = 1.0 / 32.0
# A link that loses more is looked at regularly though it be idle: or what is good again would go on
# being taken for bad, by all who therefore do not use it.
SETTLED_LOSS = 0.01
# By then a link is useless. Bounds the arithmetic.
MAX_LOSS = 0.9
# Links over which no datagram passes cost more by this factor: for data they are a last resort.
NO_UDP_FACTOR = 4.0


def cost_of_step(step: int) -> int:
    """The cost that is announced for a step."""
    return min(round(HOP_COST * math.pow(2.0, step / STEPS_PER_DOUBLING)), MAX_COST)


def pack_cost(cost: int) -> bytes:
    """The value of a link's entry in the announcer's record (wire.md section 6.4)."""
    return cost.to_bytes(2, "big") if cost != HOP_COST else b""


def parse_cost(value: bytes) -> int:
    """What anybody announces, within bounds. Bytes behind the cost are a later version's.

    Less than `HOP_COST` counts as that: praise draws no traffic.
    """
    return max(HOP_COST, int.from_bytes(value[:2], "big")) if len(value) >= 2 else HOP_COST


class CostMeter:
    """Follows one link: samples in, and out of these the step to announce."""

    def __init__(self) -> None:
        self.announced_step = 0
        """What is announced; the owner sets it to `wanted_step` when it may."""
        self._recent: deque[float] = deque(maxlen=ENOUGH_SAMPLES)
        self._smoothed = float(HOP_COST)
        self._gain = 1.0
        self._loss = 0.0

    @property
    def cost(self) -> int:
        """What is announced."""
        return cost_of_step(self.announced_step)

    def answered(self, rtt_s: float, *, by_udp: bool) -> None:
        """A probe came back; of a link by which no datagram passes, the link's own ping."""
        factor = 1.0 if by_udp else NO_UDP_FACTOR
        self._recent.append((HOP_COST + max(0.0, rtt_s) / COST_UNIT_S) * factor)
        self._loss -= LOSS_GAIN * self._loss
        if len(self._recent) < ENOUGH_SAMPLES:
            return
        middle = statistics.median(self._recent)
        if self._are_all_far_from(self._smoothed):
            self._smoothed, self._gain = middle, 1.0 / ENOUGH_SAMPLES
            return
        sample = middle if self._is_young else self._recent[-1]
        sample = min(max(sample, self._smoothed / _FAR), self._smoothed * _FAR)
        self._smoothed += self._gain * (sample - self._smoothed)
        # At first the mean of what there is: one sample alone is no truth to stay with.
        self._gain = max(RTT_GAIN, self._gain / (1.0 + self._gain))

    def lost(self) -> None:
        """A probe was not answered."""
        self._loss += LOSS_GAIN * (1.0 - self._loss)

    @property
    def is_settled(self) -> bool:
        """Whether nothing points to a change that some more samples would confirm."""
        if self._loss > SETTLED_LOSS:
            return False
        off = _steps(self._recent[-1]) - _steps(self._smoothed) if self._recent else 0.0
        return abs(off) < FAR_STEPS

    def wanted_step(self) -> int:
        """The step to announce: the one announced, as long as that is about right."""
        passes = 1.0 - min(self._loss, MAX_LOSS)
        steps = _steps(self._smoothed / (passes * passes))
        if steps < LEAST_STEPS:
            return 0
        patience = YOUNG_STEPS if self._is_young else HYSTERESIS_STEPS
        if abs(steps - self.announced_step) <= patience:
            return self.announced_step
        return min(round(steps), _MAX_STEP)

    @property
    def _is_young(self) -> bool:
        return self._gain > RTT_GAIN

    def _are_all_far_from(self, smoothed: float) -> bool:
        """On one side of it, that is: what goes up and down is no step but jitter."""
        off = [_steps(sample) - _steps(smoothed) for sample in self._recent]
        return min(off) >= FAR_STEPS or max(off) <= -FAR_STEPS


def _steps(cost: float) -> float:
    return STEPS_PER_DOUBLING * math.log2(cost / HOP_COST)


_FAR = math.pow(2.0, FAR_STEPS / STEPS_PER_DOUBLING)
_MAX_STEP = math.ceil(_steps(MAX_COST))
