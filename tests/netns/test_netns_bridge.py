"""The TAP as a port of a Linux bridge: containers reach each other across hosts, and what was the
host's own before is its own after."""

from __future__ import annotations

import contextlib
import ipaddress
import json
import re
import signal
import socket
import struct
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from meshnet.ids import PeerName, mac_of
from meshnet.lab.hosts import Namespace, Underlay
from meshnet.lab.mesh import LabMesh
from meshnet.switch.announce import internet_checksum
from netns.containers import BRIDGE, OVERLAY_MTU, container
from netns.tools import (
    MESHNET,
    NODE,
    Capture,
    Node,
    devices,
    environment,
    json_of,
    mac_address,
    node_arguments,
    one_line,
    pings,
    raw_socket,
    report_of,
    running_mesh,
    udp_socket,
    wait_until,
)


@pytest.fixture(scope="module")
def bridged() -> Iterator[LabMesh]:
    """Three hosts whose nodes have each made a bridge."""
    with running_mesh(options=("--bridge", BRIDGE)) as running:
        yield running


def link(namespace: Namespace, name: str) -> dict[str, Any]:
    [row] = json_of(namespace.run("ip", "-json", "-details", "link", "show", "dev", name))
    found: dict[str, Any] = row
    return found


def addresses(namespace: Namespace, name: str) -> set[str]:
    [row] = json_of(namespace.run("ip", "-json", "addr", "show", "dev", name))
    return {f"{entry['local']}/{entry['prefixlen']}" for entry in row["addr_info"]}


def test_the_bridge_is_the_node_s_and_a_plain_switch(bridged: LabMesh) -> None:
    host = bridged.hosts[0]
    bridge, tap = link(host.namespace, BRIDGE), link(host.namespace, "mesh0")
    name = PeerName.parse(report_of(host)["name"])
    assert bridge["ifalias"] == f"meshnet:{name}"
    assert bridge["address"] == mac_of(name).hex(":")
    assert bridge["mtu"] == OVERLAY_MTU
    assert bridge["linkinfo"]["info_data"]["stp_state"] == 0
    assert bridge["linkinfo"]["info_data"]["mcast_snooping"] == 0
    assert tap["master"] == BRIDGE
    assert addresses(host.namespace, "mesh0") == set()
    assert addresses(host.namespace, BRIDGE) >= {
        f"{host.overlay_ipv4}/24",
        f"{host.overlay_ipv6}/64",
    }


def test_a_port_with_a_lesser_mac_changes_neither_mac_nor_mtu(bridged: LabMesh) -> None:
    host = bridged.hosts[0].namespace
    before = link(host, BRIDGE)
    with container(host, 101) as made:
        host.ip(f"link set {made.port} address 00:00:00:00:00:02 mtu 1300")
        after = link(host, BRIDGE)
        assert (after["address"], after["mtu"]) == (before["address"], before["mtu"])


def test_containers_reach_each_other_and_all_hosts(bridged: LabMesh) -> None:
    one, two, three = bridged.hosts
    with container(one.namespace, 102) as first, container(two.namespace, 103) as second:
        for source, other in ((first, second), (second, first)):
            full = str(OVERLAY_MTU - 28)
            assert pings(source.namespace, other.ipv4, "-M", "do", "-s", full)
            assert pings(source.namespace, other.ipv6)
        for host in (one, two, three):
            assert pings(first.namespace, host.overlay_ipv4)
            assert pings(first.namespace, host.overlay_ipv6)
        # It was asked for, and answered, by ARP and ND across the mesh.
        neighbours = first.namespace.run("ip", "neigh").stdout
        mac = mac_address(second.namespace, "eth0").hex(":")
        for address in (second.ipv4, second.ipv6):
            assert re.search(rf"^{address} .*lladdr {mac}", neighbours, re.MULTILINE), neighbours


def test_a_broadcast_of_the_size_of_dhcp_reaches_a_container_elsewhere(bridged: LabMesh) -> None:
    one, two, _ = bridged.hosts
    with container(one.namespace, 104) as first, container(two.namespace, 105) as second:
        server = udp_socket(second.namespace, "0.0.0.0", 67)
        client = udp_socket(first.namespace, "0.0.0.0", 68)
        with server, client:
            server.settimeout(10)
            client.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
            client.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"eth0")
            discover = b"\x01\x01\x06\x00".ljust(576, b"\x63")
            client.sendto(discover, ("255.255.255.255", 67))
            assert server.recv(2048) == discover


