"""One engine and what is said to it: who gets in, what is believed, what is shown."""

from __future__ import annotations

import json
from typing import get_type_hints

import pytest

from meshnet.discovery.backoff import REFUSED_DELAY_S
from meshnet.errors import CloseCode
from meshnet.events import DialFailed, LinkEstablished, LinkLost, LinkRefused, PeerDiscovered
from meshnet.gossip.records import MAX_SEQUENCE, PeerRecord, read_record
from meshnet.ids import Endpoint
from meshnet.peering.linking import HANDSHAKE_TIMEOUT_S, LINK_PING_INTERVAL_S, STAMPS_PER_GENERATION
from meshnet.report import ConnectionReport, PeerReport
from meshnet.testing import Cluster
from meshnet.wire.link import HELLO_BYTES, FrameKind, LinkAuthenticated
from meshnet.wire.messages import MessageType
from support.guest import NOW, Guest, engine_of
from support.link_pair import End, frame, hello
from support.records import endpoint_bytes, record_body, signed
from support.samples import (
    ALICE,
    BOB,
    CAROL,
    NETWORK_ID,
    OTHER_PSK,
    endpoint,
    identity,
    link_config,
)


def guest(**changes: object) -> Guest:
    return Guest(engine_of(**changes)).dial()  # type: ignore[arg-type]


def dialled(who: Guest) -> Guest:
    """The engine is told of the guest and dials it; nobody has answered yet."""
    who.engine.connect(who.at.host, who.at.port, who.now)
    who.drain()
    return who


def row_of(who: Guest, address: Endpoint | None = None) -> ConnectionReport:
    [row] = [
        row
        for row in who.engine.reports.connections()
        if address is None or row["address"] == str(address)
    ]
    return row


def refused(who: Guest) -> LinkRefused:
    [event] = [event for event in who.events if isinstance(event, LinkRefused)]
    return event


def own_records(who: Guest) -> list[PeerRecord]:
    """The records that the engine sent of itself, oldest first."""
    records = [read_record(raw, NETWORK_ID) for raw in who.messages(MessageType.PEER_RECORD)]
    return [record for record in records if record.name == who.engine.name]


# Links.


@pytest.mark.parametrize("outbound", [True, False])
def test_a_link_is_established_and_told_of(outbound: bool) -> None:
    who = Guest(engine_of())
    if outbound:
        [dial] = dialled(who).dials
        assert (dial.host, dial.port) == who.at
        who.answer(dial)
    else:
        who.dial()
    assert who.established()
    assert [event for event in who.events if isinstance(event, LinkEstablished)] == [
        LinkEstablished(BOB.name, who.at, outbound)
    ]
    assert row_of(who)["state"] == "connecting", "no session yet"


def test_all_records_known_are_sent_on_a_new_link_but_not_its_own() -> None:
    first = guest()
    for who in (BOB, CAROL):
        first.say(MessageType.PEER_RECORD, signed(who, record_body(who, sequence=1)))
    second = first.beside(BOB).dial()
    names = {read_record(r, NETWORK_ID).name for r in second.messages(MessageType.PEER_RECORD)}
    assert names == {ALICE.name, CAROL.name}


@pytest.mark.parametrize(
    ("answering", "code"),
    [
        (link_config(BOB, psk=OTHER_PSK), CloseCode.WRONG_PASSWORD),
        (link_config(BOB, network="other"), CloseCode.OTHER_NETWORK),
        (link_config(ALICE, life=99), CloseCode.SAME_IDENTITY),
    ],
    ids=["password", "network", "same identity"],
)
def test_a_refusal_is_shown_with_its_cause_and_looked_at_again_seldom(
    answering: object, code: CloseCode
) -> None:
    who = dialled(Guest(engine_of()))
    who.end = End.listener(answering)  # type: ignore[arg-type]
    who.meet(target_id=who.dials[0].target_id)
    event = refused(who)
    assert (event.code, event.remote, event.outbound) == (code, who.at, True)
    row = row_of(who)
    assert (row["state"], row["reason"], row["peer"]) == ("failed", code.text, "")
    assert len(who.dials) == 1
    who.wait(REFUSED_DELAY_S - 0.1)
    assert len(who.dials) == 1
    who.wait(0.2)
    assert len(who.dials) == 2


