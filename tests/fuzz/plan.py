"""Arbitrary bytes as instructions, for harnesses that have to build what they feed.

What needs a good signature or a sealed record first is not reached by throwing bytes at it: there
the bytes decide what is signed, sealed and asked. Every plan means something: past its end
all is zero.
"""

from __future__ import annotations


class Plan:
    """Reads instructions off the front of ``data``; never raises."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    @property
    def over(self) -> bool:
        return self._at >= len(self._data)

    def take(self, count: int) -> bytes:
        """Exactly ``count`` bytes."""
        piece = self._data[self._at : self._at + count]
        self._at += count
        return piece.ljust(count, b"\0")

    def number(self, size_bytes: int = 1) -> int:
        return int.from_bytes(self.take(size_bytes), "big")

    def piece(self, size_bytes: int = 1) -> bytes:
        """Some bytes, their count before them; no more than there are."""
        count = self.number(size_bytes)
        piece = self._data[self._at : self._at + count]
        self._at += count
        return piece

    def rest(self) -> bytes:
        piece = self._data[self._at :]
        self._at = len(self._data)
        return piece


def piece(data: bytes, size_bytes: int = 1) -> bytes:
    """What `Plan.piece` reads as ``data``."""
    return len(data).to_bytes(size_bytes, "big") + data
