"""A set of dots kept as runs against a plain set of dots."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from meshnet.crdt.dots import Dot, DotContext, Origin, Run
from support.samples import ALICE, BOB

ORIGINS = [Origin(ALICE.name, 0), Origin(ALICE.name, 1), Origin(BOB.name, 0)]
COUNTERS = range(1, 25)
RUNS = st.builds(
    lambda origin, ends: Run(origin, min(ends), max(ends)),
    st.sampled_from(ORIGINS),
    st.tuples(st.sampled_from(COUNTERS), st.sampled_from(COUNTERS)),
)


def dots_of(run: Run) -> set[Dot]:
    return {Dot(*run.origin, counter) for counter in range(run.first, run.last + 1)}


@given(st.lists(RUNS, max_size=12), RUNS)
def test_runs_hold_what_a_set_holds(added: list[Run], other: Run) -> None:
    context, model = DotContext(), set[Dot]()
    for run in added:
        assert context.add(run) == (not dots_of(run) <= model)
        model |= dots_of(run)

    everything = {Dot(*origin, counter) for origin in ORIGINS for counter in COUNTERS}
    assert {dot for dot in everything if dot in context} == model
    runs = list(context)
    assert set[Dot]().union(*map(dots_of, runs)) == model
    assert sum(len(dots_of(run)) for run in runs) == len(model), "no dot is in two runs"
    for run in runs:
        around = {Dot(*run.origin, run.first - 1), Dot(*run.origin, run.last + 1)}
        assert not around & model, "runs are as long as they can be"

    assert [context.last(origin) for origin in ORIGINS] == [
        max((dot.counter for dot in model if dot.origin == origin), default=0) for origin in ORIGINS
    ]
    grown, replaced = context.grown(other), set(context.touching(other))
    twin = context.copy()
    twin.add(other)
    assert set(twin) == set(runs) - replaced | {grown}
    assert set(context) == set(runs), "a copy goes its own way"


@given(st.lists(RUNS, max_size=12), st.data())
def test_equal_dots_are_equal_whatever_the_order(added: list[Run], data: st.DataObject) -> None:
    one, two = DotContext(), DotContext()
    for run in added:
        one.add(run)
    for run in data.draw(st.permutations(added + added)):
        two.add(run)
    assert one == two
