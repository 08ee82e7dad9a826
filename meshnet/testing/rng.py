"""Randomness that repeats: one seed, and a stream of its own for everybody who draws."""

from __future__ import annotations

import random


class SeededRng:
    """A source of bytes (`meshnet.ports.Rng`), and the root of further ones by name.

    Streams depend on the seed and their names alone: who starts to draw from a new one shifts
    nobody else. Equal seeds give equal bytes in every process.

        rng = SeededRng(7)
        rng(32)                             # 32 bytes
        rng.stream("host", 3).random()      # a number in [0, 1)
    """

    __slots__ = ("_names", "_random", "seed")

    def __init__(self, seed: int | str, *names: int | str) -> None:
        self.seed = seed
        self._names = names
        # Made at the first draw: most of the streams that can be named are never drawn from.
        self._random: random.Random | None = None

    def __call__(self, size_bytes: int) -> bytes:
        return self.draw.randbytes(size_bytes)

    def __repr__(self) -> str:
        return f"SeededRng{(self.seed, *self._names)}"

    @property
    def draw(self) -> random.Random:
        """The stream, with all that `random.Random` can draw."""
        if self._random is None:
            # The names' forms, so that ("a", "b") and ("a/b",) differ; seeded by text, since that
            # does not depend on the process (hashes of strings do).
            self._random = random.Random(repr((self.seed, *self._names)))
        return self._random

    def random(self) -> float:
        """A number in [0, 1)."""
        return self.draw.random()

    def chance(self, share: float) -> bool:
        """True in ``share`` (0 to 1) of the cases."""
        return self.draw.random() < share

    def stream(self, *names: int | str) -> SeededRng:
        """The stream of that name; equal names give equal streams, each from its start."""
        return SeededRng(self.seed, *self._names, *names)
