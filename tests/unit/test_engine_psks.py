"""Several psks: the first is offered, all are accepted, and they change while engines run."""

from __future__ import annotations

import itertools

import pytest

from meshnet.errors import CloseCode
from meshnet.events import LinkLost, LinkRefused, SessionLost
from meshnet.testing import Cluster, Host
from meshnet.wire.key_life import REKEY_AFTER_S
from support.samples import BROADCAST, ethernet, mac

ONE, TWO, THREE = (bytes((number,)) * 32 for number in (1, 2, 3))
SETS = [sets for size in (1, 2) for sets in itertools.permutations((ONE, TWO), size)]


def with_psks(cluster: Cluster, name: str, psks: tuple[bytes, ...]) -> Host:
    return cluster.add(name, psk=psks[0], other_psks=psks[1:])


@pytest.mark.parametrize("dialler", SETS, ids=repr)
@pytest.mark.parametrize("listener", SETS, ids=repr)
def test_two_meet_when_the_listener_accepts_what_the_dialler_offers(
    dialler: tuple[bytes, ...], listener: tuple[bytes, ...]
) -> None:
    cluster = Cluster()
    a, b = with_psks(cluster, "a", listener), with_psks(cluster, "b", dialler)
    b.connect(a)
    if dialler[0] not in listener:
        cluster.run_for(2.0)
        assert [event.code for event in b.events_of(LinkRefused)][:1] == [CloseCode.WRONG_PASSWORD]
        assert not b.peers
    else:
        # If the answer to the dialler's call does not fit, the listener's own call is answered.
        cluster.run_until(cluster.meshed, within_s=5.0)


def test_a_rotation_in_three_steps_under_traffic_loses_nothing() -> None:
    cluster = Cluster(jitter_s=0.01)
    hosts = [with_psks(cluster, name, (ONE,)) for name in "abc"]
    for host in hosts[1:]:
        host.connect(hosts[0])
    cluster.run_until(cluster.meshed, within_s=5.0)
    cluster.run_for(1.0)
    sent = 0
    for psks in ((ONE, TWO), (TWO, ONE), (TWO,)):
        for host in hosts:
            host.engine.set_psks(psks)
            # Long enough that every key, of links and sessions, was renewed in between.
            for _ in range(70):
                hosts[0].send(ethernet(BROADCAST, mac(1), sent.to_bytes(4, "big")))
                sent += 1
                cluster.run_for(REKEY_AFTER_S / 50)
    cluster.run_for(1.0)
    for host in hosts[1:]:
        assert len(host.frames) == sent
    for host in hosts:
        assert host.events_of(SessionLost) == []
        assert host.events_of(LinkLost) == []
        assert host.engine.counters.drops == {}
    late = with_psks(cluster, "late", (TWO,))
    late.connect(hosts[0])
    cluster.run_until(cluster.meshed, within_s=5.0)
    old = with_psks(cluster, "old", (ONE,))
    old.connect(hosts[0])
    cluster.run_for(2.0)
    assert not old.peers


def test_who_kept_only_a_removed_psk_is_out_within_three_minutes() -> None:
    cluster = Cluster()
    hosts = [with_psks(cluster, name, (ONE, TWO)) for name in "ab"]
    left = with_psks(cluster, "left", (ONE,))
    for host in (hosts[1], left):
        host.connect(hosts[0])
    cluster.run_until(cluster.meshed, within_s=5.0)
    for host in hosts:
        host.engine.set_psks((TWO,))
    cluster.run_for(185.0)
    assert not left.peers
    assert hosts[0].peers == {hosts[1].name}
    assert hosts[1].peers == {hosts[0].name}
    reasons = {event.code for event in left.events_of(LinkRefused)}
    assert reasons == {CloseCode.WRONG_PASSWORD}


def test_a_psk_that_nobody_else_has_changes_nothing() -> None:
    cluster = Cluster()
    a = with_psks(cluster, "a", (ONE, THREE, TWO))
    b = with_psks(cluster, "b", (TWO, ONE))
    a.connect(b)
    cluster.run_until(cluster.meshed, within_s=2.0)
