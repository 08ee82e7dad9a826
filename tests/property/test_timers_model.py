"""Timers against a dictionary."""

from __future__ import annotations

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from meshnet.timers import Timers

KEYS = st.integers(0, 5)
TIMES = st.integers(0, 20).map(float)


class TimersAgainstModel(RuleBasedStateMachine):
    """The model: key -> (deadline, when it was set)."""

    @initialize()
    def start(self) -> None:
        self.timers: Timers[int] = Timers()
        self.model: dict[int, tuple[float, int]] = {}
        self.steps = 0

    @rule(key=KEYS, deadline=TIMES)
    def set(self, key: int, deadline: float) -> None:
        self.steps += 1
        self.timers.set(key, deadline)
        self.model[key] = (deadline, self.steps)

    @rule(key=KEYS)
    def cancel(self, key: int) -> None:
        self.timers.cancel(key)
        self.model.pop(key, None)

    @rule(now=TIMES)
    def pop(self, now: float) -> None:
        due = sorted((when, key) for key, when in self.model.items() if when[0] <= now)
        assert self.timers.pop_due(now) == [key for _, key in due]
        for _, key in due:
            del self.model[key]

    @invariant()
    def agree_on_the_next(self) -> None:
        if hasattr(self, "model"):
            expected = min((deadline for deadline, _ in self.model.values()), default=None)
            assert self.timers.next_deadline() == expected

    @invariant()
    def agree_on_each(self) -> None:
        if hasattr(self, "model"):
            for key in range(6):
                when = self.model.get(key)
                assert self.timers.deadline_of(key) == (when[0] if when is not None else None)


TestTimersAgainstModel = TimersAgainstModel.TestCase
