"""What the README's first screen shows is what happens."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

README = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
NO_PRIVILEGES = ["setpriv", "--no-new-privs", "--inh-caps=-all", "--bounding-set=-all"]


def block(language: str) -> str:
    found = re.search(rf"```{language}\n(.*?)```", README, re.DOTALL)
    assert found is not None, f"the README has no {language} block"
    return found[1]


def test_the_first_commands_are_demo_and_test() -> None:
    assert block("sh").split("\n") == ["make demo", "make test", ""]


def test_the_python_block_has_ten_lines() -> None:
    assert len(block("python").splitlines()) == 10


def test_the_python_block_passes_a_frame_without_privileges() -> None:
    """No capability is left, so it can need none: no TAP, no low port, no raw socket."""
    drop = NO_PRIVILEGES if shutil.which("setpriv") else []
    done = subprocess.run(
        [*drop, sys.executable, "-c", block("python")],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "hello over sealed UDP" in done.stdout
    assert done.stderr == ""
