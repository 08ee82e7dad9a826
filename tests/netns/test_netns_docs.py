"""The examples of docs/commands.md that need a device: a lab."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from netns.lab_command import LabCommand, lab_command
from netns.tools import meshnet
from support.docs_examples import Example, examples, first_words

LAB = [example for example in examples() if example.command.startswith("meshnet lab ")]
STARTING = [example for example in LAB if example.command.startswith("meshnet lab run")]
STEERING = [example for example in LAB if example not in STARTING]


@pytest.fixture(scope="module")
def lab() -> Iterator[LabCommand]:
    """The lab of the examples, which leave it as they found it."""
    with (
        tempfile.TemporaryDirectory(prefix="netns-") as directory,
        lab_command(Path(directory), "--nat", "h3") as running,
    ):
        yield running


@pytest.mark.parametrize("example", STARTING, ids=[example.command for example in STARTING])
def test_each_example_of_a_lab_s_start_shows_what_happens(example: Example) -> None:
    done = meshnet(*example.command.split()[1:])
    assert done.returncode == example.status, done.stderr
    assert_shown(example, done.stderr if example.status else done.stdout)


@pytest.mark.parametrize("example", STEERING, ids=[example.command for example in STEERING])
def test_each_example_with_a_running_lab_shows_what_happens(
    lab: LabCommand, example: Example
) -> None:
    done = lab.meshnet(*example.command.split()[1:])
    assert done.returncode == example.status, done.stderr
    assert_shown(example, done.stderr if example.status else done.stdout)


def assert_shown(example: Example, said: str) -> None:
    shown = first_words(example.output)
    assert shown
    assert first_words(said.splitlines())[: len(shown)] == shown
