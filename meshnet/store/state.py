"""The state directory: identity, lock, the numbers that must rise for ever, and the journal.

Every write is atomic and durable: after a crash a file is the old one or the new one, never half of
either, and the journal has every record that was acknowledged.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from meshnet.errors import LocalProtocolError, StateError
from meshnet.ids import PeerName
from meshnet.store.files import sync_directory, write_durably
from meshnet.store.journal import FileJournal

_SEED_BYTES = 32
_MAX_GENERATION = 2**24 - 1


def lock_directory(directory: Path) -> int:
    """Have the state in ``directory`` for ourselves until the descriptor is closed.

    Raises StateError with one line that says what to do.
    """
    try:
        lock = os.open(directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise _unusable(directory, error) from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(lock)
        raise StateError(
            f"state directory {directory} is in use by another node; "
            "stop it, or choose another with --state-dir"
        ) from error
    return lock


def _unusable(directory: Path, error: OSError) -> StateError:
    return StateError(f"cannot use state directory {directory}: {error.strerror}; see --state-dir")


class FileState:
    """A `StatePort` on disk. One process at a time holds a directory."""

    def __init__(self, directory: Path | str) -> None:
        """Open, or make, the state. Raises StateError with one line that says what to do."""
        self.directory = directory = Path(directory)
        try:
            missing = [path for path in (directory, *directory.parents) if not path.exists()]
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            for made in missing:
                sync_directory(made.parent)
        except OSError as error:
            raise _unusable(directory, error) from error
        self._lock = lock_directory(directory)
        self._closed = False
        self._journal: FileJournal | None = None
        try:
            self.identity_seed = self._load_seed()
            self.incarnation, self.generation = self._next_life()
            self.targets = self._load_targets()
            self.absent_s = self._load_absences()
        except StateError:
            self.close()
            raise
        except OSError as error:
            self.close()
            raise StateError(f"cannot keep state in {directory}: {error.strerror}") from error

    @property
    def journal(self) -> FileJournal:
        """Opened when first asked for: blocks, and raises StateError, then only."""
        if self._closed:
            raise LocalProtocolError("the state directory is closed")
        if self._journal is None:
            self._journal = FileJournal(self.directory)
        return self._journal

    def close(self) -> None:
        """Give the lock back, and close the journal. Closing twice is allowed."""
        if not self._closed:
            self._closed = True
            if self._journal is not None:
                self._journal.close()
            os.close(self._lock)

    def _load_seed(self) -> bytes:
        path = self.directory / "identity"
        if not path.exists():
            seed = os.urandom(_SEED_BYTES)
            write_durably(path, f"{seed.hex()}\n".encode())
            return seed
        if path.stat().st_mode & 0o077:
            raise StateError(f"{path} is open to others; run: chmod 600 {path}")
        with contextlib.suppress(ValueError):
            seed = bytes.fromhex(path.read_text(encoding="ascii"))
            if len(seed) == _SEED_BYTES:
                return seed
        raise StateError(
            f"{path} is damaged; restore it, or remove {self.directory} to become a new peer"
        )

    def keep_targets(self, targets: Sequence[str]) -> None:
        """Keep these addresses in place of those before. Raises StateError."""
        path = self.directory / "targets.json"
        try:
            write_durably(path, f"{json.dumps(list(targets))}\n".encode())
        except OSError as error:
            raise StateError(f"cannot write {path}: {error.strerror}") from error
        self.targets = tuple(targets)

    def _load_targets(self) -> tuple[str, ...]:
        path = self.directory / "targets.json"
        if not path.exists():
            return ()
        try:
            kept = json.loads(path.read_text(encoding="utf-8"))
        except ValueError:
            kept = None
        if not isinstance(kept, list) or not all(isinstance(target, str) for target in kept):
            raise StateError(f"{path} is damaged; restore it, or remove it")
        return tuple(kept)

    def keep_absent_s(self, absent_s: Mapping[str, float]) -> None:
        """Keep how long these peers have been gone. Raises StateError."""
        path = self.directory / "absences.json"
        try:
            write_durably(path, f"{json.dumps(dict(absent_s))}\n".encode())
        except OSError as error:
            raise StateError(f"cannot write {path}: {error.strerror}") from error
        self.absent_s = dict(absent_s)

    def _load_absences(self) -> dict[str, float]:
        path = self.directory / "absences.json"
        if not path.exists():
            return {}
        try:
            kept = json.loads(path.read_text(encoding="utf-8"))
            absent_s = {str(PeerName.parse(name)): float(gone_s) for name, gone_s in kept.items()}
            if not all(0.0 <= gone_s < math.inf for gone_s in absent_s.values()):
                raise ValueError("out of range")
        except (ValueError, TypeError, AttributeError, OverflowError):
            raise StateError(f"{path} is damaged; restore it, or remove it") from None
        return absent_s

    def _next_life(self) -> tuple[int, int]:
        """(incarnation, generation) of this start, made durable before anyone uses them."""
        path = self.directory / "life.json"
        incarnation, generation = int.from_bytes(os.urandom(8), "big"), 0
        if path.exists():
            try:
                kept = json.loads(path.read_text(encoding="utf-8"))
                incarnation, generation = int(kept["incarnation"]), int(kept["generation"])
                if not (0 <= incarnation < 2**64 and 0 <= generation < _MAX_GENERATION):
                    raise ValueError("out of range")
            except (ValueError, KeyError, TypeError, OverflowError) as error:
                raise StateError(
                    f"{path} is damaged; restore it, or remove {self.directory} "
                    "to become a new peer"
                ) from error
        generation += 1
        life = {"incarnation": incarnation, "generation": generation}
        write_durably(path, f"{json.dumps(life)}\n".encode())
        return incarnation, generation
