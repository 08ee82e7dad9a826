"""Faults are values: drawn from a seed, printed as code, and over when they are over."""

from __future__ import annotations

from collections import Counter

import pytest
from attrs import evolve
from hypothesis import given, settings
from hypothesis import strategies as st

from meshnet.crdt import OrSet
from meshnet.switch.switch import Switch, Verdict
from meshnet.testing import (
    BurstLoss,
    Cluster,
    Fault,
    FaultKind,
    Scenario,
    SeededRng,
    draw_faults,
    end_faults,
    schedule,
    settled,
)
from meshnet.testing.scenario import CHANNEL, check_frames, unsettled
from meshnet.testing.strategies import fault_schedules
from support.samples import ethernet, mac

EXAMPLES = [
    Fault(FaultKind.IMPAIR, 1.0, 8.0, (0, 1), {"loss": 0.5}),
    Fault(FaultKind.IMPAIR, 1.0, 8.0, (), {"burst_loss": BurstLoss(0.1, 0.1)}),
    Fault(FaultKind.CUT, 1.0, 8.0, (0, 1)),
    Fault(FaultKind.CUT_ONE_WAY, 1.0, 8.0, (0, 1)),
    Fault(FaultKind.CUT_UDP, 1.0, 8.0, (0, 1)),
    Fault(FaultKind.PARTITION, 1.0, 8.0, (0, 1)),
    Fault(FaultKind.RESET, 1.0, 0.0, (0, 1)),
    Fault(FaultKind.CRASH, 1.0, 8.0, (0,)),
    Fault(FaultKind.CRASH_SILENTLY, 1.0, 8.0, (0,)),
    Fault(FaultKind.RESTART, 1.0, 0.0, (0,)),
    Fault(FaultKind.LOSE_DISK, 1.0, 0.0, (0,)),
    Fault(FaultKind.SET_BACK, 1.0, 0.0, (0,)),
    Fault(FaultKind.LEAVE, 1.0, 8.0, (0,)),
    Fault(FaultKind.JOIN, 1.0, 0.0, (0,)),
]


@pytest.mark.parametrize("fault", EXAMPLES, ids=lambda fault: fault.kind.value)
def test_a_fault_is_printed_as_code(fault: Fault) -> None:
    assert eval(repr(fault)) == fault


def cluster_of(count: int, seed: int = 1) -> Cluster:
    cluster = Cluster(seed=seed)
    hosts = cluster.add_many(count)
    for host in hosts[1:]:
        host.connect(hosts[0])
    cluster.run_until(lambda: settled(cluster), within_s=10.0, every_s=0.1)
    return cluster


def test_the_examples_are_of_every_kind() -> None:
    assert {fault.kind for fault in EXAMPLES} == set(FaultKind)


@pytest.mark.parametrize("fault", EXAMPLES, ids=lambda fault: fault.kind.value)
def test_each_fault_is_noticed_and_the_mesh_heals_after_it(fault: Fault) -> None:
    quiet, cluster = cluster_of(3), cluster_of(3)
    schedule(cluster, [fault])
    for one in (quiet, cluster):
        for _ in range(15):
            # While nobody talks most faults could pass unnoticed.
            one.hosts[1].send(ethernet(mac(99), mac(98)))
            one.run_for(1.0)
    assert quiet.trace.digest != cluster.trace.digest, "it did nothing"
    cluster.run_until(lambda: settled(cluster), within_s=60.0, every_s=0.1)
    check_frames(cluster, SeededRng(1))


@pytest.mark.parametrize("fault", EXAMPLES, ids=lambda fault: fault.kind.value)
def test_a_fault_of_no_time_is_over_at_once(fault: Fault) -> None:
    cluster = cluster_of(3)
    schedule(cluster, [evolve(fault, for_s=0.0)])
    cluster.run_for(fault.at_s)
    assert all(host.up for host in cluster.hosts)
    ways = [
        cluster.network.way(one.address, other.address)
        for one in cluster.hosts
        for other in cluster.hosts
        if one is not other
    ]
    assert not any(way.cut for way in ways)
    assert {(way.conditions.loss, way.conditions.burst_loss) for way in ways} == {(0.0, None)}


