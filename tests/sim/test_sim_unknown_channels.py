"""Who does not know a channel holds it and passes it on (state.md section 2): nothing is lost."""

from __future__ import annotations

from typing import Any

import pytest

from meshnet.crdt import LwwMap, OrSet
from meshnet.ids import ChannelId
from meshnet.testing import Cluster, Host

NAME = "things"


def line() -> tuple[Host, Host, Host]:
    """``a`` and ``c`` reach each other through ``b`` only, which opens no channel."""
    cluster = Cluster(seed=1)
    a, b, c = (cluster.add(name) for name in "abc")
    cluster.cut(a, c)
    a.connect(b)
    c.connect(b)
    cluster.run_until(cluster.meshed, within_s=10.0, every_s=0.1)
    return a, b, c


def things(host: Host) -> set[Any]:
    return set(host.channel(NAME, OrSet).value)


def add(host: Host, element: str) -> None:
    host.update(host.channel(NAME, OrSet), OrSet.add, element)


def reached(host: Host, *elements: str) -> None:
    host.cluster.run_until(lambda: things(host) == set(elements), within_s=10.0, every_s=0.05)


def test_what_is_written_goes_both_ways_through_who_does_not_know_the_channel() -> None:
    a, b, c = line()
    add(a, "by a")
    reached(c, "by a")
    add(c, "by c")
    reached(a, "by a", "by c")
    a.update(a.channel(NAME, OrSet), OrSet.remove, "by c")
    reached(c, "by a")
    assert not b.engine.channels._open, "it has only held it"


def held_through_restarts() -> None:
    """``c`` is down when ``a`` writes; then ``a`` is, so ``b``'s disk is all there is."""
    a, b, c = line()
    cluster = a.cluster
    add(c, "by c")
    reached(a, "by c")
    c.crash()
    add(a, "by a")
    cluster.run_for(40.0)  # What others write is kept within 30 s.
    a.crash()
    b.restart()
    c.start()
    reached(c, "by c", "by a")
    a.start()
    reached(a, "by c", "by a")


def test_who_does_not_know_a_channel_keeps_it_over_a_restart() -> None:
    held_through_restarts()


def test_without_what_it_has_kept_it_would_be_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    def forgetful(host: Host, **changes: Any) -> None:
        if host.nickname == "b" and host.lives:
            host.disk.journal = type(host.disk.journal)()
        start(host, **changes)

    start = Host.start
    monkeypatch.setattr(Host, "start", forgetful)
    with pytest.raises(AssertionError, match="not within"):
        held_through_restarts()


def test_who_learns_the_channel_later_has_all_of_it_and_joins_in() -> None:
    a, b, c = line()
    add(a, "by a")
    reached(c, "by a")
    b.restart()
    a.cluster.run_until(a.cluster.meshed, within_s=10.0, every_s=0.1)
    assert things(b) == {"by a"}, "from what it has kept, or been told again"
    add(b, "by b")
    for host in (a, c):
        reached(host, "by a", "by b")


def test_the_same_name_with_another_type_is_another_channel() -> None:
    a, b, c = line()
    add(a, "by a")
    other = b.channel(NAME, LwwMap)
    b.update(other, LwwMap.put, "key", b"by b")
    reached(c, "by a")
    assert other.value.get("key") == b"by b"
    kinds = {channel.type for channel in c.engine.gossip.replica.channels()}
    assert {OrSet.name, LwwMap.name} <= kinds
    assert ChannelId(NAME, LwwMap.name) in c.engine.gossip.replica.channels()
