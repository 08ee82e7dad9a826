"""A mesh in a lab: one real node per host, each told of as little as it needs."""

from __future__ import annotations

import contextlib
import ipaddress
import secrets
import subprocess
import sys
import time
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from meshnet.client import Client
from meshnet.errors import ApiError
from meshnet.lab.directory import lab_directory
from meshnet.lab.hosts import LabError, Namespace, Underlay, terminate
from meshnet.lab.impairments import Impairments
from meshnet.lab.nat import inside_ipv4
from meshnet.lab.topology import TOPOLOGIES, dialled, neighbours, unreached, with_direct_path
from meshnet.report import Report

OVERLAY_IPV4 = ipaddress.ip_network("10.32.0.0/24")
OVERLAY_IPV6 = ipaddress.ip_network("fd32::/64")
_POLL_S = 0.05


def host_name(number: int) -> str:
    """What host ``number`` (from 1) is called."""
    return f"h{number}"


class LabHost:
    """One host of a lab: its namespace, its node, its addresses."""

    def __init__(
        self, number: int, namespace: Namespace, directory: Path, *, behind_nat: bool = False
    ) -> None:
        self.number = number
        self.nickname = host_name(number)
        self.behind_nat = behind_nat
        self.underlay_ipv4 = inside_ipv4(number) if behind_nat else Underlay.ipv4(number)
        self.namespace = namespace
        self.directory = directory / self.nickname
        self.directory.mkdir()
        self.api = self.directory / "api.sock"
        self.log = self.directory / "node.log"
        self.overlay_ipv4 = str(OVERLAY_IPV4[number])
        self.overlay_ipv6 = str(OVERLAY_IPV6[number])
        self.node: subprocess.Popen[bytes] | None = None

    def start_node(self, options: Sequence[str]) -> None:
        """Start the node; it keeps its state directory over restarts."""
        with self.log.open("ab") as log:
            self.node = self.namespace.start(
                sys.executable,
                "-m",
                "meshnet.node",
                *("--nickname", self.nickname),
                *("--state-dir", str(self.directory / "state")),
                *("--api", str(self.api)),
                *("--address", f"{self.overlay_ipv4}/{OVERLAY_IPV4.prefixlen}"),
                *("--address", f"{self.overlay_ipv6}/{OVERLAY_IPV6.prefixlen}"),
                *options,
                stdout=log,
            )

    @property
    def is_running(self) -> bool:
        """Whether there is a node that has not ended."""
        return self.node is not None and self.node.poll() is None

    def kill_node(self) -> None:
        """End the node as `kill -9` does: without a word to anybody."""
        if self.node is not None:
            self.node.kill()
            self.node.wait()

    def wait_up(self, timeout_s: float) -> None:
        """Wait until the node answers. Raises LabError when it ends, or the time does."""
        deadline = time.monotonic() + timeout_s
        while self.report() is None:
            self.raise_if_ended()
            if time.monotonic() > deadline:
                raise LabError(f"the node of {self.nickname} does not answer: see {self.log}")
            time.sleep(_POLL_S)

    def raise_if_ended(self) -> None:
        """Raises LabError with the last words of a node that has ended by itself."""
        if not self.is_running:
            raise LabError(f"the node of {self.nickname} has ended: {self.last_log_line()}")

    def report(self) -> Report | None:
        """The node's report; None while it does not answer."""
        with contextlib.suppress(ApiError):
            return Client(self.api).report()
        return None

    def last_log_line(self) -> str:
        with contextlib.suppress(OSError, IndexError):
            return self.log.read_text(errors="replace").splitlines()[-1]
        return "no log"