def test_multicast_passes_bridges_without_a_report_for_its_group(bridged: LabMesh) -> None:
    one, two, three = bridged.hosts
    with container(one.namespace, 106) as first, container(two.namespace, 107) as second:
        ping = ("ping", "-6", "-n", "-c", "4", "-i", "0.3", "-I", first.ipv6, "ff02::1%eth0")
        done = first.namespace.run(*ping)
        answered = set(re.findall(r"bytes from ([0-9a-f:]+): ", done.stdout))
        wanted = {second.ipv6, *(host.overlay_ipv6 for host in (one, two, three))}
        assert wanted <= answered, done.stdout


def test_several_addresses_of_both_families_answer(tmp_path: Path) -> None:
    first = ("10.32.0.1/24", "10.32.0.11/24", "10.40.0.1/16", "fd32::1/64", "fd40::1/64")
    with Underlay(2) as underlay:
        one, two = underlay.hosts
        options = [word for address in first for word in ("--address", address)]
        near = Node(one, tmp_path / "1", "--bridge", BRIDGE, *options)
        far_addresses = ("10.32.0.2/24", "10.40.0.2/16", "fd32::2/64", "fd40::2/64")
        far_options = [word for address in far_addresses for word in ("--address", address)]
        far = Node(two, tmp_path / "2", *far_options, Underlay.ipv4(1))
        with near, far:
            far.connection(lambda row: row["state"] == "established")
            assert addresses(one, BRIDGE) >= set(first)
            for address in first:
                assert pings(two, address.partition("/")[0])


def router_advertisement(mac: bytes) -> bytes:
    """What makes hosts take an address in 2001:db8:bad::/64 and a default route (RFC 4861)."""
    source, all_nodes = ipaddress.ip_address("fe80::bad"), ipaddress.ip_address("ff02::1")
    prefix = ipaddress.ip_address("2001:db8:bad::").packed
    option = struct.pack(">BBBBIII", 3, 4, 64, 0xC0, 3600, 3600, 0) + prefix
    tail = struct.pack(">BBHII", 64, 0, 1800, 0, 0) + option
    addresses = source.packed + all_nodes.packed
    pseudo = addresses + struct.pack(">II", 4 + len(tail), socket.IPPROTO_ICMPV6)
    checksum = internet_checksum(pseudo + struct.pack(">BBH", 134, 0, 0) + tail)
    icmp = struct.pack(">BBH", 134, 0, checksum) + tail
    header = struct.pack(">IHBB", 6 << 28, len(icmp), socket.IPPROTO_ICMPV6, 255)
    return b"\x33\x33\x00\x00\x00\x01" + mac + b"\x86\xdd" + header + addresses + icmp


@pytest.mark.parametrize("bridge", [(), ("--bridge", BRIDGE)], ids=["TAP", "bridge"])
def test_nobody_on_the_overlay_becomes_our_router(tmp_path: Path, bridge: tuple[str, ...]) -> None:
    interface = BRIDGE if bridge else "mesh0"
    with Underlay(2) as underlay:
        one, two = underlay.hosts
        near = Node(one, tmp_path / "1", *bridge, "--address", "fd32::1/64")
        far = Node(two, tmp_path / "2", "--address", "fd32::2/64", Underlay.ipv4(1))
        with near, far:
            far.connection(lambda row: row["state"] == "established")
            assert pings(two, "fd32::1")
            with raw_socket(two, "mesh0") as raw, Capture(one, interface) as capture:
                advertisement = router_advertisement(mac_address(two, "mesh0"))

                def is_taken() -> bool:
                    raw.send(advertisement)
                    return "2001:db8:bad" in str(addresses(one, interface))

                raw.send(advertisement)
                wait_until(lambda: advertisement in capture.frames(), 10, "its arrival")
                assert not is_taken()
                assert not is_taken()
                # It is one that would be taken, were it let.
                sysctl = f"/proc/sys/net/ipv6/conf/{interface}/accept_ra"
                assert one.run("sh", "-c", f"echo 1 > {sysctl}").returncode == 0
                wait_until(is_taken, 10, "an address by router advertisement")


# What is whose.


SNAPSHOT = ("ip -d link", "ip addr", "ip -4 route", "ip -6 route", "ip rule", "nft list ruleset")
# What a bridge counts down, and where it is by now with its own start.
_RUNNING = re.compile(r"\w+_timer +[\d.]+")


