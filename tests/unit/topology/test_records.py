"""Peer records: what is read is what was written, hostile addresses are nobody's."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from meshnet.ids import Endpoint, PeerName
from meshnet.topology.cost import HOP_COST
from meshnet.topology.records import (
    MAX_ENDPOINTS,
    MAX_NICKNAME_BYTES,
    Description,
    PeerRecord,
    link_key,
    read_record,
    record_entries,
)
from meshnet.wire.cursor import MalformedError
from support.records import description, endpoint_bytes, entries_of
from support.samples import ALICE, BOB, CAROL, endpoint

ENDPOINTS = (Endpoint("192.0.2.1", 6783), Endpoint("2001:db8::1", 1))


def described(
    *, nickname: str = "alice", endpoints: tuple[Endpoint, ...] = ENDPOINTS
) -> Description:
    return Description(nickname, 1376, 3, 7, endpoints)


def read(entries: dict[bytes, bytes]) -> PeerRecord:
    return read_record(ALICE.name, ALICE.public_key, entries)


def read_endpoints(packed: Sequence[bytes]) -> tuple[Endpoint, ...]:
    return read(entries_of(endpoints=packed)).endpoints


def test_a_record_is_read_as_written() -> None:
    written = described()
    record = read(record_entries(written, {BOB.name: HOP_COST, CAROL.name: 500}))
    assert (record.name, record.public_key) == (ALICE.name, ALICE.public_key)
    assert record.description == written
    assert (record.nickname, record.overlay_mtu, record.life) == ("alice", 1376, 7)
    assert record.endpoints == ENDPOINTS
    assert record.links == {BOB.name, CAROL.name}
    assert record.costs == {BOB.name: HOP_COST, CAROL.name: 500}


def test_the_hand_made_entries_are_those_that_are_written() -> None:
    # So what the tests below change in them is all that they change.
    written = record_entries(Description("", 1376, 0, 7, ENDPOINTS[:1]), {BOB.name: HOP_COST})
    packed = endpoint_bytes(ENDPOINTS[0].host)
    assert entries_of(endpoints=[packed], links=[BOB.name]) == written


def test_a_link_is_one_entry_of_its_own() -> None:
    before, after = (record_entries(described(), links) for links in ({}, {BOB.name: 200}))
    assert after.keys() - before.keys() == {link_key(BOB.name)}
    assert before.items() <= after.items()


def test_fields_of_a_later_version_are_ignored() -> None:
    assert read(entries_of(trailing=b"later")) == read(entries_of())


@pytest.mark.parametrize(
    "entries",
    [
        {b"\2": b"another kind"},
        {b"": b""},
        {b"\0more": b""},
        {b"\1" + bytes(15): b""},
        {b"\1" + bytes(17): b""},
    ],
)
def test_entries_of_a_later_version_are_ignored(entries: dict[bytes, bytes]) -> None:
    assert read(entries_of() | entries) == read(entries_of())


def test_what_a_later_version_says_of_a_link_is_ignored() -> None:
    said = read(entries_of() | {link_key(BOB.name): (500).to_bytes(2, "big") + b"and more"})
    assert said.costs == {BOB.name: 500}


def test_of_a_link_that_costs_the_least_there_is_nothing_is_said() -> None:
    entries = record_entries(described(), {BOB.name: HOP_COST, CAROL.name: HOP_COST + 1})
    assert entries[link_key(BOB.name)] == b""
    assert len(entries[link_key(CAROL.name)]) == 2


@pytest.mark.parametrize("value", [b"\5", bytes(2), (HOP_COST - 1).to_bytes(2, "big")])
def test_nobody_praises_a_link(value: bytes) -> None:
    assert read(entries_of() | {link_key(BOB.name): value}).costs == {BOB.name: HOP_COST}


def test_as_many_links_as_a_peer_has_can_be_told() -> None:
    links = {PeerName(number.to_bytes(16, "big")): 100 + number for number in range(1000)}
    assert read(record_entries(described(), links)).costs == links


def test_a_record_needs_a_description() -> None:
    with pytest.raises(MalformedError, match="no description"):
        read({link_key(BOB.name): b""})


def test_another_format_is_refused() -> None:
    with pytest.raises(MalformedError, match="format 2"):
        read({b"\0": b"\2" + description()[1:]})


def test_cut_off_descriptions_are_noticed() -> None:
    whole = description(nickname=b"alice", endpoints=[endpoint_bytes("192.0.2.1")])
    read({b"\0": whole})
    for size in range(len(whole)):
        with pytest.raises(MalformedError):
            read({b"\0": whole[:size]})


@pytest.mark.parametrize(
    "address",
    [
        "224.0.0.1",
        "239.255.0.1",
        "ff02::1",
        "0.0.0.0",
        "::",
        "::ffff:224.0.0.1",
        "::ffff:0.0.0.0",
        "255.255.255.255",
        "::ffff:255.255.255.255",
    ],
)
def test_groups_and_nowhere_are_no_peers_address(address: str) -> None:
    with pytest.raises(MalformedError, match="no peer's address"):
        read_endpoints([endpoint_bytes("192.0.2.1"), endpoint_bytes(address)])


@pytest.mark.parametrize(
    "packed",
    [b"\x05\x01\x02\x03\x04\x00\x50", b"\x04\x01\x02\x03\x04\x00\x00", b"\x04\x01\x02"],
    ids=["family", "port", "cut off"],
)
def test_malformed_endpoints_are_refused(packed: bytes) -> None:
    with pytest.raises(MalformedError):
        read_endpoints([packed])


def test_a_mapped_address_is_read_in_its_one_spelling() -> None:
    assert read_endpoints([endpoint_bytes("::ffff:192.0.2.1")]) == (Endpoint("192.0.2.1", 6783),)


def test_the_number_of_endpoints_is_bounded_at_both_ends() -> None:
    many = tuple(endpoint(number) for number in range(1, MAX_ENDPOINTS + 2))
    assert read(record_entries(described(endpoints=many[:-1]), {})).endpoints == many[:-1]
    with pytest.raises(ValueError, match="at most 16"):
        record_entries(described(endpoints=many), {})
    with pytest.raises(MalformedError, match="17 endpoints"):
        read_endpoints([endpoint_bytes(each.host) for each in many])


def test_we_do_not_write_what_nobody_would_accept() -> None:
    with pytest.raises(ValueError, match="no peer's address"):
        record_entries(described(endpoints=(Endpoint("224.0.0.1", 1),)), {})


def test_a_nickname_is_short_and_printable() -> None:
    longest = "n" * MAX_NICKNAME_BYTES
    assert read(record_entries(described(nickname=longest), {})).nickname == longest
    for nickname in (longest + "n", "a\x1b[2J"):
        with pytest.raises(ValueError, match="at most 64 bytes"):
            record_entries(described(nickname=nickname), {})
        with pytest.raises(MalformedError):
            read({b"\0": description(nickname=nickname.encode())})
