"""How much of each parser its corpus reaches: `python -m fuzz.reach` prints one JSON object.

A process of its own, so that nobody else is slowed down. Each parser is measured while its own
harness runs, so that one harness does not vouch for the parser of another.
"""

from __future__ import annotations

import importlib
import json
import sys
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from attrs import asdict, define
from coverage import Coverage

from fuzz.harness import Harness, load, names

DATA_FILE = None
"""Nothing is kept."""


@define(frozen=True)
class Reach:
    """Of one parser: its branches, how many were taken, and what was not entered at all."""

    parser: str
    branches: int
    taken: int
    never_entered: list[str]
    not_taken: list[str]

    @property
    def share(self) -> float:
        return self.taken / self.branches if self.branches else 1.0


def measure(harness: Harness) -> Reach:
    parts = [part.partition(":")[::2] for part in harness.covers]
    files = [str(importlib.import_module(module).__file__) for module, _ in parts]
    inputs = harness.inputs()
    coverage = Coverage(data_file=DATA_FILE, branch=True, include=sorted(set(files)))
    with coverage.collect():
        for data in inputs:
            harness.check(data)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "report.json"
        coverage.json_report(outfile=str(path))
        report = {
            str(Path(name).resolve()): found
            for name, found in json.loads(path.read_text(encoding="utf-8"))["files"].items()
        }
    branches = taken = 0
    never_entered, not_taken = [], []
    for (module, wanted), file in zip(parts, files, strict=True):
        for name, found in _functions(report[file], wanted):
            branches += found["summary"]["num_branches"]
            taken += found["summary"]["covered_branches"]
            if found["summary"]["covered_lines"] == 0:
                never_entered.append(f"{module}:{name}")
            not_taken += [
                f"{module}:{name} {start} -> {end}" for start, end in found["missing_branches"]
            ]
    return Reach(harness.name, branches, taken, never_entered, not_taken)


def _functions(found: Mapping[str, Any], wanted: str) -> Iterable[tuple[str, Mapping[str, Any]]]:
    """The functions of a file that are ``wanted``: all, one, or the methods of a class."""
    matching = [
        (name, function)
        for name, function in found["functions"].items()
        if name and (not wanted or name == wanted or name.startswith(f"{wanted}."))
    ]
    if not matching:
        raise ValueError(f"no function {wanted} to measure")
    return matching


def main() -> None:
    wanted = sys.argv[1:] or names()
    json.dump({name: asdict(measure(load(name))) for name in wanted}, sys.stdout)


if __name__ == "__main__":
    main()
