"""A member that sends without pause does not hold up the loop."""

from __future__ import annotations

import asyncio

import pytest

from meshnet import Mesh, MeshConfig
from meshnet.aio import driver as driver_module
from meshnet.engine import Engine
from meshnet.wire.messages import MessageType


@pytest.mark.parametrize("messages", [20_000])
def test_many_messages_are_worked_through_in_slices(
    monkeypatch: pytest.MonkeyPatch, messages: int
) -> None:
    pieces: list[int] = []
    receive = Engine.receive_link_bytes

    def counted(self: Engine, link_id: int, data: bytes, now: float) -> None:
        pieces.append(len(data))
        receive(self, link_id, data, now)

    async def test() -> None:
        async with Mesh(MeshConfig(listen="127.0.0.1:0")) as one:
            config = MeshConfig(listen="127.0.0.1:0", peers=[one.address])
            async with Mesh(config) as other:
                await other.wait_connected()
                await one.wait_connected()
                monkeypatch.setattr(Engine, "receive_link_bytes", counted)
                assert other._engine is not None
                for _ in range(messages):
                    other._engine.links.send(one.name, MessageType.PONG, bytes(8))
                other._drain()
                # Whatever else the loop has to do has its turn between slices.
                turns = 0
                while sum(pieces) < messages * 20:
                    await asyncio.sleep(0)
                    turns += 1
                assert max(pieces) <= driver_module.LINK_SLICE_BYTES
                assert turns >= sum(pieces) // (2 * driver_module.LINK_SLICE_BYTES)
                assert (await other.ping(one.name)) is not None

    asyncio.run(asyncio.wait_for(test(), 30))


def test_while_there_is_much_to_work_through_no_more_is_read() -> None:
    async def test() -> None:
        async with Mesh(MeshConfig(listen="127.0.0.1:0")) as one:
            config = MeshConfig(listen="127.0.0.1:0", peers=[one.address])
            async with Mesh(config) as other:
                await other.wait_connected()
                await one.wait_connected()
                assert one._driver is not None
                assert other._engine is not None
                [link] = one._driver._links.values()
                for _ in range(40_000):
                    other._engine.links.send(one.name, MessageType.PONG, bytes(8))
                other._drain()
                most, counters = 0, one._running.counters
                enough = counters.link_bytes_received + 800_000
                while counters.link_bytes_received < enough:
                    await asyncio.sleep(0)
                    most = max(most, len(link._unread))
                # What one read brings, not all that the other end has to say.
                assert driver_module.LINK_SLICE_BYTES < most < 600_000

    asyncio.run(asyncio.wait_for(test(), 30))
