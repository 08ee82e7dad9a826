"""The way of a frame through one peer: what leaves, what is delivered, what is counted."""

from __future__ import annotations

from ipaddress import IPv4Address

import pytest

from meshnet.errors import DropReason
from meshnet.events import AddressConflict, FloodLimited, LoopSuspected
from meshnet.ids import PeerName, format_mac
from meshnet.peering.data_path import Counters, DataPath
from meshnet.peering.relay_rate import RELAY_BURST_BYTES
from meshnet.switch.announce import arrival_notice, gratuitous_arp
from meshnet.switch.ethernet import DEFAULT_OVERLAY_MTU
from meshnet.switch.storm import FLOOD_BURST_COPIES
from meshnet.switch.switch import Switch
from meshnet.wire.ciphers import CIPHERS, CipherId
from meshnet.wire.datagram import (
    HEADER,
    RELAY_HEADER,
    DatagramType,
    PartType,
    pack_part,
    parse_parts,
)
from meshnet.wire.session import Session
from support.samples import (
    ALICE,
    BOB,
    BROADCAST,
    CAROL,
    endpoint,
    ethernet,
    flip,
    identity,
    mac,
    session_pair,
)

OURS, THEIRS, UNKNOWN = mac(1), mac(2), mac(3)
PEER_AT = endpoint(2)
NOW = 10.0


def data_path() -> DataPath:
    return DataPath(ALICE.name, Switch(DEFAULT_OVERLAY_MTU), Counters())


def joined(cipher: CipherId = CipherId.CHACHA20_POLY1305) -> tuple[DataPath, Session]:
    """A data path with one session in use, and the other end of that session."""
    path = data_path()
    ours, theirs = session_pair(cipher)
    path.add_session(ours)
    path.use_session(ours)
    return path, theirs


def sealed(session: Session, *parts: tuple[PartType, bytes]) -> bytes:
    return session.seal(b"".join(pack_part(*part) for part in parts))


def test_in_a_crowd_addresses_are_announced_to_all_when_the_first_neighbour_is_there() -> None:
    path = data_path()
    said: list[bytes] = []

    class Everybody:
        def send(self, frame: bytes, now: float) -> DropReason | None:
            said.append(frame)
            return None

        def receive(
            self, kind: PartType, body: bytes, came_from: PeerName, now: float
        ) -> DropReason | None:
            return None

    path.broadcast, path.crowded = Everybody(), True
    path.neighbours = (BOB.name, CAROL.name)
    address = IPv4Address("10.1.0.1")
    near, other, stranger = session_pair()[0], other_session(3), other_session(9)
    other.peer = CAROL.name
    path.use_session(stranger)
    path.set_own_addresses(OURS, [address], router=False, now=NOW)
    path.handle_timer(NOW)
    assert said == [gratuitous_arp(address, OURS)], "they are others now"
    for session in (near, other):
        path.use_session(session)
    for second in range(1, 9):
        path.handle_timer(NOW + second)
    assert said == [gratuitous_arp(address, OURS)] * 4, "the first neighbour begins it anew"
    assert path.datagrams_to_send() == [], "nobody is told by a datagram of its own"
    path.stop_using(near)
    path.stop_using(other)
    path.use_session(near)
    path.handle_timer(NOW + 20.0)
    assert len(said) == 5


@pytest.mark.parametrize("cipher", CipherId)
def test_a_frame_leaves_sealed_to_where_the_peer_is(cipher: CipherId) -> None:
    path, theirs = joined(cipher)
    frame = ethernet(BROADCAST, OURS)
    path.receive_frames([frame], NOW)
    [(datagram, remote)] = path.datagrams_to_send()
    assert remote == PEER_AT
    assert frame not in datagram
    assert parse_parts(theirs.open(datagram)) == [(PartType.FRAME, frame)]
    assert path.datagrams_to_send() == []


def test_frames_of_a_datagram_are_delivered_in_order() -> None:
    path, theirs = joined()
    frames = [ethernet(OURS, THEIRS, bytes((number,))) for number in range(3)]
    datagram = sealed(theirs, *((PartType.FRAME, frame) for frame in frames))
    assert path.receive_datagrams([(datagram, PEER_AT)], NOW) == []
    assert path.frames_to_deliver() == frames
    assert path.frames_to_deliver() == []


