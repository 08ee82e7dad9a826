"""One data session with every linked peer: set up, measured, mended, and not fooled."""

from __future__ import annotations

import ipaddress
import itertools
from collections.abc import Callable

import pytest

from meshnet.errors import DropReason
from meshnet.events import Event, ProbeAnswered, SessionEstablished, SessionLost, SessionRenewed
from meshnet.ids import Endpoint
from meshnet.peering import calls
from meshnet.peering.data_path import Counters, Datagram, DataPath
from meshnet.peering.keepalive import KEEPALIVE_S, STEP_IN_LATER_S
from meshnet.peering.link_costs import LinkCosts
from meshnet.peering.members import Members
from meshnet.peering.pair import LOSS_OVER_PROBES
from meshnet.peering.sessions import (
    FIRST_RETRY_S,
    GRACE_S,
    LAST_RETRY_S,
    MAX_FORMER,
    MAX_PROBES_IN_FLIGHT,
    STEP_IN_S,
    SessionKeeper,
)
from meshnet.peering.silence import LOST_UNMEASURED_S
from meshnet.peering.trusted import TrustedSubnets
from meshnet.switch.ethernet import DEFAULT_OVERLAY_MTU
from meshnet.switch.switch import Switch
from meshnet.wire.ciphers import CIPHERS, DEFAULT_PREFERENCE
from meshnet.wire.cookies import write_cookie_reply
from meshnet.wire.datagram import COOKIE_BYTES, HEADER, DatagramType
from meshnet.wire.handshake import CLEAR_FRAMES, read_initiation
from meshnet.wire.identity import Identity
from support.samples import (
    ALICE,
    BOB,
    BROADCAST,
    CAROL,
    NETWORK_ID,
    OTHER_PSK,
    PSK,
    endpoint,
    ethernet,
    flip,
    identity,
    mac,
    rng,
)

A_AT, B_AT = endpoint(1), endpoint(2)
Wire = Callable[[bytes], list[bytes]]


class Side:
    """One peer's keeper with its data path, and the address it sends from."""

    def __init__(
        self, who: Identity, at: Endpoint, *, psk: bytes = PSK, first_stamp: int = 0
    ) -> None:
        self.who, self.at = who, at
        self.path = DataPath(who.name, Switch(DEFAULT_OVERLAY_MTU), Counters())
        self.keeper = SessionKeeper(
            who,
            NETWORK_ID,
            (psk,),
            ciphers=DEFAULT_PREFERENCE,
            capabilities=0,
            first_stamp=first_stamp,
            data_path=self.path,
            members=Members({}),
            link_costs=LinkCosts(),
            rng=rng(at),
        )
        self.events: list[Event] = []
        self.drops: list[DropReason] = []

    def link(
        self,
        other: Side,
        *,
        lead: bool,
        now: float = 0.0,
        life: int = 1,
        candidates: list[Endpoint] | None = None,
    ) -> None:
        at = [other.at] if candidates is None else candidates
        self.keeper.peer_reachable(
            other.who.name,
            other.who.static.public,
            life,
            direct=at,
            relay=False,
            lead=lead,
            now=now,
        )

    def receive(self, datagram: bytes, source: Endpoint, now: float = 0.0) -> None:
        for data, remote in self.path.receive_datagrams([(datagram, source)], now):
            drop = self.keeper.receive_datagram(data, remote, now)
            if drop is not None:
                self.drops.append(drop)
        self.keeper.drain_data_path(now)
        self.drain()

    def drain(self) -> None:
        while (event := self.keeper.next_event()) is not None:
            self.events.append(event)

    def turn(self, now: float) -> list[Datagram]:
        """The timers' work, and all there is to send."""
        self.keeper.handle_timer(now)
        self.drain()
        return self.sent()

    def sent(self) -> list[Datagram]:
        return [*self.keeper.datagrams_to_send(), *self.path.datagrams_to_send()]

    def established(self, other: Side) -> bool:
        pair = self.keeper.pair(other.who.name)
        return pair is not None and pair.current is not None


def both() -> tuple[Side, Side]:
    return Side(ALICE, A_AT), Side(BOB, B_AT)


def pump(a: Side, b: Side, now: float, wire: Wire = lambda datagram: [datagram]) -> list[bytes]:
    """Let both do what is due and carry datagrams until there are none; all that was sent."""
    seen: list[bytes] = []
    while datagrams := [(a, b, sent) for sent in a.turn(now)] + [
        (b, a, sent) for sent in b.turn(now)
    ]:
        for source, other, (datagram, remote) in datagrams:
            seen.append(datagram)
            if remote == other.at:
                for arriving in wire(datagram):
                    other.receive(arriving, source.at, now)
    return seen


