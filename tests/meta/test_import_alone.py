"""Every module can be the first of ours that is imported: no import works by luck of order."""

from __future__ import annotations

import subprocess
import sys

from support.tree import module_name, sources

# One interpreter loads what others made; then a forked child per module imports that module first.
# A fresh interpreter each would take a hundred times as long and find the same.
_TRY_EACH = """
import asyncio, attrs, importlib, nacl.bindings, os, sys, traceback
assert not [name for name in sys.modules if name.startswith("meshnet")]
failed = False
for name in sys.argv[1:]:
    child = os.fork()
    if child == 0:
        try:
            importlib.import_module(name)
        except BaseException:
            print(f"--- {name}", traceback.format_exc(), sep="\\n", flush=True)
            os._exit(1)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    failed = failed or status != 0
sys.exit(failed)
"""


def test_every_module_can_be_imported_first() -> None:
    # Importing a __main__ means running it; whoever does so imports everything anyway.
    names = [
        name for path in sources("meshnet") if not (name := module_name(path)).endswith("__main__")
    ]
    assert "meshnet.engine" in names
    done = subprocess.run(
        [sys.executable, "-c", _TRY_EACH, *names], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
