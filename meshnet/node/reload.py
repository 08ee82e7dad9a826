"""Taking up changed settings while the node runs: by SIGHUP, and by `meshnet reload`."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import NoReturn

from meshnet.aio.mesh import Mesh
from meshnet.errors import ConfigError
from meshnet.node.notify import READY, notify, reloading
from meshnet.node.options import NodeConfig

_log = logging.getLogger("meshnet")

# What a running node cannot change; what `Mesh.reload` cannot, it says itself.
_FIXED = (
    "tap",
    "bridge",
    "addresses",
    "state_dir",
    "api",
    "status_addr",
    "metrics",
    "log_format",
)


class Reloader:
    """Reads all options again, files included, and has the mesh take up what it can."""

    def __init__(self, mesh: Mesh, config: NodeConfig, read: Callable[[], NodeConfig]) -> None:
        self._mesh = mesh
        self._config = config
        self._read = read
        self._lock = asyncio.Lock()

    async def reload(self) -> list[str]:
        """The settings that differ but wait for the next start.

        Raises ConfigError when the new settings are unusable; then everything is as before.
        """
        async with self._lock:
            notify(reloading())
            try:
                return await self._reload()
            finally:
                # Refused or not, the node goes on.
                notify(READY)

    async def _reload(self) -> list[str]:
        try:
            new = self._read()
        except ConfigError as error:
            _log.error("reload refused; nothing has changed", extra={"reason": str(error)})
            raise
        unchanged = await self._mesh.reload(new.mesh)
        old = self._config
        unchanged += [name for name in _FIXED if getattr(old, name) != getattr(new, name)]
        if new.log_level != old.log_level:
            logging.getLogger().setLevel(new.log_level.upper())
        self._config = old.replaced(mesh=new.mesh, log_level=new.log_level)
        if self._mesh.config.is_open and not old.mesh.is_open:
            _log.warning("the network is open: anyone may join; give a password")
        if new.mesh.trusted_subnets and not old.mesh.trusted_subnets:
            _log.warning("frames to peers in trusted subnets are not encrypted")
        names = [name.replace("_", "-") for name in unchanged]
        _log.info("settings reloaded")
        if names:
            reason = f"takes effect at the next start only: {', '.join(names)}"
            _log.warning("settings not changed", extra={"reason": reason})
        return names

    async def follow(self, asked: asyncio.Event) -> NoReturn:
        """Reload whenever ``asked`` is set."""
        while True:
            await asked.wait()
            asked.clear()
            try:
                await self.reload()
            except ConfigError:
                continue  # Logged; the settings of before hold.
