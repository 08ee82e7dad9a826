"""Nothing in clear: what is sent through the overlay cannot be found on the underlay's wires."""

from __future__ import annotations

import os
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from meshnet.lab.hosts import Namespace, Underlay
from meshnet.lab.mesh import LabHost, LabMesh
from netns.tools import (
    Capture,
    kill_node,
    mac_address,
    raw_socket,
    tcp_connection,
    tcp_listener,
    udp_socket,
    wait_until,
)

MARKER_BYTES = 32
Sender = Callable[[Namespace, Namespace, str, str, str, bytes], None]
"""Sends a marker: (from, to, interface at the sender, its address, the other's, marker)."""


def by_tcp(
    one: Namespace, other: Namespace, interface: str, ours: str, theirs: str, marker: bytes
) -> None:
    with tcp_listener(other, theirs, 0) as listener:
        with tcp_connection(one, theirs, listener.getsockname()[1]) as connection:
            connection.sendall(marker)
            accepted, _ = listener.accept()
        with accepted:
            accepted.settimeout(10)
            assert accepted.recv(MARKER_BYTES, socket.MSG_WAITALL) == marker


def by_udp(
    one: Namespace, other: Namespace, interface: str, ours: str, theirs: str, marker: bytes
) -> None:
    send_datagram(one, other, theirs, 5000, marker)


def by_dns(
    one: Namespace, other: Namespace, interface: str, ours: str, theirs: str, marker: bytes
) -> None:
    # RFC 1035 section 4.1: id, flags, counts; a name of two labels, type A, class IN.
    name = bytes((MARKER_BYTES,)) + marker + b"\x04mesh\x00"
    query = struct.pack(">6H", 1, 0x0100, 1, 0, 0, 0) + name + struct.pack(">2H", 1, 1)
    send_datagram(one, other, theirs, 53, query)


def by_arp_padding(
    one: Namespace, other: Namespace, interface: str, ours: str, theirs: str, marker: bytes
) -> None:
    mac = mac_address(one, interface)
    # RFC 826: Ethernet, IPv4, sizes, request; sender's pair, target's pair; then padding.
    arp = (
        struct.pack(">HHBBH", 1, 0x0800, 6, 4, 1)
        + (mac + socket.inet_aton(ours))
        + (bytes(6) + socket.inet_aton(theirs))
    )
    with raw_socket(one, interface) as raw:
        raw.send(b"\xff" * 6 + mac + b"\x08\x06" + arp + marker)


SENDERS: dict[str, Sender] = {
    "tcp": by_tcp,
    "udp": by_udp,
    "dns": by_dns,
    "arp": by_arp_padding,
}


def send_datagram(
    one: Namespace, other: Namespace, address: str, port: int, payload: bytes
) -> None:
    with udp_socket(other, address, port) as receiver, udp_socket(one) as sender:
        receiver.settimeout(10)
        sender.sendto(payload, (address, port))
        assert receiver.recv(2048) == payload


@pytest.fixture
def wires(mesh: LabMesh) -> Iterator[Capture]:
    """A capture of the hub: the bridge and each host's port."""
    with Capture(mesh.underlay.hub) as capture:
        yield capture


@pytest.mark.parametrize("send", SENDERS.values(), ids=SENDERS)
def test_a_marker_sent_through_the_overlay_is_not_found_on_the_underlay(
    mesh: LabMesh, wires: Capture, send: Sender
) -> None:
    one, other = mesh.hosts[1:]
    marker = os.urandom(MARKER_BYTES)
    with Capture(other.namespace, "mesh0") as overlay:
        send(
            *(one.namespace, other.namespace, "mesh0"),
            *(one.overlay_ipv4, other.overlay_ipv4, marker),
        )
        wait_until(lambda: overlay.has(marker), 10, "the marker at the other end of the overlay")
    assert len(wires.frames()) > 0
    assert not wires.has(marker)
    assert not wires.has(marker.hex().encode())


@pytest.mark.parametrize("send", SENDERS.values(), ids=SENDERS)
def test_the_same_search_finds_a_marker_sent_in_clear(
    mesh: LabMesh, wires: Capture, send: Sender
) -> None:
    one, other = mesh.hosts[1:]
    marker = os.urandom(MARKER_BYTES)
    send(
        *(one.namespace, other.namespace, "eth0"),
        *(Underlay.ipv4(one.number), Underlay.ipv4(other.number), marker),
    )
    wait_until(lambda: wires.has(marker), 10, "the marker on the underlay")


def test_no_marker_leaves_in_clear_while_nodes_start_stop_and_die(
    mesh: LabMesh, wires: Capture
) -> None:
    one, other = mesh.hosts[1:]
    marker = os.urandom(MARKER_BYTES)
    with Capture(other.namespace, "mesh0") as overlay, marker_stream(one, other, marker):
        wait_until(lambda: overlay.has(marker), 10, "the marker at the other end of the overlay")
        for host in (other, one):
            stop_node(host)
            mesh.start_node(host)
            mesh.wait_full_mesh(20)
            kill_node(host)
            mesh.start_node(host)
            mesh.wait_full_mesh(20)
    with Capture(other.namespace, "mesh0") as overlay, marker_stream(one, other, marker):
        wait_until(lambda: overlay.has(marker), 10, "the marker after all restarts")
    assert not wires.has(marker)


def stop_node(host: LabHost) -> None:
    assert host.node is not None
    host.node.terminate()
    host.node.wait(10)


class marker_stream(ExitStack):  # noqa: N801 (used as a function)
    """Sends the marker to the other host's overlay address without end, whatever becomes of it."""

    def __init__(self, one: LabHost, other: LabHost, marker: bytes) -> None:
        super().__init__()
        self._ended = threading.Event()
        udp = self.enter_context(udp_socket(one.namespace))
        address = (other.overlay_ipv4, 5000)
        thread = threading.Thread(target=self._run, args=(udp, address, marker))
        thread.start()
        self.callback(thread.join)
        self.callback(self._ended.set)

    def _run(self, udp: socket.socket, address: tuple[str, int], marker: bytes) -> None:
        while not self._ended.wait(0.002):
            try:
                udp.sendto(marker, address)
            except OSError:
                continue  # No device, no route, an ICMP error of an earlier one.
