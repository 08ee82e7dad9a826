"""The suites of the seams can fail: for each promise there is a twin that breaks it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence

import pytest

from meshnet.errors import StateError
from meshnet.testing import (
    MemoryJournal,
    MemoryPort,
    MemoryState,
    check_frame_port,
    check_journal_port,
    check_state_port,
)

# Frames.


class GivesTooMany(MemoryPort):
    def read_frames(self, limit: int) -> list[bytes]:
        return super().read_frames(64)


class GivesNone(MemoryPort):
    def read_frames(self, limit: int) -> list[bytes]:
        return []


class TurnsBursts(MemoryPort):
    def read_frames(self, limit: int) -> list[bytes]:
        return super().read_frames(limit)[::-1]


class CutsFrames(MemoryPort):
    def read_frames(self, limit: int) -> list[bytes]:
        return [frame[:-1] for frame in super().read_frames(limit)]


class NeverRunsDry(MemoryPort):
    def read_frames(self, limit: int) -> list[bytes]:
        return super().read_frames(limit) or [b"\0" * 60]


class RefusesSome(MemoryPort):
    def write_frames(self, frames: Iterable[bytes]) -> int:
        return super().write_frames(list(frames)[1:]) + 1


class WritesBackwards(MemoryPort):
    def write_frames(self, frames: Iterable[bytes]) -> int:
        return super().write_frames(reversed(list(frames)))


@pytest.mark.parametrize(
    ("kind", "promise"),
    [
        (GivesTooMany, "never too many"),
        (GivesNone, "at least one frame"),
        (TurnsBursts, "in order"),
        (CutsFrames, "whole, unchanged"),
        (NeverRunsDry, "an empty list"),
        (RefusesSome, "takes a small burst whole"),
        (WritesBackwards, "the host sees frames"),
    ],
)
def test_a_frame_port_that_breaks_a_promise_is_told_which(
    kind: type[MemoryPort], promise: str
) -> None:
    port = kind()
    try:
        with pytest.raises(AssertionError, match=promise):
            asyncio.run(check_frame_port(port, port.send, port.receive))
    finally:
        port.close()


def test_a_frame_port_without_a_name_is_told_of() -> None:
    port = MemoryPort(name="")
    with pytest.raises(AssertionError, match="a name for people"):
        asyncio.run(check_frame_port(port, port.send, port.receive))
    port.close()


# States.


def new_identity(state: MemoryState) -> None:
    state.identity_seed = bytes((state.generation,)) * 32


def short_identity(state: MemoryState) -> None:
    state.identity_seed = bytes(31)


def new_incarnation(state: MemoryState) -> None:
    state.incarnation += 1


def same_generation(state: MemoryState) -> None:
    state.generation = 1


def falling_generation(state: MemoryState) -> None:
    state.generation = 100 - state.generation


def lost_targets(state: MemoryState) -> None:
    state.targets = ()


@pytest.mark.parametrize(
    ("spoil", "promise"),
    [
        (new_identity, "the identity survives"),
        (short_identity, "32 bytes"),
        (new_incarnation, "the incarnation is the disk's"),
        (same_generation, "generation is greater"),
        (falling_generation, "generation is greater"),
        (lost_targets, "targets that were kept last survive"),
    ],
)
def test_a_state_port_that_breaks_a_promise_is_told_which(
    spoil: Callable[[MemoryState], None], promise: str
) -> None:
    state = MemoryState()

    def next_life() -> MemoryState:
        spoil(state.next_life())
        return state

    with pytest.raises(AssertionError, match=promise):
        check_state_port(next_life)


def test_a_state_port_that_keeps_targets_late_is_told_of() -> None:
    class Late(MemoryState):
        def keep_targets(self, targets: Sequence[str]) -> None:
            pass

    with pytest.raises(AssertionError, match="kept at once"):
        check_state_port(Late().next_life)


def test_a_state_port_that_leaves_its_journal_open_is_told_of() -> None:
    class LeavesOpen(MemoryState):
        def close(self) -> None:
            pass

    with pytest.raises(AssertionError, match="closes its journal"):
        check_state_port(LeavesOpen().next_life)


# Journals.


class NotEmptyAtFirst(MemoryJournal):
    def records(self) -> list[bytes]:
        return super().records() or [b"left by somebody"]


class RecoversWhatNobodyLost(MemoryJournal):
    def __init__(self) -> None:
        super().__init__()
        self.recovered_bytes = 1

    def next_life(self) -> MemoryJournal:
        return self


class LosesEmptyRecords(MemoryJournal):
    def append(self, records: Sequence[bytes]) -> None:
        super().append([record for record in records if record])


class ForgetsTheLast(MemoryJournal):
    def next_life(self) -> MemoryJournal:
        super().next_life()
        self._appended = self._appended[:-1]
        return self


class BeginsNumbersAnew(MemoryJournal):
    def next_life(self) -> MemoryJournal:
        super().next_life()
        self.sequence = 0
        return self


class CountsEmptyAppends(MemoryJournal):
    def append(self, records: Sequence[bytes]) -> None:
        super().append(records)
        self.sequence += not records


class KeepsItsNumberWhenCompacted(MemoryJournal):
    def compact(self, records: Sequence[bytes]) -> None:
        super().compact(records)
        self.sequence -= 1


class CompactsToNothing(MemoryJournal):
    def compact(self, records: Sequence[bytes]) -> None:
        super().compact(records)
        self._snapshot = []


class CutsLongRecords(MemoryJournal):
    def append(self, records: Sequence[bytes]) -> None:
        super().append([record[: 2**24] for record in records])


class CutsLongRecordsOfSnapshots(MemoryJournal):
    def compact(self, records: Sequence[bytes]) -> None:
        super().compact([record[: 2**24] for record in records])


class NeverWantsCompaction(MemoryJournal):
    @property
    def wants_compaction(self) -> bool:
        return False


class AlwaysWantsCompaction(MemoryJournal):
    @property
    def wants_compaction(self) -> bool:
        return True


class TakesNoRoom(MemoryJournal):
    @property
    def size_bytes(self) -> int:
        return 100


class StaysOpen(MemoryJournal):
    def close(self) -> None:
        pass


@pytest.mark.parametrize(
    ("kind", "promise"),
    [
        (NotEmptyAtFirst, "a new journal is empty"),
        (RecoversWhatNobodyLost, "nothing was cut short"),
        (LosesEmptyRecords, "records come back whole"),
        (ForgetsTheLast, "what was acknowledged survives"),
        (BeginsNumbersAnew, "a restart changes nothing"),
        (CountsEmptyAppends, "nothing added is nothing done"),
        (KeepsItsNumberWhenCompacted, "has a greater number"),
        (CompactsToNothing, "records come back whole"),
        (CutsLongRecords, "too long is refused"),
        (CutsLongRecordsOfSnapshots, "refused in a snapshot"),
        (NeverWantsCompaction, "wants to be compacted some day"),
        (AlwaysWantsCompaction, "need not be compacted"),
        (TakesNoRoom, "takes room"),
        (StaysOpen, "a closed journal refuses"),
    ],
)
def test_a_journal_that_breaks_a_promise_is_told_which(
    kind: type[MemoryJournal], promise: str
) -> None:
    journal = kind()
    with pytest.raises(AssertionError, match=promise):
        check_journal_port(journal.next_life)


def test_a_journal_that_adds_part_of_what_it_refuses_is_told_of() -> None:
    class KeepsThePart(MemoryJournal):
        def append(self, records: Sequence[bytes]) -> None:
            for record in records:
                super().append([record])

    with pytest.raises(AssertionError, match="records come back whole"):
        check_journal_port(KeepsThePart().next_life)


def test_what_a_seam_raises_is_not_swallowed() -> None:
    journal = MemoryJournal()
    journal.disk_full = True
    with pytest.raises(StateError, match="No space left"):
        check_journal_port(journal.next_life)
