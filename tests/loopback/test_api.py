"""The local API: the client's answers, and what callers of all kinds are told."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import stat
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from types import FrameType

import pytest

from meshnet import Mesh, MeshConfig
from meshnet.client import Client
from meshnet.errors import ApiError, ListenError
from meshnet.node.api import ApiServer, bind_unix
from meshnet.node.options import parse_options
from meshnet.node.run import run as run_node
from meshnet.report import Reloaded
from support.node_process import node_command
from support.served import nothing_to_leave, run_meshnet

PSK = bytes(32)


async def reload() -> Reloaded:
    """What a node would do at `meshnet reload`."""
    return {"unchanged": ["mtu"], "warnings": ["it is open"]}


@asynccontextmanager
async def served(path: Path) -> AsyncIterator[tuple[Mesh, Mesh]]:
    """Two connected meshes; the first one's API is at ``path``."""
    async with Mesh(MeshConfig(nickname="one", listen="127.0.0.1:0", psk=PSK)) as one:
        peers = [one.address]
        config = MeshConfig(nickname="other", listen="127.0.0.1:0", psk=PSK, peers=peers)
        async with Mesh(config) as other:
            await asyncio.gather(one.wait_connected(), other.wait_connected())
            api = ApiServer(one, path, reload, nothing_to_leave)
            api.bind()
            await api.start()
            try:
                yield one, other
            finally:
                await api.stop()


def run(test: Callable[[], Awaitable[None]]) -> None:
    asyncio.run(asyncio.wait_for(test(), 30))


def test_a_reload_is_passed_on_and_answered(tmp_path: Path) -> None:
    path = tmp_path / "api.sock"

    async def test() -> None:
        async with served(path):
            assert await asyncio.to_thread(Client(path).reload) == await reload()
            done = await run_meshnet(path, "reload")
            assert done.stdout.splitlines() == [
                "reloaded; takes effect at the next start only: mtu",
                "warning: it is open",
            ]

    run(test)


def test_the_client_gets_the_report_the_mesh_gives(tmp_path: Path) -> None:
    path = tmp_path / "api.sock"

    async def test() -> None:
        async with served(path) as (one, other):
            report = await asyncio.to_thread(Client(path).report)
            assert report["name"] == str(one.name)
            assert [row["peer"] for row in report["connections"]] == [str(other.name)]
            assert [row["state"] for row in report["connections"]] == ["established"]

    run(test)


@pytest.mark.parametrize("by", ["nickname", "name", "prefix"])
def test_ping_takes_every_way_to_name_a_peer(tmp_path: Path, by: str) -> None:
    path = tmp_path / "api.sock"

    async def test() -> None:
        async with served(path) as (_, other):
            names = {"nickname": "other", "name": str(other.name), "prefix": other.name.short}
            pong = await asyncio.to_thread(Client(path).ping, names[by], seq=7)
            assert pong["seq"] == 7
            assert pong["rtt_ms"] is not None

    run(test)


def test_ping_of_a_stranger_is_refused_in_one_line(tmp_path: Path) -> None:
    path = tmp_path / "api.sock"

    async def test() -> None:
        async with served(path):
            with pytest.raises(ApiError, match="no other peer 'nobody'; "):
                await asyncio.to_thread(Client(path).ping, "nobody")

    run(test)


def test_no_node_is_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(ApiError, match="start one, or name it with --api"):
        Client(tmp_path / "none.sock").report()


def test_the_socket_is_for_owner_and_group_and_goes_with_the_node(tmp_path: Path) -> None:
    path = tmp_path / "run" / "api.sock"

    async def test() -> None:
        async with served(path):
            assert stat.S_IMODE(path.stat().st_mode) == 0o660
        assert not path.parent.exists()

    run(test)


def test_a_directory_that_was_there_before_stays(tmp_path: Path) -> None:
    directory = tmp_path / "mine"
    directory.mkdir(mode=0o700)

    async def test() -> None:
        async with served(directory / "api.sock"):
            pass
        assert directory.is_dir()

    run(test)


