"""What an idle mesh says on the wire, headers, keepalives and TCP's acknowledgements included."""

from __future__ import annotations

from itertools import pairwise

from meshnet.gossip.tree import Tree
from meshnet.ids import ChannelId
from meshnet.peering.keepalive import KEEPALIVE_S
from meshnet.testing import Cluster, Host

# Design section 12, for a peer with so many linked neighbours as it has among a thousand.
BUDGET_BITS_PER_S = 5000
NEIGHBOURS = 16
CHANNEL = ChannelId("names", "opaque")
# Two renewals of all keys.
SPAN_S = 240.0


def idle_mesh(count: int, entries: int = 0) -> Cluster:
    cluster = Cluster()
    first, *others = cluster.add_many(count)
    for host in others:
        host.connect(first)
    if entries:
        tree = Tree.of((b"key %d" % number, b"value %d" % number) for number in range(entries))
        first.engine.gossip.publish(CHANNEL, first.engine.gossip.sign(CHANNEL, tree))
    cluster.run_until(lambda: cluster.meshed() and same_state(cluster.hosts), within_s=120.0)
    cluster.run_for(30.0)
    return cluster


def same_state(hosts: list[Host]) -> bool:
    return len({host.engine.gossip.replica.index.digest for host in hosts}) == 1


def bits_per_s(cluster: Cluster) -> float:
    for host in cluster.hosts:
        host.sent_on_wire.clear()
    cluster.run_for(SPAN_S)
    sent = sum(host.sent_on_wire.bytes for host in cluster.hosts)
    return 8 * sent / SPAN_S / len(cluster.hosts)


def test_an_idle_peer_with_sixteen_neighbours_is_within_its_budget() -> None:
    cluster = idle_mesh(NEIGHBOURS + 1)
    assert bits_per_s(cluster) <= BUDGET_BITS_PER_S
    assert cluster.meshed()


def test_idle_traffic_does_not_depend_on_how_much_is_known() -> None:
    few, many = (bits_per_s(idle_mesh(2, entries)) for entries in (1_000, 100_000))
    assert abs(many - few) <= 0.1 * few


def test_an_idle_pair_hears_each_other_every_ten_seconds_by_turns() -> None:
    cluster = idle_mesh(2)
    one, other = cluster.hosts
    asked: list[str] = []
    heard: dict[str, list[float]] = {one.nickname: [], other.nickname: []}
    for _ in range(600):  # Before keys are renewed, which needs probes too.
        cluster.run_for(0.1)
        for host, peer in ((one, other), (other, one)):
            pair = next(iter(host.engine._sessions))
            assert pair.peer == peer.name
            assert pair.current is not None
            if not heard[host.nickname] or heard[host.nickname][-1] < pair.probed_at:
                heard[host.nickname].append(pair.probed_at)
                asked.append(host.nickname)
            assert cluster.now - pair.current.last_received_at <= KEEPALIVE_S + 0.2
    turns = asked[2:]
    assert len(turns) >= 4
    assert all(before != after for before, after in pairwise(turns)), turns