def test_a_mesh_that_is_not_settled_is_told_of() -> None:
    cluster = Cluster()
    one, other = cluster.add_many(2)
    assert unsettled(cluster)[0] == "host1 has no session with host2"
    assert not settled(cluster)
    other.connect(one)
    cluster.run_until(lambda: settled(cluster), within_s=5.0)
    assert unsettled(cluster) == []
    other.crash(silent=True)
    assert settled(cluster) is False, "a session with nobody"


def test_state_that_differs_and_routes_that_are_no_longer_right_are_told_of(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cluster = cluster_of(3)
    one, other, third = cluster.hosts
    cluster.cut(one, other)
    cluster.cut(one, third)
    one.update(one.channel(CHANNEL, OrSet), OrSet.add, "mine")
    cluster.run_for(1.0)
    told = "\n".join(unsettled(cluster))
    assert "host2 holds other fragments than host1" in told
    assert "host2 shows another set than host1" in told
    cluster.mend()
    cluster.run_until(lambda: settled(cluster), within_s=60.0, every_s=0.1)
    right = one.engine.routes()
    wrong = {**right, other.name: right[other.name]._replace(cost=50, via=third.name)}
    monkeypatch.setattr(one.engine, "routes", lambda: wrong)
    told = "\n".join(unsettled(cluster))
    assert "host1 has routes that are not the best" in told
    assert "host1 pays Route(cost=50" in told
    round_about = {**third.engine.routes(), other.name: right[other.name]._replace(via=one.name)}
    monkeypatch.setattr(third.engine, "routes", lambda: round_about)
    assert "host1 goes in a circle to host2" in "\n".join(unsettled(cluster))


def test_a_frame_to_one_that_reaches_others_is_told_of(monkeypatch: pytest.MonkeyPatch) -> None:
    cluster = cluster_of(3)
    check_frames(cluster, SeededRng(1))
    monkeypatch.setattr(Switch, "place_of", lambda self, mac, now: Verdict.FLOOD)
    with pytest.raises(AssertionError, match="a frame to one reached"):
        check_frames(cluster, SeededRng(2))


def test_what_was_kept_and_is_lost_is_told_of() -> None:
    scenario = Scenario(1, peers=3, faults=0)
    scenario.run()
    host = scenario.cluster.hosts[0]
    scenario._written.append((host.name, host.channel(CHANNEL, OrSet), 0, "never there"))
    with pytest.raises(AssertionError, match=r"never there of .* was kept, and is lost"):
        scenario._check_kept()


def test_the_same_seed_draws_the_same_faults_and_one_more_leaves_them() -> None:
    def drawn(count: int, seed: int = 1) -> list[Fault]:
        return draw_faults(SeededRng(seed), hosts=12, count=count, duration_s=20.0, joins=2)

    assert drawn(10) == drawn(10)
    assert drawn(10) != drawn(10, seed=2)
    assert all(fault in drawn(11) for fault in drawn(10))
    assert [fault.at_s for fault in drawn(10)] == sorted(fault.at_s for fault in drawn(10))
    kinds = Counter(fault.kind for fault in drawn(500))
    assert set(kinds) == set(FaultKind)
    assert kinds[FaultKind.JOIN] == 2


def test_when_faults_are_over_everybody_is_up_and_nothing_is_in_the_way() -> None:
    cluster = cluster_of(3)
    hosts = cluster.hosts
    hosts[0].crash(silent=True)
    hosts[1].stop()
    cluster.cut(hosts[0], hosts[1])
    cluster.impair(loss=0.9)
    end_faults(cluster)
    assert all(host.up for host in hosts)
    way = cluster.network.way(hosts[0].address, hosts[1].address)
    assert way.cut == set()
    assert way.conditions.loss == 0.0


@given(fault_schedules(hosts=4, duration_s=8.0), st.integers(1, 3))
@settings(max_examples=15)
def test_a_mesh_survives_any_schedule(faults: list[Fault], seed: int) -> None:
    cluster = Cluster(seed=seed)
    hosts = cluster.add_many(4)
    for host in hosts[1:]:
        host.connect(hosts[0])
    schedule(cluster, faults)
    cluster.run_for(8.0)
    end_faults(cluster)
    cluster.run_until(lambda: settled(cluster), within_s=60.0, every_s=0.25)
