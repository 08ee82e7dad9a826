"""How a running lab is steered from another terminal: one line of JSON to its socket, one back.

The lab's own process does what is asked, since the nodes that it starts die with it. Its socket
stands in its directory, which only its user may enter; that is all there is to find a lab by.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypedDict, cast

from attrs import define

from meshnet.errors import MeshError
from meshnet.lab.directory import lab_directories
from meshnet.lab.hosts import LabError
from meshnet.lab.mesh import LabHost, LabMesh, host_name

_SOCKET = "control.sock"
_PEER_CREDENTIALS = struct.Struct("=iII")  # struct ucred: pid, uid, gid
_MAX_LINE_BYTES = 65536
_REQUEST_S = 2.0
# A node that is started may take a while on a busy machine.
_NODE_UP_S = 20.0
_REPLY_S = _NODE_UP_S + 10.0


class HostStatus(TypedDict):
    """One host of a running lab."""

    host: str
    node: str
    """running; killed, by us; or ended, by itself."""
    underlay: str
    nat: str | None
    """The address of the NAT gateway that it stands behind."""
    cut_off_from: list[str]
    """Hosts; all others, if it is cut off from them as a whole."""
    enter: str
    """The command that enters its network namespace."""
    api: str


class LabStatus(TypedDict):
    """A running lab, as `meshnet lab status --json` prints it."""

    lab: str
    topology: str
    loss_percent: float
    delay_ms: float
    jitter_ms: float
    rate_mbit: float
    hosts: list[HostStatus]


class _Reply(TypedDict, total=False):
    status: LabStatus
    error: str


@define(frozen=True)
class RunningLab:
    """A lab that answers: its name, which is the process number of its `lab run`."""

    name: str
    socket_path: Path

    def ask(self, command: str, *hosts: str) -> LabStatus:
        """Have the lab do ``command``; its state after that. Raises LabError."""
        try:
            with socket.socket(socket.AF_UNIX) as connection:
                connection.settimeout(_REPLY_S)
                connection.connect(str(self.socket_path))
                _send(connection, {"command": command, "hosts": hosts})
                reply = cast(_Reply, _receive(connection))
        except (OSError, ValueError) as error:
            raise LabError(f"lab {self.name} does not answer: {error}") from None
        if "error" in reply:
            raise LabError(reply["error"])
        return reply["status"]


def running_labs() -> list[RunningLab]:
    """This user's labs that can be steered, those started first first."""
    found = []
    for directory in lab_directories():
        path = directory / _SOCKET
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as connection:
            connection.connect(str(path))
            size = _PEER_CREDENTIALS.size
            peer = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size)
            found.append((_PEER_CREDENTIALS.unpack(peer)[0], path))
    return [RunningLab(str(pid), path) for pid, path in sorted(found)]


def find_lab(name: str | None = None) -> RunningLab:
    """The lab of that name, or the only one. Raises LabError with what there is."""
    labs = running_labs()
    names = ", ".join(lab.name for lab in labs)
    if not labs:
        raise LabError("no lab of this user is ready here; `meshnet lab run` starts one")
    if name is None:
        if len(labs) > 1:
            raise LabError(f"{len(labs)} labs are running: pick one with --lab ({names})")
        return labs[0]
    for lab in labs:
        if lab.name == name:
            return lab
    raise LabError(f"no lab {name} is running; there is {names}")


