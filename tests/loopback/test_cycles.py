"""A process that makes mesh after mesh is afterwards as it was before."""

from __future__ import annotations

import asyncio
import gc
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
import uvloop
from attrs import define

from meshnet import Mesh, MeshConfig
from meshnet.crdt import OrSet
from meshnet.testing import MemoryPort, MemoryState
from meshnet.wire.ciphers import CipherId

PSK = bytes(32)
# What varies without a leak: the allocator's pages, and objects that caches and counters hold.
ALLOWED_GROWTH_BYTES = 2 * 1024 * 1024
ALLOWED_OBJECTS = 200


@define(frozen=True)
class Held:
    """What the process has at one moment."""

    descriptors: int
    threads: int
    tasks: int
    objects: int
    memory_bytes: int

    @classmethod
    def now(cls) -> Held:
        gc.collect()
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
        return cls(
            descriptors=len(list(Path("/proc/self/fd").iterdir())),
            threads=threading.active_count(),
            tasks=len(asyncio.all_tasks()),
            objects=len(gc.get_objects()),
            memory_bytes=pages * 4096,
        )


def config(**settings: object) -> MeshConfig:
    # The cipher is given, so that no start measures which is faster.
    ciphers = (CipherId.CHACHA20_POLY1305,)
    return MeshConfig(listen="127.0.0.1:0", psk=PSK, ciphers=ciphers, **settings)  # type: ignore[arg-type]


async def alone() -> None:
    """Start, and stop at once."""
    port = MemoryPort()
    async with Mesh(config(), port):
        pass
    port.close()


async def pair() -> None:
    """Start, connect, and stop."""
    async with (
        Mesh(config()) as one,
        Mesh(config(peers=[one.address])) as other,
    ):
        await asyncio.gather(one.wait_connected(), other.wait_connected())


async def nobody_there() -> None:
    """Start, dial in vain, and stop while a look-up or a dial may be under way."""
    async with Mesh(config(peers=["127.0.0.9:1", "127.0.0.10:1"])) as mesh:
        await asyncio.sleep(0)
        mesh.connect("127.0.0.11:1")


async def with_state() -> None:
    """Start on a state, have an update kept, and stop."""
    state = MemoryState()
    async with Mesh(config(), state=state) as mesh:
        await mesh.channel("cycles", OrSet).update(OrSet.add, "kept")
    state.close()


@pytest.mark.parametrize("loop", [asyncio.run, uvloop.run], ids=["asyncio", "uvloop"])
@pytest.mark.parametrize(
    ("cycle", "count"),
    [(alone, 1000), (nobody_there, 300), (pair, 100), (with_state, 100)],
    ids=["alone", "nobody-there", "pair", "with-state"],
)
def test_starts_and_stops_leave_nothing(
    loop: Callable[[Awaitable[None]], None], cycle: Callable[[], Awaitable[None]], count: int
) -> None:
    async def test() -> None:
        for _ in range(20):  # Caches fill, the allocator finds its size.
            await cycle()
        before = Held.now()
        for _ in range(count):
            await cycle()
        after = Held.now()
        assert (after.descriptors, after.threads, after.tasks) == (
            before.descriptors,
            before.threads,
            before.tasks,
        )
        assert after.objects - before.objects < ALLOWED_OBJECTS
        assert after.memory_bytes - before.memory_bytes < ALLOWED_GROWTH_BYTES

    loop(test())