@pytest.mark.parametrize(
    ("dialling", "code"),
    [
        (link_config(BOB, psk=OTHER_PSK), CloseCode.WRONG_PASSWORD),
        (link_config(BOB, network="other"), CloseCode.OTHER_NETWORK),
    ],
)
def test_who_is_refused_inbound_is_told_and_counted_as_an_event(
    dialling: object, code: CloseCode
) -> None:
    who = Guest(engine_of())
    who.end = End.dialler(dialling)  # type: ignore[arg-type]
    who.dial()
    event = refused(who)
    assert (event.code, event.outbound) == (code, False)
    assert who.end.learned is code
    assert who.closed()
    assert who.engine.reports.connections() == []


def test_another_version_is_refused_at_both_ends() -> None:
    who = dialled(Guest(engine_of()))
    who.engine.link_opened(1, who.at, who.dials[0].target_id, who.now)
    who.give_bytes(hello(lowest=2, highest=3))
    assert refused(who).code is CloseCode.OTHER_VERSION
    assert row_of(who)["state"] == "failed"
    assert "theirs 2 to 3" in row_of(who)["reason"]


@pytest.mark.parametrize("data", [b"GET / HTTP/1.1\r\n", bytes(1000)])
def test_random_bytes_end_the_link_and_get_no_answer(data: bytes) -> None:
    who = Guest(engine_of())
    who.engine.link_opened(1, who.at, None, who.now)
    who.engine.receive_link_bytes(1, data, who.now)
    [output] = who.engine.links_to_send()
    assert (output.data, output.close) == (b"", True)
    who.drain()
    assert refused(who).code is CloseCode.PROTOCOL_ERROR


def test_a_silent_stranger_is_closed_in_time() -> None:
    who = Guest(engine_of())
    who.engine.link_opened(1, who.at, None, who.now)
    who.give_bytes(hello()[:-1])
    who.wait(HANDSHAKE_TIMEOUT_S - 0.1)
    assert not who.closed()
    who.wait(0.2)
    assert who.closed()
    assert refused(who).code is CloseCode.TIMEOUT


def test_a_lively_stranger_is_closed_in_time_too() -> None:
    who = Guest(engine_of())
    who.engine.link_opened(1, who.at, None, who.now)
    for byte in hello():
        who.give_bytes(bytes((byte,)))
        who.wait(HANDSHAKE_TIMEOUT_S / HELLO_BYTES)
    assert who.closed()
    assert refused(who).code is CloseCode.TIMEOUT


def test_what_was_closed_by_us_is_over_whatever_still_arrives() -> None:
    who = Guest(engine_of())
    who.engine.link_opened(1, who.at, None, who.now)
    who.give_bytes(b"nonsense")
    events = len(who.events)
    who.give_bytes(hello())
    who.engine.link_ended(1, "reset", who.now)
    who.drain()
    assert len(who.events) == events


def test_a_connection_that_breaks_is_dialled_again() -> None:
    who = dialled(Guest(engine_of()))
    who.answer(who.dials[0])
    who.engine.link_ended(1, "connection reset", who.now)
    who.drain()
    [lost] = [event for event in who.events if isinstance(event, LinkLost)]
    assert (lost.peer, lost.reason) == (BOB.name, "connection reset")
    assert row_of(who)["reason"] == "connection reset"
    who.wait(0.3)
    assert len(who.dials) == 2


def test_a_dial_that_fails_is_told_of_and_tried_again() -> None:
    who = dialled(Guest(engine_of()))
    who.engine.dial_failed(who.dials[0].target_id, "connection refused", who.now)
    who.drain()
    [failed] = who.events
    assert isinstance(failed, DialFailed)
    assert (failed.address, failed.reason) == (str(who.at), "connection refused")
    assert (row_of(who)["state"], row_of(who)["reason"]) == ("retrying", "connection refused")
    who.wait(0.3)
    assert len(who.dials) == 2


def test_a_later_dial_of_the_same_dialler_replaces_the_first() -> None:
    first = guest()
    second = first.beside(BOB)
    second.end = End.dialler(link_config(BOB, life=1), seed=2, serial=2)
    second.dial()
    assert first.closed()
    assert first.end.learned is CloseCode.DUPLICATE_LINK
    assert second.established()
    second.say(MessageType.PING, bytes(8))
    assert second.messages(MessageType.PONG) == [bytes(8)]
    assert not any(isinstance(event, LinkLost) for event in second.events)


