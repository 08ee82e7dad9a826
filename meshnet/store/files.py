"""Files that are never half written: all or nothing, and durable when the call returns.

Everything raises OSError; who calls turns it into one line for people.
"""

from __future__ import annotations

import os
from pathlib import Path

_CHUNK_BYTES = 2**20


def write_durably(path: Path, data: bytes) -> None:
    """Replace ``path`` by ``data``, mode 0600: after a crash it is the old file or the new one."""
    write_new(path, data)
    put_in_place(path)


def write_new(path: Path, data: bytes) -> None:
    """Write and sync what `put_in_place` will make ``path``. Nothing is left when it raises."""
    descriptor = os.open(_new(path), os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        try:
            write_all(descriptor, data, 0)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError:
        discard_new(path)
        raise


def put_in_place(path: Path) -> None:
    """Make what `write_new` wrote the file ``path``. When it raises it may be either."""
    _new(path).replace(path)
    sync_directory(path.parent)


def discard_new(path: Path) -> None:
    """Remove what a `write_new` left that was killed: on a full disk its room is wanted."""
    _new(path).unlink(missing_ok=True)


def sync_directory(directory: Path) -> None:
    """Make the names in ``directory`` durable."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_all(descriptor: int, data: bytes, offset: int) -> None:
    """Write all of ``data`` at ``offset``: a disk that fills up takes a part of it first."""
    rest = memoryview(data)
    while rest:
        written = os.pwrite(descriptor, rest, offset)
        rest, offset = rest[written:], offset + written


def read_all(descriptor: int) -> bytes:
    """The whole file."""
    pieces: list[bytes] = []
    offset = 0
    while piece := os.pread(descriptor, _CHUNK_BYTES, offset):
        pieces.append(piece)
        offset += len(piece)
    return b"".join(pieces)


def read_file(path: Path) -> bytes | None:
    """The content of ``path``; None when there is no such file."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        return read_all(descriptor)
    finally:
        os.close(descriptor)


def _new(path: Path) -> Path:
    return path.with_name(path.name + ".new")
