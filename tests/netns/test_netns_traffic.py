"""What an Ethernet carries, the overlay carries: over IPv4, IPv6 and small underlays."""

from __future__ import annotations

import concurrent.futures
import hashlib
import json
import os
import re
import socket
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from meshnet.lab.hosts import LabError, Namespace, Underlay, terminate
from meshnet.lab.mesh import LabHost, LabMesh
from netns.tools import (
    PASSWORD,
    Capture,
    Node,
    mac_address,
    pings,
    raw_socket,
    report_of,
    retry_on_refused,
    running_mesh,
    tcp_connection,
    tcp_listener,
    wait_until,
)

OVERLAY_MTU = 1376
FULL_IPV4 = OVERLAY_MTU - 20 - 8
FULL_IPV6 = OVERLAY_MTU - 40 - 8
UNDERLAYS: dict[str, dict[str, Any]] = {
    "ipv4": {},
    "ipv6": {"ipv6_underlay": True},
    "ipv4-1400": {"underlay_mtu": 1400},
    "ipv6-1400": {"ipv6_underlay": True, "underlay_mtu": 1400},
}


@pytest.fixture(scope="module", params=UNDERLAYS.values(), ids=list(UNDERLAYS))
def any_mesh(request: pytest.FixtureRequest) -> Iterator[LabMesh]:
    """Three hosts over each kind of underlay in turn."""
    with running_mesh(**request.param) as running:
        yield running


def pairs(mesh: LabMesh) -> list[tuple[LabHost, LabHost]]:
    return [(one, other) for one in mesh.hosts for other in mesh.hosts if one is not other]


# The whole tier rests on this one: a lab whose hosts can ping anyway would prove nothing.
def test_hosts_ping_each_other_only_while_the_mesh_is_up(tmp_path: Path) -> None:
    address = ("--address", "10.32.0.{}/24", "--address", "fd32::{}/64", "--password", PASSWORD)
    with Underlay(2) as underlay:
        one, two = underlay.hosts
        first = Node(one, tmp_path / "1", *(text.format(1) for text in address))
        second = Node(two, tmp_path / "2", *(text.format(2) for text in address))
        with first, second:
            assert not pings(one, "10.32.0.2")
            assert not pings(one, "fd32::2")
        again = Node(two, tmp_path / "2", *second_options(address, Underlay.ipv4(1)))
        with first, again:
            again.connection(lambda row: row["state"] == "established")
            assert pings(one, "10.32.0.2")
            assert pings(one, "fd32::2")
        assert not pings(one, "10.32.0.2")


def second_options(address: tuple[str, ...], peer: str) -> list[str]:
    return [*(text.format(2) for text in address), peer]


def test_tcp_and_udp_by_iperf3(mesh: LabMesh) -> None:
    client, server = mesh.hosts[1:]
    tcp = iperf3(client, server, "-t", "2")
    assert tcp["end"]["sum_received"]["bytes"] > 1_000_000
    udp = iperf3(client, server, "-t", "2", "-u", "-b", "20M", "-l", "1200")
    assert udp["end"]["sum"]["packets"] > 1000
    assert udp["end"]["sum"]["lost_percent"] <= 5


def iperf3(client: LabHost, server: LabHost, *options: str) -> dict[str, Any]:
    address = server.overlay_ipv4
    process = server.namespace.start("iperf3", "-s", "-1", "-B", address)
    try:
        return retry_on_refused(("iperf3", "-J", *options, "-c", address), client.namespace)
    finally:
        terminate([process])


def test_arping_is_answered_by_the_owner_of_the_address_alone(mesh: LabMesh) -> None:
    asker, *others = mesh.hosts
    for other in others:
        done = asker.namespace.run(
            *("arping", "-c", "3", "-w", "5", "-I", "mesh0", other.overlay_ipv4)
        )
        assert done.returncode == 0, done.stdout
        answers = re.findall(r"reply from \S+ \[([0-9A-F:]+)\]", done.stdout)
        assert len(answers) == 3
        assert set(answers) == {mac_address(other.namespace, "mesh0").hex(":").upper()}


@pytest.mark.parametrize("target", [("ff02::1%mesh0",), ("-I", "mesh0", "ff02::1")], ids=" ".join)
def test_multicast_ping_is_answered_by_both_others(mesh: LabMesh, target: tuple[str, ...]) -> None:
    asker, *others = mesh.hosts
    wanted = {link_local(other.namespace) for other in others}
    done = asker.namespace.run("ping", "-6", "-n", "-c", "3", "-i", "0.3", *target)
    answered = set(re.findall(r"bytes from (fe80::[0-9a-f:]+)%mesh0", done.stdout))
    assert wanted <= answered, done.stdout


