"""Hosts that move, NATs that forget, machines that sleep: frames flow again within two seconds.

Each promise runs twice: as it is, and with the recovery switched off. The second run has to fail.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pytest

from meshnet.engine import Engine
from meshnet.events import LinkLost, SessionLost, SessionMoved
from meshnet.ids import Endpoint
from meshnet.peering import keepalive, linking, sessions, silence
from meshnet.peering.data_path import DataPath
from meshnet.peering.linking import LinkKeeper
from meshnet.peering.sessions import SessionKeeper
from meshnet.testing import Cluster, Host, Nat, NatRule, Transport
from support.samples import BROADCAST, ethernet, mac

# Issue: address change, NAT rebinding, wake-up from sleep heal within this.
HEALED_WITHIN_S = 2.0
STREAM_INTERVAL_S = 0.01
OUTER, OTHER_OUTER = "198.51.100.1", "198.51.100.2"
ELSEWHERE = Endpoint("172.16.0.9", 6783)
SYMMETRIC = NatRule.ADDRESS_AND_PORT_DEPENDENT
NEVER_S = 1e9

Switch = Callable[[pytest.MonkeyPatch], None]


def mesh_of(count: int, nats: dict[int, Nat] | None = None) -> list[Host]:
    """A mesh whose last host all others were told of; some hosts are behind a NAT."""
    cluster = Cluster(seed=4)
    hosts = cluster.add_many(count)
    for number, nat in (nats or {}).items():
        cluster.put_behind(nat, hosts[number])
    for host in hosts[:-1]:
        host.connect(hosts[-1])
    cluster.run_until(cluster.meshed, within_s=15.0)
    cluster.run_for(5.0)
    for number, host in enumerate(hosts):
        host.send(ethernet(BROADCAST, mac(number), b"here"))
        cluster.run_for(0.05)
    for host in hosts:
        host.events.clear()
    return hosts


def stream(hosts: list[Host], source: int, to: int, *, for_s: float = 60.0) -> None:
    """A packet every 10 ms, as of `ping -i 0.01`."""
    host = hosts[source]

    def send(number: int) -> None:
        host.send(ethernet(mac(to), mac(source), b"%d" % number))

    for number in range(round(for_s / STREAM_INTERVAL_S)):
        host.cluster.clock.call_after(number * STREAM_INTERVAL_S, partial(send, number))


def talk(hosts: list[Host], one: int, other: int) -> None:
    stream(hosts, one, other)
    stream(hosts, other, one)
    hosts[0].cluster.run_for(3.0)


def wait_healed(*hosts: Host) -> None:
    """Each of ``hosts`` gets frames again, and from then on nearly all."""
    cluster = hosts[0].cluster
    began = cluster.now
    cluster.run_for(0.05)  # What was on its way.
    for host in hosts:
        host.frames.clear()
    cluster.run_until(lambda: all(host.frames for host in hosts), within_s=HEALED_WITHIN_S - 0.05)
    cluster.run_for(began + HEALED_WITHIN_S - cluster.now)
    for host in hosts:
        host.frames.clear()
    cluster.run_for(3.0)
    assert all(len(host.frames) > 3.0 / STREAM_INTERVAL_S * 0.95 for host in hosts)


def all_linked(hosts: list[Host]) -> bool:
    return all(len(host.engine.links.by_peer) == len(hosts) - 1 for host in hosts)


# Ways to switch a recovery off.


def notices_nothing(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Engine, "path_changed", lambda self, now: None)
    expects_nothing(patch)


def is_told_nothing(patch: pytest.MonkeyPatch) -> None:
    """Neither by its kernel nor by the silence of others."""
    patch.setattr(Host, "notice_move", lambda self: None)
    expects_nothing(patch)


def tries_direct_paths_seldom(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(sessions, "FIRST_DIRECT_S", NEVER_S)


def follows_nobody(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(DataPath, "_follow", lambda self, session, source, counter: None)


def expects_nothing(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(silence, "MISSED_S", NEVER_S)


def calls_nobody_back(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(SessionKeeper, "_call_back", lambda self, pair, session, now: None)


def keeps_no_way_open(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(keepalive, "KEEPALIVE_S", NEVER_S)


def patient_with_links(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(LinkKeeper, "_suspect", lambda self, link, now, wait_s=0.0: None)


# What is promised.


def a_host_that_moves_is_followed_at_once() -> None:
    hosts = mesh_of(4)
    talk(hosts, 0, 1)
    hosts[0].cluster.move(hosts[0], ELSEWHERE, noticed=True)
    wait_healed(*hosts[:2])
    assert hosts[1].events_of(SessionMoved) == [SessionMoved(hosts[0].name, ELSEWHERE)]
    assert [host.events_of(SessionLost) for host in hosts] == [[]] * 4


def all_links_of_a_host_that_moves_stand_again() -> None:
    for mover in range(4):
        hosts = mesh_of(4)
        cluster = hosts[0].cluster
        cluster.move(hosts[mover], ELSEWHERE, noticed=True)
        assert not hosts[mover].engine.links.by_peer
        cluster.run_until(lambda: all_linked(hosts), within_s=HEALED_WITHIN_S)  # noqa: B023
        cluster.run_for(30.0)
        assert all_linked(hosts)
        assert [host.events_of(SessionLost) for host in hosts] == [[]] * 4


def a_host_that_only_receives_is_followed_when_it_moves() -> None:
    hosts = mesh_of(3)
    stream(hosts, 1, 0)
    hosts[0].cluster.run_for(3.0)
    hosts[0].cluster.move(hosts[0], ELSEWHERE, noticed=True)
    wait_healed(hosts[0])


def who_is_not_told_of_its_own_move_is_followed_by_what_it_sends() -> None:
    hosts = mesh_of(3)
    talk(hosts, 0, 1)
    hosts[0].cluster.move(hosts[0], ELSEWHERE)
    wait_healed(*hosts[:2])
    # By the sessions that there were: others would be lost first.
    assert hosts[1].events_of(SessionLost) == []


def a_nat_that_forgets_is_reminded_by_who_sends() -> None:
    for outer in (OUTER, OTHER_OUTER):
        nat = Nat(OUTER, mapping=SYMMETRIC)
        hosts = mesh_of(3, {0: nat})
        talk(hosts, 0, 2)
        nat.rebind(outer)
        wait_healed(hosts[0], hosts[2])
        assert hosts[2].events_of(SessionMoved)
        assert hosts[2].events_of(SessionLost) == []


def a_nat_that_forgets_is_reminded_by_who_only_receives() -> None:
    nat = Nat(OUTER, mapping=SYMMETRIC)
    hosts = mesh_of(3, {0: nat})
    stream(hosts, 2, 0)
    hosts[0].cluster.run_for(3.0)
    nat.rebind(OTHER_OUTER)
    wait_healed(hosts[0])


def idle_hosts_keep_their_way_through_a_nat_open() -> None:
    nat = Nat(OUTER, mapping=SYMMETRIC, expires_s=45.0)
    hosts = mesh_of(3, {0: nat})
    hosts[0].cluster.run_for(100.0)
    assert [host.events_of(SessionMoved) for host in hosts] == [[]] * 3
    hosts[2].send(ethernet(mac(0), mac(2), b"still there?"))
    hosts[0].frames.clear()
    hosts[0].cluster.run_for(0.1)
    assert hosts[0].frames


def relayed_hosts_find_their_direct_path_when_one_moves_to_where_there_is_one() -> None:
    hosts = mesh_of(3, {0: Nat(OUTER, mapping=SYMMETRIC), 1: Nat(OTHER_OUTER, mapping=SYMMETRIC)})
    one, other, _ = hosts
    cluster = one.cluster
    cluster.run_for(40.0)

    def paths() -> set[str]:
        return {
            row["path"]
            for host in (one, other)
            for row in host.engine.reports.connections()
            if row["peer"] in (str(one.name), str(other.name))
        }

    assert paths() == {"relay"}
    cluster.put_behind(None, one)
    cluster.move(one, ELSEWHERE, noticed=True)
    cluster.run_until(lambda: paths() == {"direct"}, within_s=HEALED_WITHIN_S)


def who_was_given_up_is_called_back_when_it_is_heard() -> None:
    hosts = mesh_of(3)
    one, _, other = hosts
    one.cluster.cut(one, other, only=Transport.UDP)
    stream(hosts, 2, 0, for_s=1.3)
    one.cluster.run_for(1.3)
    assert one.name not in other.peers
    one.cluster.mend()
    one.send(ethernet(mac(2), mac(0), b"by the keys that were given up"))
    # Sooner than it would notice by itself that nobody answers.
    one.cluster.run_until(lambda: one.name in other.peers, within_s=silence.SILENT_S)


def a_machine_behind_a_nat_that_slept_is_back() -> None:
    hosts = mesh_of(3, {0: Nat(OUTER, mapping=SYMMETRIC, expires_s=10.0)})
    one = hosts[0]
    stream(hosts, 2, 0, for_s=3.0)
    one.cluster.run_for(1.0)
    one.sleep_for(8.0)
    one.cluster.run_for(8.0)
    wait_meshed(hosts)


def wait_meshed(hosts: list[Host]) -> None:
    cluster = hosts[0].cluster
    cluster.run_until(lambda: cluster.meshed() and all_linked(hosts), within_s=HEALED_WITHIN_S)


PROMISES: list[tuple[Callable[[], None], Switch]] = [
    (a_host_that_moves_is_followed_at_once, follows_nobody),
    (all_links_of_a_host_that_moves_stand_again, patient_with_links),
    (a_host_that_only_receives_is_followed_when_it_moves, is_told_nothing),
    (who_is_not_told_of_its_own_move_is_followed_by_what_it_sends, follows_nobody),
    (a_nat_that_forgets_is_reminded_by_who_sends, follows_nobody),
    (a_nat_that_forgets_is_reminded_by_who_only_receives, expects_nothing),
    (idle_hosts_keep_their_way_through_a_nat_open, keeps_no_way_open),
    (
        relayed_hosts_find_their_direct_path_when_one_moves_to_where_there_is_one,
        tries_direct_paths_seldom,
    ),
    (who_was_given_up_is_called_back_when_it_is_heard, calls_nobody_back),
    (a_machine_behind_a_nat_that_slept_is_back, notices_nothing),
]


NAMES = [promise.__name__ for promise, _ in PROMISES]


@pytest.fixture(autouse=True)
def no_keepalive_comes_to_help(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is promised is promised at any moment, not only when a keepalive is due anyway."""
    monkeypatch.setattr(sessions, "PROBE_INTERVAL_S", 30.0)
    monkeypatch.setattr(keepalive, "KEEPALIVE_S", 30.0)
    monkeypatch.setattr(linking, "LINK_SIGN_INTERVAL_S", 24.0)


