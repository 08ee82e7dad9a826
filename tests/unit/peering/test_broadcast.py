"""Frames for all at one peer: what it takes, passes on, asks for, and what it holds at most."""

from __future__ import annotations

import pytest

from meshnet.errors import DropReason
from meshnet.ids import PeerName
from meshnet.peering import broadcast, sender_keys
from meshnet.peering.broadcast import MAX_ASKS, Broadcast
from meshnet.topology.records import Description, PeerRecord
from meshnet.topology.routes import MAX_HOPS
from meshnet.wire.ciphers import CIPHERS, CipherId
from meshnet.wire.datagram import (
    BROADCAST_HEADER,
    HEADER,
    DatagramType,
    PartType,
    pack_part,
    parse_parts,
)
from meshnet.wire.identity import Identity
from meshnet.wire.key_life import REJECT_AFTER_S, REKEY_AFTER_S, KeyLife
from meshnet.wire.sender_key import SenderKey, pack_sender_key, pack_want, parse_sender_key
from support.carrier import FakeCarrier
from support.samples import ALICE, BOB, BROADCAST, CAROL, NETWORK_ID, ethernet, identity, mac, rng

DAVE = identity(4)
FRAME = ethernet(BROADCAST, mac(4))
LIFE = 7
NOW = 100.0


class Peer:
    """One end, with the neighbours it is given."""

    def __init__(self, who: Identity, *neighbours: PeerName, life: int = LIFE) -> None:
        self.who, self.carrier = who, FakeCarrier(*neighbours)
        self.records: dict[PeerName, PeerRecord] = {}
        self.say = Broadcast(
            who,
            NETWORK_ID,
            life,
            CipherId.CHACHA20_POLY1305,
            records=self.records,
            carrier=self.carrier,
            rng=rng(f"{who.name} {life}"),
            key_life=KeyLife(),
        )

    def knows(self, who: Identity, life: int = LIFE) -> Peer:
        description = Description("", 1376, 0, life, ())
        self.records[who.name] = PeerRecord(who.name, who.public_key, description, {})
        return self

    def hears(self, body: bytes, came_from: Identity = BOB, now: float = NOW) -> DropReason | None:
        return self.say.receive(PartType.BROADCAST, body, came_from.name, now)

    def is_told(self, body: bytes, by: Identity = BOB, now: float = NOW) -> DropReason | None:
        return self.say.receive(PartType.KEY, body, by.name, now)

    def says(self, frame: bytes = FRAME, now: float = NOW) -> bytes:
        """What one neighbour gets of it."""
        assert self.say.send(frame, now) is None
        return self.carrier.took(PartType.BROADCAST)[-1][1]

    def key(self, now: float = NOW) -> bytes:
        own = self.say._own
        assert own is not None
        return pack_sender_key(own.signed, now - own.made_at)


def alice() -> Peer:
    return Peer(ALICE, BOB.name, CAROL.name).knows(DAVE)


def dave(life: int = LIFE) -> Peer:
    return Peer(DAVE, BOB.name, life=life)


def test_a_frame_goes_to_each_neighbour_once_and_to_none_in_clear() -> None:
    peer = alice()
    assert peer.say.send(FRAME, NOW) is None
    [(first, body), (second, same)] = peer.carrier.took(PartType.BROADCAST)
    assert (first, second) == (BOB.name, CAROL.name)
    assert body == same
    assert BROADCAST_HEADER.unpack_from(body) == (ALICE.name, MAX_HOPS)
    assert FRAME not in body
    own = peer.say._own
    assert own is not None
    assert parse_parts(own.open(body[BROADCAST_HEADER.size :])) == [(PartType.FRAME, FRAME)]
    assert (peer.carrier.counters.frames_sent, peer.carrier.counters.broadcasts_sent) == (1, 1)


def test_along_the_tree_it_goes_to_those_whom_this_peer_leads_to_and_else_to_all() -> None:
    peer, source = alice(), dave()
    trees: list[tuple[PeerName, ...] | None] = [(CAROL.name,), (), None, (identity(9).name,)]
    for tree in trees:
        peer.say.tree_children = lambda source, now, known={DAVE.name: tree}: known.get(source)
        peer.hears(source.says(), identity(8))
    passed_on = [to for to, _ in peer.carrier.took(PartType.BROADCAST)]
    # The last of the trees leads to somebody without a session.
    assert passed_on == [CAROL.name, BOB.name, CAROL.name, BOB.name, CAROL.name]


def test_without_a_neighbour_or_beyond_the_rate_nothing_is_sealed() -> None:
    assert Peer(ALICE).say.send(FRAME, NOW) is DropReason.NO_SESSION
    peer = alice()
    peer.carrier.may = False
    assert peer.say.send(FRAME, NOW) is DropReason.STORM
    assert peer.say._own is None


