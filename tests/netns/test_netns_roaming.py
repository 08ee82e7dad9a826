"""Hosts that move, NATs that forget, nodes that stood still: pings flow again in two seconds."""

from __future__ import annotations

import contextlib
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from meshnet.lab.hosts import Namespace, Underlay
from meshnet.lab.mesh import LabHost, LabMesh
from netns.tools import (
    Node,
    PingStream,
    assert_no_traceback,
    forget_connections,
    masquerade,
    report_of,
    running_mesh,
    wait_until,
)

HEALED_WITHIN_S = 2.0
STREAM_INTERVAL_S = 0.01


@pytest.fixture
def own_mesh() -> Iterator[LabMesh]:
    """One that a test may change for good."""
    with running_mesh() as mesh:
        yield mesh


def wait_healed(*streams: PingStream) -> float:
    """Let the time pass in which they have to be answered again; the longest gap was this."""
    began = time.time()
    time.sleep(HEALED_WITHIN_S + 1.0)
    for stream in streams:
        last = [answer for answer in stream.answers() if answer > began + HEALED_WITHIN_S]
        assert len(last) > 0.5 / STREAM_INTERVAL_S, "answered as before"
    return max(stream.longest_gap_s(began - 0.5) for stream in streams)


def all_linked(mesh: LabMesh) -> bool:
    return all(
        sum(
            row["state"] == "established" and row["direction"] in ("inbound", "outbound")
            for row in report_of(host)["connections"]
        )
        == len(mesh.hosts) - 1
        for host in mesh.hosts
    )


def ended_links(host: LabHost) -> int:
    return host.log.read_text().count("the local address is gone")


@pytest.mark.parametrize("mover", [0, 2], ids=["told of by all", "told of by none"])
def test_a_host_whose_address_changes_is_followed(own_mesh: LabMesh, mover: int) -> None:
    host = own_mesh.hosts[mover]
    other = own_mesh.hosts[1]
    number = mover + 1
    with (
        PingStream(host.namespace, other.overlay_ipv4, STREAM_INTERVAL_S) as there,
        PingStream(other.namespace, host.overlay_ipv4, STREAM_INTERVAL_S) as back,
    ):
        time.sleep(1.0)
        host.namespace.ip(
            f"addr del 192.0.2.{number}/24 dev eth0", "addr add 192.0.2.77/24 dev eth0"
        )
        moved = time.monotonic()
        wait_until(lambda: ended_links(host) == 2, HEALED_WITHIN_S, "the end of the dead links")
        left_s = moved + HEALED_WITHIN_S - time.monotonic()
        wait_until(lambda: all_linked(own_mesh), left_s, "links by the new address")
        assert wait_healed(there, back) < HEALED_WITHIN_S
    [row] = [row for row in report_of(other)["connections"] if row["nickname"] == host.nickname]
    addresses = report_of(host)["addresses"]
    assert "192.0.2.77:6783" in addresses
    assert f"192.0.2.{number}:6783" not in addresses
    # By its new address, or by that of IPv6, which it has kept: who dials first decides.
    assert row["address"].rpartition(":")[0] in [text.rpartition(":")[0] for text in addresses]


def test_a_host_that_only_receives_is_followed(own_mesh: LabMesh) -> None:
    """A stream that nobody answers: nothing but its node can tell that it has moved."""
    host, other = own_mesh.hosts[0], own_mesh.hosts[1]
    group = host.namespace.run("sysctl", "-w", "net.ipv4.icmp_echo_ignore_all=1")
    assert group.returncode == 0, group.stderr
    received = Path(f"/proc/{host.namespace.pid}/net/dev")

    def frames() -> int:
        [line] = [row for row in received.read_text().splitlines() if "mesh0:" in row]
        return int(line.split(":")[1].split()[1])

    with PingStream(other.namespace, host.overlay_ipv4, STREAM_INTERVAL_S):
        time.sleep(2.0)
        host.namespace.ip("addr del 192.0.2.1/24 dev eth0", "addr add 192.0.2.77/24 dev eth0")
        before, deadline = frames(), time.monotonic() + HEALED_WITHIN_S
        wait_until(
            lambda: frames() > before + 30, deadline - time.monotonic(), "frames to flow again"
        )


