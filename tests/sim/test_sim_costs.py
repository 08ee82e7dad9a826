"""What links cost, as measured and announced: seldom, soon enough, and the same at both ends."""

from __future__ import annotations

import itertools
from functools import partial
from typing import Any

import pytest

from meshnet.gossip.fragments import Head
from meshnet.ids import PeerName
from meshnet.peering import routing
from meshnet.testing import Cluster, Host, Transport, settled
from meshnet.topology.cost import HOP_COST, CostMeter, parse_cost
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


def diamond(*, seed: int = 3) -> tuple[Host, Host, Host, Host]:
    """Two hosts that reach each other only through one of two relays, of which one is used."""
    cluster = Cluster(seed=seed, keep_packets=100)
    one, other, *relays = cluster.add_many(4)
    cluster.cut(one, other)
    for relay in relays:
        relay.connect(one)
        relay.connect(other)
    cluster.run_until(cluster.meshed, within_s=20.0)
    cluster.run_for(40.0)
    used, idle = sorted(relays, key=lambda relay: one.engine.routes()[other.name].via != relay.name)
    assert used.name == one.engine.routes()[other.name].via
    return one, other, used, idle


def goes_by(relay: Host, *ends: Host) -> bool:
    one, other = ends
    routes = one.engine.routes()[other.name], other.engine.routes()[one.name]
    return all(route.via == relay.name for route in routes) and routes[0].cost == routes[1].cost


@pytest.mark.parametrize(
    ("trouble", "within_s"),
    [({"delay_s": 0.05}, 15.5), ({"loss": 0.2}, 60.0)],
    ids=["slow", "lossy"],
)
def test_relayed_traffic_leaves_a_relay_whose_path_is_bad_and_stays_away(
    trouble: dict[str, Any], within_s: float
) -> None:
    one, other, used, idle = diamond()
    cluster = one.cluster
    cluster.impair(used, other, **trouble)
    cluster.run_until(lambda: goes_by(idle, one, other), within_s=within_s)
    relayed = used.engine.counters.datagrams_relayed
    # There is no way back while that lasts, though what is measured goes up and down.
    for number in range(300):
        one.send(ethernet(BROADCAST, mac(1), number.to_bytes(2, "big") * 25))
        cluster.run_for(1.0)
        assert goes_by(idle, one, other)
    assert used.engine.counters.datagrams_relayed == relayed
    assert len(other.frames) >= 295


def test_without_costs_relayed_traffic_stays_where_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(CostMeter, "wanted_step", lambda self: 0)
    one, other, used, _ = diamond()
    one.cluster.impair(used, other, delay_s=0.05)
    one.cluster.run_for(60.0)
    assert goes_by(used, one, other)


def test_a_detour_over_a_good_relay_is_taken_by_what_goes_through_others_only() -> None:
    # A triangle with one slow side, and somebody behind it.
    cluster = Cluster(seed=4, keep_packets=100)
    one, relay, slow, behind = cluster.add_many(4)
    cluster.cut(one, behind)
    cluster.cut(relay, behind)
    for host in (relay, slow):
        host.connect(one)
    slow.connect(relay)
    behind.connect(slow)
    cluster.impair(one, slow, delay_s=0.2)
    cluster.run_until(cluster.meshed, within_s=20.0)
    # What goes to a neighbour goes there itself, whatever the routes are. That is settled, too.
    cluster.run_until(lambda: settled(cluster), within_s=60.0, every_s=0.5)
    cluster.run_for(60.0)
    assert settled(cluster)
    assert one.engine.routes()[behind.name].via == relay.name
    assert slow.engine.routes()[one.name].via == relay.name


def test_routes_follow_a_link_change_within_a_fifth_of_a_second() -> None:
    one, other, used, idle = diamond()
    cluster = one.cluster
    used.crash()
    cluster.run_until(lambda: goes_by(idle, one, other), within_s=0.2)


def test_work_on_routes_is_cut_into_slices(monkeypatch: pytest.MonkeyPatch) -> None:
    """With slices of one link each, all that depends on routes comes about all the same."""
    monkeypatch.setattr(routing, "LINKS_AT_ONCE", 1)
    one, other, used, idle = diamond()
    cluster = one.cluster
    cluster.impair(used, other, delay_s=0.05)
    cluster.run_until(lambda: goes_by(idle, one, other), within_s=15.5)
    idle.crash()
    cluster.run_until(lambda: goes_by(used, one, other), within_s=0.2)
    cluster.run_until(lambda: settled(cluster), within_s=60.0, every_s=0.1)


def children(at: Host, source: Host) -> tuple[PeerName, ...] | None:
    found = at.engine._router.tree_children(source.name, at.cluster.now)
    at.drain()
    return found


def test_a_tree_is_known_soon_after_it_is_asked_for_and_while_nothing_changes() -> None:
    hosts = mesh_of(6)
    cluster, source = hosts[0].cluster, hosts[0]
    cluster.run_for(3.0)
    assert [children(host, source) for host in hosts] == [None] * 6
    cluster.run_for(0.1)
    known = [children(host, source) or () for host in hosts]
    assert sorted(itertools.chain(*known)) == sorted(host.name for host in hosts[1:])
    # While somebody is on its way out, all pass everything on to all.
    hosts[5].stop()
    cluster.run_for(1.0)
    assert [children(host, source) for host in hosts[:5]] == [None] * 5
    cluster.run_for(2.0)
    known = [children(host, source) or () for host in hosts[:5]]
    assert sorted(itertools.chain(*known)) == sorted(host.name for host in hosts[1:5])
    # Nobody asks any more: nothing is kept.
    cluster.run_for(100.0)
    assert children(source, source) is None
