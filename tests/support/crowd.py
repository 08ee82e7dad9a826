"""One node as a process, and peers around it in this one: what a node costs its host."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from attrs import define

from meshnet import Mesh, MeshConfig
from meshnet.client import Client
from meshnet.errors import ApiError
from meshnet.wire.ciphers import CipherId
from support.node_process import environment, node_command

_TICKS_PER_S = os.sysconf("SC_CLK_TCK")


@define(frozen=True)
class Crowd:
    """The node among ``peers`` others, each linked to it, with a session each."""

    pid: int
    api: Path

    def memory_bytes(self) -> int:
        """Resident memory."""
        status = Path(f"/proc/{self.pid}/status").read_text(encoding="ascii")
        found = re.search(r"^VmRSS:\s+(\d+) kB", status, re.MULTILINE)
        assert found is not None
        return int(found[1]) * 1024

    def cpu_s(self) -> float:
        """CPU time so far, proc(5): utime and stime."""
        text = Path(f"/proc/{self.pid}/stat").read_text(encoding="ascii")
        fields = text.rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / _TICKS_PER_S


@asynccontextmanager
async def crowd(directory: Path, peers: int, *options: str) -> AsyncIterator[Crowd]:
    """A node without a device, once frames flow between it and all of ``peers``."""
    process = _start(directory, options)
    api = directory / "api.sock"
    try:
        listen = await _listening(api)
        async with AsyncExitStack() as stack:
            for _ in range(peers):
                config = MeshConfig(
                    network="crowd",
                    listen="127.0.0.1:0",
                    peers=[listen],
                    ciphers=(CipherId.CHACHA20_POLY1305,),
                    discovery=False,  # Of interest is the node, not what the others are like.
                )
                await stack.enter_async_context(Mesh(config))
            async with asyncio.timeout(60):
                while await _established(api) < peers:
                    await asyncio.sleep(0.1)
            yield Crowd(process.pid, api)
    finally:
        process.terminate()
        process.wait(10)


def _start(directory: Path, options: tuple[str, ...]) -> subprocess.Popen[bytes]:
    command = node_command(directory, "--network", "crowd", *options)
    return subprocess.Popen(command, stderr=subprocess.DEVNULL, env=environment())


async def _listening(api: Path) -> str:
    async with asyncio.timeout(20):
        while True:
            try:
                return (await asyncio.to_thread(Client(api).report))["listen"]
            except ApiError:
                await asyncio.sleep(0.05)


async def _established(api: Path) -> int:
    report = await asyncio.to_thread(Client(api).report)
    return sum(row["state"] == "established" for row in report["connections"])