def kinds(datagrams: list[bytes]) -> list[int]:
    return [datagram[0] for datagram in datagrams]


def in_session() -> tuple[Side, Side]:
    a, b = both()
    a.link(b, lead=True)
    b.link(a, lead=False)
    pump(a, b, 0.0)
    assert a.established(b)
    assert b.established(a)
    return a, b


def test_the_dialler_leads_and_three_datagrams_later_both_have_a_session() -> None:
    a, b = both()
    a.link(b, lead=True)
    b.link(a, lead=False)
    seen = pump(a, b, 0.0)
    assert kinds(seen)[:3] == [DatagramType.INITIATION, DatagramType.RESPONSE, DatagramType.DATA]
    assert kinds(seen).count(DatagramType.INITIATION) == 1
    for side, other in ((a, b), (b, a)):
        [event] = [e for e in side.events if isinstance(e, SessionEstablished)]
        assert (event.peer, event.remote) == (other.who.name, other.at)
        assert event.cipher == CIPHERS[DEFAULT_PREFERENCE[0]].name
        assert side.drops == []


def test_the_responder_uses_no_key_before_it_is_confirmed() -> None:
    a, b = both()
    a.link(b, lead=True)
    b.link(a, lead=False)
    [(initiation, _)] = a.turn(0.0)
    b.receive(initiation, A_AT)
    assert not b.established(a)
    assert b.events == []
    assert kinds([datagram for datagram, _ in b.sent()]) == [DatagramType.RESPONSE]


def test_frames_flow_both_ways() -> None:
    a, b = in_session()
    for source, other in ((a, b), (b, a)):
        frame = ethernet(BROADCAST, mac(1), str(source.at).encode())
        source.path.receive_frames([frame], 0.0)
        pump(a, b, 0.0)
        assert list(other.path.frames_to_deliver()) == [frame]


def test_a_lost_first_message_is_sent_again_with_growing_waits() -> None:
    a, b = both()
    a.link(b, lead=True)
    sent_at: list[float] = []
    now = 0.0
    while now < 60.0:
        if a.turn(now):
            sent_at.append(now)
        deadline = a.keeper.next_deadline()
        assert deadline is not None
        now = deadline
    waits = [round(later - earlier, 6) for earlier, later in itertools.pairwise(sent_at)]
    assert waits[0] == FIRST_RETRY_S
    assert waits == sorted(waits)
    assert waits[-1] == LAST_RETRY_S


def test_the_other_end_steps_in_when_nobody_calls() -> None:
    a, b = both()
    a.link(b, lead=False)
    b.link(a, lead=False)
    assert pump(a, b, STEP_IN_S - 0.1) == []
    pump(a, b, STEP_IN_S)
    assert a.established(b)
    assert b.established(a)


def test_candidates_are_tried_in_turn() -> None:
    a, b = both()
    dead = [endpoint(8), endpoint(9)]
    a.link(b, lead=True, candidates=[*dead, B_AT])
    b.link(a, lead=False)
    tried, now = [], 0.0
    while not a.established(b) and now < 10.0:
        datagrams = a.turn(now)
        tried += [remote for _, remote in datagrams]
        for datagram, remote in datagrams:
            if remote == B_AT:
                b.receive(datagram, A_AT, now)
        pump(a, b, now)
        now += 0.1
    assert tried[:2] == dead
    assert a.established(b)


def test_a_peer_without_an_address_is_waited_for() -> None:
    a, b = both()
    a.link(b, lead=True, candidates=[])
    assert a.turn(0.0) == []
    pair = a.keeper.pair(BOB.name)
    assert pair is not None
    assert "waiting for it to call" in pair.reason
    a.keeper.set_direct(BOB.name, [B_AT], 0.0)
    assert [remote for _, remote in a.turn(LAST_RETRY_S)] == [B_AT]


# What is not believed.


def test_an_initiation_is_answered_once_however_often_it_comes() -> None:
    a, b = both()
    a.link(b, lead=True)
    b.link(a, lead=False)
    [(initiation, _)] = a.turn(0.0)
    for _ in range(3):
        b.receive(initiation, endpoint(66))
    assert len(b.sent()) == 1
    assert b.drops == [DropReason.OLD_STAMP] * 2


