"""A disk that was set back loses nothing that the mesh still has."""

from __future__ import annotations

import copy

from meshnet.crdt import Counter, OrMap, OrSet
from meshnet.gossip.fragments import Fragment
from meshnet.ids import ChannelId
from meshnet.testing import Cluster, Host, MemoryState


def write(host: Host, element: str) -> None:
    host.update(host.channel("things", OrSet), OrSet.add, element)
    host.update(host.channel("map", OrMap), OrMap.put, element, element.encode())
    host.update(host.channel("count", Counter), Counter.add, 1)


def shown(host: Host) -> tuple[set[str], dict[str, bytes], int]:
    return (
        set(host.channel("things", OrSet).value),
        dict(host.channel("map", OrMap).value.items()),
        host.channel("count", Counter).value.value,
    )


def everywhere(cluster: Cluster, *elements: str) -> bool:
    wanted = (set(elements), {e: e.encode() for e in elements}, len(elements))
    return all(shown(host) == wanted for host in cluster.hosts)


def come_back_on(host: Host, disk: MemoryState) -> None:
    host.crash()
    host.disk = disk
    host.start()


def settle(cluster: Cluster) -> None:
    cluster.run_for(30)


def test_a_disk_set_back_within_one_start() -> None:
    cluster = Cluster(seed=5)
    a, b, c = cluster.add_many(3)
    for host in (b, c):
        host.connect(a)
    cluster.run_until(cluster.meshed, within_s=5)
    write(a, "before")
    cluster.run_for(1)
    backup = copy.deepcopy(a.disk)
    write(a, "after")
    cluster.run_for(1)
    assert everywhere(cluster, "before", "after")
    # The machine comes back on the backup, and writes before it has heard of anybody.
    come_back_on(a, backup)
    write(a, "again")
    settle(cluster)
    assert everywhere(cluster, "before", "after", "again")


def test_a_disk_set_back_over_several_starts() -> None:
    cluster = Cluster(seed=6)
    a, b = cluster.add_many(2)
    b.connect(a)
    cluster.run_until(cluster.meshed, within_s=5)
    write(a, "one")
    cluster.run_for(1)
    backup = copy.deepcopy(a.disk)
    for element in ("two", "three"):
        a.restart()
        cluster.run_until(cluster.meshed, within_s=10)
        write(a, element)
        cluster.run_for(1)
    come_back_on(a, backup)
    write(a, "four")
    settle(cluster)
    assert everywhere(cluster, "one", "two", "three", "four")


def test_an_emptied_journal() -> None:
    cluster = Cluster(seed=7)
    a, b = cluster.add_many(2)
    b.connect(a)
    cluster.run_until(cluster.meshed, within_s=5)
    write(a, "x")
    cluster.run_for(1)
    b.update(b.channel("things", OrSet), OrSet.remove, "x")
    cluster.run_for(1)
    a.crash()
    a.disk.journal = type(a.disk.journal)()
    a.start()
    a.update(a.channel("things", OrSet), OrSet.add, "y")
    settle(cluster)
    # What was removed is still removed, and what is new is not taken for it.
    for host in (a, b):
        assert set(host.channel("things", OrSet).value) == {"y"}


def test_a_link_that_breaks_before_all_was_told() -> None:
    cluster = Cluster(seed=10)
    a, b = cluster.add_many(2)
    b.connect(a)
    cluster.run_until(cluster.meshed, within_s=5)
    write(a, "before")
    cluster.run_for(1)

    def at_b() -> Fragment | None:
        return b.engine.gossip.replica.get(ChannelId("things", OrSet.name), a.name)

    known = at_b()
    a.crash()
    a.disk.journal = type(a.disk.journal)()
    a.start()
    write(a, "after")
    cluster.run_until(lambda: at_b() is not known, within_s=10)
    # The worst moment: the last peer that knows what was lost has just taken what is new.
    cluster.reset(a, b)
    settle(cluster)
    assert everywhere(cluster, "before", "after")


def test_a_clean_restart_reminds_nobody_of_what_it_knows() -> None:
    cluster = Cluster(seed=8)
    a, b = cluster.add_many(2)
    b.connect(a)
    cluster.run_until(cluster.meshed, within_s=5)
    write(a, "x")
    cluster.run_for(1)
    a.restart()
    cluster.run_until(cluster.meshed, within_s=10)
    write(a, "y")
    settle(cluster)
    assert everywhere(cluster, "x", "y")
    assert a.engine.own_state.times_outdone.total() == 0


def test_what_others_write_is_kept_however_much_we_write() -> None:
    cluster = Cluster(seed=9)
    a, b = cluster.add_many(2)
    b.connect(a)
    cluster.run_until(cluster.meshed, within_s=5)
    write(b, "theirs")
    cluster.run_for(1)
    # Something of ours is always being written, so there is no moment of leisure.
    for number in range(400):
        a.update(a.channel("busy", OrSet), OrSet.add, str(number))
        cluster.run_for(0.1)
    records = a.disk.journal.records()
    assert any(b"theirs" in record for record in records)