def test_the_key_is_another_after_two_minutes_or_half_of_its_datagrams() -> None:
    peer = alice()
    ids = [HEADER.unpack_from(peer.says(now=NOW + at)[17:])[3] for at in (0.0, REKEY_AFTER_S - 1)]
    assert ids[0] == ids[1]
    ids.append(HEADER.unpack_from(peer.says(now=NOW + REKEY_AFTER_S)[17:])[3])
    assert ids[2] != ids[0]
    own = peer.say._own
    assert own is not None
    own.counter = CIPHERS[CipherId.CHACHA20_POLY1305].max_datagrams // 2
    body = peer.says(now=NOW + REKEY_AFTER_S)
    *_, key_id, counter = HEADER.unpack_from(body[17:])
    assert key_id not in ids
    assert counter == 0


def test_another_life_has_another_key() -> None:
    assert dave(1).says()[17:25] != dave(2).says()[17:25]


def test_what_is_heard_is_passed_on_and_taken_once_the_key_is_there() -> None:
    peer, source = alice(), dave()
    body = source.says()
    assert peer.hears(body) is None
    [(to, passed)] = peer.carrier.took(PartType.BROADCAST)
    assert (to, passed) == (CAROL.name, DAVE.name + bytes((MAX_HOPS - 1,)) + body[17:])
    name = (DAVE.name, HEADER.unpack_from(body[17:])[3])
    assert peer.carrier.asked() == {(BOB.name, name): 1}
    assert peer.carrier.delivered == []
    assert peer.is_told(source.key()) is None
    assert peer.carrier.delivered == [(DAVE.name, FRAME)]
    assert peer.carrier.took(PartType.BROADCAST) == [], "it was passed on already"
    for again in (body, DAVE.name + b"\1" + body[17:]):
        assert peer.hears(again, CAROL) is None
    assert peer.carrier.counters.broadcasts_repeated == 2
    assert peer.carrier.delivered == [(DAVE.name, FRAME)]


def test_a_repeat_is_known_without_the_key_too_by_all_of_its_bytes() -> None:
    peer, source = alice(), dave()
    body = source.says()
    forged = body[:-1] + bytes((body[-1] ^ 1,))
    peer.hears(forged)
    peer.hears(body)
    peer.hears(body, CAROL)
    assert peer.carrier.counters.broadcasts_repeated == 1
    peer.is_told(source.key())
    assert peer.carrier.delivered == [(DAVE.name, FRAME)], "the forgery has shut nothing out"
    assert peer.carrier.counters.drops == {DropReason.BAD_TAG: 1}


def test_a_counter_that_is_made_up_moves_no_window() -> None:
    peer, source = alice(), dave()
    peer.hears(source.says())
    peer.is_told(source.key())
    body = source.says()
    ahead = body[:25] + (2**40).to_bytes(8, "big") + body[33:]
    assert peer.hears(ahead) is DropReason.BAD_TAG
    assert peer.hears(body) is None
    assert len(peer.carrier.delivered) == 2


def test_who_waits_for_the_key_gets_it_when_it_comes_and_else_at_once() -> None:
    peer, source = alice(), dave()
    body = source.says()
    want = pack_want(DAVE.name, HEADER.unpack_from(body[17:])[3])

    def ask() -> DropReason | None:
        return peer.say.receive(PartType.KEY_WANT, want, CAROL.name, NOW)

    assert ask() is None
    assert peer.carrier.took(PartType.KEY) == [], "nobody has told us of it"
    peer.hears(body)
    ask()
    ask()
    peer.is_told(source.key(), now=NOW + 2.0)
    [(to, told)] = peer.carrier.took(PartType.KEY)
    assert to == CAROL.name
    assert parse_sender_key(told)[0] == parse_sender_key(source.key())[0]
    peer.say.receive(PartType.KEY_WANT, want, CAROL.name, NOW + 5.0)
    [(_, told)] = peer.carrier.took(PartType.KEY)
    assert parse_sender_key(told)[1] == pytest.approx(5.0 - 2.0), "its age is told on"