def test_a_recorded_initiation_is_not_answered_after_the_peer_was_away() -> None:
    a, b = both()
    a.link(b, lead=True)
    b.link(a, lead=False)
    [(initiation, _)] = a.turn(0.0)
    b.receive(initiation, A_AT)
    b.sent()
    b.keeper.peer_unreachable(ALICE.name, gone=True, reason="bye", now=1.0)
    b.link(a, lead=False, now=2.0, life=2)
    b.receive(initiation, A_AT, 2.0)
    assert b.drops == [DropReason.OLD_STAMP]
    assert b.sent() == []


def test_stamps_rise_with_each_try_and_each_life() -> None:
    a, b = both()
    a.link(b, lead=True)
    b.link(a, lead=False)
    old = [datagram for now in (0.0, 1.0, 2.0) for datagram, _ in a.turn(now)]
    assert len(old) == 3
    b.receive(old[2], A_AT)
    b.receive(old[1], A_AT)
    assert b.drops == [DropReason.OLD_STAMP]
    a_later = Side(ALICE, A_AT, first_stamp=1000)
    a_later.link(b, lead=True)
    b.link(a, lead=False, life=2)
    pump(a_later, b, 3.0)
    assert a_later.established(b)


def test_who_has_no_link_is_not_answered() -> None:
    a, b = both()
    a.link(b, lead=True)
    [(initiation, _)] = a.turn(0.0)
    b.receive(initiation, A_AT)
    assert b.drops == [DropReason.UNKNOWN_PEER]
    assert b.sent() == []


def test_an_initiation_for_another_peer_has_a_bad_mac() -> None:
    a, b = both()
    c = Side(CAROL, endpoint(3))
    a.link(c, lead=True)
    b.link(a, lead=False)
    [(initiation, _)] = a.turn(0.0)
    b.receive(initiation, A_AT)
    assert b.drops == [DropReason.BAD_MAC]


def test_a_forged_response_leaves_the_genuine_one_usable() -> None:
    a, b = both()
    a.link(b, lead=True)
    b.link(a, lead=False)

    def forge_first(datagram: bytes) -> list[bytes]:
        if datagram[0] == DatagramType.RESPONSE:
            return [flip(datagram, 8 * 20), datagram]
        return [datagram]

    pump(a, b, 0.0, forge_first)
    assert a.drops == [DropReason.BAD_HANDSHAKE]
    assert a.established(b)
    assert b.established(a)


def test_another_psk_gives_no_session() -> None:
    a, b = Side(ALICE, A_AT), Side(BOB, B_AT, psk=OTHER_PSK)
    a.link(b, lead=True)
    b.link(a, lead=False)
    pump(a, b, 0.0)
    assert a.drops == [DropReason.BAD_HANDSHAKE]
    assert not a.established(b)
    assert not b.established(a)


def test_a_response_nobody_waits_for_is_counted() -> None:
    a, _ = both()
    a.receive(HEADER.pack(DatagramType.RESPONSE, 0, 0, 5, 0) + bytes(60), B_AT)
    a.receive(HEADER.pack(DatagramType.COOKIE_REPLY, 0, 0, 5, 0), B_AT)
    assert a.drops == [DropReason.UNKNOWN_SESSION] * 2


def test_an_answer_to_a_call_to_a_peer_that_has_left_sets_nothing_up() -> None:
    a, b = both()
    a.link(b, lead=True)
    b.link(a, lead=False)
    [(initiation, _)] = a.turn(0.0)
    b.receive(initiation, A_AT)
    [(response, _)] = b.sent()
    a.keeper.peer_unreachable(BOB.name, gone=True, reason="left", now=0.0)
    a.receive(response, B_AT)
    assert a.drops == [DropReason.UNKNOWN_SESSION]
    assert a.path.direct_peers == []
    assert a.sent() == []


def test_a_cookie_reply_makes_us_call_again_once_however_often_it_comes() -> None:
    a, b = both()
    a.link(b, lead=True)
    [(initiation, _)] = a.turn(0.0)
    replies = [
        write_cookie_reply(initiation, cookie * COOKIE_BYTES, bytes(24), BOB.static.public)
        for cookie in (b"\x01", b"\x01", b"\x02")
    ]
    calls = []
    for reply in replies:
        a.receive(reply, B_AT)
        calls.append(len(a.sent()))
    assert calls == [1, 0, 1]
    assert a.drops == []


