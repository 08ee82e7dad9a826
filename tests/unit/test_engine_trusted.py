"""Frames in clear: where both ends trust the other's address, and nowhere else."""

from __future__ import annotations

import ipaddress

import pytest

from meshnet.errors import DropReason
from meshnet.events import SessionLost
from meshnet.ids import Endpoint
from meshnet.peering.keepalive import KEEPALIVE_S, STEP_IN_LATER_S
from meshnet.peering.trusted import Subnet
from meshnet.testing import Cluster, Host
from meshnet.wire.datagram import HEADER, DatagramType, PartType, pack_part
from meshnet.wire.key_life import KeyLife
from meshnet.wire.session import Session
from support.samples import endpoint, ethernet, mac

ALL = (ipaddress.ip_network("10.0.0.0/16"),)
NONE: tuple[Subnet, ...] = ()
MARKER = bytes(range(100, 132))
FRAME = ethernet(mac(2), mac(1), MARKER)


def pair(
    cluster: Cluster, ours: tuple[Subnet, ...], theirs: tuple[Subnet, ...], life: float = 120.0
) -> tuple[Host, Host]:
    a = cluster.add("a", trusted_subnets=ours, key_life=KeyLife(life))
    b = cluster.add("b", trusted_subnets=theirs, key_life=KeyLife(life))
    b.connect(a)
    cluster.run_until(cluster.meshed, within_s=5.0)
    exchange(cluster, a, b)
    return a, b


def exchange(cluster: Cluster, a: Host, b: Host) -> None:
    """Each learns where the other's address is; nothing of it counts."""
    b.send(ethernet(b"\xff" * 6, mac(2)))
    a.send(ethernet(b"\xff" * 6, mac(1)))
    cluster.run_for(0.5)
    for host in (a, b):
        host.frames.clear()
    cluster.trace.clear()


def session_of(host: Host, other: Host) -> Session:
    found = host.engine._sessions.pair(other.name)
    assert found is not None
    assert found.current is not None
    return found.current


def seen_in_clear(cluster: Cluster) -> bool:
    return any(MARKER in sent.data for sent in cluster.trace)


def test_two_that_trust_each_other_exchange_frames_in_clear_and_say_so() -> None:
    cluster = Cluster()
    a, b = pair(cluster, ALL, ALL)
    a.send(FRAME)
    cluster.run_for(0.1)
    assert b.frames == [FRAME]
    assert seen_in_clear(cluster)
    for host, other in ((a, b), (b, a)):
        row = host.connection(other)
        assert (row["encrypted"], row["cipher"], row["state"]) == (False, "none", "established")
    # Probes, and so all that decides, are sealed as ever.
    cluster.trace.clear()
    cluster.run_for(30.0)
    assert {sent.data[0] for sent in cluster.trace if len(sent.to) < 20} >= {DatagramType.DATA}
    assert not any(sent.data[0] == DatagramType.CLEAR_DATA for sent in cluster.trace)


@pytest.mark.parametrize(("ours", "theirs"), [(ALL, NONE), (NONE, ALL), (NONE, NONE)])
def test_one_that_does_not_trust_is_enough_to_seal(
    ours: tuple[Subnet, ...], theirs: tuple[Subnet, ...]
) -> None:
    cluster = Cluster()
    a, b = pair(cluster, ours, theirs)
    for source, other, frame in (
        (a, b, FRAME),
        (b, a, ethernet(mac(1), mac(2), MARKER)),
    ):
        source.send(frame)
        cluster.run_for(0.1)
        assert other.frames == [frame]
        assert source.connection(other)["encrypted"]
    assert not seen_in_clear(cluster)


def test_an_address_outside_of_the_subnets_is_sealed() -> None:
    cluster = Cluster()
    one_host = (ipaddress.ip_network("10.0.0.1/32"),)
    a, b = pair(cluster, ALL, one_host)  # Trusts a's address.
    c = cluster.add("c", trusted_subnets=ALL)
    c.connect(b)
    cluster.run_until(cluster.meshed, within_s=5.0)
    assert not b.connection(a)["encrypted"]
    assert b.connection(c)["encrypted"]
    assert not a.connection(c)["encrypted"]


def test_nothing_is_in_clear_through_other_peers() -> None:
    cluster = Cluster()
    a, b, c = (cluster.add(name, trusted_subnets=ALL) for name in "abc")
    cluster.cut(a, c)
    a.connect(b)
    c.connect(b)
    cluster.run_until(cluster.meshed, within_s=5.0)
    assert session_of(a, c).remote == c.name
    exchange(cluster, a, c)
    a.send(FRAME)
    cluster.run_for(0.1)
    assert c.frames == [FRAME]
    assert not seen_in_clear(cluster)
    [row] = [r for r in a.engine.reports.connections() if r["peer"] == str(c.name)]
    assert (row["path"], row["encrypted"]) == ("relay", True)


def test_renewals_lose_no_frame_in_clear_either() -> None:
    cluster = Cluster(jitter_s=0.03)
    a, b = pair(cluster, ALL, ALL, life=2.0)
    keys, sent = set(), []
    for number in range(600):
        sent.append(ethernet(mac(2), mac(1), number.to_bytes(4, "big")))
        a.send(sent[-1])
        cluster.run_for(0.02)
        keys.add(session_of(a, b).send_key)
    cluster.run_for(0.5)
    assert sorted(b.frames) == sent
    assert len(keys) >= 4
    assert a.events_of(SessionLost) == []


