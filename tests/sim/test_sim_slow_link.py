"""A slow link gets merged changes: what waits for it is bounded by what there is, not by time."""

from __future__ import annotations

from meshnet.crdt import LwwMap
from meshnet.gossip.exchange import TURN_BYTES
from meshnet.testing import Cluster
from meshnet.testing.connections import SEND_BUFFER_BYTES

RATE_BYTES_PER_S = 4000.0
WRITERS = 4


def test_what_waits_for_a_slow_link_is_merged_and_bounded() -> None:
    cluster = Cluster()
    hub, slow, *writers = cluster.add_many(WRITERS + 2)
    for host in (slow, *writers):
        host.connect(hub)
    cluster.run_until(cluster.meshed, within_s=30.0)
    for host in (hub, *writers):
        cluster.impair(host, slow, one_way=True, rate_bytes_per_s=RATE_BYTES_PER_S)
    maps = [host.channel("map", LwwMap) for host in writers]
    most_bytes = waits = 0.0
    for number in range(100):
        for host, opened in zip(writers, maps, strict=True):
            host.update(opened, LwwMap.put, "key", bytes(3000) + b"%d" % number)
        cluster.run_for(0.05)
        for end in cluster.connections._ends.values():
            most_bytes = max(most_bytes, end.out.backlog_bytes(cluster.now))
            waits += end.waits
        for host in (hub, *writers):
            due = host.engine.gossip._neighbours[slow.name].due
            assert len(due) <= host.engine.gossip.replica.fragments
    assert waits, "the link has to be slow for this to show anything"
    assert most_bytes <= SEND_BUFFER_BYTES + 2 * TURN_BYTES
    written = 100 * WRITERS * 3000
    assert written > 100 * RATE_BYTES_PER_S, "it could not have passed"
    read = slow.channel("map", LwwMap)
    cluster.run_until(lambda: _last(read.value) == bytes(3000) + b"99", within_s=120.0)
    cluster.run_until(
        lambda: len({host.engine.gossip.replica.index.digest for host in cluster.hosts}) == 1,
        within_s=60.0,
        every_s=0.5,
    )


def _last(value: LwwMap) -> bytes | None:
    found = value.get("key")
    return found if isinstance(found, bytes) else None
