"""Time that a test turns: nothing waits, and equal runs take equal steps."""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable

MAX_ACTIONS_AT_ONCE = 100_000
"""More actions than that at one instant would keep a real process busy for ever."""


class TimeStandsStillError(AssertionError):
    """Something asks to be called again and again without letting time pass."""


class Timer:
    """One planned action; `cancel` forgets it."""

    __slots__ = ("action", "at")

    def __init__(self, at: float, action: Callable[[], None]) -> None:
        self.at = at
        self.action: Callable[[], None] | None = action

    def cancel(self) -> None:
        """The action is not carried out; nothing happens when it was already."""
        self.action = None


class Clock:
    """``now`` (float seconds) and what is planned. Actions of one instant run as they were planned.

    Monotonic: what is planned for the past happens now.
    """

    def __init__(
        self, now: float = 1000.0, *, max_actions_at_once: int = MAX_ACTIONS_AT_ONCE
    ) -> None:
        self.now = now
        self._max_actions_at_once = max_actions_at_once
        self._actions_at_once = 0
        self._heap: list[tuple[float, int, Timer]] = []
        self._serial = 0

    def call_at(self, at: float, action: Callable[[], None]) -> Timer:
        """Carry out ``action`` when it is ``at``."""
        timer = Timer(max(at, self.now), action)
        self._serial += 1
        heapq.heappush(self._heap, (timer.at, self._serial, timer))
        return timer

    def call_after(self, delay_s: float, action: Callable[[], None]) -> Timer:
        """Carry out ``action`` in ``delay_s``."""
        return self.call_at(self.now + delay_s, action)

    def next_at(self) -> float | None:
        """When the next action is planned; None when none is."""
        heap = self._heap
        while heap and heap[0][2].action is None:
            heapq.heappop(heap)
        return heap[0][0] if heap else None

    def step(self, limit: float = math.inf) -> bool:
        """Go to the next action and carry it out.

        When none is planned until ``limit``: go there, and return False. Raises
        TimeStandsStillError.
        """
        at = self.next_at()
        if at is None or at > limit:
            if limit < math.inf:
                self._go_to(max(self.now, limit))
            return False
        self._go_to(at)  # Or stays: after a leap there is much to catch up with.
        self._actions_at_once += 1
        if self._actions_at_once > self._max_actions_at_once:
            raise TimeStandsStillError(
                f"time stands still: {self._actions_at_once} actions at {self.now} s"
            )
        timer = heapq.heappop(self._heap)[2]
        action, timer.action = timer.action, None
        assert action is not None, "next_at leaves a timer that is set on top"
        action()
        return True

    def run_for(self, duration_s: float) -> None:
        """Carry out all that is planned within ``duration_s``."""
        limit = self.now + duration_s
        while self.step(limit):
            pass

    def leap(self, duration_s: float) -> None:
        """Time passes and nothing is carried out, as when a machine slept: it is due afterwards."""
        self._go_to(self.now + duration_s)

    def _go_to(self, at: float) -> None:
        if at > self.now:
            self.now = at
            self._actions_at_once = 0