def test_repeated_initiations_leave_one_unconfirmed_session() -> None:
    a, b = both()
    a.link(b, lead=True)
    b.link(a, lead=False)
    indexes = []
    for now in (0.0, 1.0, 2.0):
        [(initiation, _)] = a.turn(now)
        b.receive(initiation, A_AT)
        pair = b.keeper.pair(ALICE.name)
        assert pair is not None
        assert pair.unconfirmed is not None
        indexes.append(pair.unconfirmed.our_index)
    assert [b.path.knows_index(index) for index in indexes] == [False, False, True]


def test_stamps_of_the_peers_heard_last_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calls, "MAX_STAMPS", 2)
    b = Side(BOB, B_AT)
    guests = [Side(identity(number), endpoint(number)) for number in (10, 11, 12)]
    recorded = []
    for guest in guests:
        guest.link(b, lead=True)
        b.link(guest, lead=False)
        [(initiation, _)] = guest.turn(0.0)
        recorded.append(initiation)
        b.receive(initiation, guest.at)
        b.keeper.peer_unreachable(guest.who.name, gone=True, reason="left", now=0.0)
        b.link(guest, lead=False)
    assert len(b.keeper._calls._last_stamps) == 2
    for guest, initiation in zip(guests[1:], recorded[1:], strict=True):
        b.receive(initiation, guest.at)
    assert b.drops == [DropReason.OLD_STAMP] * 2


# Measuring and mending.


def test_a_ping_is_answered_with_its_time() -> None:
    a, b = in_session()
    probe_id = a.keeper.ping(BOB.name, 1.0)
    assert probe_id is not None
    [(probe, _)] = a.sent()
    b.receive(probe, A_AT, 1.1)
    [(answer, _)] = b.sent()
    a.receive(answer, B_AT, 1.2)
    [event] = [e for e in a.events if isinstance(e, ProbeAnswered)]
    assert (event.peer, event.probe_id) == (BOB.name, probe_id)
    assert abs(event.rtt_s - 0.2) < 1e-9


def test_there_is_no_ping_without_a_session() -> None:
    a, b = both()
    assert a.keeper.ping(BOB.name, 0.0) is None
    a.link(b, lead=True)
    assert a.keeper.ping(BOB.name, 0.0) is None


def test_an_answer_counts_once_and_an_unasked_one_not_at_all() -> None:
    a, b = in_session()
    pair = a.keeper.pair(BOB.name)
    assert pair is not None
    answered = len(pair.outcomes)
    theirs = b.keeper.pair(ALICE.name)
    assert theirs is not None
    assert theirs.current is not None
    b.path.send_probe(theirs.current, 1, 1.0)
    [(probe, _)] = b.sent()
    a.receive(probe, B_AT, 1.0)
    [(answer, _)] = a.sent()
    b.receive(answer, A_AT, 1.0)
    b.receive(answer, A_AT, 1.0)
    assert len(pair.outcomes) == answered


def test_probes_in_flight_are_bounded() -> None:
    a, _ = in_session()
    for _ in range(MAX_PROBES_IN_FLIGHT + 50):
        a.keeper.ping(BOB.name, 1.0)
    pair = a.keeper.pair(BOB.name)
    assert pair is not None
    assert len(pair.probes) == MAX_PROBES_IN_FLIGHT


def test_lost_probes_show_as_loss_and_renew_the_session() -> None:
    a, b = in_session()
    now, renewed_at = 0.0, None
    while now < 60.0 and renewed_at is None:
        now = a.keeper.next_deadline() or now
        if DatagramType.INITIATION in kinds([datagram for datagram, _ in a.turn(now)]):
            renewed_at = now
    assert renewed_at is not None
    assert renewed_at <= KEEPALIVE_S + STEP_IN_LATER_S + LOST_UNMEASURED_S
    pair = a.keeper.pair(BOB.name)
    assert pair is not None
    assert pair.loss is not None
    assert pair.loss > 0.0
    assert len(pair.outcomes) <= LOSS_OVER_PROBES
    pump(a, b, now + LAST_RETRY_S)
    assert pair.reason == ""


def test_the_former_session_is_still_received_by_after_a_renewal() -> None:
    a, b = in_session()
    b.path.receive_frames([ethernet(BROADCAST, mac(1), b"on its way")], 0.0)
    [(late, _)] = b.sent()
    now = 0.0
    while DatagramType.INITIATION not in kinds([datagram for datagram, _ in b.turn(now)]):
        now = b.keeper.next_deadline() or now
    pump(a, b, now)
    pump(a, b, now + LAST_RETRY_S)
    assert any(isinstance(e, SessionRenewed) for e in a.events)
    a.receive(late, B_AT, now + LAST_RETRY_S)
    assert [frame[14:] for frame in a.path.frames_to_deliver()] == [b"on its way"]


