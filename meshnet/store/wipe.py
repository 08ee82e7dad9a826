"""The end of a state directory: what a peer leaves for good, it takes with it."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from meshnet.errors import StateError
from meshnet.store.files import sync_directory
from meshnet.store.state import lock_directory

# All that a node writes; what else is there is somebody else's. The identity goes first: without it
# nobody can take up the rest.
_FILES = ("identity", "life.json", "journal", "snapshot", "targets.json", "absences.json")


class DoomedState:
    """A state directory that no node uses, for as long as we hold it."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    @property
    def identity_seed(self) -> bytes | None:
        """The seed of the peer that it is of; None: there is none, or it cannot be read."""
        with contextlib.suppress(OSError, ValueError):
            return bytes.fromhex((self._directory / "identity").read_text(encoding="ascii"))
        return None

    def wipe(self) -> None:
        """Remove all that a node has written, and the directory if nothing else is in it.

        Raises StateError.
        """
        try:
            for name in _FILES:
                for path in (self._directory / name, self._directory / f"{name}.new"):
                    path.unlink(missing_ok=True)
            (self._directory / "lock").unlink(missing_ok=True)
            sync_directory(self._directory)
        except OSError as error:
            reason = f"cannot remove the state in {self._directory}: {error.strerror}"
            raise StateError(reason) from error
        with contextlib.suppress(OSError):  # Others' files are in it, or its parent is not ours.
            self._directory.rmdir()


@contextmanager
def held_to_wipe(directory: Path) -> Iterator[DoomedState | None]:
    """The state in ``directory``; None when there is none.

    Raises StateError when a node uses it.
    """
    if not directory.is_dir():
        yield None
        return
    lock = lock_directory(directory)
    try:
        yield DoomedState(directory)
    finally:
        os.close(lock)