def test_a_socket_left_by_a_killed_node_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "api.sock"
    bind_unix(path).close()  # Closed without unlinking, as kill -9 does.
    assert path.exists()
    again = bind_unix(path)
    # A node that has taken the path and is still starting is none that was killed.
    with pytest.raises(ListenError, match="another node serves its API"):
        bind_unix(path)
    again.close()


def test_a_path_in_use_is_found_before_a_peer_hears_of_the_node(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[Mesh] = []

    async def start(mesh: Mesh) -> Mesh:
        started.append(mesh)
        raise ListenError("the mesh was started")

    monkeypatch.setattr(Mesh, "__aenter__", start)
    config = parse_options(node_command(tmp_path)[3:], {})
    other = bind_unix(tmp_path / "api.sock")
    with pytest.raises(ListenError, match="another node serves its API"):
        asyncio.run(run_node(config, lambda: config))
    assert (started, config.api.exists()) == ([], True)
    other.close()
    # A mesh that does not start gives the path back.
    with pytest.raises(ListenError, match="the mesh was started"):
        asyncio.run(run_node(config, lambda: config))
    assert not config.api.exists()


def test_a_socket_of_a_live_node_is_not_taken(tmp_path: Path) -> None:
    path = tmp_path / "api.sock"
    first = bind_unix(path)
    first.listen()
    with pytest.raises(ListenError, match="another node serves"):
        bind_unix(path)
    first.close()


def test_a_node_that_is_stuck_is_not_waited_for(tmp_path: Path) -> None:
    path = tmp_path / "api.sock"
    with bind_unix(path) as first, socket.socket(socket.AF_UNIX) as caller:
        first.listen(0)
        caller.connect(str(path))  # It is not accepted, and there is no room for another.
        before = signal.signal(signal.SIGALRM, _too_long)
        signal.alarm(5)
        try:
            with pytest.raises(ListenError, match="another node serves"):
                bind_unix(path)
        finally:
            signal.alarm(0)
            signal.signal(signal.SIGALRM, before)


def _too_long(_number: int, _frame: FrameType | None) -> None:
    raise AssertionError("a node that is stuck is waited for")


def test_a_file_in_the_way_is_not_removed(tmp_path: Path) -> None:
    path = tmp_path / "api.sock"
    path.write_text("precious")
    with pytest.raises(ListenError, match="a file is in the way"):
        bind_unix(path)
    assert path.read_text() == "precious"


@pytest.mark.parametrize(
    "data",
    [
        b"\x00\xff" * 50,
        b"GET\r\n\r\n",
        b"POST /v1/ping HTTP/1.1\r\nHost: x\r\n\r\n",
        b"HEAD /v1/report HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET //[x HTTP/1.1\r\nHost: x\r\n\r\n",
        b"",
    ],
)
def test_callers_that_speak_nonsense_do_not_disturb_others(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "api.sock"

    async def test() -> None:
        async with served(path):
            reader, writer = await asyncio.open_unix_connection(str(path))
            writer.write(data)
            writer.write_eof()
            await asyncio.wait_for(reader.read(), 5)
            writer.close()
            assert (await asyncio.to_thread(Client(path).report))["ready"]

    run(test)


@pytest.mark.skipif(os.geteuid() != 0, reason="not on this machine: needs root to be another user")
def test_another_user_without_the_group_is_not_served(tmp_path: Path) -> None:
    path = tmp_path / "api.sock"
    tmp_path.chmod(0o755)
    for parent in list(tmp_path.parents)[:2]:
        parent.chmod(parent.stat().st_mode | 0o055)

    def as_nobody() -> str:
        """In a child: connect as uid 65534 and say what came of it."""
        read_end, write_end = os.pipe()
        child = os.fork()
        if child == 0:
            os.setgroups([])
            os.setgid(65534)
            os.setuid(65534)
            try:
                with socket.socket(socket.AF_UNIX) as connection:
                    connection.connect(str(path))
                outcome = "connected"
            except OSError as error:
                outcome = type(error).__name__
            os.write(write_end, outcome.encode())
            os._exit(0)
        os.close(write_end)
        os.waitpid(child, 0)
        with os.fdopen(read_end) as pipe:
            return pipe.read()

    async def test() -> None:
        async with served(path):
            assert await asyncio.to_thread(as_nobody) == "PermissionError"

    run(test)
