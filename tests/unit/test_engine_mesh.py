"""Whole engines against each other under virtual time: they find each other and stay together."""

from __future__ import annotations

import hashlib
import itertools
from collections import Counter

import pytest

from meshnet.events import (
    LinkEstablished,
    LinkLost,
    MtuDiffered,
    PeerDiscovered,
    SessionEstablished,
    SessionLost,
)
from meshnet.testing import Cluster, Host
from meshnet.testing.emulator import Transport
from support.samples import BROADCAST, ethernet, mac

SEEDS = [1, 2, 3]


def mesh(count: int, *, seed: int = 1, loss: float = 0.0, jitter_s: float = 0.0) -> list[Host]:
    """A cluster in which all are told of the first, and have become a full mesh."""
    cluster = Cluster(seed=seed, loss=loss, jitter_s=jitter_s)
    hosts = cluster.add_many(count)
    for host in hosts[1:]:
        host.connect(hosts[0])
    cluster.run_until(cluster.meshed, within_s=10)
    return hosts


def links_per_pair(hosts: list[Host]) -> Counter[frozenset[str]]:
    """How many links each pair has, seen from both ends."""
    pairs: Counter[frozenset[str]] = Counter()
    for host in hosts:
        for link in host.engine.links:
            assert link.peer is not None
            pairs[frozenset((str(host.name), str(link.peer)))] += 1
    return pairs


@pytest.mark.parametrize("seed", SEEDS)
def test_those_told_of_one_become_a_full_mesh(seed: int) -> None:
    cluster = Cluster(seed=seed)
    hosts = cluster.add_many(3)
    for host in hosts[1:]:
        host.connect(hosts[0])
    assert cluster.run_until(cluster.meshed, within_s=2.0) > 0.0
    for host in hosts:
        others = {other.name for other in hosts if other is not host}
        assert {event.peer for event in host.events_of(LinkEstablished)} == others
        assert {event.peer for event in host.events_of(SessionEstablished)} == others
        assert {event.peer for event in host.events_of(PeerDiscovered)} == others
        rows = host.engine.reports.connections()
        assert [row["state"] for row in rows] == ["established"] * 2
        assert all(row["path"] == "direct" and row["encrypted"] and row["cipher"] for row in rows)


def test_a_chain_of_introductions_ends_in_a_full_mesh() -> None:
    cluster = Cluster()
    hosts = cluster.add_many(6)
    for one, following in itertools.pairwise(hosts):
        one.connect(following)
    cluster.run_until(cluster.meshed, within_s=5.0)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_mesh_forms_through_loss_and_jitter(seed: int) -> None:
    hosts = mesh(4, seed=seed, loss=0.3, jitter_s=0.05)
    assert hosts[0].cluster.meshed()


@pytest.mark.parametrize("seed", SEEDS)
def test_nothing_is_lost_again_once_it_stands(seed: int) -> None:
    hosts = mesh(3, seed=seed, jitter_s=0.01)
    cluster = hosts[0].cluster
    cluster.run_for(1.0)
    for host in hosts:
        host.events.clear()
    cluster.run_for(300.0)
    assert cluster.meshed()
    for host in hosts:
        assert host.events_of(LinkLost) == []
        assert host.events_of(SessionLost) == []


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("jitter_s", [0.0, 0.2])
def test_simultaneous_dials_leave_one_link_per_pair(seed: int, jitter_s: float) -> None:
    cluster = Cluster(seed=seed, jitter_s=jitter_s)
    hosts = cluster.add_many(3)
    for host in hosts:
        for other in hosts:
            if other is not host:
                host.connect(other)
    cluster.run_until(cluster.meshed, within_s=5.0)
    cluster.run_for(5.0)
    # Both ends of one link each.
    assert set(links_per_pair(hosts).values()) == {2}
    assert len(links_per_pair(hosts)) == 3
    for host in hosts:
        assert host.events_of(SessionLost) == []


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("victim", [0, 1, 2])
def test_a_peer_that_restarts_is_back_in_session_within_three_seconds(
    seed: int, victim: int
) -> None:
    hosts = mesh(3, seed=seed)
    cluster = hosts[0].cluster
    cluster.run_for(7.3)
    hosts[victim].restart()
    cluster.run_until(cluster.meshed, within_s=3.0)
    assert_frames_pass(hosts)
    assert set(links_per_pair(hosts).values()) == {2}


