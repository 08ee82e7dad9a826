"""Hosts and the wire between them: network namespaces without names, held by a sleeping process.

    root namespace: nothing of ours, not even for a moment
    hub:   bridge `wire` -- port1 -- port2 -- port3
    host:  eth0 (underlay, the other end of a port), and what its node makes

Port and eth0 are a veth pair, or two TAPs with a wire in between (wire_process.py) where packets
have to wait; a NAT gateway stands before a host as a namespace of its own (nat.py).

A namespace lives as long as a process in it. Every process here is told to die with the lab
(PR_SET_PDEATHSIG by setpriv), so even after kill -9 of the lab the kernel takes all of it back.
"""

from __future__ import annotations

import contextlib
import ipaddress
import select
import shutil
import subprocess
import sys
import time
from collections.abc import Collection, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from meshnet.errors import MeshError
from meshnet.lab import nat, wire_process
from meshnet.lab.cuts import Cuts, hub_rules, port_name
from meshnet.lab.impairments import Impairments
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

    def how_to_enter(self) -> str:
        """The command by which this user enters the namespace from another terminal."""
        # Other terminals are outside of the user namespace of a lab without root.
        outside = Path("/proc/self/uid_map").read_text(encoding="ascii").split()
        user = "" if outside[:2] == ["0", "0"] else " -U --preserve-credentials"
        return f"nsenter -t {self.pid}{user} -n"

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
        self._tell(("ip", "-batch", "-"), "\n".join(commands) + "\n")

    def nft(self, rules: str) -> None:
        """Run ``nft -f``: all of ``rules``, or nothing. Raises LabError with what nft said."""
        check_tools(("nft", "nftables"))
        self._tell(("nft", "-f", "-"), rules)

    def close(self) -> None:
        """End the holder; the kernel removes the namespace when its last process is gone."""
        self._holder.kill()
        self._holder.wait()
        if self._holder.stderr is not None:
            self._holder.stderr.close()

    def _tell(self, arguments: Sequence[str], lines: str) -> None:
        done = subprocess.run(
            self.command(*arguments),
            input=lines,
            capture_output=True,
            text=True,
            timeout=_WAIT_S,
            check=False,
        )
        if done.returncode != 0:
            raise LabError(f"{arguments[0]}: {' '.join(done.stderr.split())}")

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
    edge cannot be reached in either direction. Without, all are in one subnet. The hosts numbered
    in ``behind_nat`` have a gateway of their own, which has the IPv4 address in their place; they
    have no IPv6.
    """

    def __init__(
        self,
        count: int,
        *,
        mtu: int = 1500,
        edges: list[Edge] | None = None,
        impairments: Impairments = Impairments(),  # noqa: B008  (a value)
        behind_nat: Collection[int] = (),
    ) -> None:
        if not 1 <= count <= MAX_HOSTS:
            raise LabError(f"{count} hosts: use 1 to {MAX_HOSTS}")
        self._edges = edges
        self._mtu = mtu
        self._impairments = impairments
        self._stack = contextlib.ExitStack()
        self._rebound = dict.fromkeys(sorted(behind_nat), 0)
        self.cuts = Cuts()
        self.hosts: list[Namespace] = []
        self.gateways: dict[int, Namespace] = {}
        self.wire: subprocess.Popen[bytes] | None = None
        try:
            self.hub = self._new_namespace()
            self.hub.ip("link add wire type bridge mcast_snooping 0", "link set wire up")
            if impairments.needs_wire:
                self.wire = self._start_wire(count)
            for number in range(1, count + 1):
                self.hosts.append(self._new_host(number))
            if impairments.loss_percent:
                self._apply(self.cuts)
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

    def cut(self, first: int, second: int | None = None) -> None:
        """Drop all packets of a host, or all between two, until healed; nobody is told.

        Raises LabError.
        """
        self._apply(self.cuts.with_cut(first, second))

    def heal(self, first: int | None = None, second: int | None = None) -> None:
        """Undo all cuts, those that name ``first``, or that between two hosts. Raises LabError."""
        self._apply(Cuts() if first is None else self.cuts.healed(first, second))

    def rebind(self, number: int) -> None:
        """Have the NAT gateway of a host forget its mappings; what it maps next has other ports.

        Raises LabError.
        """
        gateway = self.gateways[number]
        self._rebound[number] += 1
        gateway.nft(nat.gateway_rules(self._rebound[number]))
        done = gateway.run(sys.executable, "-m", nat.__name__)
        if done.returncode != 0:
            raise LabError(f"the gateway does not forget: {done.stderr.splitlines()[-1]}")

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

    def _new_host(self, number: int) -> Namespace:
        host = self._new_namespace()
        if number in self._rebound:
            self.gateways[number] = self._new_gateway(number, host)
        else:
            self._plug_in(number, host)
            bits = 128 if self._edges is not None else UNDERLAY_IPV6.prefixlen
            others = neighbours(self._edges or [], number)
            host.ip(
                f"addr add {self.ipv6(number)}/{bits} dev eth0 nodad",
                *(f"route add {self.ipv6(other)}/128 dev eth0" for other in others),
            )
        return host

    def _new_gateway(self, number: int, host: Namespace) -> Namespace:
        gateway = self._new_namespace()
        self._plug_in(number, gateway)
        gateway.ip(
            f"link add inside mtu {self._mtu} type veth"
            f" peer name eth0 mtu {self._mtu} netns {host.pid}",
            "link set inside up",
            f"addr add {nat.gateway_ipv4(number)}/{nat.INSIDE_BITS} dev inside",
        )
        host.ip(
            "link set eth0 up",
            f"addr add {nat.inside_ipv4(number)}/{nat.INSIDE_BITS} dev eth0",
            f"route add default via {nat.gateway_ipv4(number)}",
        )
        gateway.nft(nat.gateway_rules(rebound=0))
        done = gateway.run("sh", "-c", "echo 1 > /proc/sys/net/ipv4/ip_forward")
        if done.returncode != 0:
            raise LabError(f"a gateway does not forward: {done.stderr.strip()}")
        return gateway

    def _plug_in(self, number: int, namespace: Namespace) -> None:
        """Give a namespace the ``eth0`` that leads to the hub, with the IPv4 side of host N."""
        port, mtu = port_name(number), self._mtu
        if self.wire is None:
            made = f"link add {port} mtu {mtu} type veth peer name eth0 mtu {mtu}"
            self.hub.ip(f"{made} netns {namespace.pid}")
        else:
            self.hub.ip(
                f"link set {port} mtu {mtu}",
                f"link set {wire_process.far_name(number)} mtu {mtu}",
                f"link set {wire_process.far_name(number)} netns {namespace.pid} name eth0",
            )
        self.hub.ip(f"link set {port} master wire up")
        if self._impairments.loss_percent:
            # Otherwise one number is drawn for up to 64 kB that only a later device would cut up.
            namespace.ip("link set eth0 gso_max_segs 1")
        bits = 32 if self._edges is not None else UNDERLAY_IPV4.prefixlen
        others = neighbours(self._edges or [], number)
        namespace.ip(
            "link set eth0 up",
            f"addr add {self.ipv4(number)}/{bits} dev eth0",
            *(f"route add {self.ipv4(other)}/32 dev eth0" for other in others),
        )

    def _start_wire(self, count: int) -> subprocess.Popen[bytes]:
        process = self.hub.start(
            sys.executable,
            *wire_process.arguments(count, self._impairments),
            stdout=subprocess.PIPE,
        )
        self._stack.callback(_end_wire, process)
        assert process.stdout is not None
        # Its last words, should it fail, come by the same pipe.
        if not select.select([process.stdout], (), (), _WAIT_S)[0]:
            raise LabError("the wire process did not start in time")
        if process.stdout.readline() != wire_process.READY:
            said = process.stdout.read().decode(errors="replace").splitlines()
            raise LabError(f"the wire process did not start: {said[-1] if said else 'no reason'}")
        return process

    def _apply(self, cuts: Cuts) -> None:
        self.hub.nft(hub_rules(cuts, self._impairments.loss_percent))
        self.cuts = cuts


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


def _end_wire(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.communicate()


def _net_namespace(process: str) -> str:
    return str(Path(f"/proc/{process}/ns/net").readlink())


def _name_of(pid: int) -> str:
    return Path(f"/proc/{pid}/comm").read_text(encoding="ascii", errors="replace").strip()
