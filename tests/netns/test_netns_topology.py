"""Hosts that do not reach each other on the underlay are one Ethernet all the same."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from meshnet.lab.check import ping_ms, tcp_gigabits_per_s
from meshnet.lab.hosts import Underlay
from meshnet.lab.mesh import LabHost, LabMesh
from meshnet.lab.topology import neighbours
from meshnet.report import ConnectionReport

HOSTS = 4


@pytest.fixture(scope="module", params=["line", "ring", "star"])
def mesh(request: pytest.FixtureRequest) -> Iterator[LabMesh]:
    with LabMesh(HOSTS, topology=request.param) as made:
        made.wait_full_mesh(30)
        yield made


def pairs(mesh: LabMesh, *, with_edge: bool) -> list[tuple[LabHost, LabHost]]:
    return [
        (one, other)
        for one in mesh.hosts
        for other in mesh.hosts
        if one is not other and (other.number in neighbours(mesh.edges, one.number)) == with_edge
    ]


def row(host: LabHost, other: LabHost) -> ConnectionReport:
    report = host.report()
    assert report is not None
    [found] = [row for row in report["connections"] if row["nickname"] == other.nickname]
    return found


def answers(host: LabHost, address: str) -> bool:
    return host.namespace.run("ping", "-c", "1", "-W", "1", address).returncode == 0


def test_without_an_edge_the_underlay_addresses_do_not_answer(mesh: LabMesh) -> None:
    for one, other in pairs(mesh, with_edge=False):
        assert not answers(one, Underlay.ipv4(other.number))
        assert not answers(one, Underlay.ipv6(other.number))
    for one, other in pairs(mesh, with_edge=True):
        assert answers(one, Underlay.ipv4(other.number))


def test_all_reach_all_by_the_path_that_is_shown(mesh: LabMesh) -> None:
    for with_edge, path in ((True, "direct"), (False, "relay")):
        for one, other in pairs(mesh, with_edge=with_edge):
            assert row(one, other)["path"] == path
            assert ping_ms(one, other.overlay_ipv4) is not None
            assert ping_ms(one, other.overlay_ipv6) is not None


def test_full_frames_and_tcp_pass_through_relays(mesh: LabMesh) -> None:
    one, other = pairs(mesh, with_edge=False)[0]
    full = one.namespace.run("ping", "-c", "3", "-M", "do", "-s", "1348", other.overlay_ipv4)
    assert full.returncode == 0, full.stdout
    assert tcp_gigabits_per_s(one, other)


def test_who_relays_counts_it(mesh: LabMesh) -> None:
    reports = [host.report() for host in mesh.hosts]
    relayed = [r["data_path"]["counters"]["datagrams_relayed"] for r in reports if r is not None]
    assert sum(relayed) > 0
