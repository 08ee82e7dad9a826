"""What the node and the client load at start: memory and start-up time are promises to users."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

STANDARD_AND_OURS = sys.stdlib_module_names | {"meshnet"}
LIST_MODULES = """
import json, sys
before = set(sys.modules)
import {module}
print(json.dumps(sorted({{name.partition(".")[0] for name in set(sys.modules) - before}})))
"""


def loaded_by(module: str) -> set[str]:
    """Top-level packages that importing ``module`` loads, compiled helpers of theirs left out."""
    done = subprocess.run(
        [sys.executable, "-c", LIST_MODULES.format(module=module)],
        capture_output=True,
        text=True,
        check=True,
    )
    names: list[str] = json.loads(done.stdout)
    return {name for name in names if name not in STANDARD_AND_OURS and not name.startswith("_")}


def test_the_node_loads_nothing_it_does_not_need() -> None:
    """Each of these stands in docs/decisions/0002-dependencies.md with what it costs."""
    allowed = {"attr", "attrs", "h11", "nacl", "uvloop", "cython_runtime"}
    assert loaded_by("meshnet.node.__main__") <= allowed


@pytest.mark.parametrize("module", ["meshnet.client", "meshnet"])
def test_edges_load_the_standard_library_only(module: str) -> None:
    assert loaded_by(module) == set()


def test_the_client_needs_no_event_loop() -> None:
    done = subprocess.run(
        [sys.executable, "-c", "import sys, meshnet.client; print('asyncio' in sys.modules)"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "False"
