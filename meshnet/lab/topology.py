"""Which hosts of a lab reach each other on the underlay."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Collection

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


def dialled(edges: list[Edge], behind_nat: Collection[int], number: int) -> list[int]:
    """Those neighbours that host ``number`` is the one to dial: nobody dials into a NAT."""
    return [
        other
        for other in neighbours(edges, number)
        if other not in behind_nat and (other < number or number in behind_nat)
    ]


def with_direct_path(edges: list[Edge], behind_nat: Collection[int]) -> list[Edge]:
    """The edges between whose ends packets pass without a relay."""
    return [(a, b) for a, b in edges if a not in behind_nat or b not in behind_nat]


def unreached(count: int, edges: list[Edge]) -> list[int]:
    """The hosts that no way along ``edges`` leads to from that with the least number."""
    reached: set[int] = set()
    fresh = {1}
    while fresh:
        reached |= fresh
        fresh = {other for number in fresh for other in neighbours(edges, number)} - reached
    return [number for number in range(1, count + 1) if number not in reached]
