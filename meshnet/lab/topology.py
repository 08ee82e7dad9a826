"""Which hosts of a lab reach each other on the underlay."""

from __future__ import annotations

import itertools
from collections.abc import Callable

Edge = tuple[int, int]
"""Two host numbers (from 1), the lesser first."""


def full(count: int) -> list[Edge]:
    return list(itertools.combinations(range(1, count + 1), 2))


def line(count: int) -> list[Edge]:
    return list(itertools.pairwise(range(1, count + 1)))


def ring(count: int) -> list[Edge]:
    return line(count) if count < 3 else [*line(count), (1, count)]


def star(count: int) -> list[Edge]:
    return [(1, number) for number in range(2, count + 1)]


TOPOLOGIES: dict[str, Callable[[int], list[Edge]]] = {
    "full": full,
    "line": line,
    "ring": ring,
    "star": star,
}


def neighbours(edges: list[Edge], number: int) -> list[int]:
    """The hosts that host ``number`` has an edge to."""
    return [b if a == number else a for a, b in edges if number in (a, b)]