@pytest.mark.parametrize("record", [b"\x01short", b"\x02"])
def test_a_malformed_message_ends_that_link_only(record: bytes) -> None:
    one = guest()
    other = one.beside(CAROL, at=endpoint(3)).dial()
    one.say_raw(record)
    assert one.closed()
    assert one.end.learned is CloseCode.PROTOCOL_ERROR
    other.say(MessageType.PING, bytes(8))
    assert other.messages(MessageType.PONG) == [bytes(8)]


def test_messages_of_later_versions_are_skipped() -> None:
    who = guest()
    who.say(200, b"anything")
    who.say(MessageType.PING, b"12345678")
    assert who.messages(MessageType.PONG) == [b"12345678"]


def test_an_idle_link_is_asked_for_a_sign_of_life() -> None:
    who = guest()
    who.wait(LINK_PING_INTERVAL_S + 0.1)
    assert len(who.messages(MessageType.PING)) == 1


def test_a_stop_says_goodbye_and_dials_nobody_any_more() -> None:
    who = dialled(Guest(engine_of()))
    who.answer(who.dials[0])
    who.engine.stop(who.now)
    who.drain()
    assert who.end.learned is CloseCode.SHUTDOWN
    assert who.closed()
    dials = len(who.dials)
    who.wait(60.0)
    assert len(who.dials) == dials


# Ourselves.


def test_our_own_address_is_shown_as_failed_and_not_dialled_again() -> None:
    cluster = Cluster()
    host = cluster.add("host")
    host.connect(host)
    cluster.run_for(0.5)
    row = host.connection(host)
    assert (row["state"], row["reason"]) == ("failed", CloseCode.SELF.text)
    sent = len(cluster.trace)
    cluster.run_for(3600.0)
    assert len(cluster.trace) == sent
    assert host.connection(host)["state"] == "failed"


def test_a_strangers_word_that_we_are_it_ourselves_does_not_end_the_dialling() -> None:
    # Anyone on the path can say so in clear, once; a target must not be lost to that for ever.
    who = dialled(Guest(engine_of()))
    who.engine.link_opened(1, who.at, who.dials[0].target_id, who.now)
    who.give_bytes(hello() + frame(FrameKind.CLOSE, bytes((CloseCode.SELF,))))
    assert refused(who).by_peer
    who.wait(60.0)
    assert len(who.dials) > 1


def test_a_peer_is_found_though_it_announces_an_address_that_is_our_own_too() -> None:
    # Docker gives every host the same 172.17.0.1.
    cluster = Cluster()
    shared = Endpoint("172.17.0.1", 6783)
    first, *others = (cluster.add(name, private=(shared,)) for name in ("a", "b", "c", "d"))
    for host in others:
        host.connect(first)
    cluster.run_until(cluster.meshed, within_s=10.0)


def test_a_peer_is_found_though_it_announces_an_address_that_is_anothers() -> None:
    cluster = Cluster()
    a, b, c = cluster.add_many(3)
    b.connect(a)
    c.connect(a)
    for host, stale in ((b, c), (c, b), (b, a), (c, a)):
        host.engine.set_endpoints([stale.address, host.address])
        host.drain()
    cluster.run_until(cluster.meshed, within_s=10.0)


def test_a_record_of_a_forgotten_life_is_outdone() -> None:
    who = guest()
    forgotten = record_body(ALICE, sequence=10**9)
    who.say(MessageType.PEER_RECORD, signed(ALICE, forgotten))
    assert own_records(who)[-1].sequence == 10**9 + 1


def test_a_record_of_ours_at_the_last_sequence_does_no_harm() -> None:
    who = guest()
    last = record_body(ALICE, sequence=MAX_SEQUENCE)
    who.say(MessageType.PEER_RECORD, signed(ALICE, last))
    assert who.established()
    who.say(MessageType.PING, bytes(8))
    assert who.messages(MessageType.PONG) == [bytes(8)]


def test_two_hosts_with_one_identity_do_not_outdo_each_other_without_end() -> None:
    cluster = Cluster()
    one, other = cluster.add("one"), cluster.add("other")
    original, copy = cluster.add("twin", life=1), cluster.add("twin", life=2)
    one.connect(other)
    original.connect(one)
    copy.connect(other)
    cluster.run_for(5.0)
    sent = len(cluster.trace)
    cluster.run_for(10.0)
    # Some redialling is in order, a storm at the speed of the network is not.
    assert len(cluster.trace) - sent < 2000