def link_local(namespace: Namespace) -> str:
    """The link-local address of mesh0, once the kernel has found it to be its own."""

    def usable() -> str | None:
        show = ("ip", "-json", "-6", "addr", "show", "dev", "mesh0", "scope", "link")
        [row] = json.loads(namespace.run(*show, "-tentative").stdout)
        addresses: list[str] = [entry["local"] for entry in row["addr_info"] if "local" in entry]
        return addresses[0] if addresses else None

    found = wait_until(usable, 10, "a link-local address")
    assert found is not None
    return found


def test_full_packets_pass_unfragmented_and_one_byte_more_is_refused(any_mesh: LabMesh) -> None:
    for one, other in pairs(any_mesh):
        for version, address, full in (
            ("-4", other.overlay_ipv4, FULL_IPV4),
            ("-6", other.overlay_ipv6, FULL_IPV6),
        ):
            assert pings(one.namespace, address, version, "-M", "do", "-s", str(full))
            done = one.namespace.run(
                *("ping", version, "-c", "1", "-W", "0.2", "-M", "do", "-s", str(full + 1), address)
            )
            assert done.returncode == 1
            assert re.search(rf"message too long, mtu[:=] ?{OVERLAY_MTU}", done.stderr)


def test_a_full_frame_with_a_vlan_tag_passes_untouched(any_mesh: LabMesh) -> None:
    for one, other in pairs(any_mesh):
        payload = os.urandom(OVERLAY_MTU)
        addresses = mac_address(other.namespace, "mesh0") + mac_address(one.namespace, "mesh0")
        # IEEE 802.1Q: priority 5, VLAN 7; then an EtherType for experiments (IEEE 802: 0x88b5).
        frame = addresses + struct.pack(">HHH", 0x8100, 5 << 13 | 7, 0x88B5) + payload
        assert len(frame) == 14 + 4 + OVERLAY_MTU
        with (
            Capture(other.namespace, "mesh0") as capture,
            raw_socket(one.namespace, "mesh0") as raw,
        ):
            raw.send(frame)
            wait_until(lambda: frame in capture.frames(), 5, "the tagged frame")  # noqa: B023


def test_vlan_interfaces_on_the_overlay_ping_with_full_packets(any_mesh: LabMesh) -> None:
    for host in any_mesh.hosts:
        try:
            host.namespace.ip(
                "link add link mesh0 name mesh0.7 type vlan id 7",
                "link set mesh0.7 mtu 1376 up",
                f"addr add 10.77.0.{host.number}/24 dev mesh0.7",
                f"addr add fd77::{host.number}/64 dev mesh0.7 nodad",
            )
        except LabError as error:
            if "Unknown device type" in str(error):
                pytest.skip("not on this machine: the kernel has no VLAN interfaces")
            raise
    for one, other in pairs(any_mesh):
        for version, address, full in (
            ("-4", f"10.77.0.{other.number}", FULL_IPV4),
            ("-6", f"fd77::{other.number}", FULL_IPV6),
        ):
            assert pings(one.namespace, address, version, "-M", "do", "-s", str(full))


@pytest.mark.parametrize("version", ["ipv4", "ipv6"])
def test_a_large_transfer_arrives_as_it_was_sent(any_mesh: LabMesh, version: str) -> None:
    _, sender, receiver = any_mesh.hosts
    address = receiver.overlay_ipv4 if version == "ipv4" else receiver.overlay_ipv6
    sent = os.urandom(5_000_000)
    with (
        tcp_listener(receiver.namespace, address, 0) as listener,
        concurrent.futures.ThreadPoolExecutor(1) as pool,
    ):
        port = listener.getsockname()[1]
        received = pool.submit(receive_all, listener)
        with tcp_connection(sender.namespace, address, port) as connection:
            connection.sendall(sent)
        digest = received.result(60)
    assert digest == hashlib.sha256(sent).hexdigest()


def receive_all(listener: socket.socket) -> str:
    """The digest of all that one connection brings."""
    connection, _ = listener.accept()
    digest = hashlib.sha256()
    with connection:
        connection.settimeout(20)
        while data := connection.recv(65536):
            digest.update(data)
    return digest.hexdigest()


def test_every_pair_is_shown_as_direct_and_sealed(any_mesh: LabMesh) -> None:
    for host in any_mesh.hosts:
        rows = report_of(host)["connections"]
        assert len(rows) == 2
        for row in rows:
            assert (row["state"], row["path"], row["encrypted"]) == ("established", "direct", True)
            assert row["cipher"]


def test_each_underlay_is_what_its_name_says(
    any_mesh: LabMesh, request: pytest.FixtureRequest
) -> None:
    settings = UNDERLAYS[request.node.callspec.id]
    one, other = any_mesh.hosts[:2]
    if settings.get("ipv6_underlay"):
        for host in any_mesh.hosts:
            assert all("2001:db8:1::" in row["address"] for row in report_of(host)["connections"])
    mtu: int = settings.get("underlay_mtu", 1500)
    address, sizes = Underlay.ipv4(other.number), (str(mtu - 28), str(mtu - 27))
    passes = [pings(one.namespace, address, "-M", "do", "-s", size) for size in sizes]
    assert passes == [True, False]