def test_a_key_is_asked_for_of_each_who_brought_it_and_not_for_ever() -> None:
    peer, source = alice(), dave()
    body = source.says()
    peer.hears(body, BOB)
    peer.hears(body, CAROL)
    asked = [who for who, _ in peer.carrier.asked()]
    now = NOW
    while (deadline := peer.say.next_deadline()) is not None and now < NOW + 20.0:
        now = deadline
        peer.say.handle_timer(now)
        asked += [who for who, _ in peer.carrier.asked()]
    assert asked == [BOB.name, CAROL.name] * (MAX_ASKS // 2)
    assert peer.carrier.counters.drops == {DropReason.NO_SENDER_KEY: 1}
    assert peer.say.keys.held_bytes == 0


def test_who_tells_a_forged_key_is_not_asked_again_and_others_are() -> None:
    peer, source = alice(), dave()
    body = source.says()
    peer.hears(body, BOB)
    peer.hears(body, CAROL)
    peer.carrier.asked()
    key = source.key()
    forged = key[:40] + bytes((key[40] ^ 1,)) + key[41:]
    assert peer.is_told(forged) is DropReason.BAD_SENDER_KEY
    assert peer.is_told(forged) is None, "not even looked at"
    peer.say.handle_timer(NOW + 1.0)
    assert {who for who, _ in peer.carrier.asked()} == {CAROL.name}
    assert peer.is_told(key, CAROL) is None
    assert peer.carrier.delivered == [(DAVE.name, FRAME)]


def test_a_key_waits_for_the_record_of_its_source_and_fits_its_life() -> None:
    peer, source = Peer(ALICE, BOB.name), dave()
    peer.hears(source.says())
    assert peer.is_told(source.key()) is None
    peer.knows(DAVE, life=LIFE - 1)
    assert peer.is_told(source.key()) is DropReason.BAD_SENDER_KEY
    peer.knows(DAVE)
    assert peer.is_told(source.key()) is None
    assert peer.carrier.delivered == [(DAVE.name, FRAME)]


def test_a_key_is_no_good_once_it_is_three_minutes_old_whoever_has_it() -> None:
    peer, source = alice(), dave()
    peer.hears(source.says())
    late = NOW + REJECT_AFTER_S - 1.0
    peer.is_told(source.key(late), now=late)
    own = source.say._own
    assert own is not None
    body = DAVE.name + b"\3" + own.seal(pack_part(PartType.FRAME, FRAME))
    assert peer.hears(body, now=late + 0.9) is None
    body = DAVE.name + b"\3" + own.seal(pack_part(PartType.FRAME, FRAME))
    assert peer.hears(body, now=late + 1.1) is DropReason.EXPIRED_KEY
    want = pack_want(DAVE.name, own.signed.id)
    peer.say.receive(PartType.KEY_WANT, want, CAROL.name, late + 1.1)
    assert peer.carrier.took(PartType.KEY) == []


def test_what_waits_for_keys_is_bounded_for_each_and_in_all(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(broadcast, "ASKS_BURST", 1e9)
    monkeypatch.setattr(broadcast, "UNOPENED_BURST", 1e9)
    peer = alice()

    def unknown(source: PeerName, key_id: int, counter: int) -> bytes:
        header = HEADER.pack(DatagramType.BROADCAST, 0, 0, key_id, counter)
        return source + b"\3" + header + bytes(9000)

    for counter in range(sender_keys.HELD_PER_KEY):
        assert peer.hears(unknown(DAVE.name, 0, counter)) is None
    assert peer.hears(unknown(DAVE.name, 0, 10**6)) is DropReason.NO_SENDER_KEY
    for key_id in range(1, sender_keys.WANTED_PER_SOURCE):
        assert peer.hears(unknown(DAVE.name, key_id, 0)) is None
    assert peer.hears(unknown(DAVE.name, 99, 0)) is DropReason.NO_SENDER_KEY
    for number in range(2 * sender_keys.MAX_WANTED_SOURCES):
        peer.hears(unknown(identity(1000 + number).name, 0, 0))
    wanted = {source for source, _ in peer.say.keys.wanted_names()}
    assert len(wanted) == sender_keys.MAX_WANTED_SOURCES
    assert peer.say.keys.held_bytes <= sender_keys.MAX_HELD_BYTES


def test_keys_are_bounded_for_each_source_and_in_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sender_keys, "MAX_SOURCES", 3)
    held = sender_keys.SenderKeys()

    def key(who: Identity, key_id: int) -> SenderKey:
        source = Peer(who, BOB.name)
        source.says()
        own = source.say._own
        assert own is not None
        return SenderKey(own.signed.replaced(id=key_id), 0.0, 180.0)

    for key_id in range(10):
        held.add(key(DAVE, key_id))
    assert len(held) == sender_keys.KEYS_PER_SOURCE
    assert held.get((DAVE.name, 9)) is not None
    assert held.get((DAVE.name, 0)) is None
    for number in range(20, 24):
        held.add(key(identity(number), 0))
    assert held.get((DAVE.name, 9)) is None
    assert len(held) == 3


def test_rates_stop_what_nobody_has_looked_into() -> None:
    peer, source = alice(), dave()
    peer.carrier.may = False
    assert peer.hears(source.says()) is DropReason.RELAY_RATE
    assert peer.carrier.took(PartType.BROADCAST) == []
    peer.is_told(source.key())
    assert peer.carrier.counters.drops == {DropReason.STORM: 1}
