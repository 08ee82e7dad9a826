"""How long peers have been gone, kept for the next life: else a restart would begin their leases
anew, and who restarts every week would never forget anybody.

Written beside the loop, now and then and at the end: leases are counted in days.
"""

from __future__ import annotations

import asyncio
import logging
from time import monotonic
from typing import NoReturn

from meshnet.aio.finish import finish
from meshnet.engine import Engine
from meshnet.errors import StateError
from meshnet.ports import StatePort

_log = logging.getLogger(__name__)

# Our choice: what a crash may cost of an absence.
KEEP_INTERVAL_S = 3600.0


class KeptAbsences:
    """Follows ``engine`` from when it is made until `stop`."""

    def __init__(self, state: StatePort, engine: Engine) -> None:
        self._state = state
        self._engine = engine
        self._task = asyncio.get_running_loop().create_task(self._follow())

    async def stop(self) -> None:
        """Keep what is known by now; on disk when this returns, or the log says why not."""
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        await self._keep()

    async def _follow(self) -> NoReturn:
        while True:
            await asyncio.sleep(KEEP_INTERVAL_S)
            await self._keep()

    async def _keep(self) -> None:
        durations = self._engine.attendance.absences.durations(monotonic())
        absent_s = {str(peer): round(gone_s, 1) for peer, gone_s in sorted(durations.items())}
        if absent_s == self._state.absent_s:
            return
        loop = asyncio.get_running_loop()
        try:
            await finish(loop.run_in_executor(None, self._state.keep_absent_s, absent_s))
        except StateError as error:
            _log.warning("absences not kept", extra={"reason": str(error)})
