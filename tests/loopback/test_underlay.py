"""A host that changes beneath a running mesh: its addresses, its routes, its sleep."""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import time
from collections.abc import Callable

import pytest

from meshnet import Mesh, MeshConfig
from meshnet.aio import clock
from meshnet.aio.resolver import Resolver
from meshnet.events import LinkLost, SessionLost
from meshnet.ids import Endpoint
from meshnet.linux.changes import Changes, ChangeSocket, Network
from meshnet.node import underlay
from meshnet.node.underlay import UnderlayWatch

PSK = bytes(32)
HEALED_WITHIN_S = 2.0


def config(*peers: str) -> MeshConfig:
    return MeshConfig(listen="127.0.0.1:0", psk=PSK, peers=list(peers))


async def until(condition: Callable[[], bool], within_s: float = 5.0) -> float:
    began = time.monotonic()
    async with asyncio.timeout(within_s):
        while not condition():
            await asyncio.sleep(0.005)
    return time.monotonic() - began


def links_of(mesh: Mesh) -> int:
    assert mesh._engine is not None
    return len(mesh._engine.links.by_peer)


def lost_by(mesh: Mesh, monkeypatch: pytest.MonkeyPatch) -> list[LinkLost | SessionLost]:
    """Filled as it happens."""
    lost: list[LinkLost | SessionLost] = []
    write = mesh._log.write

    def noted(event: object) -> None:
        if isinstance(event, LinkLost | SessionLost):
            lost.append(event)
        write(event)  # type: ignore[arg-type]

    monkeypatch.setattr(mesh._log, "write", noted)
    return lost


def test_links_by_an_address_that_is_gone_end_at_once_and_come_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def test() -> None:
        async with Mesh(config()) as one, Mesh(config(one.address)) as other:
            await other.wait_connected()
            lost = lost_by(other, monkeypatch)
            other.path_changed(vanished={"127.0.0.9"})
            assert lost == []
            other.path_changed(vanished={"127.0.0.1"})
            assert lost == [LinkLost(one.name, "the local address is gone")]
            await until(lambda: links_of(one) == links_of(other) == 1, HEALED_WITHIN_S)
            assert [event for event in lost if isinstance(event, SessionLost)] == []

    asyncio.run(test())


def test_what_was_being_dialled_from_there_is_dialled_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[str] = []

    async def never(_self: Resolver, host: str, _port: int) -> list[Endpoint]:
        asked.append(host)
        await asyncio.Event().wait()
        raise AssertionError

    async def test() -> None:
        async with Mesh(config("192.0.2.1")) as one:
            await until(lambda: len(asked) == 1)
            one.path_changed()
            await asyncio.sleep(0)
            assert len(asked) == 1
            one.path_changed(vanished={"127.0.0.1"})
            await until(lambda: len(asked) == 2, HEALED_WITHIN_S)

    monkeypatch.setattr(Resolver, "resolve", never)
    asyncio.run(test())


@pytest.mark.parametrize("slept_s", [8.0, 3600.0])
def test_a_machine_that_slept_knows_how_old_everything_is(
    monkeypatch: pytest.MonkeyPatch, slept_s: float
) -> None:
    real = clock.now

    async def test() -> None:
        async with Mesh(config()) as one, Mesh(config(one.address)) as other:
            await other.wait_connected()
            await one.wait_connected()
            lost = lost_by(other, monkeypatch)
            # The loop's own clock does not see it.
            monkeypatch.setattr(clock, "now", lambda: real() + slept_s)
            took_s = 0.0
            if slept_s > 180.0:
                took_s = await until(
                    lambda: any("expired" in e.reason for e in lost), HEALED_WITHIN_S
                )
            left_s = HEALED_WITHIN_S - took_s
            await until(lambda: links_of(one) == links_of(other) == 1, left_s)
            await asyncio.wait_for(other.wait_connected(), left_s)
            assert await other.ping(one.name) is not None

    asyncio.run(test())


NEAR: Network = ipaddress.ip_network("192.0.2.0/24")
FAR: Network = ipaddress.ip_network("198.51.100.0/24")
EVERYWHERE: Network = ipaddress.ip_network("::/0")


class Kernel:
    """In place of `ChangeSocket`."""

    def __init__(self, *said: Changes | OSError) -> None:
        self._said = list(said)
        self.closed = False

    def read(self) -> Changes:
        item = self._said.pop(0)
        if isinstance(item, OSError):
            raise item
        return item

    def fileno(self) -> int:
        return 0

    def close(self) -> None:
        self.closed = True


def watch_of(kernel: Kernel) -> UnderlayWatch:
    """On the running loop, which itself looks at nothing."""
    watch = UnderlayWatch()
    watch._socket = kernel  # type: ignore[assignment]
    return watch


@pytest.mark.parametrize(
    ("routes", "missed", "changed"),
    [
        ((), False, False),
        ((FAR,), False, False),
        ((FAR, NEAR), False, True),
        ((EVERYWHERE,), False, True),
        ((), True, True),
    ],
)
def test_which_routes_matter(routes: tuple[Network, ...], missed: bool, changed: bool) -> None:
    async def test() -> None:
        watch = watch_of(Kernel(Changes(False, routes, missed)))
        watch._readable()
        assert watch.routes_changed({"192.0.2.7", "2001:db8::1"}) == changed
        watch.clear()
        assert not watch.routes_changed({"192.0.2.7"})

    asyncio.run(test())


def test_a_router_that_learns_thousands_of_routes_costs_no_memory() -> None:
    many = tuple(ipaddress.ip_network((number << 8, 24)) for number in range(underlay.MAX_ROUTES))

    async def test() -> None:
        watch = watch_of(Kernel(Changes(False, many, False), Changes(False, (EVERYWHERE,), False)))
        watch._readable()
        assert not watch.routes_changed(())
        watch._readable()
        assert len(watch._routes) == 0
        assert watch.routes_changed(())

    asyncio.run(test())


def test_news_ends_the_wait_and_nothing_else_does() -> None:
    async def test() -> None:
        watch = watch_of(Kernel(Changes(True, (), False), Changes(False, (), False)))
        began = time.monotonic()
        watch._readable()
        await watch.wait(5.0)
        assert time.monotonic() - began < 4.0
        watch._readable()
        waits = asyncio.ensure_future(watch.wait(0.2))
        await asyncio.sleep(0.1)
        assert not waits.done()
        await waits

    asyncio.run(test())


def test_without_netlink_the_host_is_still_asked(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(_self: ChangeSocket) -> None:
        raise PermissionError(1, "Operation not permitted")

    async def test() -> None:
        with UnderlayWatch() as watch:
            await watch.wait(0.01)

    monkeypatch.setattr(ChangeSocket, "__init__", refuse)
    with caplog.at_level(logging.WARNING, "meshnet"):
        asyncio.run(test())
    assert [record.message for record in caplog.records] == [
        "changes of addresses are noticed late"
    ]


def test_news_that_end_are_told_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def test() -> None:
        kernel = Kernel(OSError(9, "Bad file descriptor"))
        watch = watch_of(kernel)
        monkeypatch.setattr(watch._loop, "remove_reader", lambda _fd: True)
        with caplog.at_level(logging.WARNING, "meshnet"):
            watch._readable()
        assert kernel.closed
        await watch.wait(0.01)

    asyncio.run(test())
    assert len(caplog.records) == 1
