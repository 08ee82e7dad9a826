"""Hosts and nodes that die without a word: how soon that is known, and what the others lose by it.

The bounds are the protocol's deadlines: a death is known 1 s after the first packet without an
answer, and routes follow within 0.2 s (design section 6).
"""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from meshnet.lab.mesh import LabHost, LabMesh
from netns.tools import (
    PASSWORD,
    PingStream,
    cut_off,
    kill_node,
    report_of,
    running_mesh,
    wait_until,
)

SILENT_DEATH_S = 1.5
KILLED_S = 0.3
STREAM_INTERVAL_S = 0.01


@pytest.fixture
def own_mesh() -> Iterator[LabMesh]:
    with running_mesh() as mesh:
        yield mesh


@pytest.fixture
def ring() -> Iterator[LabMesh]:
    """Six hosts, each with a way to two others only."""
    with LabMesh(6, topology="ring", password=PASSWORD) as mesh:
        mesh.wait_full_mesh(30)
        yield mesh


def is_connected(host: LabHost, other: LabHost) -> bool:
    """Whether ``host`` says so."""
    return any(
        row["state"] == "established"
        for row in report_of(host)["connections"]
        if row["nickname"] == other.nickname
    )


def relay_between(one: LabHost, other: LabHost, mesh: LabMesh) -> LabHost:
    """Whom the datagrams of both pass through."""
    reports = {host.nickname: report_of(host) for host in mesh.hosts}
    names = {report["name"]: nickname for nickname, report in reports.items()}
    found = {
        names[row["via"]]
        for host, far in ((one, other), (other, one))
        for row in reports[host.nickname]["routes"]
        if names[row["peer"]] == far.nickname
    }
    [relay] = [host for host in mesh.hosts if host.nickname in found]
    return relay


def test_a_neighbour_that_dies_silently_is_known_to_be_dead(own_mesh: LabMesh) -> None:
    dead, one, other = own_mesh.hosts
    with (
        PingStream(one.namespace, dead.overlay_ipv4, STREAM_INTERVAL_S),
        PingStream(one.namespace, other.overlay_ipv4, STREAM_INTERVAL_S) as between,
        PingStream(other.namespace, one.overlay_ipv4, STREAM_INTERVAL_S) as back,
    ):
        time.sleep(2.0)
        cut_off(dead.namespace)
        died = time.monotonic()
        wait_until(lambda: not is_connected(one, dead), SILENT_DEATH_S, "the death is known")
        wait_until(
            lambda: not is_connected(other, dead),
            died + 2 * SILENT_DEATH_S - time.monotonic(),
            "and known to who had nothing to say to it",
        )
        time.sleep(1.0)
        assert max(between.longest_gap_s(), back.longest_gap_s()) <= SILENT_DEATH_S
        assert is_connected(one, other)
        assert is_connected(other, one)


def test_a_relay_that_dies_silently_costs_the_others_a_second_and_a_half(ring: LabMesh) -> None:
    one, _, other = ring.hosts[:3]
    with PingStream(one.namespace, other.overlay_ipv4, STREAM_INTERVAL_S) as stream:
        time.sleep(2.0)
        relay = relay_between(one, other, ring)
        died = time.time()
        cut_off(relay.namespace)
        time.sleep(4.0)
        assert stream.longest_gap_s(died - 1.0) <= SILENT_DEATH_S
    assert relay is ring.hosts[1]
    assert not is_connected(one, relay)


def test_a_relay_that_is_killed_costs_the_others_next_to_nothing(ring: LabMesh) -> None:
    one, _, other = ring.hosts[:3]
    with PingStream(one.namespace, other.overlay_ipv4, STREAM_INTERVAL_S) as stream:
        time.sleep(2.0)
        relay = relay_between(one, other, ring)
        died = time.time()
        kill_node(relay)
        time.sleep(3.0)
        assert stream.longest_gap_s(died - 1.0) <= KILLED_S
    assert relay is ring.hosts[1]


def test_a_node_that_is_killed_is_not_shown_as_there(own_mesh: LabMesh) -> None:
    """Idle or not: its kernel resets its links, and what else there is shows within a second."""
    dead, *others = own_mesh.hosts
    time.sleep(2.0)
    kill_node(dead)
    died = time.monotonic()
    for other in others:
        left_s = died + SILENT_DEATH_S - time.monotonic()
        wait_until(lambda: not is_connected(other, dead), left_s, "it is not there")  # noqa: B023
    own_mesh.start_node(dead)
    own_mesh.wait_full_mesh(10)
