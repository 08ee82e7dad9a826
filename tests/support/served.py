"""A small live mesh on loopback whose first peer has an API, for commands that ask a node."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from meshnet import Mesh, MeshConfig
from meshnet.node.api import ApiServer
from meshnet.report import Reloaded, ResetReport
from meshnet.wire.ciphers import CipherId

_PSK = bytes(32)


async def nothing_to_reload() -> Reloaded:
    return {"unchanged": [], "warnings": []}


def nothing_to_leave() -> ResetReport:
    raise AssertionError("no node of its own")


@asynccontextmanager
async def served_mesh(api: Path, names: list[str]) -> AsyncIterator[list[Mesh]]:
    """Meshes with these nicknames, each linked to each; ``api`` is the first one's."""
    async with AsyncExitStack() as stack:
        made: list[Mesh] = []
        for name in names:
            config = MeshConfig(
                nickname=name,
                listen="127.0.0.1:0",
                psk=_PSK,
                peers=[mesh.address for mesh in made],
                ciphers=(CipherId.CHACHA20_POLY1305,),
            )
            made.append(await stack.enter_async_context(Mesh(config)))
        server = ApiServer(made[0], api, nothing_to_reload, nothing_to_leave)
        server.bind()
        await server.start()
        stack.push_async_callback(server.stop)
        await asyncio.gather(*(mesh.wait_connected(len(names) - 1) for mesh in made))
        yield made


def environment(api: Path) -> dict[str, str]:
    """Ours, with ``api`` as the node to ask and nothing else that would configure one."""
    ours = {key: value for key, value in os.environ.items() if not key.startswith("MESHNET_")}
    return {**ours, "MESHNET_API": str(api)}


async def run_meshnet(api: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a command to its end while the mesh goes on."""
    return await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-m", "meshnet", *arguments],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
        env=environment(api),
    )