def test_of_many_renewals_few_former_sessions_are_kept() -> None:
    a, b = in_session()
    indexes = []
    for turn in range(MAX_FORMER + 5):
        pair, other = a.keeper.pair(BOB.name), b.keeper.pair(ALICE.name)
        assert pair is not None
        assert other is not None
        assert other.current is not None
        indexes.append(other.current.our_index)
        a.keeper._rekey(pair, turn * 1.0)
        pump(a, b, turn * 1.0)
    kept = [b.path.knows_index(index) for index in indexes]
    assert kept == [False] * 5 + [True] * MAX_FORMER


def test_a_goodbye_ends_the_session_at_once() -> None:
    a, b = in_session()
    a.keeper.peer_unreachable(BOB.name, gone=True, reason="bye", now=1.0)
    a.drain()
    assert not a.established(b)
    assert [e for e in a.events if isinstance(e, SessionLost)] == [SessionLost(BOB.name, "bye")]
    assert a.keeper.next_deadline() is None


def test_a_broken_link_leaves_frames_flowing_for_a_while() -> None:
    a, b = in_session()
    a.keeper.peer_unreachable(BOB.name, gone=False, reason="reset", now=0.0)
    pump(a, b, GRACE_S - 0.1)
    assert a.established(b)
    a.turn(GRACE_S)
    assert not a.established(b)
    assert [type(e) for e in a.events][-1] is SessionLost


def test_a_link_that_returns_in_time_keeps_the_session() -> None:
    a, b = in_session()
    a.keeper.peer_unreachable(BOB.name, gone=False, reason="reset", now=0.0)
    a.link(b, lead=True, now=5.0)
    pump(a, b, 5.0)
    pump(a, b, 2 * GRACE_S)
    assert a.established(b)
    assert not any(isinstance(e, SessionLost) for e in a.events)
    assert len([e for e in a.events if isinstance(e, SessionEstablished)]) == 1


def test_a_peer_that_restarted_gets_a_new_session() -> None:
    a, _ = in_session()
    b_again = Side(BOB, B_AT, first_stamp=1000)
    b_again.link(a, lead=True, now=1.0)
    a.link(b_again, lead=False, now=1.0, life=2)
    pump(a, b_again, 1.0)
    assert b_again.established(a)
    assert [type(e) for e in a.events] == [SessionEstablished, SessionLost, SessionEstablished]


def test_who_is_reached_stops_calling() -> None:
    # Bob can be called, but what Alice announces leads nowhere.
    a, b = both()
    nowhere = endpoint(99)
    b.link(a, lead=False, candidates=[nowhere])
    pump(a, b, STEP_IN_S)
    a.link(b, lead=True, now=2.0)
    pump(a, b, 2.0)
    assert a.established(b)
    assert b.established(a)
    calls = [kinds(pump(a, b, 2.0 + step)).count(DatagramType.INITIATION) for step in range(1, 60)]
    assert sum(calls) <= 1
    pair = b.keeper.pair(ALICE.name)
    assert pair is not None
    assert pair.reason == ""


def test_an_answer_from_elsewhere_is_no_agreement_to_frames_in_clear() -> None:
    a, b = both()
    trusted = TrustedSubnets([ipaddress.ip_network("10.0.0.0/8")])
    for side in (a, b):
        side.keeper.use_trusted(trusted, 0.0)
    a.link(b, lead=True)
    b.link(a, lead=False)

    def offer(now: float) -> bytes:
        [(initiation, _)] = a.turn(now)
        offered = read_initiation(BOB, NETWORK_ID, initiation, bytes(32)).capabilities
        assert bool(offered & CLEAR_FRAMES) is (now == 0.0)
        b.receive(initiation, A_AT, now)
        [(response, _)] = b.sent()
        return response

    a.receive(offer(0.0), endpoint(77))
    assert not a.established(b)
    # The next call makes no such offer, so it does not matter where the answer comes from.
    a.receive(offer(1.0), endpoint(77), 1.0)
    pair = a.keeper.pair(BOB.name)
    assert pair is not None
    assert pair.current is not None
    assert pair.current.clear_with is None


def test_of_peers_that_are_gone_no_key_is_kept() -> None:
    a, b = in_session()
    for number in range(10, 30):
        guest = Side(identity(number), endpoint(number))
        b.link(guest, lead=False)
        b.keeper.peer_unreachable(guest.who.name, gone=True, reason="left", now=0.0)
    assert set(b.keeper._by_static) == {a.who.static.public}
