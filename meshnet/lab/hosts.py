"""Hosts and the wire between them: network namespaces without names, held by a sleeping process.

    root namespace: nothing of ours, not even for a moment
    hub:   bridge `wire` -- port1 -- port2 -- port3
    host:  eth0 (underlay, peer of a port), and what its node makes

A namespace lives as long as a process in it. Every process here is told to die with the lab
(PR_SET_PDEATHSIG by setpriv), so even after kill -9 of the lab the kernel takes all of it back.
"""

from __future__ import annotations

import contextlib
import ipaddress
import shutil
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from meshnet.errors import MeshError
from meshnet.lab.topology import Edge, neighbours

UNDERLAY_IPV4 = ipaddress.ip_network("192.0.2.0/24")  # RFC 5737 TEST-NET-1
UNDERLAY_IPV6 = ipaddress.ip_network("2001:db8:1::/64")  # RFC 3849
MAX_HOSTS = 200

_NEEDED = {"ip": "iproute2", "setpriv": "util-linux", "unshare": "util-linux"}
_WAIT_S = 10.0


class LabError(MeshError):
    """The lab cannot be set up. One line that says what to do."""


def check_tools(*more: tuple[str, str]) -> None:
    """Raises LabError that names the Debian packages to install for what is missing."""
    needed = {**_NEEDED, **dict(more)}
    missing = sorted({package for tool, package in needed.items() if shutil.which(tool) is None})
    if missing:
        raise LabError(f"missing tools; install the package(s): {' '.join(missing)}")


class Namespace:
    """One network namespace and the process that holds it."""

    def __init__(self) -> None:
        self._holder = subprocess.Popen(
            ["setpriv", "--pdeathsig", "KILL", "unshare", "--net", "sleep", "infinity"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        try:
            self._wait_until_unshared()
        except BaseException:
            self.close()
            raise
        self.ip("link set lo up")

    @property
    def pid(self) -> int:
        """The holder's; ``nsenter -t PID -n`` enters the namespace."""
        return self._holder.pid

    def command(self, *arguments: str) -> list[str]:
        """``arguments`` as a command line that runs in this namespace."""
        return ["nsenter", "-t", str(self.pid), "-n", "--", *arguments]

    def run(self, *arguments: str, timeout_s: float = 60.0) -> subprocess.CompletedProcess[str]:
        """Run to its end; the caller judges the result."""
        return subprocess.run(
            self.command(*arguments),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )

    def start(
        self, *arguments: str, stdout: IO[bytes] | int = subprocess.DEVNULL
    ) -> subprocess.Popen[bytes]:
        """Start a process that lives no longer than the lab."""
        return subprocess.Popen(
            ["setpriv", "--pdeathsig", "KILL", *self.command(*arguments)],
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=subprocess.STDOUT,
            # Ctrl-C is for the lab, which then stops its processes in order.
            start_new_session=True,
        )

    def ip(self, *commands: str) -> None:
        """Run ``ip -batch`` with these lines. Raises LabError with what ip said."""
        done = subprocess.run(
            self.command("ip", "-batch", "-"),
            input="\n".join(commands) + "\n",
            capture_output=True,
            text=True,
            timeout=_WAIT_S,
            check=False,
        )
        if done.returncode != 0:
            raise LabError(f"ip: {' '.join(done.stderr.split())}")

    def close(self) -> None:
        """End the holder; the kernel removes the namespace when its last process is gone."""
        self._holder.kill()
        self._holder.wait()
        if self._holder.stderr is not None:
            self._holder.stderr.close()

    def _wait_until_unshared(self) -> None:
        deadline = time.monotonic() + _WAIT_S
        ours = _net_namespace("self")
        while time.monotonic() < deadline:
            if self._holder.poll() is not None:
                said = self._holder.stderr.read().decode() if self._holder.stderr else ""
                raise LabError(
                    f"cannot make a network namespace ({' '.join(said.split())}): run as root"
                )
            with contextlib.suppress(OSError):
                if _net_namespace(str(self.pid)) != ours and _name_of(self.pid) == "sleep":
                    return
            time.sleep(0.005)
        raise LabError("the system did not make a network namespace in time")


class Underlay:
    """A hub with a bridge, and ``count`` hosts on it with an IPv4 and an IPv6 address each.

    With ``edges`` a host has routes to the hosts it has an edge to and to no other, so what has no
    edge cannot be reached in either direction. Without, all are in one subnet.
    """

    def __init__(self, count: int, *, mtu: int = 1500, edges: list[Edge] | None = None) -> None:
        self._edges = edges
        if not 1 <= count <= MAX_HOSTS:
            raise LabError(f"{count} hosts: use 1 to {MAX_HOSTS}")
        self._stack = contextlib.ExitStack()
        self.hosts: list[Namespace] = []
        try:
            self.hub = self._new_namespace()
            self.hub.ip("link add wire type bridge mcast_snooping 0", "link set wire up")
            for number in range(1, count + 1):
                self.hosts.append(self._new_host(number, mtu))
        except BaseException:
            self.close()
            raise

    @staticmethod
    def ipv4(number: int) -> str:
        """The underlay address of host ``number`` (from 1)."""
        return str(UNDERLAY_IPV4[number])

    @staticmethod
    def ipv6(number: int) -> str:
        return str(UNDERLAY_IPV6[number])

    def close(self) -> None:
        self._stack.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _new_namespace(self) -> Namespace:
        namespace = Namespace()
        self._stack.callback(namespace.close)
        return namespace

    def _new_host(self, number: int, mtu: int) -> Namespace:
        host = self._new_namespace()
        port = f"port{number}"
        self.hub.ip(
            f"link add {port} mtu {mtu} type veth peer name eth0 mtu {mtu} netns {host.pid}",
            f"link set {port} master wire up",
        )
        bits4, bits6, others = UNDERLAY_IPV4.prefixlen, UNDERLAY_IPV6.prefixlen, list[int]()
        if self._edges is not None:
            bits4, bits6, others = 32, 128, neighbours(self._edges, number)
        host.ip(
            "link set eth0 up",
            f"addr add {self.ipv4(number)}/{bits4} dev eth0",
            f"addr add {self.ipv6(number)}/{bits6} dev eth0 nodad",
            *(f"route add {self.ipv4(other)}/32 dev eth0" for other in others),
            *(f"route add {self.ipv6(other)}/128 dev eth0" for other in others),
        )
        return host


def terminate(processes: Sequence[subprocess.Popen[bytes]], *, timeout_s: float = 5.0) -> None:
    """Ask all to stop (SIGTERM), wait, and kill those that do not."""
    for process in processes:
        process.terminate()
    deadline = time.monotonic() + timeout_s
    for process in processes:
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(max(0.0, deadline - time.monotonic()))
    for process in processes:
        if process.poll() is None:
            process.kill()
            process.wait()


def _net_namespace(process: str) -> str:
    return str(Path(f"/proc/{process}/ns/net").readlink())


def _name_of(pid: int) -> str:
    return Path(f"/proc/{pid}/comm").read_text(encoding="ascii", errors="replace").strip()
