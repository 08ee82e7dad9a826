"""Runs of dots: the edges; tests/property/test_dot_context_model.py has the rest."""

from __future__ import annotations

from meshnet.crdt.dots import Dot, DotContext, Origin, Run
from support.samples import ALICE

ORIGIN = Origin(ALICE.name, 7)


def test_neighbours_become_one_run_and_a_bridge_joins_two() -> None:
    context = DotContext()
    for first, last in [(1, 3), (7, 9), (4, 4), (5, 6)]:
        assert context.add(Run(ORIGIN, first, last))
    assert list(context) == [Run(ORIGIN, 1, 9)]
    assert not context.add(Run(ORIGIN, 2, 9))


def test_a_run_as_long_as_counters_go_costs_nothing() -> None:
    context = DotContext()
    context.add(Run(ORIGIN, 1, 2**64 - 2))
    assert Dot(*ORIGIN, 2**63) in context
    assert Dot(ALICE.name, 8, 1) not in context


def test_it_is_shown_short() -> None:
    context = DotContext()
    context.add(Run(ORIGIN, 1, 3))
    assert repr(context) == f"DotContext({ALICE.name.short}/7:1-3)"
