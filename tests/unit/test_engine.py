"""One engine and what is said to it: who gets in, what is believed, what is shown."""

from __future__ import annotations

import json
from typing import get_type_hints

import pytest

from meshnet.discovery.backoff import REFUSED_DELAY_S
from meshnet.engine import (
    KEEP_INTERVAL_S,
    STAMPS_PER_GENERATION,
)
from meshnet.errors import CloseCode
from meshnet.events import (
    DialFailed,
    IdentityConflict,
    LinkEstablished,
    LinkLost,
    LinkRefused,
    PeerDiscovered,
)
from meshnet.gossip.fragments import MAX_SEQUENCE, Head
from meshnet.gossip.messages import (
    Entries,
    Nodes,
    Want,
    pack_want,
    parse_index_entry,
    parse_nodes,
)
from meshnet.gossip.tree import Tree
from meshnet.ids import ChannelId, Endpoint, PeerName
from meshnet.peering import own_state
from meshnet.peering.linking import HANDSHAKE_TIMEOUT_S, LINK_SIGN_INTERVAL_S
from meshnet.report import ConnectionReport, PeerReport
from meshnet.testing import Cluster, Host
from meshnet.topology.records import PeerRecord
from meshnet.wire.link import HELLO_BYTES, FrameKind, LinkAuthenticated
from meshnet.wire.messages import MessageType
from support.guest import NOW, Guest, engine_of
from support.link_pair import End, frame, hello
from support.records import (
    TOPOLOGY,
    UNKNOWN,
    endpoint_bytes,
    entries_of,
    fragment,
    head_of,
    record,
    record_in,
    told_of,
)
from support.samples import (
    ALICE,
    BOB,
    CAROL,
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


def own_records(who: Guest) -> list[tuple[Head, PeerRecord]]:
    """The records that the engine told of itself, oldest first."""
    told = told_of(who.messages(MessageType.DELTA), who.engine.name)
    return [(head, record_in(head, tree)) for head, tree in told]


def heads_in(nodes: Nodes) -> dict[PeerName, Head]:
    """The heads of channel topology in an index that was told whole."""
    [(_, told)] = nodes.nodes
    assert isinstance(told, Entries)
    heads = [parse_index_entry(entry) for entry in told.entries]
    return {head.writer: head for channel, head in heads if channel == TOPOLOGY}


def asked(who: Guest, want: Want) -> Nodes:
    """What the engine answers."""
    who.say(MessageType.WANT, pack_want(want))
    return parse_nodes(who.messages(MessageType.NODES)[-1])


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


def test_a_newcomer_is_told_our_record_and_can_have_all_that_are_known() -> None:
    first = guest(discovery=False)
    bodies = {who.name: record(who, sequence=1) for who in (BOB, CAROL)}
    for body in bodies.values():
        first.say(MessageType.DELTA, body)
    newcomer = first.beside(identity(9), at=endpoint(9)).dial()
    [ours, *_] = own_records(newcomer)
    index = asked(newcomer, Want(None, bytes(32), ("",)))
    heads = heads_in(index)
    assert heads.keys() == {ALICE.name, BOB.name, CAROL.name}
    for name, body in bodies.items():
        head = head_of(body)
        assert heads[name] == head
        [(path, told)] = asked(newcomer, Want((TOPOLOGY, name), head.root, ("",))).nodes
        assert isinstance(told, Entries)
        assert (path, Tree.of(told.entries).digest) == ("", head.root)
    assert ours[1].name == ALICE.name


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


def test_an_idle_link_has_a_sign_of_life() -> None:
    who = guest()
    before = len(who.messages(MessageType.DIGEST))
    who.wait(LINK_SIGN_INTERVAL_S + 0.1)
    assert len(who.messages(MessageType.DIGEST)) == before + 1


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
    forgotten = endpoint_bytes("10.0.0.66")
    who.say(MessageType.DELTA, record(ALICE, sequence=10**9, endpoints=[forgotten]))
    head, outdone = own_records(who)[-1]
    assert head.sequence == 10**9 + 1
    assert outdone.endpoints == (endpoint(1),)


def test_a_record_of_ours_at_the_last_sequence_does_no_harm() -> None:
    who = guest()
    who.say(MessageType.DELTA, record(ALICE, sequence=MAX_SEQUENCE))
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
        [(head, _)] = own_records(who)
        assert head.sequence == generation * STAMPS_PER_GENERATION + 1


# Records.


def test_a_peer_that_the_journal_has_kept_is_not_told_of_as_new() -> None:
    cluster = Cluster(seed=1)
    a, b = cluster.add("a"), cluster.add("b")
    a.connect(b)
    cluster.run_for(KEEP_INTERVAL_S + 1)
    a.crash()
    a.start()
    c = cluster.add("c")
    c.connect(a)
    cluster.run_until(cluster.meshed, within_s=5)
    told = {e.nickname: e.remembered for e in a.events_of(PeerDiscovered)}
    assert (told["b"], told["c"]) == (True, False)


def test_a_peer_that_is_heard_of_is_told_of_once_and_dialled() -> None:
    who = guest()
    for sequence in (1, 2, 1):
        body = record(CAROL, sequence=sequence, endpoints=[endpoint_bytes("10.0.0.3")])
        who.say(MessageType.DELTA, body)
    who.wait(1.0)
    assert [e for e in who.events if isinstance(e, PeerDiscovered)] == [
        PeerDiscovered(CAROL.name, "")
    ]
    assert {(dial.host, dial.port) for dial in who.dials} == {("10.0.0.3", 6783)}
    assert row_of(who, endpoint(3))["peer"] == str(CAROL.name)


def test_without_discovery_a_peer_that_is_heard_of_is_not_dialled() -> None:
    who = guest(discovery=False)
    who.say(MessageType.DELTA, record(CAROL, sequence=1, endpoints=[endpoint_bytes("10.0.0.3")]))
    who.wait(10.0)
    assert who.dials == []
    assert str(CAROL.name) in {row["name"] for row in who.engine.reports.peers(who.now)}


def test_a_record_is_passed_on_as_it_came_but_not_back_and_not_to_its_writer() -> None:
    writer = guest(discovery=False)
    other = writer.beside(CAROL, at=endpoint(3)).dial()
    body = record(BOB, sequence=1, trailing=b"a later version's")
    writer.say(MessageType.DELTA, body)
    assert body in other.messages(MessageType.DELTA)
    assert told_of(writer.messages(MessageType.DELTA), BOB.name) == []
    before = len(other.messages(MessageType.DELTA))
    writer.say(MessageType.DELTA, body)
    assert len(other.messages(MessageType.DELTA)) == before, "known already"


@pytest.mark.parametrize("channel", [TOPOLOGY, UNKNOWN], ids=["known type", "unknown type"])
def test_a_fragment_of_somebody_else_is_not_sent_back_to_who_brought_it(
    channel: ChannelId,
) -> None:
    carrier = guest(discovery=False)
    other = carrier.beside(CAROL, at=endpoint(3)).dial()
    absent = identity(9)
    body = fragment(absent, entries_of(), sequence=1, channel=channel)
    carrier.say(MessageType.DELTA, body)
    assert body in other.messages(MessageType.DELTA)
    assert told_of(carrier.messages(MessageType.DELTA), absent.name, channel) == []


def test_a_record_is_not_passed_on_to_whom_its_writer_tells_by_itself() -> None:
    writer = guest(discovery=False)
    other = writer.beside(CAROL, at=endpoint(3)).dial()
    for sequence in (1, 2):
        body = record(BOB, sequence=sequence, links=[ALICE.name, CAROL.name])
        writer.say(MessageType.DELTA, body)
    assert told_of(other.messages(MessageType.DELTA), BOB.name) == []
    # With the link the writer has lost the way to say that it has.
    writer.say(MessageType.DELTA, record(BOB, sequence=3, links=[ALICE.name]))
    [(head, _)] = told_of(other.messages(MessageType.DELTA), BOB.name)
    assert head.sequence == 3


def test_who_still_has_an_older_record_is_given_the_newer_one() -> None:
    carrier = guest(discovery=False)
    absent = identity(9)
    older, newer = (record(absent, sequence=n) for n in (1, 2))
    carrier.say(MessageType.DELTA, newer)
    carrier.say(MessageType.DELTA, older)
    assert newer in carrier.messages(MessageType.DELTA)
    carrier.say(MessageType.DELTA, newer)
    assert carrier.messages(MessageType.DELTA).count(newer) == 1


def test_other_addresses_of_ours_are_announced_at_once() -> None:
    who = guest()
    who.engine.set_endpoints([endpoint(9)])
    who.pump()
    (first, _), (second, told) = own_records(who)
    assert (told.endpoints, second.order > first.order) == ((endpoint(9),), True)
    assert who.engine.own_state.endpoints == (endpoint(9),)


# What is shown.


def test_reports_have_the_shape_that_clients_are_promised() -> None:
    who = guest()
    who.engine.connect("10.9.9.9", 1, who.now)
    who.open_session()
    connections, peers = who.engine.reports.connections(), who.engine.reports.peers(who.now)
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
    who.say(MessageType.DELTA, record(BOB, sequence=1))
    who.open_session()
    assert row_of(who)["reason"] == "overlay MTU differs: 1300 here, 1376 there"


def test_a_configured_peer_that_is_also_heard_of_is_one_row() -> None:
    who = dialled(Guest(engine_of()))
    who.answer(who.dials[0])
    who.say(MessageType.DELTA, record(BOB, sequence=1, endpoints=[endpoint_bytes("10.0.0.2")]))
    assert len(who.engine.reports.connections()) == 1
    who.engine.link_ended(1, "reset", who.now)
    assert len(who.engine.reports.connections()) == 1


def test_a_peer_is_found_by_name_by_its_front_and_by_nickname() -> None:
    who = guest()
    for peer in (BOB, CAROL):
        who.say(MessageType.DELTA, record(peer, sequence=1))
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
    who.say(MessageType.DELTA, record(CAROL, sequence=1, endpoints=addresses))
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


# One identity on two hosts.


def test_a_contradiction_that_is_met_is_told_of() -> None:
    who = guest()
    for address in ("10.0.0.66", "10.0.0.77"):
        body = record(CAROL, sequence=1, endpoints=[endpoint_bytes(address)])
        who.say(MessageType.DELTA, body)
    assert IdentityConflict(CAROL.name) in who.events
    assert who.established()


def test_our_record_is_rewritten_twice_at_once_then_ever_more_slowly(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(own_state, "MAX_REWRITE_DELAY_S", 16.0)
    who = guest(discovery=False)
    waits = []
    for _ in range(own_state.HASTY_REWRITES + 6):
        sequence = own_records(who)[-1][0].sequence
        who.say(MessageType.DELTA, record(ALICE, sequence=sequence + 5))
        # However many bring it: that is one question.
        who.say(MessageType.DELTA, record(ALICE, sequence=sequence + 5))
        began = who.now
        while own_records(who)[-1][0].sequence == sequence:
            who.wait(0.5)
            assert who.now - began <= 20.0
            who.say(MessageType.PONG, bytes(8))
        assert own_records(who)[-1][0].sequence == sequence + 6
        waits.append(who.now - began)
    assert waits == [0, 0, 2, 4, 8, 16, 16, 16]
    conflicts = [event for event in who.events if event == IdentityConflict(ALICE.name)]
    assert len(conflicts) == 6, "a disk that was set back is none"


@pytest.mark.parametrize(
    ("discovery", "most_records"),
    # With discovery each of them takes the links of the other: a dial every 2 s (CEILING_S), and
    # each link that changes is a record of both.
    [(False, 20), (True, 240)],
)
def test_two_live_hosts_with_one_identity_do_not_write_without_end(
    discovery: bool, most_records: int
) -> None:
    cluster = Cluster()
    one, other, original, copy = (
        cluster.add(nickname, life=life, discovery=discovery)
        for nickname, life in (("one", 1), ("other", 2), ("twin", 3), ("twin", 4))
    )
    assert original.name == copy.name
    one.connect(other)
    original.connect(one)
    copy.connect(other)
    cluster.run_for(10.0)
    before, sent = own_sequence(original) + own_sequence(copy), len(cluster.trace)
    cluster.run_for(60.0)
    # Each goes above what the other has written, so this counts every record twice.
    assert own_sequence(original) + own_sequence(copy) - before <= 2 * most_records
    assert len(cluster.trace) - sent < 100 * most_records
    assert IdentityConflict(original.name) in original.events + copy.events
    assert IdentityConflict(original.name) in one.events + other.events


def own_sequence(host: Host) -> int:
    fragment = host.engine.gossip.replica.get(TOPOLOGY, host.name)
    assert fragment is not None
    return fragment.head.sequence
