"""Runs examples as a newcomer does, and copies of them in which one line is wrong."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from support.tree import ROOT

EXAMPLES = ROOT / "examples"


def run_example(path: Path, *wrapper: str) -> subprocess.CompletedProcess[str]:
    """To its end, as a process of its own; ``wrapper`` goes before the command."""
    return subprocess.run(
        [*wrapper, sys.executable, str(path)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )


def broken_copy(name: str, directory: Path, right: str, wrong: str) -> Path:
    """The example with one thing changed, once."""
    text = (EXAMPLES / name).read_text(encoding="utf-8")
    assert text.count(right) == 1, f"{name} has {right!r} {text.count(right)} times"
    copy = directory / name
    copy.write_text(text.replace(right, wrong), encoding="utf-8")
    return copy
