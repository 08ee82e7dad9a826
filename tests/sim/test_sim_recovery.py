"""Each fault of the emulator, what the mesh does about it, and that nothing does without that.

Every test runs twice: as it is, and with the recovery switched off by a constant. The second run
has to fail, or the first would show nothing.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import pytest

from meshnet.discovery import backoff, gone
from meshnet.events import LinkEstablished, SessionLost
from meshnet.peering import keepalive, sessions, silence
from meshnet.testing import BurstLoss, Cluster, Host, Transport
from meshnet.wire import replay
from meshnet.wire.link import LinkProtocol
from support.samples import BROADCAST, ethernet, mac

NEVER_S = 1e9
FRAMES = [ethernet(BROADCAST, mac(1), number.to_bytes(2, "big") * 25) for number in range(300)]

Switch = Callable[[pytest.MonkeyPatch], None]


def mesh(count: int, seed: int = 1) -> list[Host]:
    cluster = Cluster(seed=seed)
    hosts = cluster.add_many(count)
    for host in hosts[1:]:
        host.connect(hosts[0])
    cluster.run_until(cluster.meshed, within_s=5.0)
    cluster.run_for(1.0)
    return hosts


def strangers(count: int, **conditions: Any) -> Cluster:
    """Hosts that meet under bad conditions."""
    cluster = Cluster(seed=3)
    cluster.impair(**conditions)
    hosts = cluster.add_many(count)
    for host in hosts[1:]:
        host.connect(hosts[0])
    return cluster


def no_handshake_retries(patch: pytest.MonkeyPatch) -> None:
    for name in ("FIRST_RETRY_S", "LAST_RETRY_S", "STEP_IN_S"):
        patch.setattr(sessions, name, NEVER_S)


def no_growing_waits(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(sessions, "LAST_RETRY_S", sessions.FIRST_RETRY_S)
    patch.setattr(sessions, "STEP_IN_S", NEVER_S)


def no_patience_with_probes(patch: pytest.MonkeyPatch) -> None:
    for name in ("LOST_S", "LOST_IDLE_S"):
        patch.setattr(silence, name, silence.SILENT_S + 0.1)
    patch.setattr(silence, "LOST_RTTS", 0.0)


def no_replay_window(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(replay.ReplayWindow, "accept", lambda self, counter: True)


def no_window_behind_the_newest(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(replay, "_SPAN", 1)


def no_redialling(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(backoff, "FIRST_DELAY_S", NEVER_S)
    patch.setattr(backoff, "CEILING_S", NEVER_S)
    patch.setattr(gone, "TURN_S", NEVER_S)


def no_renewal(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(silence, "LOST_S", NEVER_S)


def no_joining_of_pieces(patch: pytest.MonkeyPatch) -> None:
    """As if what is read from a socket were what was written at the other end."""
    receive = LinkProtocol.receive

    def receive_whole(self: LinkProtocol, data: bytes, now: float) -> None:
        self._buffer.clear()
        receive(self, data, now)

    patch.setattr(LinkProtocol, "receive", receive_whole)


# What the mesh promises under each fault.


def sessions_form_though_datagrams_are_lost() -> None:
    cluster = strangers(6, loss=0.3)
    cluster.run_until(cluster.meshed, within_s=30.0, every_s=0.1)


def sessions_form_though_losses_come_in_bursts() -> None:
    cluster = strangers(6, burst_loss=BurstLoss(enter=0.1, leave=0.3))
    cluster.run_until(cluster.meshed, within_s=30.0, every_s=0.1)


def sessions_form_though_the_way_is_longer_than_the_first_wait() -> None:
    cluster = strangers(2, delay_s=0.5)
    cluster.run_until(cluster.meshed, within_s=30.0)


def sessions_stay_though_delays_differ() -> None:
    hosts = mesh(3)
    cluster = hosts[0].cluster
    cluster.impair(jitter_s=0.8)
    cluster.run_for(120.0)
    assert [host.events_of(SessionLost) for host in hosts] == [[], [], []]


def frames_come_once_though_datagrams_come_twice() -> None:
    one, other = mesh(2)
    one.cluster.impair(duplicate=1.0)
    one.send(*FRAMES)
    one.cluster.run_for(1.0)
    assert other.frames == FRAMES


def frames_come_all_though_datagrams_overtake_each_other() -> None:
    one, other = mesh(2)
    one.cluster.impair(reorder=0.3, reorder_s=0.05)
    for frame in FRAMES:
        one.send(frame)
        one.cluster.run_for(0.001)
    one.cluster.run_for(1.0)
    assert other.frames != FRAMES, "some were overtaken"
    assert sorted(other.frames) == FRAMES


def sessions_form_though_the_queue_is_full() -> None:
    cluster = strangers(2, rate_bytes_per_s=3000.0, queue_bytes=300)
    one, other = cluster.hosts
    ways = [
        cluster.network.way(source.address, to.address)
        for source, to in ((one, other), (other, one))
    ]

    def crowd() -> None:
        for way in ways:
            way.send_datagram(50, cluster.now)

    # What somebody else sends that way: more than passes, for two seconds.
    for number in range(400):
        cluster.clock.call_after(number * 0.005, crowd)
    cluster.run_until(cluster.meshed, within_s=20.0)


def a_partition_heals() -> None:
    hosts = mesh(4)
    cluster = hosts[0].cluster
    cluster.partition(hosts[:2])
    cluster.run_for(60.0)
    assert hosts[0].peers == {hosts[1].name}
    cluster.mend()
    cluster.run_until(cluster.meshed, within_s=10.0)


def a_firewall_that_stops_one_direction_is_noticed() -> None:
    """The direction that still works must not make the session look alive."""
    one, other = mesh(2)
    one.cluster.cut(one, other, one_way=True, only=Transport.UDP)
    one.cluster.run_until(
        lambda: one.peers == other.peers == set(), within_s=3 * keepalive.KEEPALIVE_S
    )
    one.cluster.mend()
    one.cluster.run_until(one.cluster.meshed, within_s=10.0)


def links_that_are_reset_come_back() -> None:
    hosts = mesh(3)
    cluster = hosts[0].cluster
    for host in hosts:
        host.events.clear()
    for one, other in itertools.combinations(hosts, 2):
        cluster.reset(one, other)
    cluster.run_until(
        lambda: all(len(host.events_of(LinkEstablished)) >= 2 for host in hosts), within_s=5.0
    )


def links_stand_though_their_bytes_come_in_pieces() -> None:
    cluster = strangers(2, segment_bytes=11)
    cluster.run_until(cluster.meshed, within_s=5.0)


PROMISES: list[tuple[Callable[[], None], Switch]] = [
    (sessions_form_though_datagrams_are_lost, no_handshake_retries),
    (sessions_form_though_losses_come_in_bursts, no_handshake_retries),
    (sessions_form_though_the_way_is_longer_than_the_first_wait, no_growing_waits),
    (sessions_stay_though_delays_differ, no_patience_with_probes),
    (frames_come_once_though_datagrams_come_twice, no_replay_window),
    (frames_come_all_though_datagrams_overtake_each_other, no_window_behind_the_newest),
    (sessions_form_though_the_queue_is_full, no_handshake_retries),
    (a_partition_heals, no_redialling),
    (a_firewall_that_stops_one_direction_is_noticed, no_renewal),
    (links_that_are_reset_come_back, no_redialling),
    (links_stand_though_their_bytes_come_in_pieces, no_joining_of_pieces),
]
NAMES = [promise.__name__ for promise, _ in PROMISES]


@pytest.mark.parametrize("promise", [promise for promise, _ in PROMISES], ids=NAMES)
def test_the_mesh_recovers(promise: Callable[[], None]) -> None:
    promise()


@pytest.mark.parametrize(("promise", "switch_off"), PROMISES, ids=NAMES)
def test_without_the_recovery_it_does_not(
    promise: Callable[[], None], switch_off: Switch, monkeypatch: pytest.MonkeyPatch
) -> None:
    switch_off(monkeypatch)
    with pytest.raises(AssertionError):
        promise()
