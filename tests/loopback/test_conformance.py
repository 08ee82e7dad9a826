"""The seams' implementations that need no privilege keep the seams' promises."""

from __future__ import annotations

import asyncio
from pathlib import Path

from meshnet.ports import JournalPort
from meshnet.store.state import FileState
from meshnet.testing import (
    MemoryJournal,
    MemoryPort,
    MemoryState,
    check_frame_port,
    check_journal_port,
    check_state_port,
)


def test_memory_port_is_a_frame_port() -> None:
    port = MemoryPort()
    asyncio.run(check_frame_port(port, port.send, port.receive))


def test_memory_state_is_a_state_port() -> None:
    state = MemoryState()
    check_state_port(state.next_life)


def test_file_state_is_a_state_port(tmp_path: Path) -> None:
    check_state_port(lambda: FileState(tmp_path / "state"))


def test_memory_journal_is_a_journal_port() -> None:
    journal = MemoryJournal()
    check_journal_port(journal.next_life)


def test_the_journal_of_a_memory_state_is_a_journal_port() -> None:
    state = MemoryState()
    check_journal_port(lambda: state.next_life().journal)


def test_the_journal_of_a_file_state_is_a_journal_port(tmp_path: Path) -> None:
    states: list[FileState] = []

    def next_life() -> JournalPort:
        for state in states:
            state.close()
        states.append(FileState(tmp_path / "state"))
        return states[-1].journal

    check_journal_port(next_life)
