"""Whatever the disk does, and whenever the process or the power goes: what was acknowledged stays.

The model is the set of contents a restart may find. An append or a compaction that returns leaves
one; one that fails, or that a crash cuts short, leaves what was and what would be.
"""

from __future__ import annotations

import contextlib
import errno

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from meshnet.errors import StateError
from meshnet.store.journal import FileJournal
from support.disk import ROOT, Disk, Killed

RECORDS = st.lists(st.binary(max_size=80), max_size=4)
GROUPS = st.lists(st.binary(max_size=80), min_size=1, max_size=4)
CALLS = st.integers(1, 14)
FAULTS = st.sampled_from([errno.EIO, errno.ENOSPC])
Content = tuple[bytes, ...]


class JournalAgainstModel(RuleBasedStateMachine):
    """``possible``: what a restart may find. ``acknowledged``: what this life has been told."""

    @initialize(seed=st.integers(0, 2**32 - 1))
    def start(self, seed: int) -> None:
        self.disk = Disk(seed)
        self.mount = contextlib.ExitStack()
        self.mount.enter_context(self.disk.mounted())
        self.possible: set[Content] = {()}
        self.sequence = 0
        self.journal: FileJournal | None = None
        self.broken = False
        self.reopen()

    def reopen(self) -> None:
        self.broken = False
        self.journal = FileJournal(ROOT)
        found = tuple(self.journal.records())
        assert found in self.possible
        assert self.journal.sequence >= self.sequence, "the sequence went back"
        # Found once is acknowledged: the owner goes on from there.
        self.possible, self.acknowledged = {found}, found
        self.sequence = self.journal.sequence

    def crash(self, *, power: bool) -> None:
        self.disk.lose_power() if power else self.disk.kill()
        self.journal = None

    @precondition(lambda self: self.journal is not None and not self.broken)
    @rule(records=GROUPS)
    def append(self, records: list[bytes]) -> None:
        assert not self.attempt(records, compacts=False)

    @precondition(lambda self: self.journal is not None)
    @rule(records=RECORDS)
    def compact(self, records: list[bytes]) -> None:
        assert not self.attempt(records, compacts=True)

    def acknowledge(self, content: Content) -> None:
        assert self.journal is not None
        assert self.journal.sequence > self.sequence
        self.sequence = self.journal.sequence
        self.possible, self.acknowledged = {content}, content

    def attempt(self, records: list[bytes], *, compacts: bool) -> str:
        """Append or compact; the line it was refused with, empty when it was acknowledged."""
        assert self.journal is not None
        try:
            self.journal.compact(records) if compacts else self.journal.append(records)
        except StateError as error:
            return str(error)
        self.broken = False
        self.acknowledge(self.after(records, compacts=compacts))
        return ""

    def after(self, records: list[bytes], *, compacts: bool) -> Content:
        return tuple(records) if compacts else (*self.acknowledged, *records)

    @precondition(lambda self: self.journal is not None)
    @rule(records=GROUPS, compacts=st.booleans(), call=CALLS, power=st.booleans())
    def die_within(self, records: list[bytes], compacts: bool, call: int, power: bool) -> None:
        new = self.after(records, compacts=compacts)
        self.disk.fail_at(call, None)
        with contextlib.suppress(Killed):
            self.attempt(records, compacts=compacts)
        if not self.broken or compacts:
            self.possible.add(new)
        self.crash(power=power)

    @precondition(lambda self: self.journal is not None)
    @rule(
        records=GROUPS,
        compacts=st.booleans(),
        call=CALLS,
        fault=FAULTS,
        times=st.sampled_from([1, 2, 3, 100]),
    )
    def fail_within(
        self, records: list[bytes], compacts: bool, call: int, fault: int, times: int
    ) -> None:
        compacts = compacts or self.broken
        new = self.after(records, compacts=compacts)
        self.disk.fail_at(call, fault, times)
        refused = self.attempt(records, compacts=compacts)
        self.disk.heal()
        assert "\n" not in refused
        if refused and self.is_broken():
            self.broken = True
            self.possible.add(new)

    def is_broken(self) -> bool:
        assert self.journal is not None
        try:
            self.journal.records()
        except StateError as error:
            return "takes nothing more" in str(error)
        return False

    @precondition(lambda self: self.journal is not None and self.broken)
    @rule(records=GROUPS)
    def a_broken_journal_takes_nothing(self, records: list[bytes]) -> None:
        assert "takes nothing more" in self.attempt(records, compacts=False)

    @precondition(lambda self: self.journal is not None and not self.broken)
    @rule(records=GROUPS, compacts=st.booleans(), room_bytes=st.integers(0, 300))
    def fill_up(self, records: list[bytes], compacts: bool, room_bytes: int) -> None:
        used_bytes = sum(len(self.disk.content(name)) for name in self.disk.names)
        self.disk.capacity_bytes = used_bytes + room_bytes
        refused = self.attempt(records, compacts=compacts)
        self.disk.capacity_bytes = None
        assert not refused or ("No space left" in refused and "make room" in refused)

    @rule(power=st.booleans())
    def crash_between(self, power: bool) -> None:
        self.crash(power=power)

    @precondition(lambda self: self.journal is None)
    @rule(call=CALLS, fault=st.none() | FAULTS, power=st.booleans())
    def fail_to_start(self, call: int, fault: int | None, power: bool) -> None:
        self.disk.fail_at(call, fault)
        with contextlib.suppress(Killed, StateError):
            FileJournal(ROOT)
        self.crash(power=power)

    @precondition(lambda self: self.journal is None)
    @rule()
    def restart(self) -> None:
        self.reopen()

    @precondition(lambda self: self.journal is not None)
    @rule()
    def stop_and_restart(self) -> None:
        assert self.journal is not None
        self.journal.close()
        self.reopen()

    @invariant()
    def a_living_journal_gives_what_it_acknowledged(self) -> None:
        if getattr(self, "journal", None) is not None and not self.broken:
            assert self.journal is not None
            assert tuple(self.journal.records()) == self.acknowledged

    def teardown(self) -> None:
        if hasattr(self, "mount"):
            try:
                self.crash(power=True)
                self.reopen()
            finally:
                self.mount.close()


TestJournalAgainstModel = JournalAgainstModel.TestCase
