"""A host that dies without a word: how soon that is known, and that nobody is taken for dead."""

from __future__ import annotations

from functools import partial

import pytest

from meshnet.events import LinkLost, SessionLost
from meshnet.peering.keepalive import KEEPALIVE_S, STEP_IN_LATER_S
from meshnet.peering.silence import LOST_IDLE_S
from meshnet.testing import Cluster, Host, Transport
from meshnet.wire.key_life import KeyLife
from support.samples import BROADCAST, ethernet, mac

# Design section 6, and the gate of section 12.
LOST_WITHIN_S = 1.0
STREAM_INTERVAL_S = 0.01


def mesh_of(count: int, *, ring: bool = False, loss: float = 0.0) -> list[Host]:
    cluster = Cluster(seed=4)
    hosts = cluster.add_many(count)
    for number, host in enumerate(hosts):
        host.connect(hosts[(number + 1) % count])
        if ring:
            for other in hosts[number + 2 : count - (number == 0)]:
                cluster.cut(host, other)
    cluster.run_until(cluster.meshed, within_s=30.0)
    cluster.run_for(5.0)
    for number, host in enumerate(hosts):
        host.send(ethernet(BROADCAST, mac(number), b"here"))
        cluster.run_for(0.05)
    cluster.impair(loss=loss)
    return hosts


def stream(source: Host, to: Host, hosts: list[Host], *, for_s: float) -> None:
    """A packet every 10 ms, as of `ping -i 0.01`."""
    at = {host: mac(number) for number, host in enumerate(hosts)}

    def send(number: int) -> None:
        if source.up:
            source.send(ethernet(at[to], at[source], b"%d" % number))

    for number in range(round(for_s / STREAM_INTERVAL_S)):
        source.cluster.clock.call_after(number * STREAM_INTERVAL_S, partial(send, number))


def talk(one: Host, other: Host, hosts: list[Host], *, for_s: float) -> None:
    stream(one, other, hosts, for_s=for_s)
    stream(other, one, hosts, for_s=for_s)


def test_a_neighbour_that_is_talked_to_and_dies_silently_is_lost_within_a_second() -> None:
    one, other, *_ = hosts = mesh_of(4)
    cluster = one.cluster
    talk(one, other, hosts, for_s=5.0)
    cluster.run_for(1.0)
    other.crash(silent=True)
    lost_s = cluster.run_until(lambda: other.name not in one.peers, within_s=5.0)
    assert lost_s <= LOST_WITHIN_S + STREAM_INTERVAL_S
    # Its link has ended with it, though TCP would have waited for a quarter of an hour.
    assert other.name not in one.engine.links.by_peer
    [event] = one.events_of(SessionLost)
    assert "nothing was heard" in event.reason


def test_all_who_are_idle_lose_it_too_before_the_next_keepalive_is_over() -> None:
    one, other, *others = mesh_of(5)
    other.crash(silent=True)
    one.cluster.run_until(
        lambda: not any(other.name in host.peers for host in (one, *others)),
        within_s=KEEPALIVE_S + STEP_IN_LATER_S + LOST_IDLE_S + 1.5,
    )


def test_who_is_idle_asks_it_when_another_has_lost_it() -> None:
    one, other, *others = hosts = mesh_of(5)
    talk(one, other, hosts, for_s=5.0)
    one.cluster.run_for(2.0)
    other.crash(silent=True)
    one.cluster.run_until(
        lambda: not any(other.name in host.peers for host in (one, *others)),
        within_s=2 * LOST_WITHIN_S + 0.2,
    )


def test_traffic_goes_round_a_relay_that_dies_silently_within_a_second_and_a_half() -> None:
    one, relay, other, *_ = hosts = mesh_of(6, ring=True)
    cluster = one.cluster
    talk(one, other, hosts, for_s=6.0)
    cluster.run_for(1.0)
    assert one.engine.routes()[other.name].via == relay.name
    relay.crash(silent=True)
    other.frames.clear()
    cluster.run_until(lambda: bool(other.frames), within_s=1.5)
    assert one.events_of(SessionLost) == one.events_of(SessionLost)[:1], "only that of the relay"


