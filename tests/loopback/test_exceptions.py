"""Every exception that meshnet raises on purpose, brought about by bytes, files and sockets."""

from __future__ import annotations

import asyncio
import inspect
import re
import socket
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from attrs import evolve

from meshnet import Mesh, MeshConfig, errors
from meshnet.aio.sockets import listen
from meshnet.client import Client
from meshnet.errors import (
    ApiError,
    AuthenticationError,
    ConfigError,
    DeliveryError,
    ListenError,
    LocalProtocolError,
    MeshError,
    RemoteProtocolError,
    StateError,
    TapError,
)
from meshnet.node.options import parse_options
from meshnet.store.state import FileState
from meshnet.switch.ethernet import DEFAULT_OVERLAY_MTU
from meshnet.tap.device import Tap
from meshnet.wire.link import MAX_RECORD_BYTES, LinkProtocol
from support.link_pair import linked
from support.samples import ALICE, BOB, flip, link_config, rng, session_pair
from support.tree import relative, sources

# Each case does one thing that cannot be.


def a_setting_that_cannot_be(directory: Path) -> None:
    file = directory / "meshnet.toml"
    file.write_bytes(b"mtu = 1\n")
    parse_options(["--config", str(file)], {})


def a_record_that_is_too_long(_directory: Path) -> None:
    dialler, _ = linked(link_config(ALICE), link_config(BOB))
    dialler.protocol.send_record(bytes(MAX_RECORD_BYTES + 1))


def a_stranger_s_bytes_on_a_link(_directory: Path) -> None:
    LinkProtocol(link_config(ALICE), dialler=False, rng=rng(0)).receive(b"GET / HTTP/1.1\r\n", 0.0)


def a_datagram_that_was_changed(_directory: Path) -> None:
    ours, theirs = session_pair()
    ours.open(flip(theirs.seal(b"parts"), 8 * 20))


def a_state_that_is_damaged(directory: Path) -> None:
    FileState(directory).close()
    (directory / "life.json").write_bytes(b"\0" * 40)
    FileState(directory)


def a_device_that_is_none(_directory: Path) -> None:
    # The loopback interface is no TAP, for root or anybody; without /dev/net/tun nothing is.
    Tap("lo", ALICE.name, DEFAULT_OVERLAY_MTU).close()


def a_port_that_is_taken(_directory: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        listen("127.0.0.1", taken.getsockname()[1])


def an_answer_that_is_none(directory: Path) -> None:
    path = directory / "api.sock"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()

        def answer() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(4096)
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n\xff\0{]")

        server = threading.Thread(target=answer)
        server.start()
        try:
            Client(path).report()
        finally:
            server.join()


def a_message_that_nobody_reads(_directory: Path) -> None:
    async def send() -> None:
        config = MeshConfig(listen="127.0.0.1:0", psk=bytes(32))
        async with Mesh(config) as one, Mesh(evolve(config, peers=[one.address])) as other:
            await other.wait_connected()
            await other.send(one.name, "topic", b"payload")

    asyncio.run(asyncio.wait_for(send(), 30))


CASES: list[tuple[type[MeshError], Callable[[Path], None]]] = [
    (ConfigError, a_setting_that_cannot_be),
    (LocalProtocolError, a_record_that_is_too_long),
    (RemoteProtocolError, a_stranger_s_bytes_on_a_link),
    (AuthenticationError, a_datagram_that_was_changed),
    (StateError, a_state_that_is_damaged),
    (TapError, a_device_that_is_none),
    (ListenError, a_port_that_is_taken),
    (DeliveryError, a_message_that_nobody_reads),
    (ApiError, an_answer_that_is_none),
]


@pytest.mark.parametrize(("kind", "case"), CASES, ids=[case.__name__ for _, case in CASES])
def test_each_exception_is_raised_with_one_line(
    kind: type[MeshError], case: Callable[[Path], None], tmp_path: Path
) -> None:
    with pytest.raises(kind) as raised:
        case(tmp_path)
    assert raised.type is kind
    assert str(raised.value)
    assert "\n" not in str(raised.value)


def test_every_exception_has_a_case() -> None:
    ours = {
        value
        for value in vars(errors).values()
        if inspect.isclass(value) and issubclass(value, MeshError)
    }
    assert {kind for kind, _ in CASES} == ours - {MeshError}


def test_the_root_is_for_catching_only() -> None:
    raises = re.compile(r"raise MeshError\b")
    found = [path for path in sources("meshnet") if raises.search(path.read_text("utf-8"))]
    assert [relative(path) for path in found] == []
