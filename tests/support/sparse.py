"""Meshes of more peers than one has sessions with, where only some reach each other."""

from __future__ import annotations

import itertools
import random

from meshnet.testing import Cluster, Host
from support.samples import mac

Edges = list[tuple[int, int]]

DEGREE = 3


def line(count: int) -> Edges:
    return list(itertools.pairwise(range(count)))


def ring(count: int) -> Edges:
    return [*itertools.pairwise(range(count)), (0, count - 1)]


def knotted(count: int, seed: int) -> Edges:
    """A ring and as many ways across it: it holds together when any one way is cut."""
    drawn = random.Random(f"knotted {seed}")
    across = [pair for pair in itertools.combinations(range(count), 2) if pair not in ring(count)]
    return sorted({*ring(count), *drawn.sample(across, count // 2)})


def sparse(edges: Edges, count: int, *, seed: int = 1, degree: int = DEGREE) -> list[Host]:
    """``count`` hosts of which only those with an edge reach each other, and know of each other."""
    cluster = Cluster(seed=seed)
    hosts = [cluster.add(f"host{number}", degree=degree) for number in range(count)]
    for one, other in itertools.combinations(range(count), 2):
        if (one, other) in edges:
            hosts[other].connect(hosts[one])
        else:
            cluster.cut(hosts[one], hosts[other])
    return hosts


def settled(hosts: list[Host]) -> list[Host]:
    """Wait until each knows a way to all, and has a session with each peer that it is linked to."""
    cluster = hosts[0].cluster
    cluster.run_until(lambda: has_settled(hosts), within_s=20.0, every_s=0.05)
    cluster.run_for(1.0)
    return hosts


def has_settled(hosts: list[Host]) -> bool:
    up = {host.name for host in hosts if host.up}
    return all(
        host.engine.routes().keys() == up - {host.name}
        and host.peers >= host.engine.links.by_peer.keys()
        for host in hosts
        if host.up
    )


def mac_of_host(hosts: list[Host], host: Host) -> bytes:
    return mac(hosts.index(host) + 1)