def test_udp_that_is_cut_ends_no_link() -> None:
    one, other, *_ = hosts = mesh_of(3)
    cluster = one.cluster
    talk(one, other, hosts, for_s=3.0)
    cluster.run_for(1.0)
    cluster.cut(one, other, only=Transport.UDP)
    cluster.run_until(lambda: bool(one.events_of(SessionLost)), within_s=LOST_WITHIN_S)
    cluster.run_for(5.0)
    assert one.events_of(LinkLost) == other.events_of(LinkLost) == []


@pytest.mark.parametrize("loss", [0.0, 0.05, 0.2])
def test_nobody_is_lost_who_lives(loss: float) -> None:
    hosts = mesh_of(6, loss=loss)
    one, other, third, *_ = hosts
    talk(one, other, hosts, for_s=60.0)
    # One way only: nothing comes back by itself.
    stream(one, third, hosts, for_s=60.0)
    one.cluster.run_for(60.0)
    assert [host.events_of(SessionLost) for host in hosts] == [[]] * 6
    assert len(third.frames) >= 6000 * (1 - loss) * 0.9


def test_a_path_that_is_longer_than_the_patience_is_no_death() -> None:
    hosts = mesh_of(3)
    one, other, _ = hosts
    cluster = one.cluster
    for step in range(1, 21):
        cluster.impair(delay_s=0.04 * step)
        cluster.run_for(30.0)
    talk(one, other, hosts, for_s=30.0)
    cluster.run_for(30.0)
    assert [host.events_of(SessionLost) for host in hosts] == [[]] * 3


@pytest.mark.parametrize("pause_s", [0.5, 3.0, 20.0])
def test_who_was_held_up_itself_takes_nobody_for_dead(pause_s: float) -> None:
    one, *others = hosts = mesh_of(5)
    cluster = one.cluster
    for other in others:
        talk(one, other, hosts, for_s=60.0)
    cluster.run_for(2.0)
    for host in hosts:
        host.events.clear()
    one.pause_for(pause_s)
    cluster.run_for(pause_s - 0.001)
    lost_by_others = [other for other in others if one.name not in other.peers]
    cluster.run_for(3.0)
    # Its sessions end where the others have given it up and call anew, not by its own judgement.
    judged = [event for event in one.events_of(SessionLost) if "nothing was heard" in event.reason]
    assert judged == []
    assert len(lost_by_others) == (4 if pause_s > LOST_WITHIN_S + 0.1 else 0)
    assert cluster.meshed()
    # Nor do the others doubt each other.
    assert all(event.peer == one.name for other in others for event in other.events_of(SessionLost))


def test_a_stream_that_runs_one_way_leaves_links_alone_and_their_keys_are_renewed() -> None:
    cluster = Cluster(seed=4)
    life = KeyLife(rekey_after_s=0.4)
    one, other = hosts = [cluster.add(name, key_life=life) for name in ("one", "other")]
    one.connect(other)
    cluster.run_until(cluster.meshed, within_s=10.0)
    for number, host in enumerate(hosts):
        host.send(ethernet(BROADCAST, mac(number), b"here"))
    stream(one, other, hosts, for_s=20.0)
    for _ in range(200):
        cluster.run_for(0.1)
        assert one.engine.links.by_peer[other.name].suspected_at is None
    assert len(other.frames) >= 2000
    assert one.events_of(LinkLost) == one.events_of(SessionLost) == []


@pytest.mark.parametrize("turn_s", [0.15, 0.9])
def test_who_is_overloaded_takes_nobody_for_dead_nor_is_taken(turn_s: float) -> None:
    """Each turn takes so long that all timers are late, for a while."""
    one, *others = hosts = mesh_of(5, loss=0.02)
    cluster = one.cluster
    for other in others:
        talk(one, other, hosts, for_s=10.0)
    talk(others[0], others[1], hosts, for_s=10.0)
    for host in hosts:
        host.events.clear()
    for number in range(round(10.0 / turn_s)):
        cluster.clock.call_after(number * turn_s, partial(one.pause_for, turn_s * 0.98))
    cluster.run_for(12.0)
    assert [host.events_of(SessionLost) for host in hosts] == [[]] * 5
    assert [host.events_of(LinkLost) for host in hosts] == [[]] * 5
    assert cluster.meshed()
