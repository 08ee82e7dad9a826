"""The layers of the design stand in pyproject.toml as import contracts; none is broken."""

from __future__ import annotations

import subprocess
import sys

from support.tree import ROOT

_RUN = "from importlinter.cli import lint_imports_command; lint_imports_command()"


def test_no_import_breaks_a_contract() -> None:
    done = subprocess.run(
        [sys.executable, "-c", _RUN, "--no-cache"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "0 broken" in done.stdout