def test_counters_count_frames_bytes_and_datagrams() -> None:
    path, theirs = joined()
    frame = ethernet(BROADCAST, OURS)
    path.receive_frames([frame, frame], NOW)
    back = ethernet(OURS, THEIRS, b"back")
    path.receive_datagrams([(sealed(theirs, (PartType.FRAME, back)), PEER_AT)], NOW)
    counters = path.counters
    assert (counters.frames_sent, counters.frame_bytes_sent) == (2, 2 * len(frame))
    assert (counters.frames_received, counters.frame_bytes_received) == (1, len(back))
    assert (counters.datagrams_sent, counters.datagrams_received) == (2, 1)
    assert not counters.drops


def test_a_flooded_frame_counts_once_for_each_peer_sealed_or_in_clear() -> None:
    path, _ = joined()
    in_clear = other_session(10)
    in_clear.clear_with = endpoint(10)
    for session in (in_clear, other_session(11)):
        path.use_session(session)
    frame = ethernet(BROADCAST, OURS)
    path.receive_frames([frame], NOW)
    kinds = sorted(datagram[0] for datagram, _ in path.datagrams_to_send())
    assert kinds == sorted([DatagramType.DATA, DatagramType.DATA, DatagramType.CLEAR_DATA])
    counters = path.counters
    assert (counters.frames_sent, counters.frame_bytes_sent) == (3, 3 * len(frame))
    assert counters.datagrams_sent == 3


def test_a_frame_goes_to_one_peer_once_its_place_is_known() -> None:
    path, theirs = joined()
    other = Session(
        CAROL.name, 9, 9, CIPHERS[CipherId.AEGIS_128L], bytes(16), bytes(16), endpoint(3), 0.0
    )
    path.add_session(other)
    path.use_session(other)
    path.receive_frames([ethernet(THEIRS, OURS)], NOW)
    assert {remote for _, remote in path.datagrams_to_send()} == {PEER_AT, endpoint(3)}
    learned = sealed(theirs, (PartType.FRAME, ethernet(OURS, THEIRS)))
    path.receive_datagrams([(learned, PEER_AT)], NOW)
    path.receive_frames([ethernet(THEIRS, OURS)], NOW)
    assert [remote for _, remote in path.datagrams_to_send()] == [PEER_AT]


def test_traffic_within_the_local_side_is_neither_carried_nor_a_drop() -> None:
    path, _ = joined()
    path.receive_frames([ethernet(BROADCAST, OURS), ethernet(BROADCAST, UNKNOWN)], NOW)
    path.datagrams_to_send()
    path.receive_frames([ethernet(OURS, UNKNOWN)], NOW)
    assert path.datagrams_to_send() == []
    assert not path.counters.drops


@pytest.mark.parametrize(
    ("frame", "reason"),
    [
        (b"", DropReason.RUNT_FRAME),
        (ethernet(BROADCAST, OURS).ljust(9001), DropReason.OVERSIZED_FRAME),
        (ethernet(BROADCAST, BROADCAST), DropReason.BAD_SOURCE),
    ],
)
def test_bad_frames_are_dropped_on_either_side(frame: bytes, reason: DropReason) -> None:
    path, theirs = joined()
    path.receive_frames([frame], NOW)
    assert path.datagrams_to_send() == []
    assert path.counters.drops == {reason: 1}
    path.receive_datagrams([(sealed(theirs, (PartType.FRAME, frame)), PEER_AT)], NOW)
    assert path.frames_to_deliver() == []
    assert path.counters.drops == {reason: 2}


def test_without_a_session_a_frame_is_counted_as_dropped() -> None:
    path = data_path()
    path.receive_frames([ethernet(BROADCAST, OURS)], NOW)
    assert path.counters.drops == {DropReason.NO_SESSION: 1}
    assert path.counters.frames_sent == 0


def test_a_frame_for_a_peer_whose_session_is_gone_is_counted_as_dropped() -> None:
    path, theirs = joined()
    path.receive_datagrams(
        [(sealed(theirs, (PartType.FRAME, ethernet(OURS, THEIRS))), PEER_AT)], NOW
    )
    session, _ = session_pair()
    path.use_session(session)
    path.remove_session(session)
    path.receive_frames([ethernet(THEIRS, OURS)], NOW)
    assert path.counters.drops == {DropReason.NO_SESSION: 1}


def test_a_replayed_datagram_delivers_nothing() -> None:
    path, theirs = joined()
    datagram = sealed(theirs, (PartType.FRAME, ethernet(OURS, THEIRS)))
    path.receive_datagrams([(datagram, PEER_AT)] * 3, NOW)
    assert len(path.frames_to_deliver()) == 1
    assert path.counters.drops == {DropReason.REPLAYED: 2}


