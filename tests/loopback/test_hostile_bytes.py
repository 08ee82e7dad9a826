"""Strangers' bytes at both ports: one reason each, nothing raised, others unharmed."""

from __future__ import annotations

import asyncio
import random
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import pytest

from meshnet import Mesh, MeshConfig
from meshnet.aio import driver
from meshnet.errors import CloseCode
from meshnet.ids import network_id
from meshnet.wire.link import MAGIC, VERSION

PSK = bytes(32)
HELLO = MAGIC + bytes((VERSION, VERSION, 0, 0)) + network_id("meshnet")


@asynccontextmanager
async def pair() -> AsyncIterator[tuple[Mesh, Mesh]]:
    async with Mesh(MeshConfig(listen="127.0.0.1:0", psk=PSK)) as one:
        config = MeshConfig(listen="127.0.0.1:0", psk=PSK, peers=[one.address])
        async with Mesh(config) as other:
            await asyncio.gather(one.wait_connected(), other.wait_connected())
            yield one, other


def run(test: Callable[[], Awaitable[None]]) -> None:
    asyncio.run(asyncio.wait_for(test(), 30))


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0.01)


def port_of(mesh: Mesh) -> int:
    return int(mesh.address.rpartition(":")[2])


async def say(mesh: Mesh, data: bytes) -> bytes:
    """Send ``data`` on a new link, and everything heard until the mesh closes it."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port_of(mesh))
    try:
        writer.write(data)
        return await asyncio.wait_for(reader.read(), 10)
    except ConnectionResetError:
        return b""
    finally:
        writer.close()


def refusals(caplog: pytest.LogCaptureFixture) -> list[str]:
    records: list[Any] = [r for r in caplog.records if r.getMessage() == "link refused"]
    return [record.reason for record in records]


def clear_close(code: CloseCode) -> bytes:
    return bytes((0, 2, 2, code))


@pytest.mark.parametrize(
    ("data", "answer", "reason"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", b"", "not a meshnet peer"),
        (bytes(range(200, 256)), b"", "not a meshnet peer"),
        (
            MAGIC + bytes((VERSION + 1, VERSION + 9, 0, 0)) + network_id("meshnet"),
            HELLO + clear_close(CloseCode.OTHER_VERSION),
            "other version",
        ),
        (
            MAGIC + bytes((VERSION, VERSION, 0, 0)) + network_id("elsewhere"),
            HELLO + clear_close(CloseCode.OTHER_NETWORK),
            "other network",
        ),
        (
            HELLO + b"\xff\xff\x01",
            HELLO + clear_close(CloseCode.PROTOCOL_ERROR),
            "oversized handshake frame",
        ),
        (HELLO + b"\x00\x00", HELLO + clear_close(CloseCode.PROTOCOL_ERROR), "empty frame"),
        (
            HELLO + b"\x00\x05\x03junk",
            HELLO + clear_close(CloseCode.PROTOCOL_ERROR),
            "frame kind 3",
        ),
        (
            HELLO + b"\x00\x05\x01junk",
            HELLO + clear_close(CloseCode.PROTOCOL_ERROR),
            "handshake message",
        ),
    ],
)
def test_a_stranger_on_tcp_gets_one_answer_and_leaves_one_line(
    data: bytes, answer: bytes, reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def test() -> None:
        async with pair() as (one, other):
            assert await say(one, data) == answer
            assert [text for text in refusals(caplog) if reason in text] == refusals(caplog)
            assert len(refusals(caplog)) == 1
            assert await one.ping(other.name) is not None

    run(test)


def test_a_hello_cut_off_is_given_up_after_the_handshake_timeout(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def test() -> None:
        async with pair() as (one, other):
            assert await say(one, HELLO[:10]) == b""
            assert "the handshake was not finished in time" in refusals(caplog)
            assert await one.ping(other.name) is not None

    run(test)


def test_what_is_closed_is_not_kept_for_who_does_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(driver, "CLOSE_TIMEOUT_S", 0.2)

    async def test() -> None:
        async with pair() as (one, other):
            assert one._driver is not None
            links = one._driver._links
            known = set(links)
            with socket.create_connection(("127.0.0.1", port_of(one))):
                await until(lambda: bool(links.keys() - known))
                # More than the kernel takes; what a member can bring about by asking a lot.
                link = links[(links.keys() - known).pop()]
                link.send(bytes(driver.MAX_LINK_BACKLOG_BYTES), close=True)
                await until(lambda: links.keys() == known)
            assert await one.ping(other.name) is not None

    run(test)


def test_a_link_whose_other_end_does_not_read_is_cut_not_kept(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(driver, "MAX_LINK_BACKLOG_BYTES", 2**20)

    async def test() -> None:
        async with pair() as (one, other):
            assert one._driver is not None
            links = one._driver._links
            known = set(links)
            with socket.create_connection(("127.0.0.1", port_of(one))):
                await until(lambda: bool(links.keys() - known))
                link = links[(links.keys() - known).pop()]
                link.send(bytes(2**19), close=False)
                assert link in links.values()
                link.send(bytes(2**25), close=False)  # More than the kernel takes, too.
                await until(lambda: links.keys() == known)
            told = [record.getMessage() for record in caplog.records]
            assert told.count("link cut: the peer does not read") == 1
            assert await one.ping(other.name) is not None

    run(test)


def test_of_strangers_that_say_nothing_so_many_are_let_in(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(driver, "MAX_STRANGERS", 3)

    async def test() -> None:
        config = MeshConfig(listen="127.0.0.1:0", psk=PSK, conn_limit=1)
        async with Mesh(config) as mesh, AsyncExitStack() as stack:
            readers = []
            for _ in range(6):
                reader, writer = await asyncio.open_connection("127.0.0.1", port_of(mesh))
                stack.callback(writer.close)
                readers.append(reader)
            assert mesh._driver is not None
            await until(lambda: sum(is_over(reader) for reader in readers) == 2)
            assert [is_over(reader) for reader in readers] == [False] * 4 + [True] * 2
            assert len(mesh._driver._links) == 4

    run(test)


def is_over(reader: asyncio.StreamReader) -> bool:
    return reader.at_eof() or reader.exception() is not None


def test_random_bytes_on_udp_are_counted_and_nothing_else_happens() -> None:
    async def test() -> None:
        rng = random.Random(7)
        async with pair() as (one, other):
            transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(
                asyncio.DatagramProtocol, remote_addr=("127.0.0.1", port_of(one))
            )
            sent = [rng.randbytes(rng.randrange(1, 1500)) for _ in range(500)]
            sent += [bytes((kind,)) + rng.randbytes(200) for kind in (1, 2, 3, 4) for _ in range(5)]
            for datagram in sent:
                transport.sendto(datagram)
                await asyncio.sleep(0)
            async with asyncio.timeout(5):
                while sum(one.report()["data_path"]["drops"].values()) < len(sent):
                    await asyncio.sleep(0.01)
            drops = one.report()["data_path"]["drops"]
            assert set(drops) <= {
                "truncated",
                "unknown_type",
                "unknown_session",
                "bad_handshake",
                "bad_mac",
            }
            assert drops["bad_mac"] >= 5
            assert await one.ping(other.name) is not None
            transport.close()

    run(test)
