"""Data sessions on demand, in meshes of more peers than `--degree`: made when frames flow, no
frame lost by it, and gone with their keys when nothing uses them."""

from __future__ import annotations

import itertools

import pytest

from meshnet.errors import DropReason
from meshnet.events import (
    MessageAnswered,
    MessageReceived,
    ProbeAnswered,
    SessionLost,
    SessionRested,
)
from meshnet.peering import held_frames, sessions
from meshnet.testing import Cluster, Host
from meshnet.wire.key_life import KeyLife
from support.samples import BROADCAST, ethernet
from support.sparse import Edges, has_settled, knotted, line, mac_of_host, ring, settled, sparse


def speak(hosts: list[Host], one: Host, other: Host, said: bytes) -> None:
    """A frame from a host behind ``one`` to one behind ``other``."""
    one.send(ethernet(mac_of_host(hosts, other), mac_of_host(hosts, one), said))


def ask_for(hosts: list[Host], one: Host, other: Host) -> None:
    """As ARP does it: a question to all, and an answer to who has asked."""
    one.send(ethernet(BROADCAST, mac_of_host(hosts, one), b"who has it?"))
    one.cluster.run_for(1.0)
    speak(hosts, other, one, b"I")
    one.cluster.run_for(1.0)


def strangers_of(host: Host, hosts: list[Host]) -> list[Host]:
    linked = host.engine.links.by_peer
    return [other for other in hosts if other is not host and other.name not in linked]


def nothing_dropped(hosts: list[Host]) -> None:
    assert [dict(host.engine.counters.drops) for host in hosts] == [{}] * len(hosts)