def snapshot(namespace: Namespace) -> set[str]:
    """The state of a host, line by line, once its interfaces have settled."""

    def is_settled() -> bool:
        shown = namespace.run("ip", "addr").stdout
        return "tentative" not in shown and "NO-CARRIER" not in shown

    wait_until(is_settled, 10, "interfaces that have settled")
    shown = {text: namespace.run(*text.split()).stdout.splitlines() for text in SNAPSHOT}
    return {f"{text}: {_RUNNING.sub('', line)}" for text in shown for line in shown[text]}


ADDRESSES = ("--address", "10.32.0.1/24", "--address", "fd32::1/64")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_clean_stop_leaves_the_host_as_it_was(tmp_path: Path, number: signal.Signals) -> None:
    with Underlay(1) as underlay:
        [host] = underlay.hosts
        before = snapshot(host)
        with Node(host, tmp_path / "node", "--bridge", BRIDGE, *ADDRESSES) as node:
            assert devices(host) == {"lo", "eth0", "mesh0", BRIDGE}
            wait_until(lambda: node.report()["overlay_addresses"], 10, "addresses in the report")
            shown = node.report()
            assert (shown["tap"], shown["interface"]) == ("mesh0", BRIDGE)
            assert {"10.32.0.1", "fd32::1"} <= set(shown["overlay_addresses"])
            assert node.stop(number) == 0
        assert snapshot(host) == before


def test_after_a_kill_the_next_start_goes_on_with_the_bridge_and_its_stop_removes_it(
    tmp_path: Path,
) -> None:
    with Underlay(1) as underlay:
        [host] = underlay.hosts
        before = snapshot(host)
        node = Node(host, tmp_path / "node", "--bridge", BRIDGE, *ADDRESSES)
        with node, container(host, 108) as made:
            index = link(host, BRIDGE)["ifindex"]
            node.kill()
            wait_until(lambda: "mesh0" not in devices(host), 5, "the end of the TAP")
            assert BRIDGE in devices(host)
            # Containers of one host reach each other, and it, without a node too.
            assert pings(made.namespace, "10.32.0.1")
            again = Node(host, tmp_path / "node", "--bridge", BRIDGE, "--address", "10.32.0.2/24")
            with again:
                assert link(host, BRIDGE)["ifindex"] == index
                assert link(host, "mesh0")["master"] == BRIDGE
                assert link(host, made.port)["master"] == BRIDGE
                shown = addresses(host, BRIDGE)
                assert "10.32.0.2/24" in shown
                assert not {"10.32.0.1/24", "fd32::1/64"} & shown
                assert pings(made.namespace, "10.32.0.2")
                assert again.stop() == 0
            assert BRIDGE not in devices(host)
            assert made.port in devices(host), "a container's port is not ours to delete"
            assert "master" not in link(host, made.port)
        assert snapshot(host) == before


@pytest.mark.parametrize("state", ["runs", "killed"])
@pytest.mark.parametrize("bridge", [BRIDGE, "br7"])
def test_a_reset_leaves_the_host_as_it_was(tmp_path: Path, state: str, bridge: str) -> None:
    with Underlay(1) as underlay:
        [host] = underlay.hosts
        if bridge != BRIDGE:
            host.ip(f"link add {bridge} address 02:00:00:00:00:77 type bridge")
            host.ip(f"link set {bridge} up")
        with container(host, 110, bridge) if bridge != BRIDGE else contextlib.nullcontext():
            before = snapshot(host)
            directory = tmp_path / "node"
            with Node(host, directory, "--bridge", bridge, *ADDRESSES) as node:
                where = ["--api", str(node.api)]
                if state == "killed":
                    node.kill()
                    where += ["--state-dir", str(directory / "state")]
                done = subprocess.run(
                    host.command(*MESHNET, "reset", "--force", *where),
                    stdin=subprocess.DEVNULL,
                    capture_output=True,
                    text=True,
                    timeout=30,
                    check=False,
                    env=environment(),
                )
                assert (done.returncode, done.stderr) == (0, "")
                assert (f"removed {bridge}" in done.stdout) == (state == "killed")
            assert not (directory / "state").exists()
            assert not node.api.exists()
            assert snapshot(host) == before


def test_a_bridge_left_by_a_peer_that_lost_its_state_is_taken_over(tmp_path: Path) -> None:
    with Underlay(1) as underlay:
        [host] = underlay.hosts
        before = snapshot(host)
        with Node(host, tmp_path / "node", "--bridge", BRIDGE) as node:
            node.kill()
        with Node(host, tmp_path / "other", "--bridge", BRIDGE) as other:
            name = PeerName.parse(other.report()["name"])
            assert link(host, BRIDGE)["ifalias"] == f"meshnet:{name}"
            assert link(host, BRIDGE)["address"] == mac_of(name).hex(":")
            assert other.stop() == 0
        assert snapshot(host) == before


