"""The end of a peer on this host: its state, and what a node of it that was killed has left.

``python -m meshnet.node.reset`` does this where no node runs; one that runs does it itself when it
has left the mesh.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
from pathlib import Path

from meshnet.errors import ListenError, MeshError
from meshnet.linux.bridge import remove_leftovers
from meshnet.node.api import remove_stale
from meshnet.node.options import fail
from meshnet.store.wipe import held_to_wipe
from meshnet.wire.identity import SEED_BYTES, Identity


def clean(state_dir: Path, api: Path | None = None) -> list[str]:
    """Remove all of it, and the API's socket if nobody answers there; what was removed.

    Raises MeshError when a node uses the state, or it cannot be removed.
    """
    removed: list[str] = []
    with held_to_wipe(state_dir) as state:
        if state is None:
            return removed
        seed = state.identity_seed
        if seed is not None and len(seed) == SEED_BYTES:
            # Who may not change devices has made none.
            with contextlib.suppress(OSError):
                removed += remove_leftovers(Identity.of_seed(seed).name)
        if api is not None and os.path.lexists(api):
            with contextlib.suppress(ListenError):  # Somebody else's by now.
                remove_stale(api)
                removed.append(str(api))
        state.wipe()
        removed.append(str(state_dir))
    return removed


def main() -> None:
    """Print what was removed, a line for each."""
    parser = argparse.ArgumentParser(prog="meshnet.node.reset", allow_abbrev=False)
    parser.add_argument("--state-dir", type=Path, required=True)
    parser.add_argument("--api", type=Path, required=True)
    options = parser.parse_args()
    try:
        removed = clean(options.state_dir, options.api)
    except MeshError as error:
        fail(str(error))
    sys.stdout.write("".join(f"{each}\n" for each in removed))


if __name__ == "__main__":
    main()
