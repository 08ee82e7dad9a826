"""The journal and its snapshot: updates that are on disk before anybody is told that they are.

Two files. ``journal`` grows by one group per `append`, synced before it returns. ``snapshot`` holds
what a `compact` left. The bytes are journal_format.py's; reasons: docs/decisions/0016-journal.md.
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Sequence
from pathlib import Path

from meshnet.errors import LocalProtocolError, StateError
from meshnet.store import journal_format as form
from meshnet.store.files import (
    discard_new,
    put_in_place,
    read_all,
    read_file,
    sync_directory,
    write_all,
    write_durably,
    write_new,
)

# Our choice: below this a journal is read faster at start than compacting it now takes.
MIN_COMPACTION_BYTES = 2**20
# Above it: a compaction writes as much as was appended, so each record is written thrice at most.
COMPACTION_FACTOR = 2

_FULL = (errno.ENOSPC, errno.EDQUOT)


class FileJournal:
    """A `JournalPort` on disk. Who opens one holds the lock of its directory."""

    def __init__(self, directory: Path) -> None:
        """Open, or make, the journal in ``directory``. Raises StateError with one line.

        When this returns, all that `records` gives is durable: also an append that the life before
        had no time to sync.
        """
        self._path = directory / "journal"
        self._snapshot_path = directory / "snapshot"
        self._descriptor: int | None = None
        self._broken: str | None = None
        self._marker = b""
        self._sequence = self._end = self._snapshot_bytes = 0
        self.recovered_bytes = 0
        try:
            self._open()
        except OSError as error:
            self.close()
            raise self._failed("open", error) from error
        except StateError:
            self.close()
            raise

    @property
    def sequence(self) -> int:
        return self._sequence

    @property
    def size_bytes(self) -> int:
        return self._end + self._snapshot_bytes

    @property
    def wants_compaction(self) -> bool:
        return self._end > max(MIN_COMPACTION_BYTES, COMPACTION_FACTOR * self._snapshot_bytes)

    def records(self) -> list[bytes]:
        """Read back from disk, so that no second copy of the state stays in memory."""
        descriptor = self._usable()
        try:
            snapshot = self._read_snapshot()
            data = read_all(descriptor)[: self._end]
        except OSError as error:
            raise StateError(f"cannot read {self._path}: {error.strerror}") from error
        kept = snapshot.records if snapshot is not None else []
        return kept + self._parse_journal(data).records

    def append(self, records: Sequence[bytes]) -> None:
        descriptor = self._usable()
        if not records:
            return
        group = form.pack_group(self._marker, self._sequence + 1, records)
        try:
            write_all(descriptor, group, self._end)
        except OSError as error:
            self._take_back(descriptor, error)
            raise self._failed("write", error) from error
        try:
            os.fdatasync(descriptor)
        except OSError as error:
            # The kernel forgets which pages it failed to write and reports it once: syncing again
            # would succeed and mean nothing.
            self._broken = error.strerror
            self._take_back(descriptor, error)
            raise self._failed("write", error) from error
        self._sequence += 1
        self._end += len(group)

    def compact(self, records: Sequence[bytes]) -> None:
        self._usable(mend=True)
        head = form.Head(self._sequence + 1, os.urandom(form.MARKER_BYTES))
        snapshot = form.pack_head(form.SNAPSHOT_MAGIC, head) + form.pack_group(
            head.marker, head.sequence, records
        )
        try:
            # Both are written first: on a full disk nothing has changed yet.
            write_new(self._snapshot_path, snapshot)
            write_new(self._path, form.pack_head(form.JOURNAL_MAGIC, head))
        except OSError as error:
            with contextlib.suppress(OSError):
                discard_new(self._snapshot_path)
            raise self._failed("write", error) from error
        try:
            put_in_place(self._snapshot_path)
            put_in_place(self._path)
            descriptor = os.open(self._path, os.O_RDWR | os.O_CLOEXEC)
        except OSError as error:
            # What a restart finds may be the new snapshot, which makes the old journal void: what
            # would be appended to that now would be lost.
            self._broken = error.strerror
            raise self._failed("write", error) from error
        self._replace_descriptor(descriptor)
        self._broken = None
        self._sequence, self._marker = head.sequence, head.marker
        self._end, self._snapshot_bytes = form.HEAD_BYTES, len(snapshot)

    def close(self) -> None:
        self._replace_descriptor(None)

    def _open(self) -> None:
        discard_new(self._snapshot_path)
        discard_new(self._path)
        # A rename that we see here may be one whose sync the life before did not live to see.
        sync_directory(self._path.parent)
        snapshot = self._read_snapshot()
        self._snapshot_bytes = snapshot.end if snapshot is not None else 0
        self._begin_journal(snapshot.sequence if snapshot is not None else 0)
        self._descriptor = os.open(self._path, os.O_RDWR | os.O_CLOEXEC)
        data = read_all(self._descriptor)
        groups = self._parse_journal(data)
        self._marker = form.parse_head(form.JOURNAL_MAGIC, data).marker
        self._sequence, self._end = groups.sequence, groups.end
        self.recovered_bytes = len(data) - groups.end
        if self.recovered_bytes:
            os.ftruncate(self._descriptor, groups.end)
        # The last group may be in memory only, and taken for clean after a sync that failed in the
        # life before. Written again it is dirty for certain, and then it is synced.
        write_all(self._descriptor, data[groups.last : groups.end], groups.last)
        os.fdatasync(self._descriptor)

    def _begin_journal(self, follows: int) -> None:
        """See that there is a journal that follows the snapshot of that number; 0: there is none.

        An older one belongs to a compaction that a crash cut short: all it holds is in the
        snapshot.
        """
        data = read_file(self._path)
        if data is None:
            if follows:
                raise self._lost(self._path, "missing")
        else:
            try:
                found = form.parse_head(form.JOURNAL_MAGIC, data).sequence
            except form.DamagedError as error:
                raise self._lost(self._path, str(error)) from error
            if found == follows:
                return
            if found > follows:
                what = "older than the journal" if follows else "missing"
                raise self._lost(self._snapshot_path, what)
        head = form.Head(follows, os.urandom(form.MARKER_BYTES))
        write_durably(self._path, form.pack_head(form.JOURNAL_MAGIC, head))

    def _read_snapshot(self) -> form.Groups | None:
        data = read_file(self._snapshot_path)
        try:
            return form.parse_snapshot(data) if data is not None else None
        except form.DamagedError as error:
            raise self._lost(self._snapshot_path, str(error)) from error

    def _parse_journal(self, data: bytes) -> form.Groups:
        try:
            return form.parse_journal(data)
        except form.DamagedError as error:
            raise self._lost(self._path, str(error)) from error

    def _take_back(self, descriptor: int, error: OSError) -> None:
        """Nothing of an append that failed stays; if it cannot be removed, nothing is added."""
        try:
            os.ftruncate(descriptor, self._end)
        except OSError:
            self._broken = error.strerror

    def _usable(self, *, mend: bool = False) -> int:
        if self._descriptor is None:
            raise LocalProtocolError("the journal is closed")
        if self._broken is not None and not mend:
            raise StateError(
                f"{self._path} takes nothing more since a write failed ({self._broken}); "
                "see to its file system, then restart the node"
            )
        return self._descriptor

    def _replace_descriptor(self, descriptor: int | None) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
        self._descriptor = descriptor

    def _failed(self, verb: str, error: OSError) -> StateError:
        full = error.errno in _FULL
        what_to_do = "make room on" if full else "see to"
        return StateError(
            f"cannot {verb} {self._path}: {error.strerror}; "
            f"{what_to_do} its file system, what is there is kept"
        )

    def _lost(self, path: Path, what: str) -> StateError:
        return StateError(
            f"{path} is {what}; restore {self._path.name} and {self._snapshot_path.name} in "
            f"{path.parent}, or remove both to start without what they hold"
        )