@pytest.mark.parametrize("death", ["stopped", "killed and started again"])
def test_somebody_else_s_bridge_is_joined_and_left_as_it_was(tmp_path: Path, death: str) -> None:
    with Underlay(1) as underlay:
        [host] = underlay.hosts
        host.ip(
            "link add br7 address 02:00:00:00:00:77 type bridge mcast_snooping 1",
            "addr add 10.32.0.77/24 dev br7",
            "addr add 10.32.0.2/24 dev br7",
            "link set br7 up",
        )
        with container(host, 109, "br7") as made:
            wait_until(lambda: "fe80::" in str(addresses(host, "br7")), 10, "a bridge that is up")
            before = snapshot(host)
            options = ("--bridge", "br7", *ADDRESSES, "--address", "10.32.0.2/24")
            with Node(host, tmp_path / "node", *options) as node:
                assert link(host, "mesh0")["master"] == "br7"
                assert addresses(host, "br7") >= {"10.32.0.1/24", "fd32::1/64", "10.32.0.77/24"}
                assert pings(made.namespace, "10.32.0.1")
                if death != "stopped":
                    node.kill()
                    node.start()
                assert node.stop() == 0
            assert snapshot(host) == before


def refusal(host: Namespace, directory: Path, *options: str) -> str:
    done = subprocess.run(
        host.command(*NODE, *node_arguments(directory), *options),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
        env=environment(),
    )
    return one_line(done, 1)


def test_what_cannot_be_the_bridge_is_refused_in_one_line_and_left_alone(tmp_path: Path) -> None:
    with Underlay(1) as underlay:
        [host] = underlay.hosts
        before = snapshot(host)
        line = refusal(host, tmp_path / "1", "--bridge", "eth0")
        assert "eth0 is not a bridge" in line
        assert "--bridge" in line
        assert snapshot(host) == before
        with Node(host, tmp_path / "node", "--bridge", BRIDGE):
            with_bridge = snapshot(host)
            options = ("--tap", "mesh1", "--listen", ":7000")
            line = refusal(host, tmp_path / "2", "--bridge", BRIDGE, *options)
            assert "mesh0 of another node" in line
            assert snapshot(host) == with_bridge


def test_an_address_that_cannot_be_given_takes_bridge_and_tap_back(tmp_path: Path) -> None:
    with Underlay(1) as underlay:
        [host] = underlay.hosts
        before = snapshot(host)
        disable = "echo 1 > /proc/sys/net/ipv6/conf/default/disable_ipv6"
        assert host.run("sh", "-c", disable).returncode == 0
        line = refusal(host, tmp_path / "1", "--bridge", BRIDGE, "--address", "fd32::1/64")
        assert "IPv6 is off" in line
        assert snapshot(host) == before
        # Without such an address all is well.
        with Node(host, tmp_path / "1", "--bridge", BRIDGE, "--address", "10.32.0.1/24") as node:
            assert node.stop() == 0
        assert snapshot(host) == before


def test_a_bridge_that_is_deleted_meanwhile_is_not_missed_at_the_end(tmp_path: Path) -> None:
    with Underlay(1) as underlay:
        [host] = underlay.hosts
        with Node(host, tmp_path / "node", "--bridge", BRIDGE, *ADDRESSES) as node:
            host.ip(f"link delete {BRIDGE}", f"link add {BRIDGE} type bridge")
            assert node.stop() == 0
            assert BRIDGE in devices(host), "this one is somebody else's"
            assert "Traceback" not in node.log_text()


def test_nothing_but_frames_of_the_overlay_leaves_by_the_tap(bridged: LabMesh) -> None:
    """The TAP has no address of its own, so it sends nothing of its own."""
    host = bridged.hosts[2].namespace
    with Capture(host, "mesh0") as capture, container(host, 110) as made:
        assert pings(made.namespace, bridged.hosts[0].overlay_ipv4)
        macs = {mac_address(host, BRIDGE), mac_address(made.namespace, "eth0")}
        macs |= {mac_address(other.namespace, BRIDGE) for other in bridged.hosts}
        assert {frame[6:12] for frame in capture.frames()} <= macs
    assert (
        json.loads(host.run("ip", "-json", "addr", "show", "dev", "mesh0").stdout)[0]["addr_info"]
        == []
    )
