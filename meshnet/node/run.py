"""One node's life: open everything, run until told to stop, give everything back."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
from collections.abc import Coroutine
from typing import Any, NoReturn

from meshnet.aio.mesh import Mesh
from meshnet.errors import TapError
from meshnet.gossip.records import MAX_ENDPOINTS
from meshnet.ids import Endpoint, split_host_port
from meshnet.linux.addresses import host_addresses, reachable_addresses
from meshnet.node.api import ApiServer
from meshnet.node.local_side import open_local_side
from meshnet.node.options import NodeConfig
from meshnet.store.state import FileState
from meshnet.wire.identity import Identity

# Our choice: one netlink request each time, well under a millisecond.
ADDRESS_POLL_S = 2.0

_log = logging.getLogger("meshnet")


async def run(config: NodeConfig) -> None:
    """Run a node until SIGTERM, SIGINT or SIGHUP. Raises MeshError when it cannot go on."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        loop.add_signal_handler(number, stop.set)
    async with contextlib.AsyncExitStack() as stack:
        state = FileState(config.state_dir)
        stack.callback(state.close)
        local = open_local_side(config, Identity.of_seed(state.identity_seed).name, stack)
        port = local.port if local is not None else None
        mesh = await stack.enter_async_context(Mesh(config.mesh, port, state))
        api = ApiServer(mesh, config.api)
        await api.start()
        stack.push_async_callback(api.stop)
        _log.info(
            "node started",
            extra={"peer": mesh.name.short, "addr": mesh.address, "network": config.mesh.network},
        )
        if config.mesh.is_open:
            _log.warning("the network is open: anyone may join; give a password")
        overlay = local.interface if local is not None else ""
        waits = [stop.wait(), mesh.wait_failed(), _follow_addresses(mesh, config, overlay)]
        if local is not None:
            waits.append(local.follow_addresses(mesh))
        await _until_first(*waits)
        _log.info("node stopping", extra={"peer": mesh.name.short})


async def _until_first(*waits: Coroutine[Any, Any, object]) -> None:
    """Wait until one of these ends, and end the others. Raises what that one raised."""
    tasks = [asyncio.ensure_future(wait) for wait in waits]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _follow_addresses(mesh: Mesh, config: NodeConfig, overlay: str) -> NoReturn:
    """Announce the host's own addresses, as they come and go, when we listen on all of them.

    Those of the interface ``overlay`` are no way to us.
    """
    host, port = split_host_port(mesh.address, None)
    announced: tuple[Endpoint, ...] = ()
    ours_to_announce = host in ("::", "0.0.0.0") and not config.mesh.advertise
    while ours_to_announce:
        try:
            addresses = reachable_addresses(host_addresses(), without=overlay)
        except OSError as error:
            raise TapError(f"cannot list the host's addresses: {error.strerror}") from error
        usable = [a for a in addresses if a.version == 4 or host == "::"][:MAX_ENDPOINTS]
        endpoints = tuple(Endpoint.of(str(address), port) for address in usable)
        if endpoints != announced:
            announced = endpoints
            mesh.set_advertised(endpoints)
        await asyncio.sleep(ADDRESS_POLL_S)
    await asyncio.Future()
    raise AssertionError("a future of nobody's never ends")
