"""A node as a process: what must not end it, and what it must not do unasked."""

from __future__ import annotations

import contextlib
import resource
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from meshnet.client import Client
from meshnet.errors import ApiError
from meshnet.report import Report
from support.node_process import environment, node_command


def report_of(client: Client) -> Report | None:
    with contextlib.suppress(ApiError):
        return client.report()
    return None


def until(condition: Callable[[], object], timeout_s: float = 15.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "not in time"
        time.sleep(0.02)


def test_strangers_who_hold_all_descriptors_do_not_end_a_node(tmp_path: Path) -> None:
    few = 40

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (few, few))

    command = node_command(tmp_path, "--listen", ":0")
    log = tmp_path / "log"
    with log.open("wb") as out:
        process = subprocess.Popen(command, stderr=out, env=environment(), preexec_fn=limit)
    client = Client(tmp_path / "api.sock")
    try:
        until(lambda: report_of(client))
        port = int(client.report()["listen"].rpartition(":")[2])
        with contextlib.ExitStack() as stack:
            # Each from an address of its own: what one may do is bounded.
            for number in range(few + 10):
                stranger = stack.enter_context(socket.socket())
                stranger.bind((f"127.0.1.{number + 1}", 0))
                stranger.connect(("127.0.0.1", port))
            until(lambda: b"cannot be listed" in log.read_bytes() or process.poll() is not None)
            assert process.poll() is None, log.read_text()
        until(lambda: report_of(client))
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(10)
    assert process.returncode == 0, log.read_text()


def test_a_file_that_no_node_could_use_does_not_end_one_that_runs(tmp_path: Path) -> None:
    file, log = tmp_path / "meshnet.toml", tmp_path / "log"
    file.write_text("")
    with log.open("wb") as out:
        command = node_command(tmp_path, "--config", str(file))
        process = subprocess.Popen(command, stderr=out, env=environment())
    try:
        until(lambda: report_of(Client(tmp_path / "api.sock")))
        for number, text in enumerate(('password-file = "a\\u0000"', "mtu = [" * 5000), start=1):
            file.write_text(text)
            process.send_signal(signal.SIGHUP)
            while log.read_text().count("reload refused") < number and process.poll() is None:
                time.sleep(0.02)
        assert process.poll() is None, log.read_text()
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(10)
    assert process.returncode == 0, log.read_text()


def test_the_hosts_addresses_are_announced_again_after_hasty_reloads(tmp_path: Path) -> None:
    file = tmp_path / "meshnet.toml"
    file.write_text("")
    command = node_command(tmp_path, "--listen", ":0", "--config", str(file))
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL, env=environment())
    client = Client(tmp_path / "api.sock")
    try:
        until(lambda: (report := report_of(client)) and report["addresses"])
        before = client.report()["addresses"]
        # Both in less time than the node takes to look at its addresses again.
        for text in ('advertise = "192.0.2.1"', ""):
            file.write_text(text)
            client.reload()
            assert client.report()["addresses"] != before
        until(lambda: client.report()["addresses"] == before)
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(10)
