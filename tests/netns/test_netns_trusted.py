"""Trusted subnets: the only way to frames in clear, for both ends or not at all, and shown."""

from __future__ import annotations

import os

import pytest

from meshnet.lab.hosts import UNDERLAY_IPV4, UNDERLAY_IPV6
from meshnet.lab.mesh import LabMesh
from netns.test_netns_secrecy import MARKER_BYTES, SENDERS, Sender, by_udp
from netns.tools import Capture, meshnet, report_of, running_mesh, wait_until

# Of both families: which one a session takes is settled by who answers first.
TRUST = ("--trusted-subnets", f"{UNDERLAY_IPV4},{UNDERLAY_IPV6}")


def is_found(mesh: LabMesh, send: Sender) -> bool:
    """Whether a marker sent between the last two hosts can be read off the underlay."""
    one, other = mesh.hosts[1:]
    marker = os.urandom(MARKER_BYTES)
    with Capture(mesh.underlay.hub) as wires, Capture(other.namespace, "mesh0") as overlay:
        addresses = (one.overlay_ipv4, other.overlay_ipv4)
        send(one.namespace, other.namespace, "mesh0", *addresses, marker)
        wait_until(lambda: overlay.has(marker), 10, "the marker at the other end of the overlay")
        assert len(wires.frames()) > 0
        return wires.has(marker)


def test_between_hosts_that_trust_each_other_the_same_search_finds_the_marker() -> None:
    with running_mesh(options=TRUST) as mesh:
        for send in SENDERS.values():
            assert is_found(mesh, send)
        for host in mesh.hosts:
            rows = report_of(host)["connections"]
            assert [(row["encrypted"], row["cipher"]) for row in rows] == [(False, "none")] * 2
            said = meshnet("status", "--api", host.api).stdout
            assert "2 of them exchange frames IN CLEAR" in said
            assert "frames to peers in trusted subnets are not encrypted" in host.log.read_text()


@pytest.mark.parametrize("who", [1, 2])
def test_one_end_that_does_not_trust_is_enough_to_seal(who: int) -> None:
    with running_mesh(options=TRUST) as mesh:
        host = mesh.hosts[who]
        assert host.node is not None
        host.node.terminate()
        host.node.wait(10)
        mesh._options = ()
        mesh.start_node(host)
        mesh.wait_full_mesh(20)
        assert not is_found(mesh, by_udp)
        assert all(row["encrypted"] for row in report_of(host)["connections"])
