"""How long a peer has been gone outlives the process, unless the disk refuses."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping

import pytest

from meshnet import Mesh, MeshConfig
from meshnet.errors import StateError
from meshnet.testing import MemoryState

PSK = bytes(32)
LOCAL = "127.0.0.1:0"


async def life(state: MemoryState) -> float:
    """A life in which another peer comes and goes; how long it has been gone at its end."""
    async with asyncio.timeout(30), Mesh(MeshConfig(listen=LOCAL, psk=PSK), state=state) as mesh:
        async with Mesh(MeshConfig(listen=LOCAL, psk=PSK, peers=[mesh.address])) as other:
            await asyncio.gather(mesh.wait_connected(), other.wait_connected())
        return await gone_s(mesh)


async def gone_s(mesh: Mesh) -> float:
    while True:
        for row in mesh.report()["peers"]:
            if row["gone"] is not None:
                return row["gone"]["for_s"]
        await asyncio.sleep(0.01)


def test_the_next_life_goes_on_counting() -> None:
    async def test() -> None:
        state = MemoryState()
        await life(state)
        [(name, _)] = state.absent_s.items()
        state.keep_absent_s({name: 1000.0})
        async with asyncio.timeout(30):
            config = MeshConfig(listen=LOCAL, psk=PSK)
            async with Mesh(config, state=state.next_life()) as mesh:
                assert 1000.0 <= await gone_s(mesh) < 1030.0
        assert state.absent_s[name] >= 1000.0

    asyncio.run(test())


def test_a_disk_that_refuses_is_told_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    class FullState(MemoryState):
        def keep_absent_s(self, absent_s: Mapping[str, float]) -> None:
            raise StateError("the disk is full")

    asyncio.run(life(FullState()))
    [warned] = [r for r in caplog.records if r.levelno == logging.WARNING and "kept" in r.message]
    assert warned.getMessage() == "absences not kept"
    assert warned.__dict__["reason"] == "the disk is full"