@pytest.mark.parametrize("who", ["a", "b"])
def test_trust_is_taken_back_and_given_at_run_time(who: str) -> None:
    cluster = Cluster()
    a, b = pair(cluster, ALL, ALL)
    changed = a if who == "a" else b
    changed.engine.set_trusted_subnets(NONE, cluster.now)
    changed.drain()
    if changed is a:
        # Nothing leaves in clear from that moment on, agreed anew or not.
        a.send(FRAME)
        assert not seen_in_clear(cluster)
    cluster.run_for(1.0)
    cluster.trace.clear()
    a.send(FRAME)
    cluster.run_for(0.1)
    assert FRAME in b.frames
    assert not seen_in_clear(cluster)
    assert a.connection(b)["encrypted"]
    assert b.connection(a)["encrypted"]
    changed.engine.set_trusted_subnets(ALL, cluster.now)
    changed.drain()
    cluster.run_for(1.0)
    a.send(FRAME)
    cluster.run_for(0.1)
    assert seen_in_clear(cluster)
    assert not b.connection(a)["encrypted"]
    assert a.events_of(SessionLost) == b.events_of(SessionLost) == []


@pytest.mark.parametrize("who", ["a", "b"])
@pytest.mark.parametrize("moment_ms", range(0, 20, 2))
def test_trust_taken_back_in_the_middle_of_a_handshake_counts(who: str, moment_ms: int) -> None:
    cluster = Cluster(delay_s=0.002)
    a, b = cluster.add("a", trusted_subnets=ALL), cluster.add("b", trusted_subnets=ALL)
    b.connect(a)
    cluster.run_for(moment_ms / 1000)
    changed = a if who == "a" else b
    changed.engine.set_trusted_subnets(NONE, cluster.now)
    changed.drain()
    cluster.run_until(cluster.meshed, within_s=2.0)
    cluster.run_for(1.0)
    cluster.trace.clear()
    for source, other, frame in ((a, b, FRAME), (b, a, ethernet(mac(1), mac(2), MARKER))):
        source.send(frame)
        cluster.run_for(0.1)
        assert frame in other.frames
        assert source.connection(other)["encrypted"]
    assert not seen_in_clear(cluster)


# What is not believed.


def clear_to(session: Session, counter: int, parts: bytes) -> bytes:
    header = HEADER.pack(DatagramType.CLEAR_DATA, 0, 0, session.our_index, counter)
    return header + parts


FRAME_PART = pack_part(PartType.FRAME, FRAME)


def test_frames_in_clear_for_a_sealed_session_are_refused() -> None:
    cluster = Cluster()
    a, b = pair(cluster, NONE, ALL)
    b.receive_datagram(clear_to(session_of(b, a), 0, FRAME_PART), a.address)
    assert b.frames == []
    assert b.engine.counters.drops == {DropReason.UNTRUSTED: 1}


def test_frames_in_clear_from_another_address_or_port_are_refused() -> None:
    cluster = Cluster()
    a, b = pair(cluster, ALL, ALL)
    for source in (endpoint(66), Endpoint(a.address.host, a.address.port + 1)):
        b.receive_datagram(clear_to(session_of(b, a), 7, FRAME_PART), source)
    assert b.frames == []
    assert b.engine.counters.drops == {DropReason.UNTRUSTED: 2}


def test_a_frame_in_clear_counts_once() -> None:
    cluster = Cluster()
    a, b = pair(cluster, ALL, ALL)
    again = clear_to(session_of(b, a), 7, FRAME_PART)
    for _ in range(3):
        b.receive_datagram(again, a.address)
    assert b.frames == [FRAME]
    assert b.engine.counters.drops == {DropReason.REPLAYED: 2}


def test_who_forges_frames_in_clear_cannot_shut_out_what_is_sealed() -> None:
    cluster = Cluster()
    a, b = pair(cluster, ALL, ALL)
    b.receive_datagram(clear_to(session_of(b, a), 2**64 - 1, FRAME_PART), a.address)
    cluster.run_for(30.0)
    assert b.engine.counters.drops == {}
    assert cluster.meshed()


@pytest.mark.parametrize("kind", [PartType.PROBE, PartType.PROBE_ACK, PartType.RELAY])
def test_all_but_frames_has_to_be_sealed(kind: PartType) -> None:
    cluster = Cluster()
    a, b = pair(cluster, ALL, ALL)
    b.receive_datagram(clear_to(session_of(b, a), 7, pack_part(kind, bytes(8))), a.address)
    assert b.engine.counters.drops == {DropReason.UNTRUSTED: 1}
    assert list(b.engine.datagrams_to_send()) == []


def test_a_peer_that_moves_is_sealed_to_and_agreed_with_anew() -> None:
    cluster = Cluster()
    a, b = pair(cluster, ALL, ALL)
    former = a.address
    cluster.move(a, endpoint(77), noticed=True)  # Its sealed probes show where it is now.
    cluster.run_for(0.1)
    assert session_of(b, a).remote == endpoint(77)
    cluster.trace.clear()
    b.send(ethernet(mac(1), mac(2), MARKER))
    assert not seen_in_clear(cluster)
    cluster.run_for(KEEPALIVE_S + STEP_IN_LATER_S + 1.0)
    assert session_of(b, a).clear_with == endpoint(77) != former
    assert not b.connection(endpoint(77))["encrypted"]
