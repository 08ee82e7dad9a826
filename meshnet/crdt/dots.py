"""Dots, the names of single writes, and sets of dots kept as runs of counters."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from typing import NamedTuple

from meshnet.ids import PeerName


class Origin(NamedTuple):
    """Who issues dots: one start of a peer, so a disk lost, cloned or set back repeats none."""

    peer: PeerName
    incarnation: int


class Dot(NamedTuple):
    """One write: the ``counter``-th of its origin, from 1."""

    peer: PeerName
    incarnation: int
    counter: int

    @property
    def origin(self) -> Origin:
        return Origin(self.peer, self.incarnation)


class Run(NamedTuple):
    """The dots of one origin from ``first`` to ``last``, both included."""

    origin: Origin
    first: int
    last: int


class DotContext:
    """A set of dots that only grows: per origin, runs of counters in order, none touching another.

    One whose runs all begin at 1 is a version vector. Its size is that of its gaps, not of its
    dots; looking up and adding take a binary search and at most one move of a list.
    """

    __slots__ = ("_runs",)

    def __init__(self) -> None:
        self._runs: dict[Origin, tuple[list[int], list[int]]] = {}

    def __contains__(self, dot: Dot) -> bool:
        firsts, lasts = self._runs.get(dot.origin, _NO_RUNS)
        at = bisect_left(lasts, dot.counter)
        return at < len(lasts) and firsts[at] <= dot.counter

    def __iter__(self) -> Iterator[Run]:
        for origin, (firsts, lasts) in self._runs.items():
            for first, last in zip(firsts, lasts, strict=True):
                yield Run(origin, first, last)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, DotContext) and self._runs == other._runs

    def __repr__(self) -> str:
        return f"DotContext({', '.join(map(_format_run, self))})"

    def add(self, run: Run) -> bool:
        """True when any dot of ``run`` was not in it."""
        if run.origin not in self._runs:
            self._runs[run.origin] = ([], [])
        firsts, lasts = self._runs[run.origin]
        start, end = _span(firsts, lasts, run)
        if start < end and firsts[start] <= run.first and run.last <= lasts[start]:
            return False
        grown = _grown(firsts, lasts, start, end, run)
        firsts[start:end], lasts[start:end] = [grown.first], [grown.last]
        return True

    def touching(self, run: Run) -> list[Run]:
        """The runs that overlap ``run`` or lie next to it: those that adding it would replace."""
        firsts, lasts = self._runs.get(run.origin, _NO_RUNS)
        start, end = _span(firsts, lasts, run)
        return [Run(run.origin, firsts[at], lasts[at]) for at in range(start, end)]

    def grown(self, run: Run) -> Run:
        """What ``run`` would be part of, were it added."""
        firsts, lasts = self._runs.get(run.origin, _NO_RUNS)
        return _grown(firsts, lasts, *_span(firsts, lasts, run), run)

    def last(self, origin: Origin) -> int:
        """The highest counter of ``origin``, 0 when there is none."""
        _, lasts = self._runs.get(origin, _NO_RUNS)
        return lasts[-1] if lasts else 0

    def copy(self) -> DotContext:
        twin = DotContext()
        twin._runs = {
            origin: (firsts.copy(), lasts.copy()) for origin, (firsts, lasts) in self._runs.items()
        }
        return twin


_NO_RUNS: tuple[list[int], list[int]] = ([], [])


def _span(firsts: list[int], lasts: list[int], run: Run) -> tuple[int, int]:
    """Which runs, from and up to, overlap ``run`` or lie next to it."""
    return bisect_left(lasts, run.first - 1), bisect_right(firsts, run.last + 1)


def _grown(firsts: list[int], lasts: list[int], start: int, end: int, run: Run) -> Run:
    if start >= end:
        return run
    return Run(run.origin, min(firsts[start], run.first), max(lasts[end - 1], run.last))


def _format_run(run: Run) -> str:
    return f"{run.origin.peer.short}/{run.origin.incarnation}:{run.first}-{run.last}"
