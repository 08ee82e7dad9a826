"""A node as a process of its own on loopback, without a device, and what it serves by HTTP."""

from __future__ import annotations

import http.client
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

LOCAL = "127.0.0.1:0"


def node_command(directory: Path, *options: str) -> list[str]:
    places = ["--state-dir", str(directory / "state"), "--api", str(directory / "api.sock")]
    return [sys.executable, "-m", "meshnet.node", "--no-tap", "--listen", LOCAL, *places, *options]


def environment() -> dict[str, str]:
    return {key: value for key, value in os.environ.items() if not key.startswith("MESHNET_")}


@contextmanager
def node(directory: Path, *options: str) -> Iterator[dict[str, str]]:
    """A running node; what its first log lines say is served where."""
    process = subprocess.Popen(
        node_command(directory, *options), stderr=subprocess.PIPE, text=True, env=environment()
    )
    served: dict[str, str] = {}
    try:
        assert process.stderr is not None
        for line in process.stderr:
            if found := re.search(r"info (status|metrics) served addr=(\S+)", line):
                served[found[1]] = found[2]
            if "anyone may join" in line:  # The last line of a start without a password.
                break
        yield served
    finally:
        process.send_signal(signal.SIGTERM)
        _, rest = process.communicate(timeout=10)
        assert process.returncode == 0, rest
        assert "Traceback" not in rest


def get(address: str, path: str) -> tuple[int, str, str]:
    """(status, content type, body)."""
    connection = http.client.HTTPConnection(address, timeout=10)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        return response.status, response.headers["Content-Type"], response.read().decode()
    finally:
        connection.close()
