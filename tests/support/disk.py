"""A disk that loses power, fails and fills up: what `os` does for paths below `ROOT`.

What was written and not synced may be on it after a power loss or not, write by write, and a write
may be there in part. A sync that fails says so once, and leaves pages that memory takes for written
and the disk never saw, as Linux does.
"""

from __future__ import annotations

import errno
import itertools
import os
import random
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

from attrs import Factory, define

ROOT = Path("/simulated-disk")
_FIRST_DESCRIPTOR = 1_000_000
_SECTOR_BYTES = 16
"""Small, so that a small write too is torn in the middle."""

Change = tuple[int, bytes] | int
"""A write (offset, bytes), or a new size."""


class Killed(BaseException):
    """The process ends within this call; nothing of ours may catch it."""


@define(eq=False)
class _File:
    content: bytes = b""
    durable: bytes = b""
    unsynced: list[Change] = Factory(list)

    def change(self, change: Change) -> None:
        self.content = _changed(self.content, change)
        self.unsynced.append(change)

    def settle(self, chance: random.Random) -> None:
        """What was not synced is on disk or is not, each change for itself, torn at will."""
        for change in self.unsynced:
            whole = chance.random() < 0.5
            if isinstance(change, int):
                self.durable = _changed(self.durable, change) if whole else self.durable
                continue
            offset, data = change
            for at in range(0, len(data), _SECTOR_BYTES):
                if whole or chance.random() < 0.5:
                    piece = offset + at, data[at : at + _SECTOR_BYTES]
                    self.durable = _changed(self.durable, piece)
        self.unsynced.clear()


def _changed(content: bytes, change: Change) -> bytes:
    if isinstance(change, int):
        return content[:change].ljust(change, b"\0")
    offset, data = change
    return content[:offset].ljust(offset, b"\0") + data + content[offset + len(data) :]


