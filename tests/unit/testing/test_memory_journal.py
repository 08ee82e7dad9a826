"""The journal's twin fails as a disk does, so that owners can be tested against it."""

from __future__ import annotations

import pytest

from meshnet.errors import StateError
from meshnet.testing import MemoryJournal, MemoryState


@pytest.fixture
def journal() -> MemoryJournal:
    made = MemoryJournal()
    made.append([b"one"])
    return made


def test_a_full_disk_takes_nothing_until_there_is_room(journal: MemoryJournal) -> None:
    journal.disk_full = True
    for call in (journal.append, journal.compact):
        with pytest.raises(StateError, match="No space left"):
            call([b"two"])
    assert journal.records() == [b"one"]
    journal.disk_full = False
    journal.append([b"two"])
    assert journal.records() == [b"one", b"two"]


def test_a_torn_append_is_gone_after_a_restart(journal: MemoryJournal) -> None:
    journal.fail_next_append()
    with pytest.raises(StateError, match="Input/output error"):
        journal.append([b"two", b"three"])
    with pytest.raises(StateError, match="takes nothing more"):
        journal.append([b"four"])
    again = journal.next_life()
    assert again.recovered_bytes > 0
    assert again.records() == [b"one"]
    again.append([b"two"])
    assert again.next_life().recovered_bytes == 0


def test_an_append_whose_sync_failed_may_be_found_by_a_restart(journal: MemoryJournal) -> None:
    sequence = journal.sequence
    journal.fail_next_append(found_by_restart=True)
    with pytest.raises(StateError):
        journal.append([b"two", b"three"])
    assert journal.sequence == sequence, "it was not acknowledged"
    again = journal.next_life()
    assert again.records() == [b"one", b"two", b"three"]
    assert again.sequence > sequence
    assert again.next_life().records() == [b"one", b"two", b"three"]


@pytest.mark.parametrize("found", [True, False])
def test_a_compaction_mends_and_forgets_the_failed_append(
    journal: MemoryJournal, found: bool
) -> None:
    journal.fail_next_append(found_by_restart=found)
    with pytest.raises(StateError):
        journal.append([b"two"])
    journal.compact([b"kept"])
    journal.append([b"three"])
    assert journal.next_life().records() == [b"kept", b"three"]
    assert journal.recovered_bytes == 0


def test_the_next_life_of_a_state_has_the_journal_of_the_last() -> None:
    state = MemoryState()
    state.journal.append([b"one"])
    state.close()
    assert state.next_life().journal.records() == [b"one"]
