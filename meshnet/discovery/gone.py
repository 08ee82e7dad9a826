"""The pace at which peers are dialled that nobody reaches: slowly, for days, and never all at once.

A mesh that was cut in two finds together again only because each half goes on dialling the other.
So one of those gone has its turn every `TURN_S` however many there are, the one first whose wait
ends first; whoever was lost a moment ago waits little, so it is dialled sooner and more often. Who
has hardly a link left takes turns faster for a while.
"""

from __future__ import annotations

import math

from meshnet.discovery.backoff import CEILING_S, MAX_DIALS_PER_S
from meshnet.timers import Timers

# Our choice; design section 6 wants one candidate every 3 s at least.
TURN_S = 2.0
# How long turns are faster, after what made us need links.
HURRY_S = 60.0
# So many dials may come at once, as when a whole site comes back; then `MAX_DIALS_PER_S`.
MAX_BURST = 16


def gone_ceiling_s(count: int) -> float:
    """The longest wait for one of so many: all together are not due more often than in turn."""
    return max(CEILING_S, count * TURN_S)


class GoneQueue:
    """When each of those gone is dialled next, by target id."""

    def __init__(self) -> None:
        self._waits: Timers[int] = Timers()
        self._last_turn = -math.inf
        self._hurry_until = -math.inf
        # Until when dials are paid for at the highest rate; ahead of time by a burst at most.
        self._paid_until = -math.inf

    def __len__(self) -> int:
        return len(self._waits)

    def set(self, target_id: int, at: float, now: float) -> None:
        """Dial it ``at`` that time, or in its turn before."""
        if not self._waits:
            self._last_turn = now
        self._waits.set(target_id, at)

    def cancel(self, target_id: int) -> None:
        self._waits.cancel(target_id)

    def deadline_of(self, target_id: int) -> float | None:
        """When it is dialled at the latest, if nothing delays it; None when it is not here."""
        return self._waits.deadline_of(target_id)

    def hurry(self, now: float) -> None:
        """Take turns faster from now on, for a while."""
        self._hurry_until = now + HURRY_S

    def end_hurry(self) -> None:
        self._hurry_until = -math.inf

    def pop(self, now: float) -> int | None:
        """The one to dial now, which is here no longer; None when it is nobody's time."""
        at = self.next_deadline()
        if at is None or at > now:
            return None
        self._last_turn = now
        self._paid_until = max(self._paid_until, now) + 1 / MAX_DIALS_PER_S
        return self._waits.pop_first_due(math.inf)

    def next_deadline(self) -> float | None:
        """When `pop` next has something to give; None: never, as things are."""
        due = self._waits.next_deadline()
        if due is None:
            return None
        # In a hurry too, nobody is dialled more often than who has just been lost.
        fast = self._last_turn + max(TURN_S / len(self._waits), 1 / MAX_DIALS_PER_S)
        turn = fast if fast <= self._hurry_until else self._last_turn + TURN_S
        return max(min(due, turn), self._paid_until - MAX_BURST / MAX_DIALS_PER_S)