def test_a_forged_counter_does_not_move_the_window() -> None:
    path, theirs = joined()
    datagram = sealed(theirs, (PartType.FRAME, ethernet(OURS, THEIRS)))
    ahead = flip(datagram, 8 * 8)  # The counter's highest byte.
    path.receive_datagrams([(ahead, PEER_AT), (datagram, PEER_AT)], NOW)
    assert len(path.frames_to_deliver()) == 1
    assert path.counters.drops == {DropReason.BAD_TAG: 1}


def test_an_authentic_datagram_moves_the_peer_and_a_forged_or_old_one_does_not() -> None:
    path, theirs = joined()
    first = sealed(theirs, (PartType.FRAME, ethernet(OURS, THEIRS)))
    path.receive_datagrams([(first, endpoint(7))], NOW)
    path.receive_datagrams([(first, endpoint(8)), (flip(first, 200), endpoint(9))], NOW)
    path.receive_frames([ethernet(THEIRS, OURS)], NOW)
    assert {remote for _, remote in path.datagrams_to_send()} == {endpoint(7)}


def test_a_malformed_part_spoils_its_datagram_and_nothing_else() -> None:
    path, theirs = joined()
    good = pack_part(PartType.FRAME, ethernet(OURS, THEIRS))
    spoilt = theirs.seal(good + b"\x01\xff\xff")
    path.receive_datagrams([(spoilt, PEER_AT), (theirs.seal(good), PEER_AT)], NOW)
    assert len(path.frames_to_deliver()) == 1
    assert path.counters.drops == {DropReason.MALFORMED_PART: 1}


def test_parts_of_later_versions_are_skipped() -> None:
    path, theirs = joined()
    frame = ethernet(OURS, THEIRS)
    datagram = theirs.seal(b"\xc8\x00\x01x" + pack_part(PartType.FRAME, frame))
    path.receive_datagrams([(datagram, PEER_AT)], NOW)
    assert path.frames_to_deliver() == [frame]
    assert not path.counters.drops


def test_a_probe_is_answered_and_an_answer_is_handed_up() -> None:
    path, theirs = joined()
    path.receive_datagrams([(sealed(theirs, (PartType.PROBE, bytes(8))), PEER_AT)], NOW)
    [(answer, _)] = path.datagrams_to_send()
    assert parse_parts(theirs.open(answer)) == [(PartType.PROBE_ACK, bytes(8))]
    ack = sealed(theirs, (PartType.PROBE_ACK, (7).to_bytes(8, "big")))
    path.receive_datagrams([(ack, PEER_AT)], NOW)
    assert [probe_id for _, probe_id in path.probe_acks] == [7]


@pytest.mark.parametrize("kind", [PartType.PROBE, PartType.RELAY, PartType.MESSAGE])
def test_one_part_of_a_datagram_is_answered_or_passed_on(kind: PartType) -> None:
    # Or a peer could have us send ten times what it sends, to whatever address it gives as its own.
    path, theirs = joined()
    near, _ = session_pair(first_index=10)
    near.peer = CAROL.name
    path.add_session(near)
    path.use_session(near)
    path.next_hops[CAROL.name] = CAROL.name
    body = bytes(8)
    if kind is PartType.RELAY:
        body = RELAY_HEADER.pack(BOB.name, CAROL.name, 3) + HEADER.pack(
            DatagramType.DATA, 0, 0, 1, 0
        )
    parts = [(kind, body)] * 100 + [(PartType.FRAME, ethernet(OURS, THEIRS))]
    path.receive_datagrams([(sealed(theirs, *parts), endpoint(66))], NOW)
    assert len(path.datagrams_to_send()) + len(path.messages) == 1
    assert path.counters.drops == {DropReason.MALFORMED_PART: 99}
    assert len(path.frames_to_deliver()) == 1


def test_what_a_relay_says_of_the_source_moves_no_session() -> None:
    path = data_path()
    far, theirs = session_pair()
    near, relays = session_pair(first_index=10)
    far.remote, near.peer = BOB.name, CAROL.name
    for session in (far, near):
        path.add_session(session)
        path.use_session(session)
    envelope = RELAY_HEADER.pack(identity(66).name, ALICE.name, 3) + sealed(theirs)
    path.receive_datagrams([(sealed(relays, (PartType.RELAY, envelope)), PEER_AT)], NOW)
    assert path.confirmed == [near, far]
    assert far.remote == BOB.name


