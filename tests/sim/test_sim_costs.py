"""What links cost, as measured and announced: seldom, soon enough, and the same at both ends."""

from __future__ import annotations

from functools import partial

import pytest

from meshnet.gossip.fragments import Head
from meshnet.testing import Cluster, Host, Transport
from meshnet.topology.cost import HOP_COST, parse_cost
from meshnet.topology.records import TOPOLOGY, link_key
from support.samples import BROADCAST, ethernet, mac

TALK_INTERVAL_S = 0.2


def mesh_of(count: int, *, seed: int = 5, delay_s: float = 0.001) -> list[Host]:
    cluster = Cluster(seed=seed, delay_s=delay_s, keep_packets=100)
    hosts = cluster.add_many(count)
    for host in hosts[1:]:
        host.connect(hosts[0])
    cluster.run_until(cluster.meshed, within_s=10.0)
    return hosts


def talk(one: Host, other: Host, *, for_s: float) -> None:
    """Enough, from both ends, to be taken for traffic."""
    clock = one.cluster.clock
    for number in range(round(for_s / TALK_INTERVAL_S)):
        for source in (one, other):
            frame = ethernet(BROADCAST, mac(1 + (source is other)), number.to_bytes(2, "big") * 25)
            clock.call_after(number * TALK_INTERVAL_S, partial(source.send, frame))


def told_by(host: Host) -> Head:
    """The last that it has said of itself."""
    fragment = host.engine.gossip.replica.get(TOPOLOGY, host.name)
    assert fragment is not None
    return fragment.head


def cost_seen(at: Host, one: Host, other: Host) -> int:
    """What ``at`` knows of what ``one`` announces of its link to ``other``."""
    fragment = at.engine.gossip.replica.get(TOPOLOGY, one.name)
    value = fragment.tree.get(link_key(other.name)) if fragment is not None else None
    return parse_cost(value) if value is not None else 0


def test_an_idle_mesh_whose_delays_jitter_announces_nothing() -> None:
    hosts = mesh_of(4, delay_s=0.04)
    one, other, third, _ = hosts
    cluster = one.cluster
    # One way, and to and fro: round trips from 80 to 160 ms; from 2 to 3 ms.
    cluster.impair(jitter_s=0.04)
    cluster.impair(one, other, delay_s=0.001, jitter_s=0.0005)
    cluster.impair(one, third, delay_s=0.008, jitter_s=0.008)
    cluster.run_for(600.0)  # Who is idle has seen little before.
    before = [told_by(host) for host in hosts]
    cluster.run_for(3600.0)
    assert [told_by(host) for host in hosts] == before
    assert cost_seen(hosts[3], one, other) == HOP_COST
    assert cost_seen(hosts[3], other, third) > 5 * HOP_COST


@pytest.mark.parametrize(("traffic", "within_s"), [(True, 15.5), (False, 45.0)])
def test_a_path_that_becomes_slow_is_announced_within_a_quarter_of_a_minute(
    traffic: bool, within_s: float
) -> None:
    """Within three when it is idle, and so looked at less often."""
    one, other, third = mesh_of(3, delay_s=0.0025)
    cluster = one.cluster
    if traffic:
        talk(one, other, for_s=400.0)
    cluster.run_for(120.0)
    assert cost_seen(third, one, other) < 2 * HOP_COST
    cluster.impair(one, other, delay_s=0.05)
    cluster.run_until(
        lambda: min(cost_seen(third, one, other), cost_seen(third, other, one)) > 5 * HOP_COST,
        within_s=within_s,
    )
    cluster.run_for(60.0)
    cluster.restore(one, other)
    cluster.run_until(lambda: cost_seen(third, one, other) < 2 * HOP_COST, within_s=within_s)


def test_a_path_that_begins_to_lose_a_fifth_is_announced() -> None:
    one, other, third = mesh_of(3)
    cluster = one.cluster
    cluster.run_for(60.0)
    cluster.impair(one, other, loss=0.2)
    cluster.run_until(
        lambda: max(cost_seen(third, one, other), cost_seen(third, other, one)) > HOP_COST,
        within_s=60.0,
        every_s=0.5,
    )
    cluster.restore(one, other)
    cluster.run_until(
        lambda: cost_seen(third, one, other) == cost_seen(third, other, one) == HOP_COST,
        within_s=600.0,
        every_s=1.0,
    )


def test_a_link_by_which_no_datagram_passes_costs_more() -> None:
    cluster = Cluster(seed=2)
    one, other, third = cluster.add_many(3)
    cluster.cut(one, other, only=Transport.UDP)
    other.connect(one)
    third.connect(one)
    cluster.run_until(cluster.meshed, within_s=20.0)
    cluster.run_until(lambda: cost_seen(third, one, other) > 3 * HOP_COST, within_s=45.0)
    assert cost_seen(third, one, third) == HOP_COST
