"""The seams' implementations that need no privilege keep the seams' promises."""

from __future__ import annotations

import asyncio
from pathlib import Path

from meshnet.store.state import FileState
from meshnet.testing import MemoryPort, MemoryState, check_frame_port, check_state_port


def test_memory_port_is_a_frame_port() -> None:
    port = MemoryPort()
    asyncio.run(check_frame_port(port, port.send, port.receive))


def test_memory_state_is_a_state_port() -> None:
    state = MemoryState()
    check_state_port(state.next_life)


def test_file_state_is_a_state_port(tmp_path: Path) -> None:
    check_state_port(lambda: FileState(tmp_path / "state"))
