"""Memory stays flat while a peer restarts again and again."""

from __future__ import annotations

from meshnet.testing import Cluster, Host
from support.reach import objects_below

RESTARTS = 40


def held_by(host: Host) -> int:
    engine = host.engine
    parts = (engine.gossip.replica, engine.gossip._superseded, engine.gossip._neighbours)
    calls = engine._sessions._calls
    tables = (engine._sessions._pairs, calls._last_stamps, calls._pending)
    return objects_below((*parts, *tables, engine._records, engine.links._links, engine.unicast))


def test_what_others_hold_of_a_peer_does_not_grow_with_its_lives() -> None:
    cluster = Cluster()
    one, other, restarts = cluster.add_many(3)
    other.connect(one)
    restarts.connect(one)
    cluster.run_until(cluster.meshed, within_s=10.0)
    held: list[int] = []
    for number in range(RESTARTS):
        cluster.run_for(1.0)
        restarts.restart()
        cluster.run_until(cluster.meshed, within_s=20.0, every_s=0.5)
        cluster.run_for(1.0)
        if number >= RESTARTS // 4:
            held.append(held_by(one))
    early, late = held[: len(held) // 2], held[len(held) // 2 :]
    assert max(late) <= 1.1 * max(early), held