def test_a_peer_whose_disk_was_set_back_is_heard_again() -> None:
    # Restored from a backup, its numbers start below those that the others remember.
    cluster = Cluster()
    a, b = cluster.add_many(2)
    b.connect(a)
    cluster.run_until(cluster.meshed, within_s=2.0)
    b.crash()
    b.disk.generation = -1
    b.start(nickname="restored")
    cluster.run_for(5.0)
    assert cluster.meshed()
    assert a.engine.find_peers("restored") == [b.name]


def test_each_life_writes_above_the_last() -> None:
    for generation in (1, 2):
        who = guest(generation=generation)
        [record] = own_records(who)
        assert record.sequence == generation * STAMPS_PER_GENERATION + 1


# Records.


def test_a_peer_that_is_heard_of_is_told_of_once_and_dialled() -> None:
    who = guest()
    for sequence in (1, 2, 1):
        body = record_body(CAROL, sequence=sequence, endpoints=[endpoint_bytes("10.0.0.3")])
        who.say(MessageType.PEER_RECORD, signed(CAROL, body))
    who.wait(1.0)
    assert [e for e in who.events if isinstance(e, PeerDiscovered)] == [
        PeerDiscovered(CAROL.name, "")
    ]
    assert {(dial.host, dial.port) for dial in who.dials} == {("10.0.0.3", 6783)}
    assert row_of(who, endpoint(3))["peer"] == str(CAROL.name)


def test_without_discovery_a_peer_that_is_heard_of_is_not_dialled() -> None:
    who = guest(discovery=False)
    body = record_body(CAROL, sequence=1, endpoints=[endpoint_bytes("10.0.0.3")])
    who.say(MessageType.PEER_RECORD, signed(CAROL, body))
    who.wait(10.0)
    assert who.dials == []
    assert str(CAROL.name) in {row["name"] for row in who.engine.reports.peers()}


def test_a_record_is_passed_on_as_it_came_but_not_back_and_not_to_its_writer() -> None:
    writer = guest(discovery=False)
    other = writer.beside(CAROL, at=endpoint(3)).dial()
    raw = signed(BOB, record_body(BOB, sequence=1, trailing=b"a later version's"))
    writer.say(MessageType.PEER_RECORD, raw)
    assert raw in other.messages(MessageType.PEER_RECORD)
    assert raw not in writer.messages(MessageType.PEER_RECORD)
    before = len(other.messages(MessageType.PEER_RECORD))
    writer.say(MessageType.PEER_RECORD, raw)
    assert len(other.messages(MessageType.PEER_RECORD)) == before, "known already"


def test_a_record_of_somebody_else_is_not_sent_back_to_who_brought_it() -> None:
    carrier = guest(discovery=False)
    other = carrier.beside(CAROL, at=endpoint(3)).dial()
    absent = identity(9)
    raw = signed(absent, record_body(absent, sequence=1))
    carrier.say(MessageType.PEER_RECORD, raw)
    assert raw in other.messages(MessageType.PEER_RECORD)
    assert raw not in carrier.messages(MessageType.PEER_RECORD)


def test_who_still_has_an_older_record_is_given_the_newer_one() -> None:
    carrier = guest(discovery=False)
    absent = identity(9)
    older, newer = (signed(absent, record_body(absent, sequence=n)) for n in (1, 2))
    carrier.say(MessageType.PEER_RECORD, newer)
    carrier.say(MessageType.PEER_RECORD, older)
    assert newer in carrier.messages(MessageType.PEER_RECORD)
    carrier.say(MessageType.PEER_RECORD, newer)
    assert carrier.messages(MessageType.PEER_RECORD).count(newer) == 1


def test_other_addresses_of_ours_are_announced_at_once() -> None:
    who = guest()
    who.engine.set_endpoints([endpoint(9)])
    who.pump()
    first, second = own_records(who)
    assert (second.endpoints, second.order > first.order) == ((endpoint(9),), True)
    assert who.engine.endpoints == (endpoint(9),)


# What is shown.


