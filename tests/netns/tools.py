"""What the tests of this tier share: waiting, namespaces, nodes, pings, captures, commands."""

from __future__ import annotations

import concurrent.futures
import contextlib
import ctypes
import json
import os
import re
import secrets
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any, Self, TypeVar, cast

from attrs import define

from meshnet.client import Client
from meshnet.errors import ApiError
from meshnet.lab.hosts import Namespace, terminate
from meshnet.lab.mesh import LabHost, LabMesh
from meshnet.report import ConnectionReport, Report

T = TypeVar("T")

PORT = 6783
PASSWORD = secrets.token_hex(16)
NODE = (sys.executable, "-m", "meshnet.node")
MESHNET = (sys.executable, "-m", "meshnet")

# Linux: sched.h, if_packet.h, if_ether.h, asm-generic/socket.h; the socket module lacks them.
_CLONE_NEWNET = 0x40000000
_SOL_PACKET = 263
_PACKET_STATISTICS = 6
_PACKET_AUXDATA = 8
_ETH_P_ALL = 3
_VLAN_VALID = 1 << 4
_AUXDATA = struct.Struct("=IIIHHHH")
_SO_RCVBUFFORCE = 33
# linux/netlink.h, linux/netfilter/nfnetlink.h, nfnetlink_conntrack.h
_NETLINK_NETFILTER = 12
_NFNL_SUBSYS_CTNETLINK = 1
_IPCTNL_MSG_CT_DELETE = 2
_CAPTURE_BUFFER_BYTES = 64 * 1024 * 1024
_POLL_S = 0.02


# Waiting.


def wait_until(condition: Callable[[], T], timeout_s: float, what: str) -> T:
    """The first true value of ``condition``; fails with ``what`` when the time is over."""
    deadline = time.monotonic() + timeout_s
    while True:
        if value := condition():
            return value
        assert time.monotonic() < deadline, f"not within {timeout_s} s: {what}"
        time.sleep(_POLL_S)


# Commands and their refusals.


def environment() -> dict[str, str]:
    """Ours, less what would configure a node."""
    return {key: value for key, value in os.environ.items() if not key.startswith("MESHNET_")}


