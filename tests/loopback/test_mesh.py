"""`Mesh` over real sockets on loopback: what a user of the library is promised."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import pytest

from meshnet import Mesh, MeshConfig
from meshnet.errors import ConfigError, ListenError, LocalProtocolError, TapError
from meshnet.ids import PeerName
from meshnet.report import ConnectionReport
from meshnet.testing import MemoryPort, MemoryState
from meshnet.wire.ciphers import CipherId
from support.frames import receive_data

PSK = bytes(32)
BROADCAST = b"\xff" * 6
MAC = [bytes((2, 0, 0, 0, 0, number)) for number in range(4)]


def frame(dst: bytes, src: bytes, text: bytes) -> bytes:
    return dst + src + b"\x88\xb5" + text


@asynccontextmanager
async def meshes(
    count: int, **settings: object
) -> AsyncIterator[tuple[list[Mesh], list[MemoryPort]]]:
    """``count`` meshes in full mesh; all but the first are told of the first only."""
    async with AsyncExitStack() as stack:
        made: list[Mesh] = []
        ports: list[MemoryPort] = []
        for number in range(count):
            port = MemoryPort(f"port{number}")
            stack.callback(port.close)
            config = MeshConfig(
                nickname=f"n{number}",
                listen="127.0.0.1:0",
                psk=PSK,
                peers=[made[0].address] if made else [],
                **settings,  # type: ignore[arg-type]
            )
            made.append(await stack.enter_async_context(Mesh(config, port)))
            ports.append(port)
        await asyncio.gather(*(mesh.wait_connected(count - 1) for mesh in made))
        yield made, ports


async def until(condition: Callable[[], bool], timeout_s: float = 5.0) -> None:
    """Poll: what is waited for is another process's or socket's doing."""
    async with asyncio.timeout(timeout_s):
        while not condition():
            await asyncio.sleep(0.01)


def run(test: Callable[[], Awaitable[None]]) -> None:
    asyncio.run(asyncio.wait_for(test(), 30))


def row_of(mesh: Mesh, **fields: object) -> list[ConnectionReport]:
    return [
        row
        for row in mesh.report()["connections"]
        if all(row[key] == value for key, value in fields.items())  # type: ignore[literal-required]
    ]


def test_broadcast_reaches_all_and_unicast_its_owner_only() -> None:
    async def test() -> None:
        async with meshes(3) as (_, ports):
            for sender in (0, 1):
                ports[sender].send(frame(BROADCAST, MAC[sender], b"to all"))
                for port in ports:
                    if port is not ports[sender]:
                        assert await port.receive() == frame(BROADCAST, MAC[sender], b"to all")
            ports[1].send(frame(MAC[0], MAC[1], b"to 0"))
            assert await ports[0].receive() == frame(MAC[0], MAC[1], b"to 0")
            ports[0].send(frame(MAC[1], MAC[0], b"to 1"))
            assert await ports[1].receive() == frame(MAC[1], MAC[0], b"to 1")
            with pytest.raises(TimeoutError):
                await ports[2].receive(timeout_s=0.2)

    run(test)


@pytest.mark.parametrize(
    ("cipher", "name"),
    [(CipherId.AEGIS_128L, "AEGIS-128L"), (CipherId.CHACHA20_POLY1305, "ChaCha20-Poly1305")],
)
def test_the_cipher_chosen_is_the_cipher_reported(cipher: CipherId, name: str) -> None:
    async def test() -> None:
        async with meshes(2, ciphers=(cipher,)) as (made, ports):
            assert [row["cipher"] for row in made[0].report()["connections"]] == [name]
            ports[0].send(frame(BROADCAST, MAC[0], b"sealed"))
            assert (await ports[1].receive()).endswith(b"sealed")

    run(test)


def test_ping_measures_and_knows_when_there_is_nobody() -> None:
    async def test() -> None:
        async with meshes(2) as (made, _):
            rtt_s = await made[0].ping(made[1].name)
            assert rtt_s is not None
            assert 0 < rtt_s < 1
            assert await made[0].ping(made[0].name) is None

    run(test)


def test_a_peer_that_stops_says_goodbye_and_is_back_after_its_restart() -> None:
    async def test() -> None:
        port = MemoryPort()
        state = MemoryState()
        async with Mesh(MeshConfig(nickname="a", listen="127.0.0.1:0", psk=PSK), port) as stays:
            config = MeshConfig(nickname="b", listen="127.0.0.1:0", psk=PSK, peers=[stays.address])
            async with Mesh(config, state=state) as goes:
                await stays.wait_connected()
                name = goes.name
            await until(lambda: not stays.connected_peers())
            async with Mesh(config, state=state.next_life()) as back:
                await stays.wait_connected(timeout_s=3)
                assert back.name == name
                assert stays.connected_peers() == [name]
        port.close()

    run(test)


def test_keys_are_renewed_over_real_sockets_without_losing_a_frame(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("DEBUG", "meshnet")

    async def test() -> None:
        async with meshes(2, rekey_after_s=0.4) as (_, (one, other)):
            one.send(frame(BROADCAST, MAC[0], b"here I am"))
            await other.receive()
            renewals: list[str] = []
            for number in range(1000):
                text = str(number).encode()
                other.send(frame(MAC[0], MAC[1], text))
                assert (await receive_data(one)).endswith(text)
                renewals = [r.getMessage() for r in caplog.records if "renewed" in r.getMessage()]
                if len(renewals) >= 6:
                    break
                await asyncio.sleep(0.005)
            assert len(renewals) >= 6
            lost = [r for r in caplog.records if r.getMessage() == "session lost"]
            assert lost == []

    run(test)


def refusal(ours: MeshConfig, theirs: MeshConfig) -> tuple[str, str]:
    """(our row's state, its reason) when ``theirs`` is listened at and ``ours`` dials."""
    seen: list[tuple[str, str]] = []

    async def test() -> None:
        async with Mesh(theirs) as listener, Mesh(ours) as dialler:
            dialler.connect(listener.address)
            await until(lambda: bool(row_of(dialler, state="failed")))
            row = dialler.report()["connections"][0]
            seen.append((row["state"], row["reason"]))
            assert not dialler.connected_peers()
            assert not listener.connected_peers()

    run(test)
    return seen[0]


def test_a_wrong_password_is_told_as_such() -> None:
    state, reason = refusal(
        MeshConfig(listen="127.0.0.1:0", password="one"),
        MeshConfig(listen="127.0.0.1:0", password="other"),
    )
    assert (state, reason.split(" (")[0]) == ("failed", "wrong password")


def test_a_password_against_none_is_a_wrong_password() -> None:
    _, reason = refusal(
        MeshConfig(listen="127.0.0.1:0", password="one"), MeshConfig(listen="127.0.0.1:0")
    )
    assert reason.startswith("wrong password")


def test_another_network_is_told_as_such() -> None:
    _, reason = refusal(
        MeshConfig(listen="127.0.0.1:0", psk=PSK, network="one"),
        MeshConfig(listen="127.0.0.1:0", psk=PSK, network="other"),
    )
    assert reason.startswith("other network")


def test_our_own_address_as_peer_is_shown_and_not_tried_for_ever() -> None:
    async def test() -> None:
        async with Mesh(MeshConfig(listen="127.0.0.1:0", psk=PSK)) as mesh:
            mesh.connect(mesh.address)
            await until(lambda: bool(row_of(mesh, state="failed")))
            assert row_of(mesh)[0]["reason"].startswith("own address")

    run(test)


def test_the_same_identity_twice_is_told_as_such() -> None:
    async def test() -> None:
        disk, clone = (MemoryState(bytes(32)) for _ in range(2))
        settings = {"listen": "127.0.0.1:0", "psk": PSK}
        async with (
            Mesh(MeshConfig(**settings), state=disk) as one,  # type: ignore[arg-type]
            Mesh(MeshConfig(**settings), state=clone) as copy,  # type: ignore[arg-type]
        ):
            copy.connect(one.address)
            await until(lambda: bool(row_of(copy, state="failed")))
            assert row_of(copy)[0]["reason"].startswith("same identity on two hosts")

    run(test)


def test_nobody_at_the_address_is_retried_with_a_reason() -> None:
    async def test() -> None:
        with socket.socket() as bound:  # Bound but not listening: connections are refused.
            bound.bind(("127.0.0.1", 0))
            async with Mesh(MeshConfig(listen="127.0.0.1:0", psk=PSK)) as mesh:
                mesh.connect(f"127.0.0.1:{bound.getsockname()[1]}")
                await until(lambda: bool(row_of(mesh, state="retrying")))
                assert "refused" in row_of(mesh)[0]["reason"].lower()

    run(test)


@pytest.mark.parametrize("kind", [socket.SOCK_STREAM, socket.SOCK_DGRAM])
def test_a_port_in_use_is_one_clear_line(kind: socket.SocketKind) -> None:
    async def test() -> None:
        with socket.socket(socket.AF_INET, kind) as user:
            user.bind(("127.0.0.1", 0))
            if kind is socket.SOCK_STREAM:
                user.listen()
            config = MeshConfig(listen=f"127.0.0.1:{user.getsockname()[1]}", psk=PSK)
            with pytest.raises(ListenError, match="in use; choose another with --listen"):
                async with Mesh(config):
                    pass

    run(test)


def test_a_foreign_address_is_one_clear_line() -> None:
    async def test() -> None:
        with pytest.raises(ListenError, match="not one of this host"):
            async with Mesh(MeshConfig(listen="192.0.2.77:0", psk=PSK)):
                pass

    run(test)


def test_a_frame_port_that_goes_away_is_told_of_and_nothing_spins() -> None:
    async def test() -> None:
        port = MemoryPort()
        async with Mesh(MeshConfig(listen="127.0.0.1:0", psk=PSK), port) as mesh:
            port.close_host()
            with pytest.raises(TapError, match="the host's side is closed"):
                await asyncio.wait_for(mesh.wait_failed(), 5)
            before = time.process_time()
            await asyncio.sleep(0.3)
            assert time.process_time() - before < 0.2
        port.close()

    run(test)


def test_a_mesh_that_has_ended_says_so() -> None:
    async def test() -> None:
        async with Mesh(MeshConfig(listen="127.0.0.1:0", psk=PSK)) as mesh:
            pass
        with pytest.raises(LocalProtocolError, match="has ended"):
            mesh.connect("127.0.0.1:1")

    run(test)


def test_a_mesh_that_is_not_started_says_so() -> None:
    with pytest.raises(LocalProtocolError, match="async with Mesh"):
        Mesh().report()


def test_a_mesh_that_is_not_started_has_no_address() -> None:
    async def test() -> None:
        mesh = Mesh(MeshConfig(listen="127.0.0.1:0", psk=PSK))
        for _ in range(2):
            with pytest.raises(LocalProtocolError, match="not started, or has ended"):
                _ = mesh.address
            async with mesh:
                assert mesh.address.startswith("127.0.0.1:")

    run(test)


def test_what_is_asked_of_a_peer_takes_its_name_and_no_nickname() -> None:
    async def test() -> None:
        async with Mesh(MeshConfig(listen="127.0.0.1:0", psk=PSK)) as mesh:
            said = "'host-b' is no PeerName; `find_peers` gives those of a nickname"
            wrong: Any = "host-b"
            with pytest.raises(ConfigError, match=said):
                await mesh.send(wrong, "topic", b"")
            with pytest.raises(ConfigError, match=said):
                await mesh.ping(wrong)
            with pytest.raises(ConfigError, match=said):
                mesh.explain(wrong)
            text: Any = "hello"
            with pytest.raises(TypeError, match="'hello' is no payload: give bytes"):
                await mesh.send(PeerName(bytes(16)), "topic", text)

    run(test)


def test_a_password_and_a_psk_exclude_each_other() -> None:
    with pytest.raises(ConfigError, match="not both"):
        MeshConfig(password="x", psk=PSK)


def test_an_open_network_says_so_loudly() -> None:
    async def test() -> None:
        async with Mesh(MeshConfig(listen="127.0.0.1:0")) as mesh:
            assert mesh.report()["open"]

    run(test)


def test_meshes_over_ipv6_loopback() -> None:
    async def test() -> None:
        try:
            async with Mesh(MeshConfig(listen="[::1]:0", psk=PSK)) as one:
                config = MeshConfig(listen="[::1]:0", psk=PSK, peers=[one.address])
                async with Mesh(config) as other:
                    await asyncio.gather(one.wait_connected(), other.wait_connected())
                    assert one.address.startswith("[::1]:")
        except ListenError as error:
            pytest.skip(f"not on this machine: {error}")

    run(test)