def test_reports_have_the_shape_that_clients_are_promised() -> None:
    who = guest()
    who.engine.connect("10.9.9.9", 1, who.now)
    who.open_session()
    connections, peers = who.engine.reports.connections(), who.engine.reports.peers()
    assert {frozenset(row) for row in connections} == {frozenset(get_type_hints(ConnectionReport))}
    assert {frozenset(row) for row in peers} == {frozenset(get_type_hints(PeerReport))}
    assert json.loads(json.dumps([connections, peers])) == [connections, peers]


def test_a_session_is_shown_with_where_and_how_it_runs() -> None:
    who = guest()
    who.open_session()
    row = row_of(who)
    assert (row["state"], row["path"], row["encrypted"]) == ("established", "direct", True)
    assert (row["address"], row["direction"], row["reason"]) == (str(who.at), "inbound", "")
    assert row["cipher"] == "AEGIS-128L"
    assert who.engine.peers_with_session() == [BOB.name]


def test_another_overlay_mtu_is_shown() -> None:
    who = guest(overlay_mtu=1300)
    who.say(MessageType.PEER_RECORD, signed(BOB, record_body(BOB, sequence=1)))
    who.open_session()
    assert row_of(who)["reason"] == "overlay MTU differs: 1300 here, 1376 there"


def test_a_configured_peer_that_is_also_heard_of_is_one_row() -> None:
    who = dialled(Guest(engine_of()))
    who.answer(who.dials[0])
    body = record_body(BOB, sequence=1, endpoints=[endpoint_bytes("10.0.0.2")])
    who.say(MessageType.PEER_RECORD, signed(BOB, body))
    assert len(who.engine.reports.connections()) == 1
    who.engine.link_ended(1, "reset", who.now)
    assert len(who.engine.reports.connections()) == 1


def test_a_peer_is_found_by_name_by_its_front_and_by_nickname() -> None:
    who = guest()
    for peer in (BOB, CAROL):
        who.say(MessageType.PEER_RECORD, signed(peer, record_body(peer, sequence=1)))
    find = who.engine.find_peers
    assert find(str(BOB.name)) == [BOB.name]
    assert find(str(BOB.name)[:8]) == [BOB.name]
    assert find(str(BOB.name)[:7]) == [], "too short to be meant"
    assert sorted(find("")) == sorted([BOB.name, CAROL.name]), "both have this nickname"
    assert find("nobody") == []
    assert find(str(ALICE.name)) == [], "that is us"
    who.open_session()
    assert find("") == [BOB.name], "the one that can be reached is meant"


def test_there_is_no_ping_without_a_session() -> None:
    who = guest()
    assert who.engine.ping(BOB.name, who.now) is None
    who.open_session()
    assert who.engine.ping(BOB.name, who.now) is not None


def test_ends_of_links_and_dials_that_are_not_known_are_ignored() -> None:
    who = guest()
    who.engine.receive_link_bytes(77, b"x", who.now)
    who.engine.link_ended(77, "reset", who.now)
    who.engine.dial_failed(77, "refused", who.now)
    who.drain()
    assert not any(isinstance(event, (LinkLost, DialFailed)) for event in who.events)
    assert who.established()


def test_the_address_dialled_is_the_one_that_is_remembered_as_dialled() -> None:
    who = Guest(engine_of())
    who.dial()
    addresses = [endpoint_bytes("192.0.2.71"), endpoint_bytes("192.0.2.72")]
    who.say(
        MessageType.PEER_RECORD, signed(CAROL, record_body(CAROL, sequence=1, endpoints=addresses))
    )
    who.wait(1.0)
    [dial] = who.dials
    assert dial.host == "192.0.2.71"
    who.engine.dial_failed(dial.target_id, "refused", who.now)
    who.drain()
    [failed] = [event for event in who.events if isinstance(event, DialFailed)]
    assert failed.address == "192.0.2.71:6783"


def test_each_dial_has_a_greater_serial_than_the_one_before() -> None:
    engine = engine_of()
    serials: list[int] = []
    for link in (1, 2):
        guest_of_dial = Guest(engine, link=link)
        engine.connect(f"192.0.2.{link}", 1, NOW)
        [dial] = engine.dials_to_make()
        guest_of_dial.answer(dial)
        serials += [
            event.serial
            for event in guest_of_dial.end.events
            if isinstance(event, LinkAuthenticated)
        ]
    assert serials == [1, 2]
