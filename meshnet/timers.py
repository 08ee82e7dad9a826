"""Named deadlines in one heap: what a sans-IO machine uses instead of sleeping.

Pure: the caller says what time it is.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)

_UNSET = (0.0, 0)
# Deadlines that were replaced stay in the heap until their time: so many, and as many as are set.
_MAX_REPLACED = 64


def on_the_second(deadline: float) -> float:
    """The last full second before ``deadline``: what may as well be done a moment sooner is done
    together with the rest, so that an idle node wakes once a second, not once for each peer."""
    return float(math.floor(deadline))


class Timers(Generic[K]):
    """At most one deadline per key; setting one again replaces it."""

    __slots__ = ("_deadlines", "_heap", "_serial")

    def __init__(self) -> None:
        self._deadlines: dict[K, tuple[float, int]] = {}
        self._heap: list[tuple[float, int, K]] = []
        self._serial = 0

    def __len__(self) -> int:
        return len(self._deadlines)

    def set(self, key: K, deadline: float) -> None:
        self._serial += 1
        self._deadlines[key] = (deadline, self._serial)
        heapq.heappush(self._heap, (deadline, self._serial, key))
        if len(self._heap) > 2 * len(self._deadlines) + _MAX_REPLACED:
            self._heap = [(at, serial, key) for key, (at, serial) in self._deadlines.items()]
            heapq.heapify(self._heap)

    def set_if_unset(self, key: K, deadline: float) -> None:
        """Leave an earlier wish as it is: what comes again and again must not put it off."""
        if key not in self._deadlines:
            self.set(key, deadline)

    def cancel(self, key: K) -> None:
        """Forget ``key``; nothing happens when it is not set."""
        self._deadlines.pop(key, None)

    def is_set(self, key: K) -> bool:
        return key in self._deadlines

    def deadline_of(self, key: K) -> float | None:
        """When ``key`` is due; None when it is not set."""
        found = self._deadlines.get(key)
        return found[0] if found is not None else None

    def next_deadline(self) -> float | None:
        """When `pop_due` next has something to give; None when nothing is set."""
        if not self._deadlines:
            return None
        self._drop_replaced()
        return self._heap[0][0]

    def pop_due(self, now: float) -> list[K]:
        """All keys whose deadline is not after ``now``, in order; they are no longer set."""
        return [key for key, _ in self.pop_due_with_deadlines(now)]

    def pop_due_with_deadlines(self, now: float) -> list[tuple[K, float]]:
        """As `pop_due`, each with its deadline: for whom it matters how late it is."""
        due: list[tuple[K, float]] = []
        while self._has_due(now):
            due.append(self._pop())
        return due

    def pop_first_due(self, now: float) -> K | None:
        """The first of them alone, for who does a bounded amount of work at once."""
        return self._pop()[0] if self._has_due(now) else None

    def _has_due(self, now: float) -> bool:
        self._drop_replaced()
        return bool(self._heap) and self._heap[0][0] <= now

    def _pop(self) -> tuple[K, float]:
        deadline, _, key = heapq.heappop(self._heap)
        del self._deadlines[key]
        return key, deadline

    def _drop_replaced(self) -> None:
        heap, deadlines = self._heap, self._deadlines
        while heap and deadlines.get(heap[0][2], _UNSET)[1] != heap[0][1]:
            heapq.heappop(heap)
