"""Nothing in clear through relays either: not on any wire of a line of five hosts."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from meshnet.lab.hosts import Underlay
from meshnet.lab.mesh import LabMesh
from netns.test_netns_secrecy import MARKER_BYTES, SENDERS, Sender
from netns.tools import Capture, wait_until

HOSTS = 5


@pytest.fixture(scope="module")
def line() -> Iterator[LabMesh]:
    with LabMesh(HOSTS, topology="line") as made:
        made.wait_full_mesh(40)
        yield made


@pytest.mark.parametrize("send", SENDERS.values(), ids=SENDERS)
def test_a_marker_sent_from_end_to_end_is_not_found_on_any_underlay(
    line: LabMesh, send: Sender
) -> None:
    first, last = line.hosts[0], line.hosts[-1]
    marker = os.urandom(MARKER_BYTES)
    with (
        Capture(line.underlay.hub) as wires,
        Capture(line.hosts[2].namespace, "mesh0") as relay,
        Capture(last.namespace, "mesh0") as overlay,
    ):
        send(
            *(first.namespace, last.namespace, "mesh0"),
            *(first.overlay_ipv4, last.overlay_ipv4, marker),
        )
        wait_until(lambda: overlay.has(marker), 10, "the marker at the other end of the line")
        for seen in (marker, marker.hex().encode()):
            assert not wires.has(seen)
        if send is not SENDERS["arp"]:  # Which is broadcast: all hosts are meant to get it.
            assert not relay.has(marker)
        assert wires.frames()
        # The same search does find what goes over one of these wires in clear.
        clear = os.urandom(MARKER_BYTES)
        one, other = line.hosts[1:3]
        send(
            *(one.namespace, other.namespace, "eth0"),
            *(Underlay.ipv4(one.number), Underlay.ipv4(other.number), clear),
        )
        wait_until(lambda: wires.has(clear), 10, "the marker on the underlay")
