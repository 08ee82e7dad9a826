"""The in-memory twin of a state directory."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

from meshnet.testing.journal import MemoryJournal


class MemoryState:
    """A `StatePort` that lives as long as the object: `next_life` is a restart on it."""

    def __init__(self, seed: bytes | None = None, incarnation: int = 1) -> None:
        self.identity_seed = seed if seed is not None else os.urandom(32)
        self.incarnation = incarnation
        self.generation = 1
        self.targets: tuple[str, ...] = ()
        self.absent_s: dict[str, float] = {}
        self.journal = MemoryJournal()

    def next_life(self) -> MemoryState:
        """The state as the next start of the same peer finds it."""
        self.generation += 1
        self.journal.next_life()
        return self

    def keep_targets(self, targets: Sequence[str]) -> None:
        self.targets = tuple(targets)

    def keep_absent_s(self, absent_s: Mapping[str, float]) -> None:
        self.absent_s = dict(absent_s)

    def close(self) -> None:
        self.journal.close()
