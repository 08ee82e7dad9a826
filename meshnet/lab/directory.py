"""The directory of a lab: made, locked while the lab lives, removed at its end whatever that is."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

_PREFIX = "meshnet-lab-"
# Nodes that die with the lab may still be writing: then a try fails, and another does not.
_REMOVE_AT_END_OF_INPUT = """
read -r _
for _ in 1 2 3 4 5 6 7 8 9 10; do rm -rf -- "$1" && exit; sleep 0.2; done
"""


def lab_directories() -> list[Path]:
    """Those of this user, of labs that live and of labs that do not."""
    found = []
    for path in sorted(Path(tempfile.gettempdir()).glob(_PREFIX + "*")):
        with contextlib.suppress(OSError):
            if path.lstat().st_uid == os.geteuid():
                found.append(path)
    return found


@contextlib.contextmanager
def lab_directory() -> Iterator[Path]:
    """A directory for one lab, removed at its end whatever that is.

    A process beside us removes it when our end of a pipe closes, which kill -9 does too. Where that
    process was killed as well, or the machine, the next lab removes what is left.
    """
    parent = Path(tempfile.gettempdir())
    for left in lab_directories():
        if (lock := _try_lock(left)) is not None:
            shutil.rmtree(left, ignore_errors=True)
            os.close(lock)
    # Locked before it has the name by which others look for what is left behind.
    hidden = Path(tempfile.mkdtemp(prefix="." + _PREFIX))
    lock = _try_lock(hidden)
    directory = hidden.rename(parent / hidden.name.removeprefix("."))
    remover = subprocess.Popen(
        ["sh", "-c", _REMOVE_AT_END_OF_INPUT, "sh", directory],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        yield directory
    finally:
        remover.communicate()
        if lock is not None:
            os.close(lock)


def _try_lock(directory: Path) -> int | None:
    """An exclusive lock on a directory of ours; None while the lab lives that made it."""
    try:
        flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
        descriptor = os.open(directory, flags)
    except OSError:
        return None
    try:
        if os.fstat(descriptor).st_uid != os.geteuid():
            raise PermissionError("somebody else's")
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        return None
    return descriptor
