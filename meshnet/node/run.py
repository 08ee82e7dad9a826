"""One node's life: open everything, run until told to stop, give everything back."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
from collections.abc import Callable, Coroutine
from typing import Any

from meshnet.aio.mesh import Mesh
from meshnet.aio.sockets import listen_tcp
from meshnet.ids import join_host_port
from meshnet.node.api import ApiServer
from meshnet.node.collector import frozen_state
from meshnet.node.http import HttpServer, Routes
from meshnet.node.local_side import open_local_side
from meshnet.node.notify import READY, STOPPING, notify
from meshnet.node.options import NodeConfig
from meshnet.node.reload import Reloader, warnings_of
from meshnet.node.reset import clean
from meshnet.node.status import status_routes
from meshnet.node.underlay import follow_underlay
from meshnet.report import ResetReport
from meshnet.store.state import FileState
from meshnet.wire.identity import Identity

_SERVED = {"--status-addr": "status served", "--metrics": "metrics served"}

_log = logging.getLogger("meshnet")


async def run(config: NodeConfig, read: Callable[[], NodeConfig]) -> None:
    """Run a node until SIGTERM or SIGINT; at SIGHUP, ``read`` its settings again.

    Raises MeshError when it cannot go on.
    """
    stop, reload, left = asyncio.Event(), asyncio.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    loop.add_signal_handler(signal.SIGHUP, reload.set)
    async with contextlib.AsyncExitStack() as stack:
        state = FileState(config.state_dir)
        stack.callback(state.close)
        local = open_local_side(config, Identity.of_seed(state.identity_seed).name, stack)
        port = local.port if local is not None else None
        mesh = Mesh(config.mesh, port, state)
        reloader = Reloader(mesh, config, read)

        def leave() -> ResetReport:
            mesh.leave()
            left.set()
            return {"name": str(mesh.name), "state_dir": str(config.state_dir)}

        api = ApiServer(mesh, config.api, reloader.reload, leave)
        api.bind()  # Before a peer hears of us: the path may be in use.
        stack.callback(api.close)
        await stack.enter_async_context(mesh)
        await api.start()
        stack.push_async_callback(api.stop)
        await _serve_tcp(stack, mesh, config)
        stack.enter_context(frozen_state(loop))
        _log.info(
            "node started",
            extra={"peer": mesh.name.short, "addr": mesh.address, "network": config.mesh.network},
        )
        if config.ignored_variables:
            _log.warning("variables ignored", extra={"text": ", ".join(config.ignored_variables)})
        for warning in warnings_of(config.mesh):
            _log.warning(warning)
        overlay = local.interface if local is not None else ""
        waits = [
            stop.wait(),
            left.wait(),
            mesh.wait_failed(),
            follow_underlay(mesh, overlay),
            reloader.follow(reload),
        ]
        if local is not None:
            waits.append(local.follow_addresses(mesh))
        notify(READY)
        await _until_first(*waits)
        notify(STOPPING)
        _log.info("node stopping", extra={"peer": mesh.name.short})
    if left.is_set():
        removed = clean(config.state_dir)
        _log.info("peer reset", extra={"text": ", ".join(removed)})


async def _serve_tcp(stack: contextlib.AsyncExitStack, mesh: Mesh, config: NodeConfig) -> None:
    """Status and metrics by HTTP, until ``stack`` ends; by one server if by one address."""
    tables: dict[tuple[str, int], dict[str, Routes]] = {}
    if config.status_addr is not None:
        tables[config.status_addr] = {"--status-addr": status_routes(mesh)}
    if config.metrics is not None:
        # Imported here: only who asks for metrics pays for them.
        from meshnet.node.metrics import metrics_routes

        tables.setdefault(config.metrics, {})["--metrics"] = metrics_routes(mesh)
    for (host, port), by_option in tables.items():
        bound = listen_tcp(host, port, next(iter(by_option)))
        address = join_host_port(*bound.getsockname()[:2])
        server = HttpServer({key: h for routes in by_option.values() for key, h in routes.items()})
        await server.start(bound)
        stack.push_async_callback(server.stop)
        for option in by_option:
            _log.info(_SERVED[option], extra={"addr": address})


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
