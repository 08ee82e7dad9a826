"""Real nodes, `python -m meshnet.node`, each in a namespace of a lab. Needs root."""

from __future__ import annotations

import itertools
import os
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from meshnet.lab.mesh import LabHost, LabMesh
from meshnet.report import Report

PARTS = ("mesh", "death", "relay")
IDLE_S = 30.0
# Two minutes after a start that took long is soon enough to give up.
CONNECT_TIMEOUT_S = 120.0
PING_INTERVAL_S = 0.01
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
_PORT = 6783
_LISTEN = "0A"  # as /proc/net/tcp writes the state
_SEQUENCE = re.compile(rb"icmp_seq=(\d+)")

Put = Callable[[str, dict[str, Any]], None]


def measure(counts: Sequence[int], put: Put, parts: Sequence[str]) -> None:
    """All that is measured on real nodes; each result is given to ``put`` when it is known."""
    if "mesh" in parts:
        for count in counts:
            _tell(put, f"real {count} peers", _mesh(count))
    if "death" in parts:
        _tell(put, "real silent death", _silent_death())
    if "relay" in parts:
        _tell(put, "real relay falls silent", _relay_ends(_fall_silent))
        _tell(put, "real relay is killed", _relay_ends(_kill))


def _tell(put: Put, name: str, values: dict[str, Any]) -> None:
    put(name, values)
    shown = ", ".join(f"{key} {value:.3f}" for key, value in values.items() if value is not None)
    sys.stdout.write(f"{name}: {shown}\n")
    sys.stdout.flush()


def _mesh(count: int) -> dict[str, Any]:
    """From the moment the last one listens until each has a way to every other."""
    with LabMesh(count) as mesh:
        for host in mesh.hosts:
            _wait(partial(_listens, host), CONNECT_TIMEOUT_S)
        start = time.monotonic()
        for host in mesh.hosts:
            # One question at a time: asking is work for the nodes, too.
            _wait(partial(_reaches, host, count - 1), CONNECT_TIMEOUT_S)
        connected_s = time.monotonic() - start
        time.sleep(5.0)
        before = [_cpu_s(host) for host in mesh.hosts]
        time.sleep(IDLE_S)
        cpu = [_cpu_s(host) - at for host, at in zip(mesh.hosts, before, strict=True)]
        rss = [_rss_mib(host) for host in mesh.hosts]
        return {
            "connected_s": connected_s,
            "rss_mib_mean": statistics.mean(rss),
            "rss_mib_max": max(rss),
            "idle_cpu_percent": 100.0 * statistics.mean(cpu) / IDLE_S,
            "idle_cpu_percent_max": 100.0 * max(cpu) / IDLE_S,
        }


def _listens(host: LabHost) -> bool:
    """By its kernel: the local API answers only some time after that."""
    sockets = _proc(host, "net/tcp") + _proc(host, "net/tcp6")
    return any(
        fields[1].endswith(f":{_PORT:04X}") and fields[3] == _LISTEN
        for fields in map(str.split, sockets.splitlines())
    )


def _reaches(host: LabHost, others: int) -> bool:
    """Whether frames flow to so many others, or could: there is a session or a route."""
    report = host.report()
    return report is not None and len(_ways(report)) >= others


def _ways(report: Report) -> set[str]:
    connected = {row["peer"] for row in report["connections"] if row["state"] == "established"}
    return connected | {route["peer"] for route in report["routes"]}


def _silent_death() -> dict[str, Any]:
    """A neighbour that is being pinged vanishes: when does the node know?"""
    with LabMesh(4) as mesh:
        mesh.wait_full_mesh(CONNECT_TIMEOUT_S)
        one, other = mesh.hosts[:2]
        ping = _ping(one, other)
        time.sleep(3.0)
        start = time.monotonic()
        _fall_silent(mesh, other)
        _wait(lambda: not _is_connected(one, other), 60.0)
        seen_s = time.monotonic() - start
        ping.kill()
        ping.wait()
        return {"seen_s": seen_s}


def _relay_ends(end: Callable[[LabMesh, LabHost], None]) -> dict[str, Any]:
    """In a ring of six the first and the third talk through the second, until that ends."""
    with LabMesh(6, topology="ring") as mesh:
        mesh.wait_full_mesh(CONNECT_TIMEOUT_S)
        one, relay, other = mesh.hosts[:3]
        ping = _ping(one, other)
        time.sleep(3.0)
        end(mesh, relay)
        time.sleep(6.0)
        ping.terminate()
        said, _ = ping.communicate()
        answered = [int(number) for number in _SEQUENCE.findall(said)]
        gaps = [b - a - 1 for a, b in itertools.pairwise(answered)]
        back = bool(answered) and answered[-1] * PING_INTERVAL_S > 4.0
        return {"lost_s": max(gaps, default=0) * PING_INTERVAL_S if back else None}


def _fall_silent(mesh: LabMesh, host: LabHost) -> None:
    """Its wire is pulled out of the switch: every packet is lost, and no end is told."""
    mesh.underlay.hub.ip(f"link set port{host.number} nomaster")


def _kill(_mesh: LabMesh, host: LabHost) -> None:
    assert host.node is not None
    host.node.kill()


def _ping(one: LabHost, other: LabHost) -> subprocess.Popen[bytes]:
    command = one.namespace.command(
        "ping", "-n", "-i", str(PING_INTERVAL_S), "-s", "16", other.overlay_ipv4
    )
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)


def _is_connected(one: LabHost, other: LabHost) -> bool:
    report = one.report()
    return report is not None and any(
        row["nickname"] == other.nickname and row["state"] == "established"
        for row in report["connections"]
    )


def _wait(condition: Callable[[], bool], timeout_s: float) -> None:
    """Raises TimeoutError."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"not within {timeout_s:.0f} s")
        time.sleep(0.01)


def _cpu_s(host: LabHost) -> float:
    fields = _proc(host, "stat").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS_PER_S


def _rss_mib(host: LabHost) -> float:
    [line] = [line for line in _proc(host, "status").splitlines() if line.startswith("VmRSS")]
    return int(line.split()[1]) / 1024


def _proc(host: LabHost, name: str) -> str:
    assert host.node is not None
    return Path(f"/proc/{host.node.pid}/{name}").read_text(encoding="ascii", errors="replace")
