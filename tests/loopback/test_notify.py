"""What the service manager is told, through a socket as systemd gives one."""

from __future__ import annotations

import os
import secrets
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from meshnet.node.notify import READY, STOPPING, notify, reloading
from support.node_process import environment, node_command


@contextmanager
def manager(address: str) -> Iterator[socket.socket]:
    """The manager's end; ``address`` as it stands in NOTIFY_SOCKET."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.settimeout(15)
        listener.bind("\0" + address[1:] if address.startswith("@") else address)
        yield listener


def test_a_node_says_when_it_is_ready_and_when_it_stops(tmp_path: Path) -> None:
    path = str(tmp_path / "notify")
    with manager(path) as listener:
        process = subprocess.Popen(
            node_command(tmp_path),
            stderr=subprocess.DEVNULL,
            env={**environment(), "NOTIFY_SOCKET": path},
        )
        try:
            assert listener.recv(4096).decode() == READY
            # Ready means that it can be asked.
            with socket.socket(socket.AF_UNIX) as caller:
                caller.connect(str(tmp_path / "api.sock"))
            process.send_signal(signal.SIGTERM)
            assert listener.recv(4096).decode() == STOPPING
            assert process.wait(10) == 0
        finally:
            process.kill()
            process.wait()


def test_a_socket_without_a_place_in_the_file_system_will_do(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    address = f"@meshnet-test-{secrets.token_hex(8)}"
    monkeypatch.setenv("NOTIFY_SOCKET", address)
    with manager(address) as listener:
        notify(READY)
        assert listener.recv(4096) == b"READY=1"


def test_a_reload_says_when_it_began(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = str(tmp_path / "notify")
    monkeypatch.setenv("NOTIFY_SOCKET", path)
    with manager(path) as listener:
        notify(reloading())
        first, second = listener.recv(4096).decode().splitlines()
        assert first == "RELOADING=1"
        began_s = int(second.removeprefix("MONOTONIC_USEC=")) / 1e6
        assert 0 <= time.clock_gettime(time.CLOCK_MONOTONIC) - began_s < 5


def test_a_node_says_when_it_reloads_and_that_it_goes_on(tmp_path: Path) -> None:
    path = str(tmp_path / "notify")
    settings = tmp_path / "meshnet.toml"
    settings.write_text('log-level = "info"\n')
    with manager(path) as listener:
        process = subprocess.Popen(
            node_command(tmp_path, "--config", str(settings)),
            stderr=subprocess.DEVNULL,
            env={**environment(), "NOTIFY_SOCKET": path},
        )
        try:
            assert listener.recv(4096).decode() == READY
            # The second is refused; the node goes on with what it has, and says so too.
            for text in ('log-level = "debug"\n', "mtu = 1\n"):
                settings.write_text(text)
                process.send_signal(signal.SIGHUP)
                assert listener.recv(4096).decode().startswith("RELOADING=1\nMONOTONIC_USEC=")
                assert listener.recv(4096).decode() == READY
            process.send_signal(signal.SIGTERM)
            assert listener.recv(4096).decode() == STOPPING
            assert process.wait(10) == 0
        finally:
            process.kill()
            process.wait()


@pytest.mark.parametrize("address", ["", "nonsense", "/nonexistent/notify", "@nobody-listens"])
def test_nobody_to_tell_is_no_error(monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", address)
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208
    notify(READY)
    assert len(os.listdir("/proc/self/fd")) == before  # noqa: PTH208
