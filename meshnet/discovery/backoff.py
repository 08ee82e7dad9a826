"""How long to wait before the next try: exponential with jitter, bounded.

The jitter keeps peers that lost the same host from dialling it in step.
"""

from __future__ import annotations

from meshnet.ports import Rng

# Our choice. The first retry is quick, since most ends of links are restarts; the ceiling keeps a
# returning host's wait under 3 s while the mesh is small.
FIRST_DELAY_S = 0.25
FACTOR = 1.6
CEILING_S = 2.0
# For refusals that need a person (wrong password): looked at again, but seldom.
REFUSED_DELAY_S = 15.0
# Who has no more room for us is asked ever more seldom.
NO_ROOM_DELAY_S = 30.0
NO_ROOM_CEILING_S = 600.0
# When we have no more room ourselves: a look at whether that is still so, which costs nothing.
FULL_DELAY_S = 3.0
# All targets together are dialled at most this often once there are many of them.
MAX_DIALS_PER_S = 10.0


def delay_s(failures: int, ceiling: float, rng: Rng) -> float:
    """Seconds to wait after ``failures`` (>= 1) in a row: growing up to ``ceiling``."""
    return _grown(FIRST_DELAY_S, failures, ceiling) * (0.5 + 0.5 * fraction(rng))


def no_room_delay_s(failures: int, rng: Rng) -> float:
    """The same when the other end has as many links as it may."""
    return _grown(NO_ROOM_DELAY_S, failures, NO_ROOM_CEILING_S) * (0.5 + 0.5 * fraction(rng))


def _grown(first_s: float, failures: int, ceiling: float) -> float:
    return min(ceiling, first_s * FACTOR ** min(failures - 1, 64))


def ceiling_s(targets: int) -> float:
    """The longest wait while so many share the rate."""
    return max(CEILING_S, targets / MAX_DIALS_PER_S)


def fraction(rng: Rng) -> float:
    """A number in [0, 1)."""
    return int.from_bytes(rng(4), "big") / 2**32
