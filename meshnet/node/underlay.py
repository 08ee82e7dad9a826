"""Follows the host's own addresses and routes, and tells the mesh when its way to others changes.

The kernel says at once what changes; what it does not say is found by asking every two seconds.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import logging
from collections.abc import Collection
from typing import NoReturn, Self

from meshnet.aio.mesh import Mesh
from meshnet.ids import Endpoint, split_host_port
from meshnet.linux.addresses import HostAddress, host_addresses, reachable_addresses
from meshnet.linux.changes import ChangeSocket, Network
from meshnet.node.poll import poll
from meshnet.topology.records import MAX_ENDPOINTS

# Our choice. A new address, its routes, and what they take the place of are a dozen messages: one
# look for all of them, soon enough for the last to be acted on in good time.
SETTLE_S = 0.05
# A router that learns thousands of routes: which of them they were does not matter then.
MAX_ROUTES = 256

_log = logging.getLogger("meshnet")


async def follow_underlay(mesh: Mesh, overlay: str) -> NoReturn:
    """Announce the host's own addresses when we listen on all of them, and say what has changed.

    Those of the interface ``overlay`` are no way to us.
    """
    host, port = split_host_port(mesh.address, None)
    before: Collection[str] | None = None
    with UnderlayWatch() as watch:
        async for found in poll(host_addresses, pause=watch.wait):
            if host in ("::", "0.0.0.0") and not mesh.config.advertise:
                usable = _announced(found, without=overlay, with_ipv6=host == "::")
                mesh.set_advertised(tuple(Endpoint.of(address, port) for address in usable))
            now = {str(entry.address) for entry in found if entry.interface != overlay}
            if before is not None and (now != before or watch.routes_changed(mesh.underlay_hosts)):
                mesh.path_changed(vanished=set(before) - now)
            watch.clear()
            before = now
    raise AssertionError("a poll never ends")


def _announced(found: list[HostAddress], *, without: str, with_ipv6: bool) -> list[str]:
    reachable = reachable_addresses(found, without=without)
    return [str(a) for a in reachable if a.version == 4 or with_ipv6][:MAX_ENDPOINTS]


class UnderlayWatch:
    """What the kernel has said of routes since `clear`, on the running loop."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._news = asyncio.Event()
        self._routes: set[Network] = set()
        self._missed = False
        self._socket: ChangeSocket | None = None

    def __enter__(self) -> Self:
        try:
            self._socket = ChangeSocket()
        except OSError as error:
            self._say_that_nothing_comes(error)
        else:
            self._loop.add_reader(self._socket.fileno(), self._readable)
        return self

    def __exit__(self, *_: object) -> None:
        if self._socket is not None:
            self._loop.remove_reader(self._socket.fileno())
            self._socket.close()
            self._socket = None

    async def wait(self, timeout_s: float) -> None:
        """Until something has changed, and a moment more; or until the time is over."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self._news.wait()
                await asyncio.sleep(SETTLE_S)
        self._news.clear()

    def routes_changed(self, hosts: Collection[str]) -> bool:
        """Whether the way to one of ``hosts`` may be another, or to everywhere."""
        if self._missed or any(route.prefixlen == 0 for route in self._routes):
            return True
        addresses = [ipaddress.ip_address(host) for host in hosts] if self._routes else []
        return any(address in route for address in addresses for route in self._routes)

    def clear(self) -> None:
        self._routes.clear()
        self._missed = False

    def _readable(self) -> None:
        assert self._socket is not None, "who is closed is not watched"
        try:
            changes = self._socket.read()
        except OSError as error:
            self.__exit__()
            self._say_that_nothing_comes(error)
            return
        self._routes.update(changes.routes)
        self._missed = self._missed or changes.missed or len(self._routes) > MAX_ROUTES
        if self._missed:
            self._routes.clear()
        if changes:
            self._news.set()

    def _say_that_nothing_comes(self, error: OSError) -> None:
        reason = error.strerror or str(error)
        _log.warning("changes of addresses are noticed late", extra={"reason": reason})
