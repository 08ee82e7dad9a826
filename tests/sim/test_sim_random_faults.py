"""Meshes of twelve under faults drawn from a seed: whatever happens, they settle and carry frames.

`make deep SEEDS=1..3000` runs the same with other seeds. A seed that fails there is shrunk to a
plain test of what went wrong, in this tier or below.
"""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor

import pytest

from meshnet.testing.scenario import Outcome, run_seed

SEEDS = range(1, 101)


@pytest.fixture(scope="module")
def runs(request: pytest.FixtureRequest) -> Iterator[dict[int, Future[Outcome]]]:
    """The chosen seeds, run by as many processes as there are cores."""
    chosen = [
        int(str(item.callspec.params["seed"]))
        for item in request.session.items
        if isinstance(item, pytest.Function) and item.module is request.module
    ]
    # Processes that begin anew, since a fork would take over whatever pytest has open.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(min(len(chosen), os.cpu_count() or 1), context) as pool:
        yield {seed: pool.submit(run_seed, seed) for seed in chosen}
        pool.shutdown(cancel_futures=True)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_mesh_settles_after_random_faults(seed: int, runs: dict[int, Future[Outcome]]) -> None:
    assert runs[seed].result().packets > 1000
