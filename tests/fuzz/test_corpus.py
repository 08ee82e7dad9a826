"""Each parser keeps its invariant for all of its corpus, and for what mutations make of it."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from fuzz.harness import CORPUS, Harness, load, names
from support.mutations import mutated

MUTATIONS = 600
"""For each parser, drawn from its name: always the same. `make fuzz` looks further."""
LEAST_REACH = 0.90
MAX_CORPUS_BYTES = 2**20

TESTS = Path(__file__).parents[1]


@pytest.fixture(params=names())
def harness(request: pytest.FixtureRequest) -> Harness:
    return load(request.param)


@pytest.fixture
def check(harness: Harness, tmp_path: Path) -> Callable[[bytes], None]:
    """The harness's check, which keeps an input that fails."""

    def checked(data: bytes) -> None:
        try:
            harness.check(data)
        except BaseException as error:
            path = tmp_path / harness.name
            path.write_bytes(data)
            error.add_note(f"{harness.name}: {harness.invariant}")
            error.add_note(f"the input, of {len(data)} bytes, is in {path}: {data[:64].hex()}...")
            raise

    return checked


def test_the_corpus_keeps_the_invariant(harness: Harness, check: Callable[[bytes], None]) -> None:
    inputs = harness.inputs()
    assert inputs
    for data in [b"", *inputs]:
        check(data)


def test_mutations_of_the_corpus_keep_the_invariant(
    harness: Harness, check: Callable[[bytes], None]
) -> None:
    inputs = harness.inputs()
    drawn = random.Random(harness.name)
    for _ in range(MUTATIONS):
        check(mutated(drawn.choice(inputs), inputs, drawn))


def test_a_harness_says_its_invariant_in_one_line(harness: Harness) -> None:
    assert harness.invariant.endswith(".")


def test_the_corpus_is_small_and_belongs_to_parsers() -> None:
    folders = {folder.name for folder in CORPUS.iterdir()}
    assert folders <= set(names())
    files = [path for path in CORPUS.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < MAX_CORPUS_BYTES
    for path in files:
        assert load(path.parent.name).keep(path.read_bytes()) == path, "the name is not the hash"


def test_the_corpus_reaches_nearly_every_branch_of_its_parser() -> None:
    measured = subprocess.run(
        [sys.executable, "-m", "fuzz.reach"], cwd=TESTS, capture_output=True, text=True, check=True
    )
    reach = json.loads(measured.stdout)
    assert sorted(reach) == names()
    bad = []
    for name, of in reach.items():
        share = of["taken"] / of["branches"]
        print(f"{name:16} {of['taken']:3} of {of['branches']:3} branches, {share:4.0%}")
        if share < LEAST_REACH or of["never_entered"]:
            bad.append((name, of["never_entered"], of["not_taken"]))
    assert bad == []
