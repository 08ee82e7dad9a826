"""A mesh and what its lives before wrote down: read beside the loop; what was cut short is told."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from meshnet import Mesh, MeshConfig
from meshnet.errors import LocalProtocolError, StateError
from meshnet.store.state import FileState
from meshnet.testing.journal import MemoryJournal
from meshnet.testing.state import MemoryState

CONFIG = MeshConfig(listen="127.0.0.1:0", psk=b"\x07" * 32)


class SlowState:
    """A state on a disk that takes its time: until ``may_open`` is set."""

    def __init__(self, error: StateError | None = None) -> None:
        memory = MemoryState()
        self.identity_seed, self.incarnation, self.generation = memory.identity_seed, 1, 1
        self.is_asked, self.may_open, self.is_open = (threading.Event() for _ in range(3))
        self.targets: tuple[str, ...] = ()
        self.absent_s: dict[str, float] = {}
        self._journal = memory.journal
        self._error = error

    @property
    def journal(self) -> MemoryJournal:
        self.is_asked.set()
        assert self.may_open.wait(10), "the loop stands still while the journal is opened"
        if self._error is not None:
            raise self._error
        self.is_open.set()
        return self._journal

    def keep_targets(self, targets: Sequence[str]) -> None:
        self.targets = tuple(targets)

    def keep_absent_s(self, absent_s: Mapping[str, float]) -> None:
        self.absent_s = dict(absent_s)

    def close(self) -> None:
        self._journal.close()


async def asked(state: SlowState) -> None:
    async with asyncio.timeout(10):
        while not state.is_asked.is_set():
            await asyncio.sleep(0.001)


def test_the_loop_goes_on_while_the_journal_is_opened() -> None:
    async def test() -> None:
        state = SlowState()
        starting = asyncio.ensure_future(Mesh(CONFIG, state=state).__aenter__())
        await asked(state)
        assert not starting.done()
        state.may_open.set()
        mesh = await starting
        assert mesh.is_ready
        await mesh.__aexit__(None, None, None)

    asyncio.run(test())


def test_a_start_that_is_cancelled_ends_when_the_journal_is_no_longer_being_opened() -> None:
    async def test() -> None:
        state = SlowState()
        starting = asyncio.ensure_future(Mesh(CONFIG, state=state).__aenter__())
        await asked(state)
        # Twice, as by somebody who is in a hurry: what is closed next is still in use.
        for _ in range(2):
            starting.cancel()
            done, _ = await asyncio.wait([starting], timeout=0.05)
            assert not done
        state.may_open.set()
        with pytest.raises(asyncio.CancelledError):
            await starting
        assert state.is_open.is_set()

    asyncio.run(test())


def test_a_journal_that_cannot_be_read_ends_the_start() -> None:
    async def test() -> None:
        state = SlowState(StateError("journal is damaged; restore it"))
        state.may_open.set()
        with pytest.raises(StateError, match="restore it"):
            await Mesh(CONFIG, state=state).__aenter__()

    asyncio.run(test())


def test_an_append_that_a_crash_cut_short_is_told_of(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    state = FileState(tmp_path)
    state.journal.append([b"never acknowledged"])
    state.close()
    path = tmp_path / "journal"
    path.write_bytes(path.read_bytes()[:-5])

    async def test() -> None:
        again = FileState(tmp_path)
        try:
            async with Mesh(CONFIG, state=again):
                pass
        finally:
            again.close()

    asyncio.run(test())
    [warning] = [record for record in caplog.records if "journal" in record.getMessage()]
    assert (warning.name, warning.levelno) == ("meshnet", logging.WARNING)
    assert vars(warning)["recovered_bytes"] > 0
    caplog.clear()
    asyncio.run(test())
    assert not [record for record in caplog.records if "journal" in record.getMessage()]


def test_a_state_is_opened_anew_for_each_start(tmp_path: Path) -> None:
    """A second start on one generation would repeat stamps, and peers would not answer."""

    async def test() -> None:
        memory = MemoryState()
        for state in (FileState(tmp_path), memory):
            async with Mesh(CONFIG, state=state):
                with pytest.raises(LocalProtocolError, match="open it anew"):
                    await Mesh(CONFIG, state=state).__aenter__()
            with pytest.raises(LocalProtocolError, match="open it anew"):
                await Mesh(CONFIG, state=state).__aenter__()
            if isinstance(state, FileState):
                state.close()
        for state in (FileState(tmp_path), memory.next_life()):
            async with Mesh(CONFIG, state=state) as mesh:
                assert mesh.is_ready
            state.close()

    asyncio.run(test())