@pytest.mark.parametrize(("edges", "count"), [(line(8), 8), (ring(9), 9), (knotted(12, 4), 12)])
def test_after_a_question_to_all_any_pair_talks_and_loses_no_frame(
    edges: Edges, count: int
) -> None:
    hosts = settled(sparse(edges, count))
    cluster = hosts[0].cluster
    for host in hosts:
        assert host.peers == host.engine.links.by_peer.keys(), "with neighbours, and nobody else"
    first, last = hosts[0], hosts[count // 2]
    ask_for(hosts, first, last)
    assert first.frames[-1].endswith(b"I")
    for number in range(20):
        speak(hosts, first, last, b"there %d" % number)
        speak(hosts, last, first, b"back %d" % number)
    cluster.run_for(2.0)
    assert [frame[14:] for frame in last.frames[-20:]] == [b"there %d" % n for n in range(20)]
    assert [frame[14:] for frame in first.frames[-20:]] == [b"back %d" % n for n in range(20)]
    assert last.engine.counters.frames_held >= 1
    assert last.name in first.peers
    nothing_dropped(hosts)


def test_all_pairs_at_once() -> None:
    hosts = settled(sparse(knotted(9, 7), 9))
    cluster = hosts[0].cluster
    for host in hosts:
        host.send(ethernet(BROADCAST, mac_of_host(hosts, host), b"here"))
    cluster.run_for(1.0)
    for one in hosts:
        for other in hosts:
            if one is not other:
                for number in range(5):
                    speak(hosts, one, other, b"%d" % number)
    cluster.run_for(3.0)
    for host in hosts:
        heard = [frame for frame in host.frames if frame[:6] != BROADCAST]
        for other in hosts:
            if other is not host:
                of_other = [f[14:] for f in heard if f[6:12] == mac_of_host(hosts, other)]
                assert of_other == [b"%d" % number for number in range(5)]
    nothing_dropped(hosts)


def test_what_is_not_used_ends_with_its_keys_at_both_ends_and_comes_back_with_a_frame() -> None:
    hosts = settled(sparse(ring(8), 8))
    cluster = hosts[0].cluster
    one, other = hosts[0], hosts[4]
    ask_for(hosts, one, other)
    assert other.name in one.peers
    # The session that frames made is renewed once, as it carried some; that one carries none.
    cluster.run_for(500.0)
    assert other.name not in one.peers
    assert one.name not in other.peers
    assert [event.peer for event in one.events_of(SessionRested)] == [other.name]
    assert one.events_of(SessionLost) == other.events_of(SessionLost) == []
    assert one.engine._sessions.pair(other.name) is None, "nothing is kept of it"
    one.frames.clear()
    other.frames.clear()
    ask_for(hosts, one, other)
    for number in range(5):
        speak(hosts, one, other, b"%d" % number)
    cluster.run_for(1.0)
    assert [frame[14:] for frame in other.frames] == [b"who has it?", *b"0 1 2 3 4".split()]
    nothing_dropped(hosts)


def test_whenever_a_frame_comes_it_arrives_however_old_the_session_is() -> None:
    """Around the end of the keys too: no moment at which one end sends by what the other lacks."""
    life = KeyLife(rekey_after_s=12.0)
    cluster = Cluster(seed=5)
    hosts = [cluster.add(f"host{n}", degree=2, key_life=life) for n in range(5)]
    for one, other in itertools.pairwise(hosts):
        other.connect(one)
    for one in hosts:
        for other in hosts:
            if abs(hosts.index(one) - hosts.index(other)) > 1:
                cluster.cut(one, other)
    settled(hosts)
    one, other = hosts[0], hosts[4]
    ask_for(hosts, one, other)
    pause_s = 0.0
    for said in range(60):
        pause_s = pause_s + 0.73
        cluster.run_for(pause_s % 40.0)
        speaker, hearer = (one, other) if said % 3 else (other, one)
        hearer.frames.clear()
        speak(hosts, speaker, hearer, b"%d" % said)
        cluster.run_for(1.0)
        assert [frame[14:] for frame in hearer.frames] == [b"%d" % said], said
    nothing_dropped(hosts)
    assert one.events_of(SessionRested)


def test_messages_and_pings_set_up_a_session_too() -> None:
    hosts = settled(sparse(line(7), 7))
    cluster = hosts[0].cluster
    one, other, third = hosts[0], hosts[6], hosts[3]
    other.engine.unicast.readers = ("topic",)
    one.engine.unicast.send(other.name, "topic", b"hello", timeout_s=5.0, now=cluster.now)
    one.drain()
    cluster.run_for(2.0)
    assert [event.payload for event in other.events_of(MessageReceived)] == [b"hello"]
    assert [event.reason for event in one.events_of(MessageAnswered)] == [""]
    probe_id = one.engine.ping(third.name, cluster.now)
    one.drain()
    cluster.run_for(1.0)
    [answered] = one.events_of(ProbeAnswered)
    assert (answered.peer, answered.probe_id) == (third.name, probe_id)
    assert answered.rtt_s < 0.1
    nothing_dropped(hosts)


def test_reports_say_who_is_reached_without_a_session() -> None:
    hosts = settled(sparse(line(7), 7))
    one, other = hosts[0], hosts[6]
    reports = one.engine.reports
    assert all(row["reachable"] for row in reports.peers(one.cluster.now))
    assert {row["peer"] for row in reports.connections() if row["state"] == "established"} == {
        str(hosts[1].name)
    }
    [cause, *_] = reports.explain(other.name, one.cluster.now)["causes"]
    assert (cause["cause"], cause["text"]) == (
        "on_demand",
        "no session yet: set up when frames flow",
    )
    assert set(one.engine.reachable_peers()) == {host.name for host in hosts[1:]}
    assert one.engine.find_peers("host6") == [other.name]


def test_what_waits_for_who_does_not_answer_is_let_go_and_counted() -> None:
    hosts = settled(sparse(ring(8), 8))
    cluster = hosts[0].cluster
    one, other = hosts[0], hosts[4]
    ask_for(hosts, other, one)  # So one knows where it is, and has a session.
    other.crash(silent=True)
    cluster.run_for(0.05)
    pair = one.engine._sessions.pair(other.name)
    assert pair is not None
    one.engine._sessions._forget(pair)
    for number in range(held_frames.MAX_HELD_FRAMES + 10):
        speak(hosts, one, other, b"%d" % number)
    assert one.engine.counters.drops == {DropReason.HOLD_LIMIT: 10}
    cluster.run_for(held_frames.HOLD_S + 0.1)
    assert one.engine.counters.drops[DropReason.NO_SESSION] == held_frames.MAX_HELD_FRAMES
    assert len(one.engine.data_path.held) == 0
    cluster.run_for(60.0)
    assert one.engine._sessions.pair(other.name) is None, "it is not called for ever"
    # Nobody knows where that host is by now, so it is looked for everywhere.
    sent = one.engine.counters.broadcasts_sent
    speak(hosts, one, other, b"anybody?")
    assert one.engine.counters.broadcasts_sent == sent + 1


def test_a_peer_that_begins_anew_is_called_anew() -> None:
    hosts = settled(sparse(ring(8), 8))
    cluster = hosts[0].cluster
    one, other = hosts[1], hosts[5]
    ask_for(hosts, one, other)
    other.restart()
    cluster.run_until(lambda: has_settled(hosts), within_s=20, every_s=0.1)
    speak(hosts, one, other, b"still there?")
    cluster.run_for(1.0)
    assert [frame[14:] for frame in other.frames] == [b"still there?"]


def test_without_holding_first_frames_are_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(held_frames, "MAX_HELD_FRAMES", 0)
    hosts = settled(sparse(line(7), 7))
    ask_for(hosts, hosts[0], hosts[6])
    assert hosts[6].engine.counters.drops == {DropReason.HOLD_LIMIT: 1}


def test_a_session_takes_the_direct_path_where_there_is_one() -> None:
    hosts = settled(sparse(line(6), 6))
    cluster = hosts[0].cluster
    cluster.mend(hosts[0], hosts[5])
    ask_for(hosts, hosts[0], hosts[5])
    for _ in range(10):
        speak(hosts, hosts[0], hosts[5], b"on")
        cluster.run_for(sessions.FIRST_DIRECT_S)
    pair = hosts[0].engine._sessions.pair(hosts[5].name)
    assert pair is not None
    assert pair.path == "direct"
