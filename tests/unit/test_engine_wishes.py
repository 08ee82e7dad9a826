"""What users ask of a running engine: links to forget, and how many there may be."""

from __future__ import annotations

from typing import Any

from meshnet.errors import CloseCode
from meshnet.events import LinkEstablished, LinkLost, LinkRefused
from meshnet.report import TargetReport
from meshnet.testing import Cluster, Host
from support.guest import Guest, engine_of


def forget(host: Host, other: Host) -> bool:
    known = host.engine.forget(other.address.host, other.address.port, host.cluster.now)
    host.drain()
    return known


def targets_of(host: Host) -> list[TargetReport]:
    return host.engine.reports.targets(host.cluster.now)


def pair(**config: Any) -> tuple[Cluster, Host, Host]:
    """a has dialled b and is meshed with it; ``config`` is of both."""
    cluster = Cluster(seed=3)
    a, b = cluster.add("a", **config), cluster.add("b", **config)
    a.connect(b)
    cluster.run_until(cluster.meshed, within_s=2)
    cluster.run_for(1)
    return cluster, a, b


# Forgetting.


def test_a_forgotten_address_ends_its_link_and_is_not_dialled_again() -> None:
    cluster, a, b = pair(discovery=False)
    assert forget(a, b)
    cluster.run_for(30)
    assert targets_of(a) == []
    assert [event.reason for event in a.events_of(LinkLost)] == ["forgotten"]
    assert len(b.events_of(LinkLost)) == 1
    assert (a.peers, b.peers) == (set(), set())


def test_a_link_that_a_found_peer_asks_for_too_stays() -> None:
    cluster, a, b = pair()
    assert forget(a, b)
    cluster.run_for(30)
    assert [row["given"] for row in targets_of(a)] == [False]
    assert a.events_of(LinkLost) == []
    assert a.peers == {b.name}


def test_a_link_that_the_other_end_has_made_stays() -> None:
    cluster = Cluster(seed=3)
    a, b = cluster.add("a", discovery=False), cluster.add("b", discovery=False)
    b.connect(a)
    cluster.run_until(cluster.meshed, within_s=2)
    a.connect(b)
    cluster.run_for(2)
    assert len([link for link in a.events_of(LinkEstablished) if not link.outbound]) == 1
    assert forget(a, b)
    cluster.run_for(5)
    assert a.peers == {b.name}


def test_an_address_nobody_gave_is_not_known() -> None:
    _, a, b = pair()
    assert not forget(b, a)  # Found, not given.
    assert forget(a, b)
    assert not forget(a, b)


def test_an_address_forgotten_while_it_is_dialled_gives_no_link() -> None:
    cluster = Cluster(seed=3)
    a, b = cluster.add("a", discovery=False), cluster.add("b", discovery=False)
    a.connect(b)
    assert forget(a, b)
    cluster.run_for(5)
    assert a.events_of(LinkEstablished) + b.events_of(LinkEstablished) == []


def test_an_address_forgotten_in_the_middle_of_a_handshake_gives_no_link() -> None:
    guest = Guest(engine_of())
    guest.engine.connect(guest.at.host, guest.at.port, guest.now)
    guest.drain()
    guest.engine.link_opened(guest.link, guest.at, guest.dials[0].target_id, guest.now)
    assert guest.engine.forget(guest.at.host, guest.at.port, guest.now)
    guest.drain()
    assert guest.closed()


# The list of targets.


def test_targets_are_shown_with_what_came_of_the_last_try() -> None:
    cluster, a, b = pair(discovery=False)
    [row] = targets_of(a)
    assert (row["state"], row["given"], row["nickname"]) == ("established", True, "b")
    assert (row["next_try_s"], row["reason"]) == (None, "")
    b.crash()
    cluster.run_until(lambda: targets_of(a)[0]["failures"] == 2, within_s=5)
    [row] = targets_of(a)
    assert (row["state"], row["address"]) == ("retrying", str(b.address))
    assert row["reason"] == "connection refused"
    assert row["next_try_s"] is not None
    assert 0 <= row["next_try_s"] < 5


def test_failures_end_with_a_link_whichever_end_has_made_it() -> None:
    cluster, a, b = pair(discovery=False)
    b.crash()
    cluster.run_until(lambda: targets_of(a)[0]["failures"] > 4, within_s=30)
    b.start()
    b.connect(a)
    cluster.run_until(lambda: targets_of(a)[0]["state"] == "established", within_s=1)
    assert targets_of(a)[0]["failures"] == 0
    assert [link.outbound for link in a.events_of(LinkEstablished)] == [True, False]


def test_of_a_peer_found_all_addresses_are_shown_and_what_was_given_comes_first() -> None:
    cluster = Cluster(seed=3)
    a, b, c = (cluster.add(name) for name in "abc")
    for host in (a, b):
        c.connect(host)
    cluster.run_until(cluster.meshed, within_s=5)
    assert [row["given"] for row in targets_of(c)] == [True, True, False, False]
    assert {row["peer"] for row in targets_of(a)} == {str(b.name), str(c.name)}
    assert {address for row in targets_of(a) for address in row["addresses"]} == {
        str(b.address),
        str(c.address),
    }


# The limit of links.


def crowd(count: int, limit: int) -> tuple[Cluster, Host, list[Host]]:
    """One host with a limit, and ``count`` that dial it."""
    cluster = Cluster(seed=3)
    full = cluster.add("full", conn_limit=limit, discovery=False)
    others = [cluster.add(f"other{n}", discovery=False) for n in range(count)]
    for other in others:
        other.connect(full)
    cluster.run_for(3)
    return cluster, full, others


def test_links_beyond_the_limit_are_refused_and_told_so_at_both_ends() -> None:
    _, full, others = crowd(4, limit=3)
    [refused] = full.events_of(LinkRefused)
    assert (refused.code, refused.by_peer) == (CloseCode.TOO_MANY_LINKS, False)
    assert "too many links" in refused.reason
    [turned_away] = [other for other in others if not other.peers]
    assert targets_of(turned_away)[0]["state"] == "failed"
    assert "too many links" in targets_of(turned_away)[0]["reason"]


def test_who_was_turned_away_gets_in_when_there_is_room() -> None:
    cluster, full, others = crowd(4, limit=3)
    [turned_away] = [other for other in others if not other.peers]
    next(other for other in others if other.peers).stop()
    cluster.run_until(lambda: turned_away.peers == {full.name}, within_s=40)


def test_a_peer_that_is_linked_may_come_back_though_there_is_no_more_room() -> None:
    cluster, full, others = crowd(3, limit=3)
    others[0].crash(silent=True)
    others[0].start()
    cluster.run_until(lambda: others[0].peers == {full.name}, within_s=3)


def test_a_full_engine_dials_nobody_and_says_why() -> None:
    cluster, full, others = crowd(3, limit=3)
    late = cluster.add("late")
    full.connect(late)
    cluster.run_for(10)
    assert late.events_of(LinkEstablished) == []
    [row] = [row for row in targets_of(full) if row["given"]]
    assert row["reason"] == "not dialled: 3 links are the limit (--conn-limit)"
    others[0].stop()
    cluster.run_until(lambda: late.peers == {full.name}, within_s=5)


def test_strangers_take_no_place() -> None:
    cluster, full, others = crowd(2, limit=3)
    for number in range(10):
        full.engine.link_opened(1000 + number, others[0].address, None, cluster.now)
    late = cluster.add("late")
    late.connect(full)
    cluster.run_until(lambda: late.peers == {full.name}, within_s=3)