def test_a_neighbour_is_relayed_for_at_its_own_rate_whomever_it_names_as_the_source() -> None:
    path, theirs = joined()
    near, relays = session_pair(first_index=10)
    near.peer = CAROL.name
    path.add_session(near)
    path.use_session(near)
    path.next_hops.update({name: name for name in (BOB.name, CAROL.name)})
    inner = HEADER.pack(DatagramType.DATA, 0, 0, 1, 0) + bytes(60_000)

    def pass_on(by: Session, dst: PeerName, source: int) -> None:
        envelope = RELAY_HEADER.pack(identity(source).name, dst, 3) + inner
        path.receive_datagrams([(sealed(by, (PartType.RELAY, envelope)), PEER_AT)], NOW)

    within = int(RELAY_BURST_BYTES) // len(inner)
    for source in range(within + 5):
        pass_on(theirs, CAROL.name, 100 + source)
    assert path.counters.drops == {DropReason.RELAY_RATE: 5}
    pass_on(relays, BOB.name, 100)
    assert path.counters.datagrams_relayed == within + 1, "the other neighbour has its own rate"


@pytest.mark.parametrize("kind", [PartType.PROBE, PartType.PROBE_ACK])
def test_a_probe_of_another_size_is_malformed(kind: PartType) -> None:
    path, theirs = joined()
    path.receive_datagrams([(sealed(theirs, (kind, bytes(7))), PEER_AT)], NOW)
    assert path.counters.drops == {DropReason.MALFORMED_PART: 1}
    assert path.datagrams_to_send() == []
    assert path.probe_acks == []


def test_the_first_authentic_datagram_confirms_a_session_once() -> None:
    path = data_path()
    ours, theirs = session_pair()
    path.add_session(ours)
    path.receive_datagrams([(flip(theirs.seal(b""), 200), PEER_AT)], NOW)
    assert path.confirmed == []
    path.receive_datagrams([(theirs.seal(b""), PEER_AT), (theirs.seal(b""), PEER_AT)], NOW)
    assert path.confirmed == [ours]


def test_nothing_is_sent_by_a_session_before_it_is_in_use() -> None:
    path = data_path()
    ours, _ = session_pair()
    path.add_session(ours)
    path.receive_frames([ethernet(BROADCAST, OURS)], NOW)
    assert path.datagrams_to_send() == []


def test_a_removed_session_is_unknown() -> None:
    path, theirs = joined()
    ours, _ = session_pair()
    assert path.knows_index(ours.our_index)
    path.remove_session(ours)
    assert not path.knows_index(ours.our_index)
    path.receive_datagrams([(theirs.seal(b""), PEER_AT)], NOW)
    assert path.counters.drops == {DropReason.UNKNOWN_SESSION: 1}


def test_datagrams_of_other_types_are_given_back() -> None:
    path, _ = joined()
    handshake = (b"\x01".ljust(16, b"\0"), PEER_AT)
    assert path.receive_datagrams([(b"short", PEER_AT), handshake], NOW) == [handshake]
    assert path.counters.drops == {DropReason.TRUNCATED: 1}


# What is flooded, and what is watched.


def other_session(number: int) -> Session:
    cipher, key = CIPHERS[CipherId.AEGIS_128L], bytes(16)
    return Session(identity(number).name, number, number, cipher, key, key, endpoint(number), NOW)


def exhaust_floods(path: DataPath) -> None:
    path.receive_frames([ethernet(BROADCAST, OURS)] * (int(FLOOD_BURST_COPIES) + 1), NOW)
    assert path.counters.drops[DropReason.STORM] == 1
    path.datagrams_to_send()


def test_a_storm_stops_what_is_for_all_and_nothing_that_is_known_to_be_for_one() -> None:
    path, theirs = joined()
    path.receive_datagrams([(sealed(theirs, (PartType.FRAME, ethernet(OURS, THEIRS))), PEER_AT)], 1)
    exhaust_floods(path)
    path.receive_frames([ethernet(BROADCAST, OURS), ethernet(UNKNOWN, OURS)], NOW)
    assert path.datagrams_to_send() == []
    path.receive_frames([ethernet(THEIRS, OURS)] * 100, NOW)
    assert len(path.datagrams_to_send()) == 100
    assert path.counters.drops == {DropReason.STORM: 3}


def test_a_storm_of_ours_is_told_of_once_and_ends() -> None:
    path, _ = joined()
    exhaust_floods(path)
    path.receive_frames([ethernet(BROADCAST, OURS)] * 10, NOW)
    assert [path.next_event(), path.next_event()] == [FloodLimited(None), None]
    path.receive_frames([ethernet(BROADCAST, OURS)], NOW + 1.0)
    assert len(path.datagrams_to_send()) == 1


