"""Names: looked up without holding anybody up, each address gets its turn, and reasons are true."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest

from meshnet import Mesh, MeshConfig
from meshnet.aio import resolver as resolver_module
from meshnet.aio.resolver import ResolveError, Resolver
from meshnet.ids import Endpoint

PSK = bytes(32)
Infos = list[tuple[int, int, int, str, tuple[str, int]]]


def run(test: Callable[[], Awaitable[None]]) -> None:
    asyncio.run(asyncio.wait_for(test(), 30))


def infos(*addresses: str) -> Infos:
    return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, 0)) for address in addresses]


@pytest.fixture
def dead_dns(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """A look-up that nobody answers until the test is over; the names that were asked for."""
    asked: list[str] = []
    over = threading.Event()

    real = socket.getaddrinfo

    def look_up(host: str, *more: Any, **options: Any) -> Any:
        if not host.endswith(".example"):
            return real(host, *more, **options)
        asked.append(host)
        over.wait(20)
        return infos("127.0.0.1")

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    yield asked
    over.set()


def test_an_address_needs_no_look_up(dead_dns: list[str]) -> None:
    async def test() -> None:
        assert await Resolver().resolve("192.0.2.1", 7) == [Endpoint("192.0.2.1", 7)]
        assert await Resolver().resolve("::ffff:192.0.2.1", 7) == [Endpoint("192.0.2.1", 7)]
        assert dead_dns == []

    run(test)


def test_a_name_nobody_answers_for_is_given_up_and_asked_for_once(
    dead_dns: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resolver_module, "_TIMEOUT_S", 0.05)

    async def test() -> None:
        resolver = Resolver()
        for _ in range(3):
            with pytest.raises(ResolveError, match="no answer to the look-up of slow"):
                await resolver.resolve("slow.example", 7)
        assert dead_dns == ["slow.example"]

    run(test)


def test_a_name_without_address_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def look_up(*_: object, **__: object) -> Infos:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", look_up)

    async def test() -> None:
        with pytest.raises(ResolveError, match="nowhere: Name or service not known"):
            await Resolver().resolve("nowhere", 7)

    run(test)


def test_stopping_does_not_wait_for_look_ups(dead_dns: list[str]) -> None:
    async def test() -> None:
        async with Mesh(
            MeshConfig(listen="127.0.0.1:0", psk=PSK, peers=["a.example", "b.example"])
        ):
            while len(dead_dns) < 2:
                await asyncio.sleep(0.01)

    start = time.monotonic()
    run(test)
    assert time.monotonic() - start < 5


def test_the_addresses_of_a_name_take_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    async def test() -> None:
        async with Mesh(MeshConfig(listen="127.0.0.1:0", psk=PSK)) as one:
            port = one.address.rpartition(":")[2]
            # Nobody listens at the first; a name whose first address is dead must still work.
            found = infos("127.0.0.9", "127.0.0.1")
            monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)
            config = MeshConfig(listen="127.0.0.1:0", psk=PSK, peers=[f"two.example:{port}"])
            async with Mesh(config) as other:
                await other.wait_connected()

    run(test)
