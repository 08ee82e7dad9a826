"""Who dials whom in a lab with hosts behind NAT, and whether all can reach all."""

from __future__ import annotations

import pytest

from meshnet.lab.topology import (
    TOPOLOGIES,
    dialled,
    full,
    line,
    unreached,
    with_direct_path,
)


@pytest.mark.parametrize("topology", list(TOPOLOGIES))
def test_without_nat_each_edge_is_dialled_by_one_end_and_all_are_reached(topology: str) -> None:
    edges = TOPOLOGIES[topology](6)
    calls = [(other, number) for number in range(1, 7) for other in dialled(edges, (), number)]
    assert sorted(calls) == sorted(edges)
    assert with_direct_path(edges, ()) == edges
    assert unreached(6, edges) == []


def test_a_host_behind_nat_dials_and_is_not_dialled() -> None:
    edges = full(4)
    assert dialled(edges, {1, 3}, 1) == [2, 4]
    assert dialled(edges, {1, 3}, 2) == []
    assert dialled(edges, {1, 3}, 3) == [2, 4]
    assert dialled(edges, {1, 3}, 4) == [2]


def test_two_hosts_behind_nat_have_no_direct_path() -> None:
    assert with_direct_path(full(3), {2, 3}) == [(1, 2), (1, 3)]
    assert unreached(4, with_direct_path(line(4), {2, 3})) == [3, 4]
    assert unreached(4, with_direct_path(line(4), {1, 3})) == []