@pytest.mark.parametrize("downtime_s", [1.0, 60.0])
def test_a_peer_that_was_down_is_back_soon_after_it_returns(downtime_s: float) -> None:
    hosts = mesh(3)
    cluster, gone = hosts[0].cluster, hosts[0]
    gone.crash()
    cluster.run_for(downtime_s)
    gone.start()
    cluster.run_until(cluster.meshed, within_s=3.0)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_peer_that_died_unnoticed_and_returns_is_taken_up_at_once(seed: int) -> None:
    # No reset reaches the others: they still hold links to the former life.
    hosts = mesh(3, seed=seed)
    cluster, victim = hosts[0].cluster, hosts[1]
    victim.crash(silent=True)
    cluster.run_for(0.5)
    victim.start()
    cluster.run_for(3.0)
    assert cluster.meshed()
    assert_frames_pass(hosts)


def test_a_path_that_carries_nothing_is_not_called_established() -> None:
    cluster = Cluster(seed=1)
    one, other = cluster.add_many(2)
    one.engine.connect(other.address.host, other.address.port, cluster.now)
    one.drain()
    cluster.run_until(cluster.meshed, within_s=5)
    cluster.datagram_filter = lambda *_: False
    cluster.run_until(lambda: not one.peers and not other.peers, within_s=30)
    [row] = one.engine.reports.connections()
    assert (row["state"], row["path"]) == ("connecting", "")
    assert row["reason"]
    assert [peer["reachable"] for peer in one.engine.reports.peers(cluster.now)] == [True, False]
    cluster.datagram_filter = lambda *_: True
    cluster.run_until(cluster.meshed, within_s=10)


@pytest.mark.parametrize("offset_s", [0.0, 3.0, 6.0, 9.0])
def test_the_death_of_an_idle_neighbour_is_known_within_25_seconds(offset_s: float) -> None:
    survivor, victim = mesh(2)
    survivor.cluster.run_for(offset_s)
    victim.crash(silent=True)
    survivor.cluster.run_until(lambda: bool(survivor.events_of(LinkLost)), within_s=25.0)


def test_a_partition_heals() -> None:
    hosts = mesh(3)
    cluster = hosts[0].cluster
    for other in hosts[1:]:
        cluster.cut(hosts[0], other)
    cluster.run_for(120.0)
    assert hosts[0].peers == set()
    assert hosts[1].peers == {hosts[2].name}
    cluster.mend()
    cluster.run_until(cluster.meshed, within_s=5.0)


def test_a_peer_that_stops_says_goodbye() -> None:
    hosts = mesh(3)
    cluster = hosts[0].cluster
    hosts[2].stop()
    cluster.run_for(0.1)
    for host in hosts[:2]:
        [lost] = host.events_of(LinkLost)
        assert (lost.peer, lost.reason) == (hosts[2].name, "peer is shutting down")
        assert [event.peer for event in host.events_of(SessionLost)] == [hosts[2].name]
        assert hosts[2].name not in host.peers


# Frames.


def assert_frames_pass(hosts: list[Host]) -> None:
    """A broadcast of each host reaches all others, right now."""
    sent = {host.nickname: ethernet(BROADCAST, mac(900), host.nickname.encode()) for host in hosts}
    for host in hosts:
        host.frames.clear()
    for host in hosts:
        host.send(sent[host.nickname])
    hosts[0].cluster.run_for(0.1)
    for host in hosts:
        assert set(host.frames) == set(sent.values()) - {sent[host.nickname]}


def test_a_broadcast_reaches_all_others_exactly_once() -> None:
    hosts = mesh(4)
    frame = ethernet(BROADCAST, mac(1))
    hosts[1].send(frame)
    hosts[1].cluster.run_for(1.0)
    assert [host.frames for host in hosts] == [[frame], [], [frame], [frame]]


def test_unicast_reaches_only_the_owner_once_that_is_known() -> None:
    hosts = mesh(3)
    cluster = hosts[0].cluster
    for number, host in enumerate(hosts):
        host.send(ethernet(BROADCAST, mac(number)))
    cluster.run_for(0.1)
    for host in hosts:
        host.frames.clear()
    frame = ethernet(mac(2), mac(0))
    hosts[0].send(frame)
    cluster.run_for(0.1)
    assert [host.frames for host in hosts] == [[], [], [frame]]


def test_a_mac_that_moved_is_followed_at_its_first_frame() -> None:
    hosts = mesh(3)
    cluster = hosts[0].cluster
    wanderer, frame = mac(50), ethernet(mac(50), mac(0))
    hosts[0].send(ethernet(BROADCAST, mac(0)))
    cluster.run_for(0.1)
    for home in (hosts[1], hosts[2], hosts[1]):
        home.send(ethernet(BROADCAST, wanderer))
        cluster.run_for(0.1)
        for host in hosts:
            host.frames.clear()
        hosts[0].send(frame)
        cluster.run_for(0.1)
        assert [host.frames for host in hosts] == [
            [frame] if host is home else [] for host in hosts
        ]


