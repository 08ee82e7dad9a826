"""Reads the journal, and writes the engine's records to it, beside the loop: disks take time."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from meshnet.aio import clock
from meshnet.aio.finish import finish
from meshnet.engine import Engine
from meshnet.errors import StateError
from meshnet.ports import JournalPort, StatePort

_log = logging.getLogger("meshnet")

# Our choice: a journal that could not be begun anew grows by this much before the next try.
RETRY_COMPACTION_BYTES = 2**20


async def read_journal(state: StatePort | None) -> tuple[JournalPort | None, list[bytes]]:
    """The journal, and what it has kept; read in a thread, too. Raises StateError."""
    if state is None:
        return None, []

    def read() -> tuple[JournalPort, list[bytes]]:
        return state.journal, state.journal.records()

    # Not a task, which the end of a loop cancels while its thread goes on. And to its end: whoever
    # called us closes the state next, not while the thread opens it.
    journal, kept = await finish(asyncio.get_running_loop().run_in_executor(None, read))
    if journal.recovered_bytes:
        _log.warning(
            "journal recovered: an append that a crash cut short is left out",
            extra={"recovered_bytes": journal.recovered_bytes},
        )
    return journal, kept


class JournalWriter:
    """One group of records at a time, in a thread of its own; ``drain`` is called after each."""

    def __init__(self, journal: JournalPort, engine: Engine, drain: Callable[[], None]) -> None:
        self._journal = journal
        self._engine = engine
        self._drain = drain
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="meshnet-journal")
        self._task: asyncio.Task[None] | None = None
        self._compact_at_bytes = 0

    def write(self, records: list[bytes]) -> None:
        """Have these written; nothing happens when there are none."""
        if records:
            assert self._task is None, "the engine waits for one group before it gives the next"
            self._task = asyncio.get_running_loop().create_task(self._write(records))

    async def idle(self) -> None:
        """Wait until all that was given is written, or refused."""
        while self._task is not None:
            await asyncio.shield(self._task)

    async def close(self) -> None:
        """Finish what was given; nothing more is written after this."""
        await self.idle()
        self._thread.shutdown()

    async def _write(self, records: list[bytes]) -> None:
        loop = asyncio.get_running_loop()
        try:
            await loop.run_in_executor(self._thread, self._journal.append, records)
        except Exception as error:
            # Whatever it was: what is not surely on disk is not acknowledged, nor waited for.
            if not isinstance(error, StateError):
                _log.exception("journal failed")
            _log.error("journal refused", extra={"reason": str(error)})
            self._task = None
            self._engine.records_refused(str(error), clock.now())
        else:
            await self._compact(loop)
            self._task = None
            self._engine.records_written(clock.now())
        self._drain()

    async def _compact(self, loop: asyncio.AbstractEventLoop) -> None:
        """Begin the journal anew when it has grown; nothing else is being written meanwhile."""
        if not self._journal.wants_compaction or self._journal.size_bytes < self._compact_at_bytes:
            return
        try:
            # In the thread too: fragments are values, and none is written down before this is over.
            snapshot = await loop.run_in_executor(self._thread, self._engine.channels.snapshot)
            await loop.run_in_executor(self._thread, self._journal.compact, snapshot)
        except Exception as error:
            # What was appended is safe, whatever this was: it is acknowledged all the same. Not
            # again at each group: a snapshot costs.
            self._compact_at_bytes = self._journal.size_bytes + RETRY_COMPACTION_BYTES
            _log.warning("journal not compacted", extra={"reason": str(error)})