class LabMesh:
    """``count`` hosts and their nodes; all is gone when it is closed, or its process ends."""

    def __init__(
        self,
        count: int,
        *,
        topology: str = "full",
        underlay_mtu: int = 1500,
        ipv6_underlay: bool = False,
        password: str | None = None,
        options: Sequence[str] = (),
        impairments: Impairments = Impairments(),  # noqa: B008  (a value)
        behind_nat: Collection[int] = (),
    ) -> None:
        """``password``: random by default. ``options`` are given to every node.

        In a full mesh every node is told of the first host only; otherwise of the neighbours with a
        lesser number. A host whose number is in ``behind_nat`` has a NAT gateway before it, so it
        is told of others, and no other of it. Raises LabError.
        """
        self.edges = TOPOLOGIES[topology](count)
        self.topology = topology
        self.impairments = impairments
        self._behind_nat = frozenset(behind_nat)
        self._direct_edges = with_direct_path(self.edges, self._behind_nat)
        if lost := unreached(count, self._direct_edges):
            raise LabError(
                f"no way from {host_name(1)} to {' '.join(map(host_name, lost))}: between two hosts"
                " behind NAT there must be one that is not"
            )
        if self._behind_nat and ipv6_underlay:
            raise LabError("a host behind NAT has no IPv6 on the underlay")
        self._is_full = topology == "full"
        self._stack = contextlib.ExitStack()
        self._password = secrets.token_hex(16) if password is None else password
        self._options = tuple(options)
        self._ipv6_underlay = ipv6_underlay
        try:
            self.directory = self._stack.enter_context(lab_directory())
            self.underlay = self._stack.enter_context(
                Underlay(
                    count,
                    mtu=underlay_mtu,
                    edges=None if self._is_full else self.edges,
                    impairments=impairments,
                    behind_nat=self._behind_nat,
                )
            )
            self._stack.callback(self._stop_nodes)
            self.hosts = [
                LabHost(number, namespace, self.directory, behind_nat=number in self._behind_nat)
                for number, namespace in enumerate(self.underlay.hosts, start=1)
            ]
            for host in self.hosts:
                self.start_node(host)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        self._stack.close()

    def start_node(self, host: LabHost) -> None:
        """Start, or start again, the node of ``host``."""
        ours = Underlay.ipv6 if self._ipv6_underlay else Underlay.ipv4
        told_of = dialled(self.edges, self._behind_nat, host.number)
        if self._is_full:
            told_of = told_of[:1]
        peers = [f"[{ours(n)}]" if self._ipv6_underlay else ours(n) for n in told_of]
        options = ["--advertise", ours(host.number)] if self._ipv6_underlay else []
        host.start_node(
            [*options, "--password-file", str(self._password_file()), *self._options, *peers]
        )

    def wait_full_mesh(self, timeout_s: float, tell: Callable[[str], None] | None = None) -> float:
        """Wait until every node has an established connection to every other; seconds it took.

        Hosts with an edge between them must have found their direct path, but for two that are
        both behind NAT.

        ``tell`` gets a line each time the number of connections changes. Raises LabError with what
        is missing, and why.
        """
        start = time.monotonic()
        wanted = len(self.hosts) * (len(self.hosts) - 1)
        told = -1
        while True:
            missing = self._missing()
            if wanted - len(missing) != told and tell is not None:
                told = wanted - len(missing)
                tell(f"connected {told} of {wanted} directions")
            if not missing:
                return time.monotonic() - start
            if time.monotonic() - start > timeout_s:
                raise LabError(f"no full mesh after {timeout_s:.0f} s: {'; '.join(missing[:5])}")
            time.sleep(_POLL_S)

    def _missing(self) -> list[str]:
        missing: list[str] = []
        for host in self.hosts:
            others = {other.nickname for other in self.hosts if other is not host}
            report = host.report()
            host.raise_if_ended()
            rows = report["connections"] if report is not None else []
            reasons = {row["nickname"]: row["reason"] for row in rows}
            near = {host_name(number) for number in neighbours(self._direct_edges, host.number)}
            done = {
                row["nickname"]
                for row in rows
                if row["state"] == "established"
                and (row["path"] == "direct" or row["nickname"] not in near)
            }
            missing += [
                f"{host.nickname}-{other}" + (f" ({reasons[other]})" if reasons.get(other) else "")
                for other in sorted(others - done)
            ]
        return missing

    def _password_file(self) -> Path:
        path = self.directory / "password"
        if not path.exists():
            path.touch(mode=0o600)
            path.write_text(self._password + "\n")
        return path

    def _stop_nodes(self) -> None:
        terminate([host.node for host in self.hosts if host.node is not None])
