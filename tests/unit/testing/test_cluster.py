"""The emulated machines and wires under a cluster's engines, and what a failure tells."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable

import pytest

from meshnet.crdt import OrSet
from meshnet.errors import LocalProtocolError
from meshnet.events import DialFailed, LinkLost
from meshnet.testing import (
    BrokenInvariantError,
    Cluster,
    Host,
    Scenario,
    TimeStandsStillError,
    Transport,
    settled,
)
from meshnet.testing.connections import DIAL_TIMEOUT_S
from support.samples import BROADCAST, ethernet, mac


def pair(**options: float) -> tuple[Cluster, Host, Host]:
    cluster = Cluster(**options)  # type: ignore[arg-type]
    one, other = cluster.add_many(2)
    other.connect(one)
    cluster.run_until(cluster.meshed, within_s=5.0)
    cluster.run_for(1.0)
    return cluster, one, other


def linked(one: Host, other: Host) -> Callable[[], bool]:
    return lambda: other.name in one.engine.routes() and one.name in other.engine.routes()


# Dials.


def dial_failure(cluster: Cluster, one: Host) -> tuple[float, str]:
    start = cluster.now
    cluster.run_until(lambda: bool(one.events_of(DialFailed)), within_s=10.0)
    return cluster.now - start, one.events_of(DialFailed)[0].reason


@pytest.mark.parametrize("one_way", [True, False])
@pytest.mark.parametrize("there", [True, False])
def test_a_dial_over_a_cut_way_times_out(one_way: bool, there: bool) -> None:
    cluster = Cluster()
    one, other = cluster.add_many(2)
    cluster.cut(*((one, other) if there else (other, one)), one_way=one_way)
    one.connect(other)
    after_s, reason = dial_failure(cluster, one)
    assert (round(after_s, 2), reason) == (DIAL_TIMEOUT_S, "no answer to the TCP connection")


def test_a_dial_to_a_process_that_is_down_is_refused_and_to_a_machine_times_out() -> None:
    for silent, wanted in ((False, "connection refused"), (True, "no answer")):
        cluster = Cluster()
        one, other = cluster.add_many(2)
        other.crash(silent=silent)
        one.connect(other)
        after_s, reason = dial_failure(cluster, one)
        assert reason.startswith(wanted)
        assert (after_s < 0.1) is not silent


def test_a_dial_gets_through_when_the_way_opens_in_time() -> None:
    cluster = Cluster()
    one, other = cluster.add_many(2)
    cluster.cut(one, other)
    one.connect(other)
    cluster.run_for(0.5)
    cluster.mend()
    cluster.run_until(linked(one, other), within_s=1.0)
    assert one.events_of(DialFailed) == []


# Connections.


def test_a_short_cut_costs_a_link_time_only() -> None:
    cluster, one, other = pair()
    cluster.cut(one, other, only=Transport.TCP)
    cluster.run_for(8.0)
    cluster.mend()
    cluster.run_for(30.0)
    assert one.events_of(LinkLost) == other.events_of(LinkLost) == []


def test_a_reset_breaks_the_link_at_both_ends() -> None:
    cluster, one, other = pair()
    cluster.reset(one, other)
    for host in (one, other):
        assert [event.reason for event in host.events_of(LinkLost)] == ["connection reset"]
    cluster.run_until(linked(one, other), within_s=5.0)


def test_a_process_that_dies_resets_its_links_and_a_machine_does_not() -> None:
    for silent in (False, True):
        cluster, one, other = pair()
        other.crash(silent=silent)
        cluster.run_for(1.0)
        assert bool(one.events_of(LinkLost)) is not silent


def test_a_cut_between_two_leaves_the_third() -> None:
    cluster = Cluster()
    hosts = cluster.add_many(3)
    cluster.partition(hosts[:1])
    hosts[1].connect(hosts[0])
    hosts[2].connect(hosts[1])
    cluster.run_for(5.0)
    assert hosts[0].peers == set()
    assert hosts[1].peers == {hosts[2].name}
    cluster.mend(hosts[0], hosts[1])
    cluster.run_until(cluster.meshed, within_s=10.0)


def test_a_partition_holds_for_hosts_that_come_later() -> None:
    cluster = Cluster()
    inside, outside = cluster.add_many(2)
    cluster.partition([inside])
    late = cluster.add("late")
    late.connect(inside)
    late.connect(outside)
    cluster.run_for(5.0)
    assert late.peers == {outside.name}
    cluster.mend()
    cluster.run_until(cluster.meshed, within_s=20.0)


def test_a_fault_is_between_two_or_everywhere() -> None:
    cluster, one, _ = pair()
    with pytest.raises(ValueError, match="two hosts, or none"):
        cluster.impair(one, loss=1.0)
    with pytest.raises(ValueError, match="two hosts, or none"):
        cluster.mend(one)
    cluster.impair(loss=1.0)
    cluster.run_until(lambda: not cluster.meshed(), within_s=30.0)


def test_a_process_that_has_died_does_nothing_more() -> None:
    cluster, one, other = pair()
    opened = other.channel("things", OrSet)
    frame = ethernet(BROADCAST, mac(1))
    for silent in (False, True):
        other.crash(silent=silent)
        before = len(cluster.trace)
        for act in (
            lambda: other.send(frame),
            lambda: other.update(opened, OrSet.add, "late"),
            other.stop,
        ):
            with pytest.raises(LocalProtocolError, match="host2 is down"):
                act()
        assert len(cluster.trace) == before
        assert other.reachable is not silent
    assert settled(cluster) is False, "it is missed"
    one.crash()
    assert settled(cluster), "nobody is left to disagree"


def test_a_host_that_is_down_can_be_told_of_peers_for_its_next_life() -> None:
    cluster = Cluster()
    one, other = cluster.add_many(2)
    other.crash()
    other.connect(one)
    cluster.run_for(5.0)
    assert one.peers == set()
    other.start()
    cluster.run_until(cluster.meshed, within_s=5.0)


# Disks.


def test_a_host_that_loses_its_disk_is_another_peer_at_the_same_address() -> None:
    cluster, one, other = pair()
    before = other.name
    other.lose_disk()
    assert other.name != before
    cluster.run_until(cluster.meshed, within_s=20.0)
    assert one.peers == {other.name}


def test_each_life_has_a_greater_generation_and_the_same_name() -> None:
    cluster, _, other = pair()
    name, generation = other.name, other.engine.config.generation
    other.restart()
    assert (other.name, other.engine.config.generation) == (name, generation + 1)
    cluster.run_until(cluster.meshed, within_s=5.0)


# Repeatability.

_DIGEST = "from meshnet.testing import Scenario; print(Scenario({seed}, peers=5).run().digest)"


def digest_elsewhere(seed: int, hashes: int) -> str:
    """From a process of its own, where sets have another order."""
    environment = os.environ | {
        "PYTHONHASHSEED": str(hashes),
        "PYTHONPATH": os.pathsep.join(sys.path),
    }
    done = subprocess.run(
        [sys.executable, "-c", _DIGEST.format(seed=seed)],
        capture_output=True,
        text=True,
        check=True,
        env=environment,
    )
    return done.stdout.strip()


def test_equal_seeds_give_equal_bytes_under_faults_in_every_process() -> None:
    scenario = Scenario(4, peers=5)
    digest = scenario.run().digest
    assert any(packet.fault for packet in scenario.cluster.trace)
    assert {digest_elsewhere(4, 1), digest_elsewhere(4, 2)} == {digest}
    assert Scenario(5, peers=5).run().digest != digest


# Failures.


def failure(cluster: Cluster) -> str:
    with pytest.raises(AssertionError) as caught:
        cluster.run_until(lambda: False, within_s=0.5)
    return "\n".join([str(caught.value), *caught.value.__notes__])


def test_a_failure_shows_the_state_the_packets_and_what_replays_it() -> None:
    cluster, one, other = pair(seed=7)
    one.send(ethernet(BROADCAST, mac(1)))
    told = failure(cluster)
    assert "not within 0.5 s" in told
    assert "seed 7 " in told
    # The test's own name, which pytest takes back.
    assert "replay: pytest '" in told
    assert "::test_a_failure_shows_the_state_the_packets_and_what_replays_it'" in told
    assert f"{one.nickname}: established {other.nickname}" in told
    assert f"{one.nickname} > {other.nickname}  udp DATA index " in told
    assert len(told.splitlines()) < 60


def test_outside_of_pytest_the_seed_is_what_replays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PYTEST_CURRENT_TEST")
    assert "replay: Cluster(seed=9)" in failure(Cluster(seed=9))
    assert "replay: run it again" in failure(Cluster(replay="run it again"))


def test_what_an_engine_raises_is_shown_with_the_packets() -> None:
    cluster, _, other = pair()

    def broken(now: float) -> None:
        raise RuntimeError("a bug")

    other.engine.handle_timer = broken  # type: ignore[method-assign]
    with pytest.raises(RuntimeError, match="a bug") as caught:
        cluster.run_for(60.0)
    assert "last packets" in caught.value.__notes__[0]


def test_an_engine_that_never_rests_is_noticed() -> None:
    cluster, _, other = pair()
    other.engine.handle_timer = lambda now: None  # type: ignore[method-assign]
    with pytest.raises(TimeStandsStillError, match=other.nickname):
        cluster.run_for(60.0)


def test_an_engine_whose_nonces_begin_again_is_noticed() -> None:
    _, one, _ = pair()
    for pair_of in one.engine._sessions:
        assert pair_of.current is not None
        pair_of.current.send_counter = 0
    with pytest.raises(BrokenInvariantError, match="twice"):
        one.send(ethernet(BROADCAST, mac(1)))


def test_an_engine_that_draws_the_same_keys_again_is_noticed() -> None:
    cluster = Cluster()
    one, other = cluster.add_many(2)
    one.engine.links._rng = lambda size_bytes: b"\x05" * size_bytes
    one.connect(other)
    cluster.run_for(0.5)
    cluster.reset(one, other)
    with pytest.raises(BrokenInvariantError, match="ephemeral"):
        cluster.run_for(5.0)