@pytest.mark.parametrize("promise", [promise for promise, _ in PROMISES], ids=NAMES)
def test_the_mesh_follows(promise: Callable[[], None]) -> None:
    promise()


@pytest.mark.parametrize(("promise", "switch_off"), PROMISES, ids=NAMES)
def test_without_that_it_does_not(
    promise: Callable[[], None], switch_off: Switch, monkeypatch: pytest.MonkeyPatch
) -> None:
    switch_off(monkeypatch)
    with pytest.raises(AssertionError):
        promise()


@pytest.mark.parametrize("moves", [False, True])
@pytest.mark.parametrize("sleep_s", [5.0, 20.0, 600.0])
def test_a_machine_that_slept_is_back(sleep_s: float, moves: bool) -> None:
    hosts = mesh_of(5)
    one, *others = hosts
    cluster = one.cluster
    stream(hosts, 1, 0, for_s=10.0)
    cluster.run_for(2.0)
    one.sleep_for(sleep_s)
    cluster.run_for(sleep_s - 1.0)
    if moves:
        cluster.move(one, ELSEWHERE, noticed=True)
    cluster.run_for(1.0)
    wait_meshed(hosts)
    # Nobody else was taken for dead, by it or by them.
    for other in others:
        assert {event.peer for event in other.events_of(SessionLost)} <= {one.name}
        assert {event.peer for event in other.events_of(LinkLost)} <= {one.name}
