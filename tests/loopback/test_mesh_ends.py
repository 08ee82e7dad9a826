"""Starts and stops that are cancelled in the middle, and who still waits when a mesh ends."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Awaitable, Callable

import pytest
import uvloop

from meshnet import Mesh, MeshConfig
from meshnet.aio import driver
from meshnet.crdt import LwwMap
from meshnet.errors import LocalProtocolError, TapError
from meshnet.testing import MemoryPort, MemoryState

PSK = bytes(32)
ALONE = MeshConfig(listen="127.0.0.1:0", psk=PSK)

LOOPS = {"asyncio": asyncio.run, "uvloop": uvloop.run}
both_loops = pytest.mark.parametrize("run", LOOPS.values(), ids=LOOPS)
Run = Callable[[Awaitable[None]], None]


def told_of(other: Mesh) -> MeshConfig:
    return MeshConfig(listen="127.0.0.1:0", psk=PSK, peers=[other.address])


@both_loops
def test_a_start_that_is_cancelled_leaves_nothing_that_the_next_trips_over(run: Run) -> None:
    async def test() -> None:
        for turns in range(5):
            cancelled = Mesh(ALONE)
            starting = asyncio.ensure_future(cancelled.__aenter__())
            for _ in range(turns):
                await asyncio.sleep(0)
            starting.cancel()
            [done] = await asyncio.gather(starting, return_exceptions=True)
            if done is cancelled:
                await cancelled.__aexit__(None, None, None)
                continue
            assert not cancelled.is_ready
            # Its sockets had the numbers that these get.
            async with Mesh(ALONE) as a, Mesh(told_of(a)) as b:
                await b.wait_connected()

    run(test())


@both_loops
def test_a_start_that_the_port_refuses_leaves_nothing_that_the_next_trips_over(run: Run) -> None:
    class Refusing(MemoryPort):
        def fileno(self) -> int:
            raise TapError("gone already")

    async def test() -> None:
        port, state = Refusing(), MemoryState()
        state.keep_targets(["no address"])
        with pytest.raises(TapError):
            await Mesh(ALONE, port, state).__aenter__()
        port.close()
        await asyncio.sleep(0.05)
        assert state.targets == ("no address",), "nothing is written after a start that failed"
        async with Mesh(ALONE) as a, Mesh(told_of(a)) as b:
            await b.wait_connected()

    run(test())


@both_loops
def test_a_stop_that_is_cancelled_stops_all_the_same(run: Run) -> None:
    async def stop_cancelled_after(turns: int, a: Mesh) -> None:
        mesh = Mesh(told_of(a), state=MemoryState())
        await mesh.__aenter__()
        await mesh.wait_connected()
        channel = mesh.channel("names", LwwMap)
        changes = channel.changes()
        stopping = asyncio.ensure_future(mesh.__aexit__(None, None, None))
        for _ in range(turns):
            await asyncio.sleep(0)
        # Twice, as by somebody who is in a hurry.
        for _ in range(2):
            stopping.cancel()
            await asyncio.sleep(0)
        await asyncio.gather(stopping, return_exceptions=True)
        assert not mesh.is_ready
        with pytest.raises(LocalProtocolError):
            await channel.update(LwwMap.put, "www", b"10.32.0.5")
        with pytest.raises(StopAsyncIteration):
            await anext(changes)
        assert not [each for each in threading.enumerate() if "journal" in each.name]

    async def test() -> None:
        async with Mesh(ALONE) as a:
            for turns in range(1, 16):
                await stop_cancelled_after(turns, a)

    run(test())


def test_the_end_of_a_mesh_is_told_to_all_who_wait() -> None:
    async def test() -> None:
        port = MemoryPort()
        async with Mesh(ALONE, port) as a:
            mesh = Mesh(told_of(a))
            await mesh.__aenter__()
            await mesh.wait_connected()
            waits = [
                asyncio.ensure_future(wait)
                for wait in (
                    mesh.wait_failed(),
                    mesh.wait_connected(2, timeout_s=60.0),
                    mesh.ping(a.name, timeout_s=60.0),
                )
            ]
            await asyncio.sleep(0)
            await mesh.__aexit__(None, None, None)
            failed, connected, pinged = await asyncio.wait_for(
                asyncio.gather(*waits, return_exceptions=True), 5.0
            )
            assert isinstance(failed, LocalProtocolError)
            assert isinstance(connected, LocalProtocolError)
            assert pinged is None or isinstance(pinged, float), "whoever pings was not cancelled"
        port.close()

    asyncio.run(test())


def test_nobody_reads_at_a_mesh_that_has_ended() -> None:
    async def test() -> None:
        async with Mesh(ALONE) as mesh:
            early = mesh.read("greetings")
        with pytest.raises(LocalProtocolError):
            mesh.read("greetings")
        with pytest.raises(LocalProtocolError):
            await early.__aenter__()

    asyncio.run(test())


def test_a_mesh_is_started_once_at_a_time() -> None:
    async def test() -> None:
        mesh = Mesh(ALONE)
        async with mesh:
            with pytest.raises(LocalProtocolError, match="started already"):
                await mesh.__aenter__()
            assert mesh.is_ready
        async with mesh:
            assert mesh.is_ready

    asyncio.run(test())


@both_loops
@pytest.mark.parametrize("end", ["timeout", "called off"])
def test_a_dial_that_ends_just_when_its_connection_is_made_leaves_no_half_of_a_link(
    run: Run, end: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """On a busy host: the loop closes such a connection, and tells nobody."""
    made = driver._LinkTransport.connection_made
    dialled: list[driver._LinkTransport] = []

    def made_late(link: driver._LinkTransport, transport: asyncio.BaseTransport) -> None:
        made(link, transport)
        if link._target_id is None:
            return
        dialled.append(link)
        if len(dialled) > 1:
            return
        if end == "timeout":
            time.sleep(2 * driver._DIAL_TIMEOUT_S)
        else:
            for task in link._driver._dials:
                task.cancel()

    monkeypatch.setattr(driver._LinkTransport, "connection_made", made_late)
    monkeypatch.setattr(driver, "_DIAL_TIMEOUT_S", 0.1)

    async def test() -> None:
        async with Mesh(ALONE) as a, Mesh(told_of(a)) as b:
            await b.wait_connected(timeout_s=10)
            await asyncio.sleep(0.1)
            [link] = b._engine.links  # type: ignore[union-attr]
            assert dialled[-1]._link_id == link.id
            assert all(not one.is_made for one in dialled[:-1])

    with caplog.at_level(logging.ERROR):
        run(test())
    assert not caplog.records
