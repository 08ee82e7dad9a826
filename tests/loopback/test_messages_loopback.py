"""Messages by the library: sent, read by topic, refused with a reason."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from meshnet import Mesh, MeshConfig
from meshnet.aio.messages import MAX_UNREAD
from meshnet.errors import ConfigError, DeliveryError, LocalProtocolError


@asynccontextmanager
async def two() -> AsyncIterator[tuple[Mesh, Mesh]]:
    async with Mesh(MeshConfig(listen="127.0.0.1:0")) as one:
        config = MeshConfig(listen="127.0.0.1:0", peers=[one.address])
        async with Mesh(config) as other:
            await one.wait_connected()
            await other.wait_connected()
            yield one, other


def test_a_conversation() -> None:
    async def test() -> None:
        async with two() as (one, other), one.read("answers") as answers:
            async with other.read("questions") as questions:

                async def echo() -> None:
                    async for question in questions:
                        await other.send(question.peer, "answers", question.payload.upper())

                echoing = asyncio.create_task(echo())
                await one.send(other.name, "questions", b"is it there?")
                async for answer in answers:
                    assert (answer.peer, answer.payload) == (other.name, b"IS IT THERE?")
                    break
                echoing.cancel()
            with pytest.raises(DeliveryError, match="nobody there reads this topic"):
                await one.send(other.name, "questions", b"and now?")

    asyncio.run(asyncio.wait_for(test(), 30))


def test_one_reader_for_a_topic() -> None:
    async def test() -> None:
        async with two() as (one, _), one.read("topic"):
            with pytest.raises(ConfigError, match="has a reader"):
                async with one.read("topic"):
                    pass

    asyncio.run(asyncio.wait_for(test(), 30))


def test_a_slow_reader_holds_up_its_senders_and_loses_nothing() -> None:
    async def test() -> None:
        async with two() as (one, other), other.read("topic") as messages:
            for number in range(MAX_UNREAD):
                await one.send(other.name, "topic", b"%d" % number)
            with pytest.raises(DeliveryError, match="reader is behind"):
                await one.send(other.name, "topic", b"too much", timeout_s=0.5)
            late = asyncio.create_task(one.send(other.name, "topic", b"late", timeout_s=20))
            got: list[bytes] = []
            async for message in messages:
                got.append(message.payload)
                if message.payload == b"late":
                    break
            await late
            assert got == [*(b"%d" % number for number in range(MAX_UNREAD)), b"late"]

    asyncio.run(asyncio.wait_for(test(), 30))


def test_the_end_of_the_mesh_ends_readers_and_senders() -> None:
    async def test() -> None:
        async with two() as (one, other):
            reader = one.read("topic")
            await reader.__aenter__()
            ended = one
        assert [message async for message in reader] == []
        with pytest.raises(LocalProtocolError, match="not started, or has ended"):
            await ended.send(other.name, "topic", b"")

    asyncio.run(asyncio.wait_for(test(), 30))
