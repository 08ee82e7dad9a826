"""Garbage of every kind is counted under its reason, and nothing raises.

Each reason that a pure part can produce is produced here by real bytes that reach a whole engine.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from meshnet.errors import CloseCode, DropReason
from meshnet.events import ContentIgnored, LinkLost
from meshnet.gossip import replica
from meshnet.gossip.fragments import HEAD_BYTES
from meshnet.gossip.removals import pack_removal, sign_removal
from meshnet.gossip.replica import MAX_FRAGMENTS
from meshnet.gossip.tree import Tree
from meshnet.ids import ChannelId, PeerName
from meshnet.peering import broadcast
from meshnet.peering.broadcast import ASKS_BURST
from meshnet.peering.buckets import TokenBuckets
from meshnet.peering.floods import (
    FREE_HANDSHAKES_BURST,
    HANDSHAKES_BURST,
    MAX_HALF_OPEN_PER_SOURCE,
)
from meshnet.peering.held_frames import MAX_HELD_FRAMES
from meshnet.peering.relay_rate import RELAY_BURST_BYTES
from meshnet.switch.storm import FLOOD_BURST_COPIES
from meshnet.wire.ciphers import CipherId
from meshnet.wire.cookies import COOKIE_REPLY_BYTES, mark, read_cookie_reply, with_proof
from meshnet.wire.datagram import (
    BROADCAST_HEADER,
    COOKIE_BYTES,
    HEADER,
    HEADER_BYTES,
    MAC_BYTES,
    RELAY_HEADER,
    DatagramType,
    PartType,
    pack_part,
)
from meshnet.wire.key_life import REJECT_AFTER_S
from meshnet.wire.messages import MessageType
from meshnet.wire.sender_key import pack_sender_key, pack_want, sign_key
from support.guest import Guest, engine_of, response_to
from support.records import (
    TOPOLOGY,
    delta,
    endpoint_bytes,
    entries_of,
    fragment,
    head_body,
    head_of,
    record,
    signed,
)
from support.samples import (
    BOB,
    BROADCAST,
    CAROL,
    NETWORK_ID,
    endpoint,
    ethernet,
    flip,
    identity,
    mac,
)

OF_THE_DRIVER = {DropReason.UNDERLAY_SEND_FAILED, DropReason.TAP_WRITE_FAILED}


def header(kind: int, index: int = 0) -> bytes:
    return HEADER.pack(kind, 0, 0, index, 0)


def guest() -> Guest:
    return Guest(engine_of()).dial()


def say_delta(who: Guest, body: bytes) -> None:
    who.say(MessageType.DELTA, body)


# Each case provokes one drop, after which a guest is linked.


def short(who: Guest) -> None:
    who.give(header(DatagramType.DATA)[:-1])


def empty(who: Guest) -> None:
    who.give(b"")


def unknown_type(who: Guest) -> None:
    who.give(header(200) + bytes(40))


def unasked_cookie_reply(who: Guest) -> None:
    who.give(header(DatagramType.COOKIE_REPLY) + bytes(COOKIE_REPLY_BYTES - HEADER_BYTES))


def forged_cookie_reply(who: Guest) -> None:
    index = called(who)
    reply = header(DatagramType.COOKIE_REPLY, index)
    who.give(reply + bytes(COOKIE_REPLY_BYTES - HEADER_BYTES))


def unknown_session(who: Guest) -> None:
    who.give(flip(who.open_session().seal(b""), 8 * 4))


def unasked_response(who: Guest) -> None:
    who.give(response_to(12345, bytes(60)))


def bad_tag(who: Guest) -> None:
    datagram = who.open_session().seal(b"")
    who.give(flip(datagram, 8 * (len(datagram) - 1)))


def cut_off(who: Guest) -> None:
    who.give(who.open_session().seal(b"")[:20])


def replayed(who: Guest) -> None:
    datagram = who.open_session().seal(pack_part(PartType.PROBE, bytes(8)))
    who.give(datagram)
    who.give(datagram)


def expired_key(who: Guest) -> None:
    session = who.open_session()
    who.now += REJECT_AFTER_S
    who.give(session.seal(b""))


def expired_key_to_send_by(who: Guest) -> None:
    who.open_session()
    who.engine.receive_frames([ethernet(BROADCAST, mac(1))], who.now + REJECT_AFTER_S)


def used_up_key(who: Guest) -> None:
    session = who.open_session()
    session.send_counter = session.cipher.max_datagrams
    who.give(session.seal(b""))


def untrusted(who: Guest) -> None:
    sealed = who.open_session()
    who.give(sealed.write_clear(pack_part(PartType.FRAME, ethernet(BROADCAST, mac(1)))))


def clear_of_an_expired_session(who: Guest) -> None:
    session = who.open_session()
    who.now += REJECT_AFTER_S
    who.give(session.write_clear(b""))


def clear_of_no_session(who: Guest) -> None:
    who.give(header(DatagramType.CLEAR_DATA, 5))


def malformed_part(who: Guest) -> None:
    who.give(who.open_session().seal(b"\x01\xff\xff"))


def short_probe(who: Guest) -> None:
    who.give(who.open_session().seal(pack_part(PartType.PROBE, b"1234567")))


def bad_mac(who: Guest) -> None:
    marks = bytes(MAC_BYTES + COOKIE_BYTES)
    who.give(header(DatagramType.INITIATION) + marks + b"\x09" * 120)


def call_for_another_peer(who: Guest) -> None:
    who.give(mark(header(DatagramType.INITIATION), b"\x09" * 120, CAROL.static.public))


def garbage_for(who: Guest) -> bytes:
    ours = who.engine.config.identity.static.public
    return mark(header(DatagramType.INITIATION), b"\x09" * 120, ours)


def cookie_required(who: Guest) -> None:
    for _ in range(int(FREE_HANDSHAKES_BURST) + 1):
        who.give(garbage_for(who))
    assert who.engine.counters.drops.pop(DropReason.BAD_HANDSHAKE) == FREE_HANDSHAKES_BURST


def handshake_rate(who: Guest) -> None:
    cookie_required(who)
    garbage = garbage_for(who)
    reply = who.sent(DatagramType.COOKIE_REPLY)
    cookie = read_cookie_reply(reply, garbage, who.engine.config.identity.static.public)
    for _ in range(int(HANDSHAKES_BURST) + 1):
        who.give(with_proof(garbage, cookie))
    assert who.engine.counters.drops.pop(DropReason.COOKIE_REQUIRED) == 1
    assert who.engine.counters.drops.pop(DropReason.BAD_HANDSHAKE) == HANDSHAKES_BURST


def link_limit(who: Guest) -> None:
    for link in range(100, 101 + MAX_HALF_OPEN_PER_SOURCE):
        who.engine.link_opened(link, endpoint(66), None, who.now)
    who.drain()


def bad_handshake(who: Guest) -> None:
    who.give(garbage_for(who))


def cut_handshake(who: Guest) -> None:
    who.give(who.call().datagram[:40])


def bare_header(who: Guest) -> None:
    who.give(header(DatagramType.INITIATION))


def unknown_peer(who: Guest) -> None:
    # A stranger that has got hold of a record, and so of the engine's key.
    who.give(Guest(who.engine, CAROL).call().datagram)


def known_but_not_linked(who: Guest) -> None:
    say_delta(who, record(CAROL, sequence=1))
    who.give(Guest(who.engine, CAROL).call().datagram)


def old_stamp(who: Guest) -> None:
    who.give(who.call(stamp=2).datagram)
    who.give(who.call(stamp=1).datagram)


def repeated_stamp(who: Guest) -> None:
    who.give(who.call().datagram)
    who.give(who.call().datagram)


def called(who: Guest) -> int:
    """The index at which the engine, which now knows an address of ours, wants to be answered."""
    say_delta(who, record(BOB, sequence=1, endpoints=[endpoint_bytes("10.0.0.2")]))
    who.wait(2.0)
    return who.index_in(who.sent(DatagramType.INITIATION))


def forged_response(who: Guest) -> None:
    who.give(response_to(called(who), b"\x09" * 60))


def runt_frame(who: Guest) -> None:
    who.open_session()
    who.engine.receive_frames([b"\xff" * 13], who.now)


def runt_frame_from_a_peer(who: Guest) -> None:
    who.give(who.open_session().seal(pack_part(PartType.FRAME, b"\xff" * 13)))


def oversized_frame(who: Guest) -> None:
    who.open_session()
    who.engine.receive_frames([ethernet(BROADCAST, mac(1)).ljust(9001)], who.now)


def bad_source(who: Guest) -> None:
    who.open_session()
    who.engine.receive_frames([ethernet(BROADCAST, BROADCAST)], who.now)


def no_session(who: Guest) -> None:
    who.engine.receive_frames([ethernet(BROADCAST, mac(1))], who.now)


def more_than_is_held(who: Guest) -> None:
    who.open_session()
    path = who.engine.data_path
    path.switch.from_peer(ethernet(BROADCAST, mac(9)), CAROL.name, who.now)
    path.on_demand = True
    frame = ethernet(mac(9), mac(1))
    path.receive_frames([frame] * (MAX_HELD_FRAMES + 1), who.now)


def storm(who: Guest) -> None:
    who.open_session()
    frames = int(FLOOD_BURST_COPIES) + 1
    who.engine.receive_frames([ethernet(BROADCAST, mac(1))] * frames, who.now)


def wrongly_signed(who: Guest) -> None:
    body = head_body(CAROL, Tree.of(entries_of().items()), sequence=1)
    say_delta(who, delta(flip(signed(CAROL, body), 8 * (HEAD_BYTES - 60)), entries_of()))


def signed_by_another(who: Guest) -> None:
    body = head_body(CAROL, Tree.of(entries_of().items()), sequence=1)
    say_delta(who, delta(signed(identity(42), body), entries_of()))


def of_another_network(who: Guest) -> None:
    body = head_body(CAROL, Tree.of(entries_of().items()), sequence=1)
    say_delta(who, delta(signed(CAROL, body, network=b"another!"), entries_of()))


def of_another_channel(who: Guest) -> None:
    body = head_body(CAROL, Tree.of(entries_of().items()), sequence=1)
    say_delta(who, delta(signed(CAROL, body, ChannelId("topology", "other")), entries_of()))


def with_a_degenerate_key(who: Guest) -> None:
    say_delta(who, record(CAROL.replaced(public_key=bytes(32)), sequence=1))


def of_a_wrong_size(who: Guest) -> None:
    body = head_body(CAROL, Tree(), sequence=1, size_bytes=1)
    say_delta(who, delta(signed(CAROL, body), {}))


def without_a_description(who: Guest) -> None:
    say_delta(who, fragment(CAROL, {b"\1" + BOB.name: b""}, sequence=1))


def of_an_unknown_format(who: Guest) -> None:
    said = b"\2" + entries_of()[b"\0"][1:]
    say_delta(who, fragment(CAROL, {b"\0": said}, sequence=1))


def with_a_group_address(who: Guest) -> None:
    say_delta(who, record(CAROL, sequence=1, endpoints=[endpoint_bytes("224.0.0.1")]))


def more_writers_than_there_is_room_for(who: Guest) -> None:
    room = MAX_FRAGMENTS - who.engine.gossip.replica.fragments
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(replica, "MAX_FRAGMENTS", MAX_FRAGMENTS - room + 1)
        say_delta(who, record(CAROL, sequence=1))
        say_delta(who, record(identity(42), sequence=1))


def removed_though_linked(who: Guest) -> None:
    """Somebody removes the guest, whose link stands."""
    body = record(BOB, sequence=1)
    say_delta(who, body)
    removal = sign_removal(CAROL, NETWORK_ID, TOPOLOGY, head_of(body))
    who.say(MessageType.REMOVAL, pack_removal(removal))


def removed_by_a_forger(who: Guest) -> None:
    body = record(CAROL, sequence=1)
    say_delta(who, body)
    removal = sign_removal(BOB, b"another!", TOPOLOGY, head_of(body))
    who.say(MessageType.REMOVAL, pack_removal(removal))


def relayed(who: Guest, dst: PeerName, *, hops_left: int, size: int = 100) -> None:
    header_bytes = RELAY_HEADER.pack(who.who.name, dst, hops_left)
    who.say(MessageType.RELAYED, header_bytes + bytes(size))


def relayed_to_nobody(who: Guest) -> None:
    relayed(who, CAROL.name, hops_left=3)


def relayed_too_often(who: Guest) -> None:
    relayed(who, CAROL.name, hops_left=0)


def relayed_cut_off(who: Guest) -> None:
    relayed(who, who.engine.name, hops_left=3, size=5)


def relayed_too_much(who: Guest) -> None:
    who.beside(CAROL).dial()
    who.wait(0.2)
    for _ in range(int(RELAY_BURST_BYTES) // 60_000 + 1):
        relayed(who, CAROL.name, hops_left=3, size=60_000)


def envelope_to_nobody(who: Guest) -> None:
    envelope = RELAY_HEADER.pack(BOB.name, CAROL.name, 3) + header(DatagramType.DATA)
    who.give(who.open_session().seal(pack_part(PartType.RELAY, envelope)))


def envelope_too_often(who: Guest) -> None:
    envelope = RELAY_HEADER.pack(BOB.name, CAROL.name, 0) + header(DatagramType.DATA)
    who.give(who.open_session().seal(pack_part(PartType.RELAY, envelope)))


def envelope_of_something_else(who: Guest) -> None:
    envelope = RELAY_HEADER.pack(BOB.name, CAROL.name, 3) + header(DatagramType.INITIATION)
    who.give(who.open_session().seal(pack_part(PartType.RELAY, envelope)))


def envelope_in_an_envelope(who: Guest) -> None:
    session = who.open_session()
    inner = RELAY_HEADER.pack(BOB.name, CAROL.name, 3) + header(DatagramType.DATA)
    to_us = RELAY_HEADER.pack(BOB.name, who.engine.name, 3)
    relayed_datagram = to_us + session.seal(pack_part(PartType.RELAY, inner))
    who.give(session.seal(pack_part(PartType.RELAY, relayed_datagram)))


def broadcast_of(source: PeerName, *, key_id: int = 7, counter: int = 0, left: int = 3) -> bytes:
    """Of a source whose key nobody has."""
    datagram = HEADER.pack(DatagramType.BROADCAST, 0, 0, key_id, counter) + bytes(32)
    return pack_part(PartType.BROADCAST, BROADCAST_HEADER.pack(source, left) + datagram)


def broadcast_that_nobody_can_open(who: Guest) -> None:
    say_delta(who, record(CAROL, sequence=1))
    who.give(who.open_session().seal(broadcast_of(CAROL.name)))
    assert who.drops == {}, "its key is waited for"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(broadcast, "MAX_ASKS", 1)
        who.wait(0.25)


def broadcast_that_is_none(who: Guest) -> None:
    envelope = BROADCAST_HEADER.pack(CAROL.name, 3) + header(DatagramType.DATA)
    who.give(who.open_session().seal(pack_part(PartType.BROADCAST, envelope)))


def broadcast_on_the_underlay(who: Guest) -> None:
    who.give(broadcast_of(CAROL.name)[3 + BROADCAST_HEADER.size :])


def broadcast_too_often(who: Guest) -> None:
    other = who.beside(CAROL).dial()
    other.open_session()
    who.give(who.open_session().seal(broadcast_of(BOB.name, left=0)))


def broadcasts_of_too_many_keys(who: Guest) -> None:
    session = who.open_session()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(who.engine._broadcast, "_ask_rate", TokenBuckets(1.0, 0.0))
        who.give(session.seal(broadcast_of(CAROL.name)))


def broadcasts_that_nobody_has_looked_into(who: Guest) -> None:
    session = who.open_session()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(who.engine._broadcast, "_unopened_rate", TokenBuckets(1.0, 0.0))
        who.give(session.seal(broadcast_of(CAROL.name)))


def key_that_its_source_did_not_sign(who: Guest) -> None:
    say_delta(who, record(CAROL, sequence=1))
    session = who.open_session()
    who.give(session.seal(broadcast_of(CAROL.name)))
    signed = sign_key(
        BOB, NETWORK_ID, life=7, key_id=7, cipher=CipherId.CHACHA20_POLY1305, key=bytes(32)
    )
    forged = pack_sender_key(signed.replaced(source=CAROL.name), 0)
    who.give(session.seal(pack_part(PartType.KEY, forged)))


def key_of_a_life_that_is_over(who: Guest) -> None:
    say_delta(who, record(CAROL, sequence=1))
    session = who.open_session()
    who.give(session.seal(broadcast_of(CAROL.name)))
    signed = sign_key(
        CAROL, NETWORK_ID, life=6, key_id=7, cipher=CipherId.CHACHA20_POLY1305, key=bytes(32)
    )
    who.give(session.seal(pack_part(PartType.KEY, pack_sender_key(signed, 0))))


def key_that_is_too_old(who: Guest) -> None:
    say_delta(who, record(CAROL, sequence=1))
    session = who.open_session()
    who.give(session.seal(broadcast_of(CAROL.name)))
    signed = sign_key(
        CAROL, NETWORK_ID, life=7, key_id=7, cipher=CipherId.CHACHA20_POLY1305, key=bytes(32)
    )
    who.give(session.seal(pack_part(PartType.KEY, pack_sender_key(signed, 180))))


def key_cut_off(who: Guest) -> None:
    who.give(who.open_session().seal(pack_part(PartType.KEY, bytes(128))))


def request_for_a_key_cut_off(who: Guest) -> None:
    who.give(who.open_session().seal(pack_part(PartType.KEY_WANT, bytes(19))))


def too_many_requests_for_keys(who: Guest) -> None:
    session = who.open_session()
    for number in range(int(ASKS_BURST) + 1):
        who.give(session.seal(pack_part(PartType.KEY_WANT, pack_want(CAROL.name, number))))


CASES: list[tuple[DropReason, Callable[[Guest], None]]] = [
    (DropReason.TRUNCATED, short),
    (DropReason.TRUNCATED, empty),
    (DropReason.UNKNOWN_TYPE, unknown_type),
    (DropReason.UNKNOWN_SESSION, unasked_cookie_reply),
    (DropReason.BAD_HANDSHAKE, forged_cookie_reply),
    (DropReason.BAD_MAC, bad_mac),
    (DropReason.BAD_MAC, call_for_another_peer),
    (DropReason.COOKIE_REQUIRED, cookie_required),
    (DropReason.HANDSHAKE_RATE, handshake_rate),
    (DropReason.LINK_LIMIT, link_limit),
    (DropReason.UNKNOWN_SESSION, unknown_session),
    (DropReason.UNKNOWN_SESSION, unasked_response),
    (DropReason.BAD_TAG, bad_tag),
    (DropReason.BAD_TAG, cut_off),
    (DropReason.REPLAYED, replayed),
    (DropReason.EXPIRED_KEY, expired_key),
    (DropReason.EXPIRED_KEY, expired_key_to_send_by),
    (DropReason.EXPIRED_KEY, used_up_key),
    (DropReason.UNTRUSTED, untrusted),
    (DropReason.EXPIRED_KEY, clear_of_an_expired_session),
    (DropReason.UNKNOWN_SESSION, clear_of_no_session),
    (DropReason.MALFORMED_PART, malformed_part),
    (DropReason.MALFORMED_PART, short_probe),
    (DropReason.BAD_HANDSHAKE, bad_handshake),
    (DropReason.BAD_HANDSHAKE, cut_handshake),
    (DropReason.BAD_HANDSHAKE, bare_header),
    (DropReason.UNKNOWN_PEER, unknown_peer),
    (DropReason.UNKNOWN_PEER, known_but_not_linked),
    (DropReason.OLD_STAMP, old_stamp),
    (DropReason.OLD_STAMP, repeated_stamp),
    (DropReason.BAD_HANDSHAKE, forged_response),
    (DropReason.RUNT_FRAME, runt_frame),
    (DropReason.RUNT_FRAME, runt_frame_from_a_peer),
    (DropReason.OVERSIZED_FRAME, oversized_frame),
    (DropReason.BAD_SOURCE, bad_source),
    (DropReason.NO_SESSION, no_session),
    (DropReason.STORM, storm),
    (DropReason.HOLD_LIMIT, more_than_is_held),
    (DropReason.NO_ROUTE, relayed_to_nobody),
    (DropReason.NO_ROUTE, envelope_to_nobody),
    (DropReason.HOP_LIMIT, relayed_too_often),
    (DropReason.HOP_LIMIT, envelope_too_often),
    (DropReason.RELAY_RATE, relayed_too_much),
    (DropReason.TRUNCATED, relayed_cut_off),
    (DropReason.MALFORMED_PART, envelope_of_something_else),
    (DropReason.MALFORMED_PART, envelope_in_an_envelope),
    (DropReason.NO_SENDER_KEY, broadcast_that_nobody_can_open),
    (DropReason.MALFORMED_PART, broadcast_that_is_none),
    (DropReason.UNKNOWN_TYPE, broadcast_on_the_underlay),
    (DropReason.HOP_LIMIT, broadcast_too_often),
    (DropReason.RELAY_RATE, broadcasts_that_nobody_has_looked_into),
    (DropReason.BAD_SENDER_KEY, key_that_its_source_did_not_sign),
    (DropReason.BAD_SENDER_KEY, key_of_a_life_that_is_over),
    (DropReason.EXPIRED_KEY, key_that_is_too_old),
    (DropReason.MALFORMED_PART, key_cut_off),
    (DropReason.MALFORMED_PART, request_for_a_key_cut_off),
    (DropReason.KEY_RATE, too_many_requests_for_keys),
    (DropReason.KEY_RATE, broadcasts_of_too_many_keys),
    (DropReason.BAD_FRAGMENT, wrongly_signed),
    (DropReason.BAD_FRAGMENT, signed_by_another),
    (DropReason.BAD_FRAGMENT, of_another_network),
    (DropReason.BAD_FRAGMENT, of_another_channel),
    (DropReason.BAD_FRAGMENT, with_a_degenerate_key),
    (DropReason.BAD_FRAGMENT, of_a_wrong_size),
    (DropReason.BAD_ENTRY, without_a_description),
    (DropReason.BAD_ENTRY, of_an_unknown_format),
    (DropReason.BAD_ENTRY, with_a_group_address),
    (DropReason.STATE_FULL, more_writers_than_there_is_room_for),
    (DropReason.NOT_GONE, removed_though_linked),
    (DropReason.BAD_FRAGMENT, removed_by_a_forger),
]
OF_CHANNELS = [
    (provoke, CAROL.name if reason is DropReason.BAD_ENTRY else BOB.name)
    for reason, provoke in CASES
    if reason
    in (
        DropReason.BAD_FRAGMENT,
        DropReason.BAD_ENTRY,
        DropReason.STATE_FULL,
        DropReason.NOT_GONE,
    )
]


def name_of(case: Callable[[Guest], None]) -> str:
    return case.__name__


@pytest.mark.parametrize(("reason", "provoke"), CASES, ids=[name_of(case) for _, case in CASES])
def test_each_kind_of_garbage_is_counted_under_its_reason(
    reason: DropReason, provoke: Callable[[Guest], None]
) -> None:
    who = guest()
    assert who.drops == {}
    provoke(who)
    assert who.drops == {reason: 1}
    assert who.frames == []
    assert who.established()


def test_every_reason_of_the_pure_parts_has_a_case() -> None:
    assert {reason for reason, _ in CASES} == set(DropReason) - OF_THE_DRIVER


@pytest.mark.parametrize(("provoke", "source"), OF_CHANNELS)
def test_bad_content_is_attributed_in_words_and_does_not_close_the_link(
    provoke: Callable[[Guest], None], source: PeerName
) -> None:
    # To its writer, once it is certain whose it is; else to who carried it, who need not be to
    # blame.
    who = guest()
    provoke(who)
    [ignored] = [event for event in who.events if isinstance(event, ContentIgnored)]
    assert ignored.source == source
    assert ignored.text
    who.say(MessageType.PING, bytes(8))
    assert who.messages(MessageType.PONG) == [bytes(8)]
    assert not any(isinstance(event, LinkLost) for event in who.events)


def test_what_a_writer_says_no_longer_counts_once_it_says_something_bad() -> None:
    who = Guest(engine_of(discovery=False)).dial()
    say_delta(who, record(CAROL, sequence=1))
    shown = {row["name"] for row in who.engine.reports.peers(who.now)}
    assert str(CAROL.name) in shown
    say_delta(who, fragment(CAROL, {}, sequence=2))
    assert who.drops == {DropReason.BAD_ENTRY: 1}
    assert str(CAROL.name) not in {row["name"] for row in who.engine.reports.peers(who.now)}
    say_delta(who, record(CAROL, sequence=3))
    assert shown == {row["name"] for row in who.engine.reports.peers(who.now)}


@pytest.mark.parametrize("sequence", [2**64 - 1], ids=["the last"])
def test_a_head_that_no_peer_would_hold_ends_the_link(sequence: int) -> None:
    # After that nobody could ever write again.
    who = guest()
    say_delta(who, record(CAROL, sequence=sequence))
    assert who.end.learned is CloseCode.PROTOCOL_ERROR
    assert who.drops == {}


def test_garbage_does_not_disturb_a_session() -> None:
    who = guest()
    session = who.open_session(stamp=5)
    for provoke in (short, unknown_type, unasked_response, bad_handshake, unknown_peer, old_stamp):
        provoke(who)
    frame = ethernet(BROADCAST, mac(1))
    who.give(session.seal(pack_part(PartType.FRAME, frame)))
    assert who.frames == [frame]