def test_frames_keep_their_order_and_bytes() -> None:
    hosts = mesh(2)
    frames = [ethernet(BROADCAST, mac(1), bytes((number,)) * number) for number in range(200)]
    hosts[0].send(*frames)
    hosts[0].cluster.run_for(0.1)
    assert hosts[1].frames == frames


def test_no_byte_of_a_frame_is_on_the_underlay_in_clear() -> None:
    marker = bytes(range(100, 132))
    hosts = mesh(2)
    cluster = hosts[0].cluster
    hosts[0].send(ethernet(BROADCAST, mac(1), marker))
    cluster.run_for(1.0)
    assert hosts[1].frames[0].endswith(marker)
    assert not any(marker in sent.data for sent in cluster.trace)
    # The same search does find what is there.
    some = cluster.trace[-1].data
    assert any(some[:16] in sent.data for sent in cluster.trace)


# Repeatability.


def digest(seed: int) -> str:
    """All bytes that a busy little mesh gives to the network, with their times."""
    hosts = mesh(3, seed=seed, loss=0.1, jitter_s=0.02)
    cluster = hosts[0].cluster
    hosts[1].restart()
    cluster.run_for(5.0)
    hosts[0].send(ethernet(BROADCAST, mac(1)))
    cluster.run_for(5.0)
    lines = (f"{s.at!r} {s.source} {s.to} {s.data.hex()}" for s in cluster.trace)
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def test_equal_seeds_give_equal_bytes() -> None:
    assert digest(11) == digest(11)
    assert digest(11) != digest(12)


def test_floods_arrive_once_while_links_sessions_and_routes_change() -> None:
    """Split horizon, one session per peer and replay windows leave no duplicates to suppress."""
    hosts = mesh(4)
    cluster = hosts[0].cluster
    cluster.impair(jitter_s=0.02)
    sent: list[bytes] = []
    for step in range(200):
        frame = ethernet(BROADCAST, mac(1), step.to_bytes(2, "big"))
        sent.append(frame)
        hosts[0].send(frame)
        if step % 40 == 10:
            cluster.cut(hosts[0], hosts[1 + step // 40 % 3])
        elif step % 40 == 30:
            cluster.mend()
        cluster.run_for(0.5)
    for host in hosts[1:]:
        counts = {frame: host.frames.count(frame) for frame in sent}
        assert max(counts.values()) == 1
        assert sum(counts.values()) > len(sent) / 2


def test_a_mover_s_first_frame_to_one_host_is_enough_for_all() -> None:
    hosts = mesh(4)
    cluster = hosts[0].cluster
    wanderer, one, other = mac(50), mac(2), mac(3)
    for host, address in ((hosts[0], wanderer), (hosts[2], one), (hosts[3], other)):
        host.send(ethernet(BROADCAST, address))
    cluster.run_for(0.1)
    for new_home in (hosts[1], hosts[0]):
        new_home.send(ethernet(one, wanderer, b"moved, and says it to one only"))
        cluster.run_for(0.1)
        for host in hosts:
            host.frames.clear()
        to_wanderer = ethernet(wanderer, other)
        hosts[3].send(to_wanderer)
        cluster.run_for(0.1)
        assert [host.frames for host in hosts] == [
            [to_wanderer] if host is new_home else [] for host in hosts
        ]


def test_who_has_lost_all_its_links_does_not_say_that_it_stops() -> None:
    cluster = Cluster(seed=3)
    a, b, c = cluster.add_many(3)
    for host in (b, c):
        host.connect(a)
    cluster.run_until(cluster.meshed, within_s=5)
    cluster.run_for(10)
    for host in (b, c):
        cluster.cut(a, host, only=Transport.TCP)
        cluster.reset(a, host)
    cluster.run_for(0.5)
    cluster.mend(a, b)
    cluster.run_for(5)
    assert c.events_of(SessionLost) == [], "datagrams between the two go on"


def test_another_overlay_mtu_is_told_once_at_both_ends() -> None:
    cluster = Cluster()
    one, other = cluster.add("one"), cluster.add("other", overlay_mtu=1400)
    same = cluster.add("same")
    for host in (other, same):
        host.connect(one)
    cluster.run_until(cluster.meshed, within_s=10)
    cluster.run_for(30)
    other.restart()
    cluster.run_for(30)
    for host in (one, same):
        assert host.events_of(MtuDiffered) == [MtuDiffered(other.name, 1376, 1400)]
    told = [event.peer for event in other.events_of(MtuDiffered)]
    assert set(told) == {one.name, same.name}
