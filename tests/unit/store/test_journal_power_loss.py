"""Sequences of faults too rare to be drawn often: each with many seeds of what the disk keeps."""

from __future__ import annotations

import contextlib
import errno

import pytest

from meshnet.errors import StateError
from meshnet.store.journal import FileJournal
from support.disk import ROOT, Disk, Killed

SEEDS = range(40)
LONG = bytes(range(100))


@pytest.mark.parametrize("seed", SEEDS)
def test_what_a_failed_sync_left_in_memory_only_is_written_before_it_is_believed(
    seed: int,
) -> None:
    disk = Disk(seed)
    with disk.mounted():
        journal = FileJournal(ROOT)
        # The write is done, the sync fails, and so does taking the write back.
        disk.fail_at(2, errno.EIO, times=2)
        with pytest.raises(StateError, match="Input/output error"):
            journal.append([LONG])
        disk.kill()
        again = FileJournal(ROOT)
        assert again.records() == [LONG]
        again.append([b"after"])
        disk.lose_power()
        assert FileJournal(ROOT).records() == [LONG, b"after"]


@pytest.mark.parametrize("seed", SEEDS)
def test_what_a_killed_peer_had_no_time_to_sync_is_synced_before_it_is_believed(seed: int) -> None:
    disk = Disk(seed)
    with disk.mounted():
        journal = FileJournal(ROOT)
        disk.fail_at(2, None)
        with pytest.raises(Killed):
            journal.append([LONG])
        disk.kill()
        found = FileJournal(ROOT).records()
        assert found == [LONG]
        disk.lose_power()
        assert FileJournal(ROOT).records() == found


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("power", [True, False], ids=["power loss", "kill"])
def test_a_compaction_may_end_at_any_call(power: bool, seed: int) -> None:
    ended = []
    for call in range(1, 20):
        disk = Disk(seed)
        with disk.mounted():
            journal = FileJournal(ROOT)
            journal.append([b"one"])
            journal.append([b"two"])
            sequence = journal.sequence
            disk.fail_at(call, None)
            with contextlib.suppress(Killed):
                journal.compact([b"kept"])
                ended.append(call)
            disk.lose_power() if power else disk.kill()
            again = FileJournal(ROOT)
            assert again.records() in ([b"one", b"two"], [b"kept"])
            assert again.sequence >= sequence
            again.append([b"after"])
            disk.lose_power()
            assert FileJournal(ROOT).records()[-1] == b"after"
    assert ended, "no call was the last"
    assert ended == list(range(ended[0], 20)), "each call before the last was one to die at"


@pytest.mark.parametrize("fault", [errno.EIO, errno.ENOSPC])
def test_a_compaction_may_fail_at_any_call(fault: int) -> None:
    for call in range(1, 20):
        disk = Disk(call)
        with disk.mounted():
            journal = FileJournal(ROOT)
            journal.append([b"one"])
            disk.fail_at(call, fault)
            with contextlib.suppress(StateError):
                journal.compact([b"one"])
            disk.heal()
            with contextlib.suppress(StateError):
                journal.append([b"two"])
                disk.lose_power()
                assert FileJournal(ROOT).records() == [b"one", b"two"]
            disk.lose_power()
            assert FileJournal(ROOT).records()[0] == b"one"
