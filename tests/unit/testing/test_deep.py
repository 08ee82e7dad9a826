"""Many seeds in a row: what is run, what is written, and what is not run again."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest

from meshnet.testing import deep
from meshnet.testing.scenario import Outcome, Scenario

RAN: list[int] = []


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Seeds take no time; 13 fails."""
    RAN.clear()

    def run(self: Scenario) -> Outcome:
        RAN.append(self.cluster.seed)
        assert self.cluster.seed != 13, "unlucky"
        if self.cluster.seed == 99:
            raise KeyboardInterrupt
        return Outcome(self.cluster.trace.digest, 1.5, 100)

    monkeypatch.setattr(Scenario, "run", run)


def test_each_seed_is_one_line(tmp_path: Path) -> None:
    results = tmp_path / "results.txt"
    assert deep.main(["1..3", "--results", str(results)]) == 0
    rows = [line.split() for line in results.read_text().splitlines()]
    assert [(seed, result) for seed, _, result, _ in rows] == [
        ("1", "ok"),
        ("2", "ok"),
        ("3", "ok"),
    ]
    assert all(len(digest) == 32 and float(seconds) >= 0 for _, digest, _, seconds in rows)


def test_what_stands_there_is_not_run_again(tmp_path: Path) -> None:
    results = tmp_path / "results.txt"
    deep.main(["2", "--results", str(results)])
    deep.main(["1..4", "--results", str(results)])
    assert RAN == [2, 1, 3, 4]
    assert len(results.read_text().splitlines()) == 4


def test_a_failure_is_told_with_its_cause_and_remembered(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    results = str(tmp_path / "results.txt")
    assert deep.main(["12..14", "--results", results]) == 1
    told = capsys.readouterr().out
    assert "unlucky" in told
    assert "2 ok, 1 failed [13]" in told
    assert deep.main(["12..14", "--results", results]) == 1, "it is still wrong"
    assert RAN == [12, 13, 14]


def test_broken_off_it_goes_on_where_it_was(tmp_path: Path) -> None:
    results = tmp_path / "results.txt"
    assert deep.main(["98..100", "--results", str(results)]) == 130
    assert [line.split()[0] for line in results.read_text().splitlines()] == ["98"]


def test_an_unfinished_line_does_not_count(tmp_path: Path) -> None:
    results = tmp_path / "results.txt"
    results.write_text("1 abc ok 1.0\n2 ab")
    assert deep.read_results(results) == {1: "ok"}
    deep.main(["1..2", "--results", str(results)])
    assert RAN == [2]
    assert deep.read_results(results) == {1: "ok", 2: "ok"}


@pytest.mark.parametrize("text", ["", "x", "1..", "..3", "3..1", "1-3"])
def test_seeds_that_cannot_be_are_refused_with_what_to_write(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="write a seed"):
        deep.parse_seeds(text)


def test_seeds_are_one_or_a_range() -> None:
    assert list(deep.parse_seeds("7")) == [7]
    assert list(deep.parse_seeds("1..3")) == [1, 2, 3]
