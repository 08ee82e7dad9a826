"""Keys are renewed while frames flow, old ones are refused, and no nonce is used twice.

Whole engines under virtual time; what is sealed is watched at the cipher's own door.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from meshnet.errors import DropReason
from meshnet.events import LinkLost, SessionEstablished, SessionLost, SessionRenewed
from meshnet.ids import Endpoint
from meshnet.testing import Cluster, Host
from meshnet.testing.emulator import Transport
from meshnet.wire.ciphers import AEGIS_128L_MAX_DATAGRAMS
from meshnet.wire.datagram import DatagramType
from meshnet.wire.key_life import DEFAULT_KEY_LIFE, REJECT_AFTER_S, REKEY_AFTER_S, KeyLife
from meshnet.wire.link import KEYS_EXPIRED
from meshnet.wire.messages import TOKEN_BYTES, MessageType
from meshnet.wire.session import Session
from support.guest import Guest, engine_of
from support.samples import ethernet, mac

SEEDS = range(4)


@pytest.fixture(autouse=True)
def sealed(monkeypatch: pytest.MonkeyPatch) -> set[tuple[bytes, int]]:
    """Every (key, counter) that any session seals with; a second use fails the test."""
    seen: set[tuple[bytes, int]] = set()
    seal = Session.seal

    def watched(session: Session, payload: bytes) -> bytes:
        use = (session.send_key, session.send_counter)
        assert use not in seen, "a counter was used twice under one key"
        seen.add(use)
        return seal(session, payload)

    monkeypatch.setattr(Session, "seal", watched)
    return seen


def in_session(cluster: Cluster, key_life: KeyLife = DEFAULT_KEY_LIFE) -> tuple[Host, Host]:
    a, b = (cluster.add(name, key_life=key_life) for name in "ab")
    b.connect(a)
    cluster.run_until(cluster.meshed, within_s=10)
    # Each learns where the other's address is.
    a.send(ethernet(mac(2), mac(1)))
    b.send(ethernet(mac(1), mac(2)))
    cluster.run_for(1.0)
    a.frames.clear()
    b.frames.clear()
    return a, b


def session_of(host: Host, other: Host) -> Session:
    pair = host.engine._sessions.pair(other.name)
    assert pair is not None
    assert pair.current is not None
    return pair.current


def stream(
    cluster: Cluster, a: Host, b: Host, duration_s: float, interval_s: float = 0.02
) -> tuple[list[bytes], list[bytes]]:
    """Numbered frames both ways at once; all that were sent by each."""
    there, back = [], []
    for number in range(int(duration_s / interval_s)):
        there.append(ethernet(mac(2), mac(1), number.to_bytes(4, "big")))
        back.append(ethernet(mac(1), mac(2), number.to_bytes(4, "big")))
        a.send(there[-1])
        b.send(back[-1])
        cluster.run_for(interval_s)
    return there, back


@pytest.mark.parametrize("seed", SEEDS)
def test_no_frame_is_lost_while_keys_are_renewed_under_traffic(seed: int) -> None:
    # Jitter puts datagrams out of order around each change of keys.
    cluster = Cluster(seed=seed, jitter_s=0.03)
    a, b = in_session(cluster, key_life=KeyLife(3.0))
    there, back = stream(cluster, a, b, 20.0)
    cluster.run_for(1.0)
    assert sorted(b.frames) == there
    assert sorted(a.frames) == back
    for host in (a, b):
        assert len(host.events_of(SessionRenewed)) >= 5
        assert host.events_of(SessionLost) == []
        assert len(host.events_of(SessionEstablished)) == 1
        assert host.engine.counters.drops == {}


@pytest.mark.parametrize("seed", SEEDS)
def test_keys_are_renewed_through_loss_and_none_is_used_when_old(
    seed: int, sealed: set[tuple[bytes, int]]
) -> None:
    cluster = Cluster(seed=seed, loss=0.3, jitter_s=0.05)
    life = KeyLife(12.0)
    a, b = in_session(cluster, key_life=life)
    before = len(sealed)
    for _ in range(100):
        stream(cluster, a, b, 1.0)
        for host, other in ((a, b), (b, a)):
            pair = host.engine._sessions.pair(other.name)
            assert pair is not None
            for session in pair.sessions:
                assert cluster.now - session.created_at <= life.reject_after_s
    cluster.impair(loss=0.0)
    cluster.run_until(cluster.meshed, within_s=20)
    assert len(sealed) > before + 5000
    assert len(a.events_of(SessionRenewed)) >= 5
    assert DropReason.EXPIRED_KEY not in a.engine.counters.drops
    # Roughly the loss of the wire arrives too little, and no more than that.
    assert len(b.frames) > 0.6 * 5000


def test_an_idle_pair_renews_its_keys_at_the_default_age() -> None:
    cluster = Cluster()
    a, b = in_session(cluster)
    first = session_of(a, b)
    cluster.run_until(lambda: session_of(a, b) is not first, within_s=REKEY_AFTER_S + 6)
    assert cluster.now - first.created_at >= REKEY_AFTER_S
    cluster.run_for(1.0)
    assert session_of(a, b).send_key == session_of(b, a).receive_key
    # One end led: one call more than the first, not two.
    cluster.run_for(60.0)
    datagrams = [sent.data for sent in cluster.trace if sent.transport is Transport.UDP]
    calls = [data for data in datagrams if data[0] == DatagramType.INITIATION]
    assert len(calls) == 2


def test_the_other_end_steps_in_when_the_leader_cannot_be_answered() -> None:
    cluster = Cluster()
    a, b = in_session(cluster)
    leader, other = sorted((a, b), key=lambda host: host.name)
    first = session_of(a, b)

    def lose_the_leaders_calls(source: Endpoint, _to: Endpoint, data: bytes) -> bool:
        return not (source == leader.address and data[0] == DatagramType.INITIATION)

    cluster.datagram_filter = lose_the_leaders_calls
    cluster.run_until(lambda: session_of(a, b) is not first, within_s=REKEY_AFTER_S + 20)
    cluster.run_for(0.1)
    assert other.events_of(SessionLost) == leader.events_of(SessionLost) == []
    assert leader.connection(other)["reason"] == ""


def test_both_ends_renewing_at_once_lose_nothing() -> None:
    cluster = Cluster(seed=5, jitter_s=0.02)
    a, b = in_session(cluster)
    for _ in range(10):
        for host, other in ((a, b), (b, a)):
            keeper = host.engine._sessions
            pair = keeper.pair(other.name)
            assert pair is not None
            keeper._rekey(pair, cluster.now)
            host.drain()
        there, back = stream(cluster, a, b, 1.0, 0.005)
        cluster.run_for(0.1)
        assert sorted(b.frames) == there
        assert sorted(a.frames) == back
        a.frames.clear()
        b.frames.clear()
    assert a.events_of(SessionLost) == b.events_of(SessionLost) == []


def no_handshakes(_source: Endpoint, _to: Endpoint, data: bytes) -> bool:
    return data[0] == DatagramType.DATA


def test_keys_that_cannot_be_renewed_end_with_a_reason_and_handshakes_go_on() -> None:
    cluster = Cluster()
    a, b = in_session(cluster)
    first = session_of(a, b)
    cluster.datagram_filter = no_handshakes
    cluster.run_until(lambda: bool(a.events_of(SessionLost)), within_s=REJECT_AFTER_S + 1)
    assert cluster.now - first.created_at == pytest.approx(REJECT_AFTER_S)
    [lost] = a.events_of(SessionLost)
    assert lost.reason.startswith("the keys expired before they could be renewed (no answer from")
    cluster.run_for(1.0)
    assert not a.peers
    assert not b.peers
    assert not a.engine.data_path.knows_index(first.our_index)
    a.send(ethernet(mac(2), mac(1)))
    assert a.engine.counters.drops[DropReason.NO_SESSION] == 1
    cluster.datagram_filter = lambda *_: True
    cluster.run_until(cluster.meshed, within_s=6.0)


@pytest.mark.parametrize("leap_s", [REKEY_AFTER_S, REJECT_AFTER_S, 86400.0])
def test_a_leap_of_time_uses_no_old_key_and_heals(leap_s: float) -> None:
    cluster = Cluster()
    a, b = in_session(cluster)
    first = {session_of(a, b).send_key, session_of(b, a).send_key}
    cluster.clock.leap(leap_s)
    late = ethernet(mac(2), mac(1), b"late")
    a.send(late)
    cluster.run_until(
        lambda: cluster.meshed() and session_of(a, b).send_key not in first, within_s=40.0
    )
    expired = a.engine.counters.drops[DropReason.EXPIRED_KEY]
    if leap_s >= REJECT_AFTER_S:
        # Neither sent by nor, had it been sent, received by.
        assert expired >= 1
        assert late not in b.frames
    else:
        assert expired == 0
        assert late in b.frames


def test_a_restart_in_the_middle_of_a_renewal_heals() -> None:
    cluster = Cluster()
    a, b = in_session(cluster)
    held: list[Callable[[], None]] = []

    def hold_answers(source: Endpoint, _to: Endpoint, data: bytes) -> bool:
        if data[0] == DatagramType.RESPONSE:
            host = next(host for host in (a, b) if host.address != source)
            held.append(lambda: host.receive_datagram(data, source))
            return False
        return True

    cluster.datagram_filter = hold_answers
    cluster.run_until(lambda: bool(held), within_s=REKEY_AFTER_S + 6)
    b.restart()
    cluster.datagram_filter = lambda *_: True
    for answer in held:
        answer()
    cluster.run_until(cluster.meshed, within_s=3.0)
    a.send(ethernet(b"\xff" * 6, mac(1), b"after"))
    cluster.run_for(0.1)
    assert b.frames == [ethernet(b"\xff" * 6, mac(1), b"after")]


def test_a_key_that_has_sealed_half_its_datagrams_is_renewed() -> None:
    cluster = Cluster()
    a, b = in_session(cluster)
    first = session_of(a, b)
    assert first.cipher.max_datagrams == AEGIS_128L_MAX_DATAGRAMS
    first.send_counter = AEGIS_128L_MAX_DATAGRAMS // 2
    cluster.run_until(lambda: session_of(a, b) is not first, within_s=6.0)
    assert a.events_of(SessionLost) == []


def test_a_key_that_is_used_up_seals_nothing_more() -> None:
    cluster = Cluster()
    a, b = in_session(cluster)
    first = session_of(a, b)
    cluster.datagram_filter = no_handshakes
    first.send_counter = AEGIS_128L_MAX_DATAGRAMS - 1
    last, too_many = (ethernet(mac(2), mac(1), text) for text in (b"last", b"too many"))
    a.send(last, too_many)
    assert a.engine.counters.drops == {DropReason.EXPIRED_KEY: 1}
    cluster.run_for(0.1)
    assert b.frames == [last]


def test_links_renew_their_keys_and_stay_up() -> None:
    cluster = Cluster()
    a, b = in_session(cluster)
    keys: set[bytes] = set()
    for _ in range(8):
        for host in (a, b):
            [link] = host.engine.links
            assert link.protocol._send is not None
            keys.add(link.protocol._send.key)
        cluster.run_for(REKEY_AFTER_S / 2)
    assert len(keys) >= 6
    assert a.events_of(LinkLost) == b.events_of(LinkLost) == []


def test_a_link_whose_keys_the_other_end_does_not_renew_is_ended() -> None:
    guest = Guest(engine_of()).dial()
    begun_at = guest.now
    while not guest.closed():
        guest.wait(1.0)
        # Alive, but never one to renew: its own clock stands still.
        if not guest.closed():
            guest.say(MessageType.PING, bytes(TOKEN_BYTES))
        assert guest.now < begun_at + REJECT_AFTER_S + 2
    [lost] = [event for event in guest.events if isinstance(event, LinkLost)]
    assert lost.reason == KEYS_EXPIRED
    assert guest.now >= begun_at + REJECT_AFTER_S
    assert guest.end.closed == []


def test_relayed_pairs_renew_their_keys_too() -> None:
    cluster = Cluster(jitter_s=0.005)
    life = KeyLife(6.0)
    a, b, c = (cluster.add(name, key_life=life) for name in "abc")
    cluster.cut(a, c)
    a.connect(b)
    c.connect(b)
    cluster.run_until(cluster.meshed, within_s=10)
    a.send(ethernet(mac(3), mac(1)))
    c.send(ethernet(mac(1), mac(3)))
    cluster.run_for(1.0)
    a.frames.clear()
    c.frames.clear()
    sent = []
    for number in range(1000):
        sent.append(ethernet(mac(3), mac(1), number.to_bytes(4, "big")))
        a.send(sent[-1])
        cluster.run_for(0.03)
    assert session_of(a, c).remote == c.name
    assert sorted(c.frames) == sent
    assert len([e for e in a.events_of(SessionRenewed) if e.peer == c.name]) >= 3
