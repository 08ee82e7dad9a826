"""A member that announces endless links costs others nothing and says nothing."""

from __future__ import annotations

from meshnet.errors import DropReason
from meshnet.gossip.tree import Tree
from meshnet.testing import Cluster
from meshnet.topology.records import MAX_RECORD_ENTRIES, TOPOLOGY, link_key
from support.samples import identity


def test_who_announces_too_many_links_is_not_read() -> None:
    cluster = Cluster(seed=4)
    a, b = cluster.add_many(2)
    b.connect(a)
    cluster.run_until(cluster.meshed, within_s=5)
    cluster.run_for(1)
    gossip = b.engine.gossip
    fragment = gossip.replica.get(TOPOLOGY, b.name)
    assert fragment is not None
    links = ((link_key(identity(n).name), b"") for n in range(1000, 1000 + MAX_RECORD_ENTRIES))
    gossip.publish(TOPOLOGY, gossip.sign(TOPOLOGY, Tree.of([*fragment.tree, *links])))
    b.drain()
    cluster.run_for(2)
    assert a.engine.counters.drops[DropReason.BAD_ENTRY] == 1
    assert a.engine.find_peers(b.nickname) == []
