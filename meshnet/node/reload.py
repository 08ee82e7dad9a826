"""Taking up changed settings while the node runs: by SIGHUP, and by `meshnet reload`."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import NoReturn

from meshnet.aio.config import MeshConfig
from meshnet.aio.mesh import Mesh
from meshnet.errors import ConfigError
from meshnet.node.notify import READY, notify, reloading
from meshnet.node.options import NodeConfig
from meshnet.report import Reloaded

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


# Settings whose option has another name, for what it does is the other way round, or given singly.
_OPTIONS = {"addresses": "address", "discovery": "no-discovery"}


def warnings_of(config: MeshConfig) -> list[str]:
    """What is not sealed, or not closed, by these settings: not to be said in passing."""
    warnings = []
    if config.is_open:
        warnings.append("the network is open: anyone may join; give a password")
    if config.trusted_subnets:
        warnings.append("frames to peers in trusted subnets are not encrypted")
    return warnings


class Reloader:
    """Reads all options again, files included, and has the mesh take up what it can."""

    def __init__(self, mesh: Mesh, config: NodeConfig, read: Callable[[], NodeConfig]) -> None:
        self._mesh = mesh
        self._config = config
        self._read = read
        self._lock = asyncio.Lock()

    async def reload(self) -> Reloaded:
        """Take up the settings as they are now.

        Raises ConfigError when the new settings are unusable; then everything is as before.
        """
        async with self._lock:
            notify(reloading())
            try:
                return await self._reload()
            finally:
                # Refused or not, the node goes on.
                notify(READY)

    async def _reload(self) -> Reloaded:
        try:
            new = self._read()
        except ConfigError as error:
            _log.error("reload refused; nothing has changed", extra={"reason": str(error)})
            raise
        old, warned = self._config, warnings_of(self._mesh.config)
        unchanged = await self._mesh.reload(new.mesh)
        unchanged += [name for name in _FIXED if getattr(old, name) != getattr(new, name)]
        if new.log_level != old.log_level:
            logging.getLogger().setLevel(new.log_level.upper())
        self._config = old.replaced(mesh=new.mesh, log_level=new.log_level)
        warnings = warnings_of(self._mesh.config)
        for warning in warnings:
            if warning not in warned:
                _log.warning(warning)
        names = [_OPTIONS.get(name, name.replace("_", "-")) for name in unchanged]
        _log.info("settings reloaded")
        if names:
            reason = f"takes effect at the next start only: {', '.join(names)}"
            _log.warning("settings not changed", extra={"reason": reason})
        return {"unchanged": names, "warnings": warnings}

    async def follow(self, asked: asyncio.Event) -> NoReturn:
        """Reload whenever ``asked`` is set."""
        while True:
            await asked.wait()
            asked.clear()
            try:
                await self.reload()
            except ConfigError:
                continue  # Logged; the settings of before hold.