def meshnet(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run the ``meshnet`` command to its end."""
    return subprocess.run(
        [*MESHNET, *map(str, arguments)],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
        env=environment(),
    )


def one_line(done: subprocess.CompletedProcess[str], *statuses: int) -> str:
    """The one line on stderr of a command that refused with one of ``statuses``."""
    said = f"exit {done.returncode}, stdout {done.stdout!r}, stderr {done.stderr!r}"
    assert done.returncode in statuses, said
    assert done.stdout == "", said
    lines = done.stderr.splitlines()
    assert len(lines) == 1, said
    assert lines[0].startswith("meshnet"), said
    return lines[0]


# Namespaces.


def in_namespace(namespace: Namespace, make: Callable[[], T]) -> T:
    """What ``make`` gives in a thread that has entered ``namespace``; sockets stay there."""

    def enter_and_make() -> T:
        descriptor = os.open(f"/proc/{namespace.pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        try:
            libc = ctypes.CDLL(None, use_errno=True)
            if libc.setns(descriptor, _CLONE_NEWNET) != 0:
                raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
        finally:
            os.close(descriptor)
        return make()

    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        return pool.submit(enter_and_make).result()


def tcp_listener(namespace: Namespace, host: str, port: int) -> socket.socket:
    def make() -> socket.socket:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        return socket.create_server((host, port), family=family)

    listener = in_namespace(namespace, make)
    listener.settimeout(20)
    return listener


def tcp_connection(namespace: Namespace, host: str, port: int) -> socket.socket:
    return in_namespace(namespace, lambda: socket.create_connection((host, port), timeout=20))


def udp_socket(namespace: Namespace, host: str = "0.0.0.0", port: int = 0) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    udp = in_namespace(namespace, lambda: socket.socket(family, socket.SOCK_DGRAM))
    return _bound(udp, (host, port))


def raw_socket(namespace: Namespace, interface: str) -> socket.socket:
    """Sends whole frames by one interface, and receives all that pass it both ways."""
    raw = in_namespace(namespace, lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0))
    return _bound(raw, (interface, _ETH_P_ALL))


def _bound(unbound: socket.socket, address: tuple[str, int]) -> socket.socket:
    try:
        unbound.bind(address)
    except OSError:
        unbound.close()
        raise
    return unbound


def mac_address(namespace: Namespace, interface: str) -> bytes:
    rows = json.loads(namespace.run("ip", "-json", "link", "show", "dev", interface).stdout)
    return bytes.fromhex(rows[0]["address"].replace(":", ""))


def devices(namespace: Namespace) -> set[str]:
    rows = json.loads(namespace.run("ip", "-json", "link").stdout)
    return {row["ifname"] for row in rows}


def listening(namespace: Namespace) -> str:
    """Every listening or unconnected socket of a namespace: TCP, UDP, raw, unix, with its users."""
    return namespace.run("ss", "-Hlntuwxp").stdout


# Captures.


class Capture:
    """Every frame that passes an interface (by default: any of them) while its block runs.

    The kernel keeps the frames until they are read, and tells if one did not fit.
    """

    def __init__(self, namespace: Namespace, interface: str | None = None) -> None:
        self._frames: list[bytes] = []
        if interface is not None:
            self._socket = raw_socket(namespace, interface)
        else:
            of_all = (socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_ETH_P_ALL))
            self._socket = in_namespace(namespace, lambda: socket.socket(*of_all))
        self._socket.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _CAPTURE_BUFFER_BYTES)
        self._socket.setsockopt(_SOL_PACKET, _PACKET_AUXDATA, 1)
        self._socket.setblocking(False)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def frames(self) -> list[bytes]:
        """All frames so far, whole and with their VLAN tags."""
        with contextlib.suppress(BlockingIOError):
            while True:
                self._frames.append(self._receive())
        statistics = self._socket.getsockopt(_SOL_PACKET, _PACKET_STATISTICS, 8)
        _, dropped = struct.unpack("=II", statistics)
        assert dropped == 0, f"{dropped} frames did not fit into the capture"
        return self._frames

    def has(self, marker: bytes) -> bool:
        return any(marker in frame for frame in self.frames())

    def _receive(self) -> bytes:
        size = socket.CMSG_SPACE(_AUXDATA.size)
        frame, ancillary, flags, _ = self._socket.recvmsg(256 * 1024, size)
        assert not flags & socket.MSG_TRUNC, "a frame was longer than the buffer"
        # The kernel takes VLAN tags out of received frames; put them back, as libpcap does.
        for level, kind, data in ancillary:
            if (level, kind) == (_SOL_PACKET, _PACKET_AUXDATA):
                status, _, _, _, _, tci, tpid = _AUXDATA.unpack(data[: _AUXDATA.size])
                if status & _VLAN_VALID:
                    return frame[:12] + struct.pack(">HH", tpid or 0x8100, tci) + frame[12:]
        return frame


@define(frozen=True)
class Datagram:
    """What passed the underlay between two nodes' UDP ports."""

    source: str
    destination: str
    payload: bytes

    @classmethod
    def of_frame(cls, frame: bytes) -> Datagram | None:
        """None for all other frames."""
        if frame[12:14] == b"\x08\x00" and frame[23] == socket.IPPROTO_UDP:
            family, first, size = socket.AF_INET, 26, 4
        elif frame[12:14] == b"\x86\xdd" and frame[20] == socket.IPPROTO_UDP:
            family, first, size = socket.AF_INET6, 22, 16
        else:
            return None
        second, udp = first + size, first + 2 * size
        from_port, to_port, length = struct.unpack_from(">HHH", frame, udp)
        if (from_port, to_port) != (PORT, PORT):
            return None
        return cls(
            socket.inet_ntop(family, frame[first:second]),
            socket.inet_ntop(family, frame[second:udp]),
            frame[udp + 8 : udp + length],
        )


# Pings.


def pings(namespace: Namespace, address: str, *options: str) -> bool:
    """True when at least one of a few pings is answered."""
    command = ("ping", "-n", "-q", "-c", "3", "-i", "0.05", "-W", "1", *options, address)
    return namespace.run(*command).returncode == 0


class PingStream:
    """Twenty pings a second while its block runs; knows when (wall clock) each was answered."""

    def __init__(self, namespace: Namespace, address: str, interval_s: float = 0.05) -> None:
        self._started = time.time()
        self._output: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 (closed by the block)
        self._process = namespace.start(
            *("ping", "-n", "-D", "-i", str(interval_s), address), stdout=self._output
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        terminate([self._process])
        self._output.close()

    def answers(self) -> list[float]:
        size = os.fstat(self._output.fileno()).st_size
        text = os.pread(self._output.fileno(), size, 0).decode()
        found = re.findall(r"^\[(\d+\.\d+)\] \d+ bytes from ", text, re.MULTILINE)
        return [float(stamp) for stamp in found]

    def first_answer_after(self, moment: float, timeout_s: float) -> float:
        def later() -> float | None:
            return next((stamp for stamp in self.answers() if stamp > moment), None)

        found = wait_until(later, timeout_s, "an answer to the ping stream")
        assert found is not None
        return found

    def longest_gap_s(self, since: float = 0.0) -> float:
        """The longest time without an answer, from the first one after ``since`` until now."""
        stamps = [stamp for stamp in self.answers() if stamp > since]
        assert stamps, "no ping was answered"
        return max(
            after - before for before, after in zip(stamps, [*stamps[1:], time.time()], strict=True)
        )


# The underlay.


def cut_off(namespace: Namespace) -> None:
    """Every underlay packet of a host is dropped, both ways: as if it had lost its power."""
    rules = (
        "table inet dead {"
        ' chain i { type filter hook input priority 0; iifname "eth0" drop; };'
        ' chain o { type filter hook output priority 0; oifname "eth0" drop; };'
        "}"
    )
    _nft(namespace, rules)


def masquerade(router: Namespace, ports: str) -> None:
    """``router`` forwards what comes from within by its eth0, as from itself (RFC 3022)."""
    done = router.run("sh", "-c", "echo 1 > /proc/sys/net/ipv4/ip_forward")
    assert done.returncode == 0, done.stderr
    rules = (
        "table ip nat {"
        " chain post { type nat hook postrouting priority 100;"
        f' oifname "eth0" meta l4proto {{ tcp, udp }} masquerade to :{ports} random; }};'
        "}"
    )
    _nft(router, rules)


def forget_connections(router: Namespace) -> None:
    """Have its NAT forget all mappings, as a restart does (ctnetlink: delete without a filter)."""
    kind = (_NFNL_SUBSYS_CTNETLINK << 8) | _IPCTNL_MSG_CT_DELETE
    flags = 0x1 | 0x4  # NLM_F_REQUEST, NLM_F_ACK
    request = struct.pack("=IHHIIBBH", 20, kind, flags, 1, 0, 0, 0, 0)

    def make() -> socket.socket:
        return socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_NETFILTER)

    with in_namespace(router, make) as netlink:
        netlink.send(request)
        _, error = struct.unpack_from("=16si", netlink.recv(4096))
        assert error == 0, os.strerror(-error)


def _nft(namespace: Namespace, rules: str) -> None:
    done = namespace.run("nft", rules)
    assert done.returncode == 0, done.stderr


# Nodes.


def node_arguments(directory: Path) -> list[str]:
    """A node's own places below ``directory``."""
    return ["--state-dir", str(directory / "state"), "--api", str(directory / "api.sock")]


class Node:
    """A node that a test starts by itself, outside a LabMesh; killed at the end of its block."""

    def __init__(self, namespace: Namespace, directory: Path, *options: str) -> None:
        directory.mkdir(exist_ok=True)
        self.namespace = namespace
        self.directory = directory
        self.api = directory / "api.sock"
        self.log = directory / "node.log"
        self._options = options
        self.process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def start(self) -> None:
        """Start, or start again, and wait until it serves its API."""
        with self.log.open("ab") as log:
            self.process = self.namespace.start(
                *NODE, *node_arguments(self.directory), *self._options, stdout=log
            )
        self.wait_up()

    def wait_up(self) -> None:
        wait_until(lambda: self.is_up, 15, f"a node that is up; log: {self.log_text()}")

    @property
    def is_up(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, f"the node has ended: {self.log_text()}"
        with contextlib.suppress(ApiError):
            return Client(self.api).report()["ready"]
        return False

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Ask it to stop; its exit status."""
        assert self.process is not None
        self.process.send_signal(number)
        return self.process.wait(10)

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()

    def report(self) -> Report:
        return Client(self.api).report()

    def log_text(self) -> str:
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    def connection(self, condition: Callable[[ConnectionReport], bool]) -> ConnectionReport:
        """The first row of `meshnet connections --json` that fits, within a few seconds."""

        def fits() -> ConnectionReport | None:
            done = meshnet("connections", "--json", "--api", self.api)
            rows: list[ConnectionReport] = json.loads(done.stdout)
            return next((row for row in rows if condition(row)), None)

        found = wait_until(fits, 10, f"such a connection; log: {self.log_text()}")
        assert found is not None
        return found


def report_of(host: LabHost) -> Report:
    report = host.report()
    assert report is not None, f"{host.nickname} does not answer: {host.last_log_line()}"
    return report


def drops_of(host: LabHost) -> Mapping[str, int]:
    return report_of(host)["data_path"]["drops"]


def memory_bytes(host: LabHost) -> int:
    """Resident memory (VmRSS) of a host's node."""
    assert host.node is not None
    status = Path(f"/proc/{host.node.pid}/status").read_text(encoding="ascii")
    found = re.search(r"^VmRSS:\s+(\d+) kB", status, re.MULTILINE)
    assert found is not None
    return int(found[1]) * 1024


def kill_node(host: LabHost) -> None:
    assert host.node is not None
    host.node.kill()
    host.node.wait()


@contextlib.contextmanager
def running_mesh(**settings: Any) -> Iterator[LabMesh]:
    """A full mesh of three hosts; no node of it may have shown a traceback by the end."""
    with LabMesh(3, password=PASSWORD, **settings) as mesh:
        mesh.wait_full_mesh(30)
        yield mesh
        for log in mesh.directory.glob("*/*.log*"):
            assert_no_traceback(log.read_text(errors="replace"))


def assert_no_traceback(log: str) -> None:
    assert "Traceback" not in log, log
    assert "exception" not in log.lower(), log


# The machine.


def why_not_here() -> str | None:
    """Why this machine cannot run the tier; None when it can."""
    needed = "arping ip iperf3 nft ping setpriv ss unshare"
    missing = [tool for tool in needed.split() if shutil.which(tool) is None]
    if os.geteuid() != 0:
        return "not root"
    if not Path("/dev/net/tun").exists():
        return "no /dev/net/tun"
    if missing:
        return f"missing tools: {' '.join(missing)}"
    if subprocess.run(["unshare", "--net", "true"], capture_output=True, check=False).returncode:
        return "no network namespaces"
    return None


def marked_processes(mark: str) -> dict[int, str]:
    """The processes whose environment holds ``mark``: pid and command line."""
    found: dict[int, str] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                if mark.encode() in (entry / "environ").read_bytes():
                    command = (entry / "cmdline").read_bytes().replace(b"\0", b" ")
                    found[int(entry.name)] = command.decode(errors="replace")
    return found


def json_of(done: subprocess.CompletedProcess[str]) -> Any:
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def retry_on_refused(command: Sequence[str], namespace: Namespace) -> dict[str, Any]:
    """iperf3's answer; tried again while its server does not listen yet."""

    def answer() -> dict[str, Any] | None:
        said = cast(dict[str, Any], json.loads(namespace.run(*command).stdout))
        return None if "refused" in said.get("error", "") else said

    found = wait_until(answer, 10, "an iperf3 server")
    assert found is not None
    assert "error" not in found, found["error"]
    return found