class ControlledLab:
    """A lab that can be steered from now on."""

    def __init__(self, mesh: LabMesh) -> None:
        self._mesh = mesh
        self._killed: set[LabHost] = set()
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(mesh.directory / _SOCKET))
        self._listener.listen()

    @property
    def name(self) -> str:
        return str(os.getpid())

    def serve(self) -> None:
        """Do what is asked, one request after the other, until a signal ends it.

        Raises LabError when the wire process, on which all hosts depend, has ended.
        """
        self._listener.settimeout(1.0)
        while True:
            with contextlib.suppress(TimeoutError):
                connection = self._listener.accept()[0]
                # Whoever says nothing, or goes away, gets no answer; the lab goes on.
                with connection, contextlib.suppress(OSError):
                    connection.settimeout(_REQUEST_S)
                    _send(connection, self._reply(connection))
            wire = self._mesh.underlay.wire
            if wire is not None and wire.poll() is not None:
                raise LabError("the wire process has ended, so no host reaches another")

    def _reply(self, connection: socket.socket) -> _Reply:
        try:
            request = _receive(connection)
            command, hosts = request["command"], [self._host(name) for name in request["hosts"]]
            self._commands()[command](*hosts)
        except MeshError as error:
            return {"error": str(error)}
        except (ValueError, TypeError, KeyError):
            return {"error": "the lab does not understand: is it of another version?"}
        return {"status": self.status()}

    def status(self) -> LabStatus:
        """All hosts, and what is wrong with them."""
        quality = self._mesh.impairments
        return {
            "lab": self.name,
            "topology": self._mesh.topology,
            "loss_percent": quality.loss_percent,
            "delay_ms": quality.delay_s * 1e3,
            "jitter_ms": quality.jitter_s * 1e3,
            "rate_mbit": quality.rate_bits_per_s / 1e6,
            "hosts": [self._host_status(host) for host in self._mesh.hosts],
        }

    def _host_status(self, host: LabHost) -> HostStatus:
        underlay = self._mesh.underlay
        if host.number in underlay.cuts.hosts:
            cut = [other.nickname for other in self._mesh.hosts if other is not host]
        else:
            cut = [host_name(number) for number in underlay.cuts.partners(host.number)]
        ended = "killed" if host in self._killed else "ended"
        return {
            "host": host.nickname,
            "node": "running" if host.is_running else ended,
            "underlay": host.underlay_ipv4,
            "nat": underlay.ipv4(host.number) if host.behind_nat else None,
            "cut_off_from": cut,
            "enter": host.namespace.how_to_enter(),
            "api": str(host.api),
        }

    def _commands(self) -> dict[str, Callable[..., None]]:
        return {
            "status": lambda: None,
            "cut": self._cut,
            "heal": self._heal,
            "kill": self._kill,
            "start": self._start,
            "rebind": self._rebind,
        }

    def _cut(self, first: LabHost, second: LabHost | None = None) -> None:
        if first is second:
            raise LabError(f"{first.nickname} cannot be cut off from itself")
        self._mesh.underlay.cut(first.number, second.number if second else None)

    def _heal(self, first: LabHost | None = None, second: LabHost | None = None) -> None:
        for host in (first, second) if second else ():
            if host is not None and host.number in self._mesh.underlay.cuts.hosts:
                name = host.nickname
                raise LabError(f"{name} is cut off from all; `meshnet lab heal {name}` heals that")
        self._mesh.underlay.heal(first.number if first else None, second.number if second else None)

    def _kill(self, host: LabHost) -> None:
        if not host.is_running:
            name = host.nickname
            raise LabError(f"no node runs on {name}; `meshnet lab start {name}` starts it")
        host.kill_node()
        self._killed.add(host)

    def _start(self, host: LabHost) -> None:
        if host.is_running:
            raise LabError(f"the node of {host.nickname} is running")
        self._killed.discard(host)
        self._mesh.start_node(host)
        host.wait_up(_NODE_UP_S)

    def _rebind(self, host: LabHost) -> None:
        if not host.behind_nat:
            raise LabError(f"{host.nickname} is not behind NAT: see --nat of `meshnet lab run`")
        self._mesh.underlay.rebind(host.number)

    def _host(self, name: str) -> LabHost:
        for host in self._mesh.hosts:
            if host.nickname == name:
                return host
        names = [host.nickname for host in self._mesh.hosts]
        raise LabError(f"no host '{name}' in this lab: it has {names[0]} to {names[-1]}")


def _send(connection: socket.socket, value: object) -> None:
    connection.sendall(json.dumps(value).encode() + b"\n")


def _receive(connection: socket.socket) -> Any:
    """One line of JSON. Raises OSError, or ValueError for anything else."""
    with connection.makefile("rb") as stream:
        return json.loads(stream.readline(_MAX_LINE_BYTES))