def test_a_peer_s_storm_is_stopped_here_and_what_is_for_us_still_comes() -> None:
    path, theirs = joined()
    path.receive_frames([ethernet(BROADCAST, OURS)], NOW)
    flood = [(PartType.FRAME, ethernet(BROADCAST, THEIRS))] * 1000
    for _ in range(2 * int(FLOOD_BURST_COPIES) // 1000):
        path.receive_datagrams([(sealed(theirs, *flood), PEER_AT)], NOW)
    assert len(path.frames_to_deliver()) == FLOOD_BURST_COPIES
    assert path.counters.drops == {DropReason.STORM: FLOOD_BURST_COPIES}
    for_us = ethernet(OURS, THEIRS)
    for_unknown = ethernet(UNKNOWN, THEIRS)
    parts = [(PartType.FRAME, frame) for frame in (for_us, for_unknown, for_us)]
    path.receive_datagrams([(sealed(theirs, *parts), PEER_AT)], NOW)
    assert path.frames_to_deliver() == [for_us, for_us]
    assert path.next_event() == FloodLimited(BOB.name)


def test_a_flood_is_charged_by_the_copies_that_are_made_of_it() -> None:
    path, _ = joined()
    for number in range(10, 19):
        path.use_session(other_session(number))
    path.receive_frames([ethernet(BROADCAST, OURS)] * int(FLOOD_BURST_COPIES), NOW)
    assert len(path.datagrams_to_send()) == FLOOD_BURST_COPIES


def test_a_mover_s_first_frame_to_one_peer_is_followed_by_a_notice_to_all() -> None:
    path, theirs = joined()
    path.use_session(other_session(9))
    path.receive_datagrams([(sealed(theirs, (PartType.FRAME, ethernet(OURS, THEIRS))), PEER_AT)], 1)
    frame = ethernet(THEIRS, OURS)
    path.receive_frames([frame, frame], NOW)
    sent = path.datagrams_to_send()
    assert sorted(remote for _, remote in sent) == [PEER_AT] * 3 + [endpoint(9)]
    told = [parse_parts(theirs.open(data)) for data, remote in sent if remote == PEER_AT]
    assert told == [
        [(PartType.FRAME, frame)],
        [(PartType.FRAME, frame)],
        [(PartType.FRAME, arrival_notice(OURS))],
    ]


def test_our_addresses_are_announced_to_a_peer_when_frames_begin_to_flow() -> None:
    path = data_path()
    path.set_own_addresses(OURS, [IPv4Address("10.32.0.1")], router=False, now=NOW)
    ours, theirs = session_pair()
    path.add_session(ours)
    path.use_session(ours)
    deadline = path.next_deadline()
    assert deadline is not None
    assert deadline <= NOW
    path.handle_timer(NOW)
    [(datagram, remote)] = path.datagrams_to_send()
    assert remote == PEER_AT
    announced = gratuitous_arp(IPv4Address("10.32.0.1"), OURS)
    assert parse_parts(theirs.open(datagram)) == [(PartType.FRAME, announced)]
    # New keys with a peer that is there already are no news.
    while (deadline := path.next_deadline()) is not None:
        path.handle_timer(deadline)
    renewed, _ = session_pair(first_index=20)
    path.use_session(renewed)
    assert path.next_deadline() is None
    path.remove_session(renewed)
    path.use_session(renewed)
    assert path.next_deadline() is not None
    path.remove_session(renewed)
    assert path.next_deadline() is None


def test_who_claims_our_address_from_a_peer_is_an_event() -> None:
    path, theirs = joined()
    path.set_own_addresses(OURS, [IPv4Address("10.32.0.1")], router=False, now=NOW)
    claim = gratuitous_arp(IPv4Address("10.32.0.1"), THEIRS)
    path.receive_datagrams([(sealed(theirs, (PartType.FRAME, claim)), PEER_AT)], NOW)
    assert path.frames_to_deliver() == [claim], "ARP is carried as it is"
    event = path.next_event()
    assert isinstance(event, AddressConflict)
    assert event.address == "10.32.0.1"


def test_an_address_that_keeps_changing_sides_is_an_event() -> None:
    path, theirs = joined()
    for _ in range(20):
        path.receive_frames([ethernet(BROADCAST, UNKNOWN)], NOW)
        back = sealed(theirs, (PartType.FRAME, ethernet(BROADCAST, UNKNOWN)))
        path.receive_datagrams([(back, PEER_AT)], NOW)
    assert path.switch.moves == 39
    assert [path.next_event(), path.next_event()] == [LoopSuspected(format_mac(UNKNOWN)), None]