@pytest.mark.parametrize("stopped_s", [5.0])
def test_a_node_that_stood_still_takes_nobody_for_dead(own_mesh: LabMesh, stopped_s: float) -> None:
    host, other, third = own_mesh.hosts
    assert host.node is not None
    with (
        PingStream(other.namespace, host.overlay_ipv4, STREAM_INTERVAL_S) as stream,
        PingStream(host.namespace, third.overlay_ipv4, STREAM_INTERVAL_S),
        PingStream(other.namespace, third.overlay_ipv4, STREAM_INTERVAL_S) as between,
    ):
        time.sleep(1.0)
        # What setpriv starts is nsenter, which has become the node.
        host.node.send_signal(signal.SIGSTOP)
        time.sleep(stopped_s)
        host.node.send_signal(signal.SIGCONT)
        went_on = time.time()
        assert stream.first_answer_after(went_on, 10) - went_on < HEALED_WITHIN_S
        assert wait_healed(stream, between) < stopped_s + HEALED_WITHIN_S
        assert between.longest_gap_s() < 0.5
    assert "nothing was heard" not in host.log.read_text()
    names = {host.nickname: report_of(host)["name"][:8]}
    for seen_by in (other, third):
        lost = [line for line in seen_by.log.read_text().splitlines() if "session lost" in line]
        assert all(names[host.nickname] in line for line in lost), lost


class Behind:
    """A node behind a NAT and one outside: `router` is the host between them."""

    def __init__(self, underlay: Underlay, directory: Path, stack: contextlib.ExitStack) -> None:
        outside, self.router = underlay.hosts
        inside = Namespace()
        stack.callback(inside.close)
        self.router.ip(
            f"link add inner type veth peer name eth0 netns {inside.pid}",
            "link set inner up",
            "addr add 10.99.0.1/24 dev inner",
        )
        inside.ip(
            "link set eth0 up",
            "addr add 10.99.0.2/24 dev eth0",
            "route add default via 10.99.0.1",
        )
        masquerade(self.router, "30000-60000")
        options = ("--address",)
        self.outside = stack.enter_context(
            Node(outside, directory / "outside", *options, "10.32.0.1/24")
        )
        self.inside = stack.enter_context(
            Node(inside, directory / "inside", *options, "10.32.0.2/24", Underlay.ipv4(1))
        )
        for node in (self.outside, self.inside):
            node.connection(lambda row: row["state"] == "established")


@pytest.fixture
def behind(scratch: Path) -> Iterator[Behind]:
    with Underlay(2) as underlay, contextlib.ExitStack() as stack:
        made = Behind(underlay, scratch, stack)
        yield made
        for node in (made.outside, made.inside):
            assert_no_traceback(node.log_text())


def other_ports(router: Namespace) -> None:
    forget_connections(router)


def other_address(router: Namespace) -> None:
    router.ip("addr del 192.0.2.2/24 dev eth0", "addr add 192.0.2.99/24 dev eth0")
    forget_connections(router)


@pytest.mark.parametrize("rebind", [other_ports, other_address])
@pytest.mark.parametrize("from_inside", [True, False], ids=["from inside", "from outside"])
def test_a_nat_that_forgets_is_no_more_than_a_pause(
    behind: Behind, rebind: Callable[[Namespace], None], from_inside: bool
) -> None:
    source, to = (behind.inside, "10.32.0.1") if from_inside else (behind.outside, "10.32.0.2")
    with PingStream(source.namespace, to, STREAM_INTERVAL_S) as stream:
        time.sleep(1.0)
        [before] = behind.outside.report()["connections"]
        rebind(behind.router)
        assert wait_healed(stream) < HEALED_WITHIN_S
        [after] = behind.outside.report()["connections"]
    assert after["address"] != before["address"]
    assert "peer moved" in behind.outside.log_text()
