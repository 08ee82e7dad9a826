"""Does a lab's mesh carry traffic? Pings between all pairs, TCP, and a table of the result."""

from __future__ import annotations

import itertools
import json
import re
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator

from attrs import define
from rich.text import Text

from meshnet.cli.views import Listing, add_row, milliseconds
from meshnet.lab.hosts import terminate
from meshnet.lab.impairments import Impairments
from meshnet.lab.mesh import LabHost, LabMesh
from meshnet.report import ConnectionReport

_PINGS = 3
# On an underlay that loses packets one answer in as many is enough.
_PINGS_ON_LOSS = 20
_TRANSFER_S = 2
# Past this many pairs only neighbours by number are measured: a transfer takes seconds.
_MAX_MEASURED_PAIRS = 6
_SERVER_WAIT_S = 5.0


@define(frozen=True)
class PairResult:
    """What was seen between two hosts; ``None`` where nothing was measured."""

    first: str
    second: str
    connection: ConnectionReport | None
    ipv4_ms: float | None
    ipv6_ms: float | None
    measured: bool
    gigabits_per_s: float | None

    @property
    def passed(self) -> bool:
        return (
            self.connection is not None
            and self.connection["state"] == "established"
            and self.ipv4_ms is not None
            and self.ipv6_ms is not None
            and (self.gigabits_per_s is not None or not self.measured)
        )


def check_mesh(mesh: LabMesh, tell: Callable[[str], None]) -> list[PairResult]:
    """Ping every pair over IPv4 and IPv6, and measure TCP; ``tell`` gets a line per step."""
    pairs = list(itertools.combinations(mesh.hosts, 2))
    measured = pairs
    if len(pairs) > _MAX_MEASURED_PAIRS:
        measured = list(itertools.pairwise(mesh.hosts))
    if shutil.which("iperf3") is None:
        tell("iperf3 is not installed: throughput is not measured")
        measured = []
    results: list[PairResult] = []
    for first, second in pairs:
        tell(f"pinging {first.nickname} - {second.nickname} over IPv4 and IPv6")
        ipv4_ms = ping_ms(first, second.overlay_ipv4, mesh.impairments)
        ipv6_ms = ping_ms(first, second.overlay_ipv6, mesh.impairments)
        row = _connection(first, second.nickname)
        rate = None
        is_measured = (first, second) in measured
        if is_measured:
            tell(f"one TCP stream {first.nickname} - {second.nickname} for {_TRANSFER_S} s")
            rate = tcp_gigabits_per_s(first, second)
        results.append(
            PairResult(first.nickname, second.nickname, row, ipv4_ms, ipv6_ms, is_measured, rate)
        )
    return results


def result_table(results: list[PairResult]) -> Listing:
    """The table `lab run --check` ends with."""
    table = Listing(
        *("PAIR", "STATE", "PATH", "CIPHER", "RTT", "PING IPV4", "PING IPV6", "TCP"),
        spare=("CIPHER", "RTT"),
    )
    for result in results:
        row = result.connection
        add_row(
            table,
            f"{result.first} - {result.second}",
            Text(row["state"] if row else "missing", "green" if result.passed else "red"),
            (row["path"] if row else "") or "-",
            (row["cipher"] if row else "") or "-",
            milliseconds(row["rtt_ms"] if row else None),
            _ping_text(result.ipv4_ms),
            _ping_text(result.ipv6_ms),
            _rate_text(result),
        )
    return table


def ping_ms(
    host: LabHost,
    address: str,
    impairments: Impairments = Impairments(),  # noqa: B008  (a value)
) -> float | None:
    """Mean round trip of a few pings from ``host``; None when any, or on loss all, were lost."""
    count = _PINGS_ON_LOSS if impairments.loss_percent else _PINGS
    patience_s = 2 + 4 * (impairments.delay_s + impairments.jitter_s)
    done = host.namespace.run(
        *("ping", "-n", "-q", "-c", str(count), "-i", "0.2", "-W", f"{patience_s:.0f}", address)
    )
    found = re.search(r"= [\d.]+/([\d.]+)/", done.stdout)
    is_complete = done.returncode == 0 and " 0% packet loss" in done.stdout
    if found is None or not (is_complete or impairments.loss_percent):
        return None
    return float(found[1])


def tcp_gigabits_per_s(client: LabHost, server: LabHost) -> float | None:
    """Rate of one TCP stream through the overlay; None when it did not get through."""
    address = server.overlay_ipv4
    process = server.namespace.start("iperf3", "-s", "-1", "-B", address)
    try:
        for _ in _attempts(_SERVER_WAIT_S):
            done = client.namespace.run("iperf3", "-J", "-t", str(_TRANSFER_S), "-c", address)
            try:
                answer = json.loads(done.stdout)
            except ValueError:
                return None
            received = answer.get("end", {}).get("sum_received")
            if received is not None:
                return float(received["bits_per_second"]) / 1e9
            if "refused" not in answer.get("error", ""):
                return None
    except subprocess.TimeoutExpired:
        return None
    finally:
        terminate([process])
    return None


def _attempts(limit_s: float) -> Iterator[None]:
    """Tries until ``limit_s`` is over: a server takes a moment to listen."""
    deadline = time.monotonic() + limit_s
    while time.monotonic() < deadline:
        yield
        time.sleep(0.05)


def _connection(host: LabHost, nickname: str) -> ConnectionReport | None:
    report = host.report()
    rows = report["connections"] if report is not None else []
    return next((row for row in rows if row["nickname"] == nickname), None)


def _rate_text(result: PairResult) -> Text:
    if result.gigabits_per_s is not None:
        return Text(f"{result.gigabits_per_s:.2f} Gb/s")
    return Text("FAILED", "red") if result.measured else Text("-")


def _ping_text(value: float | None) -> Text:
    return Text(milliseconds(value)) if value is not None else Text("FAILED", "red")
