"""The addresses that a user gave at run time, kept for the next lives.

Written beside the loop: each write is two syncs of the disk, and frames must not wait for those.
"""

from __future__ import annotations

import asyncio
import logging

from meshnet.aio.finish import finish
from meshnet.errors import StateError
from meshnet.ports import StatePort

_log = logging.getLogger(__name__)


class KeptTargets:
    """One write at a time; what changes meanwhile is in the next, however much that is."""

    def __init__(self, state: StatePort) -> None:
        self._state = state
        self._wanted = tuple(state.targets)
        self._writing: asyncio.Task[None] | None = None

    def __contains__(self, target: str) -> bool:
        return target in self._wanted

    def keep(self, target: str) -> None:
        if target not in self._wanted:
            self._change((*self._wanted, target))

    def drop(self, target: str) -> None:
        if target in self._wanted:
            self._change(tuple(other for other in self._wanted if other != target))

    async def idle(self) -> None:
        """Wait until all is on disk, or the log says why not. A cancellation waits for that."""
        while self._writing is not None:
            await finish(self._writing)

    def _change(self, wanted: tuple[str, ...]) -> None:
        self._wanted = wanted
        if self._writing is None:
            self._writing = asyncio.get_running_loop().create_task(self._write())

    async def _write(self) -> None:
        loop = asyncio.get_running_loop()
        written: tuple[str, ...] | None = None
        while written != self._wanted:
            written = self._wanted
            try:
                await loop.run_in_executor(None, self._state.keep_targets, written)
            except Exception as error:
                if not isinstance(error, StateError):
                    _log.exception("state failed")
                _log.warning("targets not kept", extra={"reason": str(error)})
        self._writing = None
