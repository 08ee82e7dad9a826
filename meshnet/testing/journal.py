"""The in-memory twin of a journal, with the faults of a disk."""

from __future__ import annotations

from collections.abc import Sequence

from meshnet.errors import LocalProtocolError, StateError
from meshnet.store.journal import COMPACTION_FACTOR, MIN_COMPACTION_BYTES
from meshnet.store.journal_format import HEAD_BYTES, MARKER_BYTES, pack_group

_MARKER = bytes(MARKER_BYTES)


class MemoryJournal:
    """A `JournalPort` that lives as long as the object: `next_life` is a restart on it.

    ``disk_full``: while true, nothing new fits; what is there stays.
    """

    def __init__(self) -> None:
        self.sequence = 0
        self.recovered_bytes = 0
        self.disk_full = False
        self._snapshot: list[bytes] = []
        self._snapshot_bytes = 0
        self._appended: list[bytes] = []
        self._journal_bytes = HEAD_BYTES
        self._fails: bool | None = None
        # The append that a sync refused, as a restart finds it: nothing, a piece of it, or all.
        self._torn_bytes = 0
        self._unsynced: list[bytes] = []
        self._broken = False
        self._closed = False

    @property
    def size_bytes(self) -> int:
        return self._journal_bytes + self._snapshot_bytes

    @property
    def wants_compaction(self) -> bool:
        return self._journal_bytes > max(
            MIN_COMPACTION_BYTES, COMPACTION_FACTOR * self._snapshot_bytes
        )

    def fail_next_append(self, *, found_by_restart: bool = False) -> None:
        """The disk will refuse the sync of the next append, and break the journal.

        The next life finds a torn piece of it, or with ``found_by_restart`` the whole of it.
        """
        self._fails = found_by_restart

    def next_life(self) -> MemoryJournal:
        """The journal as the next start of the same peer finds it."""
        self.recovered_bytes, self._torn_bytes = self._torn_bytes, 0
        if self._unsynced:
            self._add(self._unsynced)
        self._unsynced = []
        self._broken = self._closed = False
        return self

    def records(self) -> list[bytes]:
        self._check_usable()
        return [*self._snapshot, *self._appended]

    def append(self, records: Sequence[bytes]) -> None:
        self._check_usable()
        if not records:
            return
        group = pack_group(_MARKER, self.sequence + 1, records)
        self._check_room()
        if self._fails is not None:
            self._torn_bytes = 0 if self._fails else len(group) // 2
            self._unsynced = list(records) if self._fails else []
            self._fails, self._broken = None, True
            raise StateError("cannot write the journal: Input/output error; see to the disk")
        self._add(records)

    def compact(self, records: Sequence[bytes]) -> None:
        self._check_usable(mend=True)
        snapshot = pack_group(_MARKER, self.sequence + 1, records)
        self._check_room()
        self.sequence += 1
        self._snapshot, self._appended = [bytes(record) for record in records], []
        self._snapshot_bytes, self._journal_bytes = HEAD_BYTES + len(snapshot), HEAD_BYTES
        self._torn_bytes, self._unsynced, self._broken = 0, [], False

    def close(self) -> None:
        self._closed = True

    def _add(self, records: Sequence[bytes]) -> None:
        self.sequence += 1
        self._appended += map(bytes, records)
        self._journal_bytes += len(pack_group(_MARKER, self.sequence, records))

    def _check_room(self) -> None:
        if self.disk_full:
            raise StateError("cannot write the journal: No space left on device; make room")

    def _check_usable(self, *, mend: bool = False) -> None:
        if self._closed:
            raise LocalProtocolError("the journal is closed")
        if self._broken and not mend:
            raise StateError("the journal takes nothing more since a write failed; restart")
