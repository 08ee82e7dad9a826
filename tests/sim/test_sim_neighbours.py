"""Meshes of more peers than --degree: few links, and one mesh whatever happens."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

import pytest

from meshnet.discovery import backoff, gone
from meshnet.discovery.neighbours import Neighbours
from meshnet.errors import CloseCode
from meshnet.events import LinkEstablished, LinkLost, LinkRefused
from meshnet.ids import PeerName
from meshnet.peering import thinning
from meshnet.peering.linking import LinkKeeper
from meshnet.testing import Cluster, Host, Transport
from support.samples import BROADCAST, ethernet, mac

NEVER_S = 1e9
DEGREE = 6
ENOUGH = 4
"""Links that the rings of that degree ask for, at most."""
GIVEN = 2
"""Links to and from those whose addresses were given: in a chain, one each way."""


def links_of(host: Host) -> set[PeerName]:
    return set(host.engine.links.by_peer)


def parts(hosts: Collection[Host]) -> list[set[PeerName]]:
    """The components of the graph of links that both ends have."""
    links = {host.name: links_of(host) for host in hosts if host.up}
    left, found = set(links), []
    while left:
        part = {min(left)}
        frontier = list(part)
        for peer in frontier:
            new = {other for other in links[peer] if other in left and peer in links[other]} - part
            part |= new
            frontier += sorted(new)
        left -= part
        found.append(part)
    return found


def is_one(hosts: Collection[Host]) -> Callable[[], bool]:
    return lambda: len(parts(hosts)) == 1


def all_know_all(hosts: Collection[Host]) -> Callable[[], bool]:
    """Everybody has a route to everybody that is up."""

    def holds() -> bool:
        up = {host.name for host in hosts if host.up}
        return all(host.engine.routes().keys() >= up - {host.name} for host in hosts if host.up)

    return holds


def chain(cluster: Cluster, count: int, **config: Any) -> list[Host]:
    """Hosts of which each is told of the one before it."""
    hosts = [cluster.add(f"host{number}", degree=DEGREE, **config) for number in range(count)]
    for host, before in zip(hosts[1:], hosts, strict=False):
        host.connect(before)
    return hosts


def crowd(count: int) -> list[Host]:
    cluster = Cluster()
    hosts = chain(cluster, count)
    cluster.run_until(cluster.meshed, within_s=10.0, every_s=0.1)
    cluster.run_for(10.0)
    return hosts


def watch_links(cluster: Cluster, duration_s: float) -> int:
    """The most links that anybody has meanwhile."""
    most = 0
    for _ in range(round(duration_s / 0.05)):
        cluster.run_for(0.05)
        most = max(most, *(len(links_of(host)) for host in cluster.hosts if host.up))
    return most


def told(hosts: Collection[Host], kind: type[Any]) -> int:
    return sum(len(host.events_of(kind)) for host in hosts)


def forget_events(hosts: Collection[Host]) -> None:
    for host in hosts:
        host.events.clear()


# What the mesh promises.


def links_are_few_at_every_moment() -> None:
    cluster = Cluster(seed=2)
    hosts = chain(cluster, 16)
    assert watch_links(cluster, 5.0) <= DEGREE + ENOUGH
    assert cluster.meshed(), "frames go between all nevertheless"
    assert len(parts(hosts)) == 1
    cluster.run_for(10.0)
    assert max(len(links_of(host)) for host in hosts) <= DEGREE
    forget_events(hosts)
    cluster.run_for(30.0)
    assert told(hosts, LinkEstablished) == told(hosts, LinkLost) == 0, "then there is peace"


def halves_that_were_cut_apart_find_each_other() -> None:
    hosts = crowd(14)
    cluster = hosts[0].cluster
    one, other = hosts[:7], hosts[7:]
    cluster.partition(one)
    cluster.run_for(90.0)
    assert not all_know_all(hosts)()
    assert all_know_all(one)()
    assert all_know_all(other)()
    cluster.mend()
    cluster.run_until(all_know_all(hosts), within_s=10.0, every_s=0.1)
    cluster.run_until(cluster.meshed, within_s=10.0, every_s=0.1)


def survivors_that_were_not_linked_find_each_other() -> None:
    """Four of five die, and of those left nobody has a link to another."""
    hosts = crowd(20)
    cluster = hosts[0].cluster
    left: list[Host] = []
    for host in hosts:
        if not any(links_of(host) & {other.name} for other in left):
            left.append(host)
    left = left[:4]
    assert len(left) == 4
    for host in hosts:
        if host not in left:
            host.crash(silent=True)
    assert len(parts(left)) == 4
    cluster.run_until(is_one(left), within_s=30.0, every_s=0.1)
    cluster.run_until(cluster.meshed, within_s=30.0, every_s=0.1)


def no_frame_is_lost_while_links_are_closed() -> None:
    cluster = Cluster(seed=4)
    old = chain(cluster, DEGREE + 1)
    cluster.run_until(cluster.meshed, within_s=10.0, every_s=0.1)
    cluster.run_for(2.0)
    assert {len(links_of(host)) for host in old} == {DEGREE}, "a full mesh as long as it is small"
    forget_events(old)
    new = [cluster.add(f"new{number}", degree=DEGREE) for number in range(5)]
    for number, host in enumerate(new):
        host.connect(old[number])
    sent: list[bytes] = []
    for turn in range(150):
        for number, host in enumerate(old):
            frame = ethernet(
                BROADCAST, mac(number + 1), (turn * 100 + number).to_bytes(4, "big") * 12
            )
            host.send(frame)
            sent.append(frame)
        cluster.run_for(0.1)
    cluster.run_for(1.0)
    lost = [event for host in old for event in host.events_of(LinkLost)]
    assert {event.reason for event in lost} == {CloseCode.UNNEEDED_LINK.text}
    for number, host in enumerate(old):
        for source in range(len(old)):
            # Each source's in order; those of different ones may take different ways.
            wanted = sent[source :: len(old)] if source != number else []
            assert [frame for frame in host.frames if frame[6:12] == mac(source + 1)] == wanted
    assert max(len(links_of(host)) for host in old) <= DEGREE + GIVEN


def a_link_that_the_other_end_has_closed_is_missed_soon() -> None:
    """Its last words are lost, and who does not need it does not dial again."""
    hosts = crowd(12)
    cluster = hosts[0].cluster
    spare = {
        (host, other)
        for host in hosts
        for other in hosts
        if other.name in links_of(host)
        and not any(
            one.engine._neighbours.wants(two.name) for one, two in ((host, other), (other, host))
        )
    }
    host, other = min(spare, key=lambda pair: (pair[0].nickname, pair[1].nickname))
    cluster.cut(host, other, only=Transport.TCP)
    link = host.engine.links.by_peer[other.name]
    host.engine.links.close(link, CloseCode.UNNEEDED_LINK, "lost on its way", cluster.now)
    host.drain()
    cluster.run_until(lambda: host.name not in links_of(other), within_s=3.0)


def no_rings(patch: pytest.MonkeyPatch) -> None:
    """As if no mesh were large: everybody is wanted."""
    patch.setattr(Neighbours, "_judge_crowd", lambda self, now: None)


def no_redialling(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(backoff, "FIRST_DELAY_S", NEVER_S)
    patch.setattr(backoff, "CEILING_S", NEVER_S)
    patch.setattr(gone, "TURN_S", NEVER_S)


def no_suspicion(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(LinkKeeper, "suspect", lambda self, peer, now: None)


def no_closing(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(thinning, "SETTLE_S", NEVER_S)


PROMISES: list[tuple[Callable[[], None], Callable[[pytest.MonkeyPatch], None]]] = [
    (links_are_few_at_every_moment, no_rings),
    (halves_that_were_cut_apart_find_each_other, no_redialling),
    (survivors_that_were_not_linked_find_each_other, no_redialling),
    (no_frame_is_lost_while_links_are_closed, no_closing),
    (a_link_that_the_other_end_has_closed_is_missed_soon, no_suspicion),
]
NAMES = [promise.__name__ for promise, _ in PROMISES]


@pytest.mark.parametrize("promise", [promise for promise, _ in PROMISES], ids=NAMES)
def test_a_large_mesh_keeps_its_promises(promise: Callable[[], None]) -> None:
    promise()


@pytest.mark.parametrize(("promise", "switch_off"), PROMISES, ids=NAMES)
def test_without_what_keeps_them_it_does_not(
    promise: Callable[[], None],
    switch_off: Callable[[pytest.MonkeyPatch], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    switch_off(monkeypatch)
    with pytest.raises(AssertionError):
        promise()


def test_those_that_restart_at_once_are_back_soon() -> None:
    hosts = crowd(12)
    cluster = hosts[0].cluster
    for host in hosts[::3]:
        host.restart()
    cluster.run_until(cluster.meshed, within_s=10.0, every_s=0.1)
    assert watch_links(cluster, 10.0) <= DEGREE + ENOUGH
    assert len(parts(hosts)) == 1


def test_a_mesh_about_as_large_as_that_keeps_its_links() -> None:
    """One peer that comes and goes makes it now larger than --degree, now not."""
    hosts = crowd(DEGREE + 2)
    cluster, (*stay, flaps) = hosts[0].cluster, hosts
    for _ in range(2):
        flaps.crash()
        cluster.run_for(5.0)
        flaps.start()
        cluster.run_for(5.0)
    forget_events(stay)
    for _ in range(5):
        flaps.crash()
        cluster.run_for(5.0)
        flaps.start()
        cluster.run_for(5.0)
    made = [event.peer for host in stay for event in host.events_of(LinkEstablished)]
    lost = [event.peer for host in stay for event in host.events_of(LinkLost)]
    assert set(made + lost) == {flaps.name}


# The limit of links.


def test_those_that_may_have_few_links_only_are_one_mesh_without_dialling_for_ever() -> None:
    cluster = Cluster(seed=5)
    hosts = chain(cluster, 10, conn_limit=6)
    for host in hosts[2:]:
        host.connect(hosts[0])
    cluster.run_for(30.0)
    assert len(parts(hosts)) == 1
    assert cluster.meshed()
    forget_events(hosts)
    for _ in range(30):
        cluster.run_for(10.0)
        assert max(len(links_of(host)) for host in hosts) <= 6
        assert len(parts(hosts)) == 1
    # Those that were told of the full one ask it again, ever more seldom.
    assert told(hosts, LinkRefused) <= 3 * len(hosts)


def test_a_newcomer_gets_in_where_all_links_are_taken() -> None:
    cluster = Cluster(seed=6)
    full = cluster.add("full", degree=DEGREE, conn_limit=8)
    for number in range(1, 15):
        host = cluster.add(f"host{number}", degree=DEGREE)
        host.connect(full)
        cluster.run_until(all_know_all(cluster.hosts[: number + 1]), within_s=10.0, every_s=0.1)
    cluster.run_until(cluster.meshed, within_s=10.0, every_s=0.1)
    assert len(links_of(full)) <= 8
