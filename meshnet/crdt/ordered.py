"""What is kept in order, in pieces: a hostile member may have it hold hundreds of thousands."""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterator
from itertools import chain
from operator import itemgetter
from typing import Any, Generic, TypeVar

# int, or tuples of what has an order.
T = TypeVar("T", bound=Any)

# Our choice: moving so many pointers costs less than finding the place.
PIECE_ITEMS = 512

_LAST = itemgetter(-1)


class Ordered(Generic[T]):
    """Different items in rising order. Adding and removing take two binary searches, and move no
    more than one piece."""

    __slots__ = ("_pieces",)

    def __init__(self, *items: T) -> None:
        """``items``: in order."""
        self._pieces: list[list[T]] = [list(items)] if items else []

    def __iter__(self) -> Iterator[T]:
        return chain.from_iterable(self._pieces)

    def __bool__(self) -> bool:
        return bool(self._pieces)

    @property
    def last(self) -> T:
        """The greatest, of one or more."""
        return self._pieces[-1][-1]

    def add(self, item: T) -> None:
        """``item``, which is not in it."""
        if not self._pieces:
            self._pieces.append([item])
            return
        at = min(bisect_left(self._pieces, item, key=_LAST), len(self._pieces) - 1)
        piece = self._pieces[at]
        insort(piece, item)
        if len(piece) > PIECE_ITEMS:
            half = len(piece) // 2
            self._pieces[at : at + 1] = [piece[:half], piece[half:]]

    def remove(self, item: T) -> None:
        """``item``, which is in it."""
        at = bisect_left(self._pieces, item, key=_LAST)
        piece = self._pieces[at]
        del piece[bisect_left(piece, item)]
        if not piece:
            del self._pieces[at]

    def between(self, first: T, last: T) -> list[T]:
        """Those from ``first`` to ``last``, both included."""
        start = bisect_left(self._pieces, first, key=_LAST)
        end = bisect_right(self._pieces, last, key=_LAST) + 1
        found = list(chain.from_iterable(self._pieces[start:end]))
        return found[bisect_left(found, first) : bisect_right(found, last)]

    def copy(self) -> Ordered[T]:
        twin: Ordered[T] = Ordered()
        twin._pieces = [piece.copy() for piece in self._pieces]
        return twin
