"""One node's life: open everything, run until told to stop, give everything back."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal

from meshnet.aio.mesh import Mesh
from meshnet.errors import TapError
from meshnet.gossip.records import MAX_ENDPOINTS
from meshnet.ids import Endpoint, split_host_port
from meshnet.linux.addresses import add_address, host_addresses, reachable_addresses
from meshnet.node.api import ApiServer
from meshnet.node.options import NodeConfig
from meshnet.store.state import FileState
from meshnet.wire.identity import Identity

_log = logging.getLogger("meshnet")


async def run(config: NodeConfig) -> None:
    """Run a node until SIGTERM or SIGINT. Raises MeshError when it cannot start."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    async with contextlib.AsyncExitStack() as stack:
        state = FileState(config.state_dir)
        stack.callback(state.close)
        port = None
        if config.tap is not None:
            # Imported here: a node without a device needs no TAP support.
            from meshnet.tap.device import Tap

            port = Tap(config.tap, Identity.of_seed(state.identity_seed).name, config.mesh.mtu)
            stack.callback(port.close)
            for address in config.addresses:
                add_address(port.name, address)
        mesh = await stack.enter_async_context(Mesh(config.mesh, port, state))
        if not config.mesh.advertise:
            _advertise_host(mesh, config)
        api = ApiServer(mesh, config.api)
        await api.start()
        stack.push_async_callback(api.stop)
        _log.info(
            "node started",
            extra={"peer": mesh.name.short, "addr": mesh.address, "network": config.mesh.network},
        )
        if config.mesh.is_open:
            _log.warning("the network is open: anyone may join; give a password")
        await stop.wait()
        _log.info("node stopping", extra={"peer": mesh.name.short})


def _advertise_host(mesh: Mesh, config: NodeConfig) -> None:
    """Announce the host's own addresses when we listen on all of them."""
    host, port = split_host_port(mesh.address, None)
    if host not in ("::", "0.0.0.0"):
        return
    try:
        addresses = reachable_addresses(host_addresses(), without=config.tap or "")
    except OSError as error:
        raise TapError(f"cannot list the host's addresses: {error.strerror}") from error
    usable = [a for a in addresses if a.version == 4 or host == "::"][:MAX_ENDPOINTS]
    mesh.set_advertised(tuple(Endpoint.of(str(address), port) for address in usable))
