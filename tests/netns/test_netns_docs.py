"""The examples of docs/commands.md that need a device: a lab."""

from __future__ import annotations

import pytest

from netns.tools import meshnet
from support.docs_examples import Example, examples, first_words

LAB = [example for example in examples() if example.command.startswith("meshnet lab ")]


@pytest.mark.parametrize("example", LAB, ids=[example.command for example in LAB])
def test_each_example_shows_what_happens(example: Example) -> None:
    done = meshnet(*example.command.split()[1:])
    assert done.returncode == example.status, done.stderr
    shown = first_words(example.output)
    assert shown
    assert first_words(done.stdout.splitlines())[: len(shown)] == shown