class Disk:
    """One directory, `ROOT`. Everything by chance comes from the seed."""

    def __init__(self, seed: int) -> None:
        self.calls = 0
        """How many calls there were so far."""
        self.capacity_bytes: int | None = None
        self._chance = random.Random(seed)
        self._names: dict[str, _File] = {}
        self._durable_names: dict[str, _File] = {}
        # What became of names (None: removed) since the directory was synced.
        self._moves: list[tuple[str, _File | None]] = []
        # Open descriptors; None is the directory itself.
        self._files: dict[int, _File | None] = {}
        self._numbers = itertools.count(_FIRST_DESCRIPTOR)
        self._faulty_calls = range(0)
        self._fault: int | None = None

    def fail_at(self, call: int, fault: int | None, times: int = 1) -> None:
        """The ``call``-th call from now on, and as many as ``times`` says, fails with an errno.

        With None the process is killed within that call.
        """
        self._faulty_calls = range(self.calls + call, self.calls + call + times)
        self._fault = fault

    def heal(self) -> None:
        """Nothing fails from now on."""
        self._faulty_calls = range(0)

    def kill(self) -> None:
        """The process is gone. What it wrote is in memory still, for the next to read."""
        self._files.clear()
        self.heal()

    def lose_power(self) -> None:
        """What is left is what the disk has."""
        moved = [file for _, file in self._moves if file is not None]
        held = [file for file in self._files.values() if file is not None]
        for file in [*self._names.values(), *self._durable_names.values(), *moved, *held]:
            file.settle(self._chance)
        for name, target in self._moves:
            if self._chance.random() < 0.5:
                _set_name(self._durable_names, name, target)
        self._moves.clear()
        self._names = dict(self._durable_names)
        for file in self._names.values():
            file.content = file.durable
        self.kill()

    def content(self, name: str) -> bytes:
        """What the process reads from a file now."""
        return self._names[name].content

    def put(self, name: str, content: bytes) -> None:
        """Somebody puts a file there."""
        self._names[name] = self._durable_names[name] = _File(content, content)

    @property
    def names(self) -> set[str]:
        return set(self._names)

    @contextmanager
    def mounted(self) -> Iterator[None]:
        """`os` as it is, except for what concerns this disk."""
        calls: dict[str, Callable[..., Any]] = {
            "open": self._do_open,
            "close": self._do_close,
            "pread": self._do_pread,
            "pwrite": self._do_pwrite,
            "ftruncate": self._do_ftruncate,
            "fsync": self._do_sync,
            "fdatasync": self._do_sync,
            "replace": self._do_replace,
            "unlink": self._do_unlink,
        }
        with ExitStack() as stack:
            for name, ours in calls.items():
                routed = self._routed(getattr(os, name), ours)
                stack.enter_context(mock.patch.object(os, name, routed))
            yield

    def _routed(self, real: Callable[..., Any], ours: Callable[..., Any]) -> Callable[..., Any]:
        def call(what: Any, *rest: Any, **named: Any) -> Any:
            if isinstance(what, int):
                is_ours = what >= _FIRST_DESCRIPTOR
            else:
                is_ours = Path(os.fsdecode(what)).is_relative_to(ROOT)
            return ours(what, *rest) if is_ours else real(what, *rest, **named)

        return call

    def _count(self, before: Callable[[], object] | None = None) -> None:
        """One more call. When it is to fail, ``before`` says what it has done by then."""
        self.calls += 1
        if self.calls not in self._faulty_calls:
            return
        if before is not None:
            before()
        if self._fault is None:
            raise Killed
        raise OSError(self._fault, os.strerror(self._fault))

    def _file(self, descriptor: int) -> _File:
        file = self._files[descriptor]
        assert file is not None, "a directory can only be synced"
        return file

    def _move(self, name: str, file: _File | None) -> None:
        _set_name(self._names, name, file)
        self._moves.append((name, file))

    # The calls.

    def _do_open(self, path: Path, flags: int, mode: int = 0o777) -> int:
        self._count()
        name = Path(path).name
        if Path(path) == ROOT:
            file = None
        elif name in self._names:
            file = self._names[name]
            if flags & os.O_TRUNC:
                file.change(0)
        elif flags & os.O_CREAT:
            file = _File()
            self._move(name, file)
        else:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
        descriptor = next(self._numbers)
        self._files[descriptor] = file
        return descriptor

    def _do_close(self, descriptor: int) -> None:
        del self._files[descriptor]

    def _do_pread(self, descriptor: int, size: int, offset: int) -> bytes:
        self._count()
        return self._file(descriptor).content[offset : offset + size]

    def _do_pwrite(self, descriptor: int, data: bytes, offset: int) -> int:
        file, data = self._file(descriptor), bytes(data)
        part = data[: self._chance.randrange(len(data) + 1)]
        self._count(lambda: file.change((offset, part)))
        if self.capacity_bytes is not None:
            others = sum(len(other.content) for other in self._names.values() if other != file)
            room = max(0, self.capacity_bytes - others - offset)
            inside = max(0, len(file.content) - offset)
            data = data[: max(room, inside)]
            if not data:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        file.change((offset, data))
        return len(data)

    def _do_ftruncate(self, descriptor: int, size: int) -> None:
        self._count()
        self._file(descriptor).change(size)

    def _do_sync(self, descriptor: int) -> None:
        file = self._files[descriptor]
        if file is None:
            self._count()
            self._durable_names = dict(self._names)
            self._moves.clear()
            return
        # A kill is no failure of the disk: the pages stay to be written.
        self._count(None if self._fault is None else lambda: file.settle(self._chance))
        # Only what is dirty: what an earlier sync failed to write counts as written.
        for change in file.unsynced:
            file.durable = _changed(file.durable, change)
        file.unsynced.clear()

    def _do_replace(self, source: Path, target: Path) -> None:
        self._count()
        self._move(Path(target).name, self._names[Path(source).name])

    def _do_unlink(self, path: Path) -> None:
        self._count()
        if Path(path).name not in self._names:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
        self._move(Path(path).name, None)


def _set_name(names: dict[str, _File], name: str, file: _File | None) -> None:
    if file is None:
        names.pop(name, None)
        return
    # A file has one name: a rename that is durable takes the old one away.
    for other in [other for other, held in names.items() if held is file]:
        del names[other]
    names[name] = file
