"""Peers that are gone: listed, forgotten when their lease ends or somebody says so, back as new."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from meshnet.crdt import LwwMap
from meshnet.errors import DropReason, LocalProtocolError
from meshnet.events import PeerDiscovered, PeerRemoved
from meshnet.gossip.removals import MAX_REMOVALS, pack_removal, sign_removal
from meshnet.ids import PeerName, network_id
from meshnet.peering.absences import LEASE_SPREAD
from meshnet.peering.attendance import Attendance
from meshnet.report import GoneReport
from meshnet.testing import Cluster, Host
from meshnet.topology.records import TOPOLOGY
from meshnet.wire.messages import MessageType

LEASE_S = 600.0


def cluster_of(count: int, seed: int = 1, *, lease_s: float | None = LEASE_S) -> Cluster:
    cluster = Cluster(seed=seed)
    hosts = [cluster.add(f"host{number}", peer_lease_s=lease_s) for number in range(count)]
    for host in hosts[1:]:
        host.connect(hosts[0])
    cluster.run_until(cluster.meshed, within_s=5.0)
    cluster.run_for(2.0)
    return cluster


def gone(at: Host, who: Host) -> GoneReport | None:
    rows = at.engine.reports.peers(at.cluster.now)
    [row] = [row for row in rows if row["name"] == str(who.name)]
    return row["gone"]


def knows(at: Host, who: Host) -> bool:
    """Whether its record is held, and it is dialled."""
    rows = at.engine.reports.peers(at.cluster.now)
    return any(row["name"] == str(who.name) for row in rows)


def dials(at: Host, who: Host) -> bool:
    targets = at.engine.reports.targets(at.cluster.now)
    return any(row["peer"] == str(who.name) and not row["given"] for row in targets)


def remove(at: Host, who: PeerName, *, data: bool = False) -> int:
    entries = at.engine.remove_peer(who, at.cluster.now, data=data)
    at.drain()
    return entries


def assert_digests_equal(hosts: list[Host]) -> None:
    assert len({host.engine.gossip.replica.index.digest for host in hosts if host.up}) == 1


def hostile_removal(by: Host, of: PeerName) -> None:
    """``by`` has its neighbours let go of what ``of`` says of itself, whoever sees it or not."""
    engine = by.engine
    fragment = engine.gossip.replica.get(TOPOLOGY, of)
    assert fragment is not None
    network = network_id(engine.config.network)
    removal = sign_removal(engine.config.identity, network, TOPOLOGY, fragment.head)
    for peer in sorted(engine.links.by_peer):
        engine.links.send(peer, MessageType.REMOVAL, pack_removal(removal))
    by.drain()


def test_gone_peers_are_listed_with_the_reason_and_how_long() -> None:
    cluster = cluster_of(4)
    a, b, stopped, lost = cluster.hosts
    assert gone(a, lost) is None
    stopped.stop()
    lost.crash(silent=True)
    cluster.run_for(60.0)
    goodbye, silence = gone(a, stopped), gone(a, lost)
    assert goodbye is not None
    assert silence is not None
    assert (goodbye["reason"], silence["reason"]) == ("goodbye", "lost")
    assert goodbye["for_s"] == pytest.approx(60.0, abs=1.0)
    assert 30.0 <= silence["for_s"] <= 60.0
    left_s = silence["forgotten_in_s"]
    assert left_s is not None
    assert LEASE_S <= left_s + silence["for_s"] <= LEASE_S * (1 + LEASE_SPREAD)
    # Who starts anew has not seen it at all, and still knows that the other has stopped.
    b.stop()
    b.start()
    cluster.run_for(5.0)
    unseen, still = gone(b, lost), gone(b, stopped)
    assert unseen is not None
    assert still is not None
    assert (unseen["reason"], still["reason"]) == ("not_seen", "goodbye")
    lost.start()
    cluster.run_for(5.0)
    assert gone(a, lost) is None


def test_who_is_gone_for_its_lease_is_forgotten_by_all_and_by_their_disks() -> None:
    cluster = cluster_of(5)
    *rest, lost = cluster.hosts
    lost.crash(silent=True)
    cluster.run_for(LEASE_S - 1.0)
    assert all(knows(host, lost) and dials(host, lost) for host in rest)
    cluster.run_for(LEASE_S * LEASE_SPREAD + 90.0)
    assert not any(knows(host, lost) or dials(host, lost) for host in rest)
    assert_digests_equal(rest)
    for host in rest:
        [removed] = host.events_of(PeerRemoved)
        assert (removed.peer, removed.nickname) == (lost.name, lost.nickname)
    # One of them said so, or two that had not heard of each other's word yet.
    assert len({host.events_of(PeerRemoved)[0].by for host in rest}) <= 2
    cluster.run_for(40.0)
    for host in rest:
        host.restart()
    cluster.run_until(lambda: all(len(host.peers) == 3 for host in rest), within_s=10.0)
    assert not any(knows(host, lost) for host in rest)


def test_who_is_restarted_more_often_than_leases_end_forgets_too() -> None:
    cluster = cluster_of(3)
    *rest, lost = cluster.hosts
    lost.crash(silent=True)
    for _ in range(4):
        cluster.run_for(LEASE_S / 5)
        for host in rest:
            host.stop()
        cluster.run_for(1.0)
        for host in rest:
            host.start()
    cluster.run_for(LEASE_S / 10)
    assert all(knows(host, lost) for host in rest)
    cluster.run_for(LEASE_S / 5 + 60.0)
    assert not any(knows(host, lost) for host in rest)


def test_without_a_lease_nobody_is_forgotten() -> None:
    cluster = cluster_of(3, lease_s=None)
    a, b, lost = cluster.hosts
    lost.crash(silent=True)
    cluster.run_for(5 * LEASE_S)
    left = gone(a, lost)
    assert left is not None
    assert left["forgotten_in_s"] is None
    assert knows(b, lost)


def test_a_removal_reaches_everybody_at_once_and_keeps_users_data() -> None:
    cluster = cluster_of(6)
    a, *rest, lost = cluster.hosts
    names = lost.channel("names", LwwMap)
    lost.update(names, LwwMap.put, "www", b"10.32.0.5")
    cluster.run_for(1.0)
    lost.crash()
    cluster.run_for(10.0)
    assert remove(a, lost.name) > 0
    cluster.run_for(1.0)
    assert not any(knows(host, lost) or dials(host, lost) for host in (a, *rest))
    assert a.channel("names", LwwMap).value.get("www") == b"10.32.0.5"
    assert remove(a, lost.name) == 0, "a second time there is nothing to let go"
    opened = rest[0].channel("names", LwwMap)
    assert remove(a, lost.name, data=True) == 1
    cluster.run_for(15.0)
    assert opened.value.get("www") is None
    assert_digests_equal([a, *rest])


def test_who_is_there_cannot_be_removed() -> None:
    cluster = cluster_of(3)
    a, b, c = cluster.hosts
    # Not even where the way to it leads through another.
    cluster.cut(a, c)
    cluster.run_until(lambda: c.name not in a.engine.links.by_peer, within_s=60.0)
    cluster.run_for(1.0)
    for name in (b.name, c.name, a.name):
        with pytest.raises(LocalProtocolError, match="not gone"):
            remove(a, name)


def test_who_was_cut_off_during_a_removal_follows_it_afterwards() -> None:
    cluster = cluster_of(5)
    a, b, c, d, lost = cluster.hosts
    lost.crash(silent=True)
    cluster.run_for(60.0)
    cluster.partition([c, d])
    cluster.run_for(60.0)
    remove(a, lost.name)
    cluster.run_for(5.0)
    assert not knows(b, lost)
    assert knows(c, lost)
    cluster.mend()
    cluster.run_until(
        lambda: all(len(host.peers) == 3 for host in (a, b, c, d)), within_s=30.0, every_s=0.1
    )
    cluster.run_for(30.0)
    assert not any(knows(host, lost) for host in (a, b, c, d))
    assert_digests_equal([a, b, c, d])


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_two_who_remove_at_once_and_on_both_sides_of_a_cut_agree(seed: int) -> None:
    cluster = cluster_of(6, seed)
    a, b, c, d, one, other = cluster.hosts
    one.crash(silent=True)
    other.crash(silent=True)
    cluster.run_for(60.0)
    cluster.partition([c, d])
    cluster.run_for(60.0)
    remove(a, one.name)
    remove(b, one.name)
    remove(c, one.name)
    remove(d, other.name)
    cluster.mend()
    cluster.run_for(60.0)
    assert not any(knows(host, lost) for host in (a, b, c, d) for lost in (one, other))
    assert_digests_equal([a, b, c, d])


def back_by_restart(lost: Host) -> None:
    lost.start()


def back_by_the_end_of_a_partition(lost: Host) -> None:
    lost.cluster.mend()


@pytest.mark.parametrize("back", [back_by_restart, back_by_the_end_of_a_partition])
def test_who_was_removed_returns_as_new_with_all_that_it_wrote(
    back: Callable[[Host], None],
) -> None:
    cluster = cluster_of(4)
    a, b, c, lost = cluster.hosts
    names = lost.channel("names", LwwMap)
    lost.update(names, LwwMap.put, "www", b"10.32.0.5")
    cluster.run_for(1.0)
    if back is back_by_restart:
        lost.crash(silent=True)
    else:
        cluster.partition([lost])
    cluster.run_for(60.0)
    assert remove(a, lost.name, data=True) > 1
    cluster.run_for(1.0)
    back(lost)
    cluster.run_until(cluster.meshed, within_s=10.0)
    cluster.run_for(15.0)
    assert all(gone(host, lost) is None for host in (a, b, c))
    assert_digests_equal(cluster.hosts)
    for host in cluster.hosts:
        opened = host.channel("names", LwwMap)
        assert opened.value.get("www") == b"10.32.0.5"


def test_who_returns_while_its_removal_spreads_is_kept() -> None:
    cluster = cluster_of(6)
    a, *_, lost = cluster.hosts
    lost.crash(silent=True)
    cluster.run_for(60.0)
    lost.start()
    remove(a, lost.name)
    cluster.run_until(cluster.meshed, within_s=10.0)
    cluster.run_for(15.0)
    assert all(gone(host, lost) is None for host in cluster.hosts if host is not lost)
    assert_digests_equal(cluster.hosts)


def test_a_wiped_disk_is_another_peer_and_the_old_one_can_be_removed() -> None:
    cluster = cluster_of(3)
    a, b, c = cluster.hosts
    old = c.name
    c.lose_disk()
    cluster.run_until(cluster.meshed, within_s=10.0)
    cluster.run_for(5.0)
    assert c.name != old
    assert remove(a, old) > 0
    cluster.run_for(2.0)
    assert_digests_equal([a, b, c])
    assert all(len(host.engine.reports.peers(cluster.now)) == 3 for host in (a, b, c))


def test_a_hostile_removal_of_who_is_there_does_nothing_but_name_the_remover() -> None:
    cluster = cluster_of(5)
    a, *rest, victim = cluster.hosts
    before = victim.engine.gossip.replica.get(TOPOLOGY, victim.name)
    for _ in range(20):
        hostile_removal(a, victim.name)
        cluster.run_for(0.1)
    cluster.run_for(15.0)
    assert all(gone(host, victim) is None for host in rest)
    assert victim.engine.gossip.replica.get(TOPOLOGY, victim.name) is before, "nobody had to act"
    assert cluster.meshed()
    assert_digests_equal(cluster.hosts)
    for host in rest:
        assert host.engine.counters.drops[DropReason.NOT_GONE] == 20
        assert not host.events_of(PeerRemoved)


def test_a_storm_of_removals_removes_who_is_gone_once_and_grows_nothing() -> None:
    cluster = cluster_of(6)
    a, b, c, *lost = cluster.hosts
    for host in lost:
        host.crash(silent=True)
    cluster.run_for(60.0)
    for _ in range(30):
        for host in lost:
            hostile_removal(a, host.name)
    cluster.run_for(30.0)
    for host in (b, c):
        assert len(host.events_of(PeerRemoved)) == len(lost)
        assert len(host.engine.gossip.removals) == len(lost) < MAX_REMOVALS
        assert {event.by for event in host.events_of(PeerRemoved)} == {a.name}
    assert_digests_equal([a, b, c])


def test_who_leaves_for_good_is_forgotten_at_once() -> None:
    cluster = cluster_of(4)
    a, b, c, leaving = cluster.hosts
    leaving.engine.leave(cluster.now)
    leaving.drain()
    leaving.crash()
    cluster.run_for(1.0)
    assert not any(knows(host, leaving) or dials(host, leaving) for host in (a, b, c))
    assert all(host.events_of(PeerRemoved)[0].by == leaving.name for host in (a, b, c))
    assert_digests_equal([a, b, c])
    # The same state again, as from a backup: it is heard all the same.
    leaving.set_back()
    cluster.run_until(cluster.meshed, within_s=20.0)
    cluster.run_for(15.0)
    assert_digests_equal(cluster.hosts)
    assert all(leaving.name in {e.peer for e in host.events_of(PeerDiscovered)} for host in (a, b))


def test_nobody_would_forget_without_leases(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Attendance, "end_leases", lambda self, now: None)
    cluster = cluster_of(3)
    a, _, lost = cluster.hosts
    lost.crash(silent=True)
    cluster.run_for(2 * LEASE_S)
    assert knows(a, lost)
