"""Signed peer records: valid by their bytes alone, newest wins in any order."""

from __future__ import annotations

import itertools

import pytest

from meshnet.errors import DropReason
from meshnet.gossip import records as records_module
from meshnet.gossip.records import (
    MAX_ENDPOINTS,
    MAX_NICKNAME_BYTES,
    MAX_SEQUENCE,
    BadRecord,
    PeerRecord,
    RecordTable,
    read_record,
    write_record,
)
from meshnet.ids import Endpoint
from meshnet.wire.identity import Identity
from support.records import endpoint_bytes, record_body, signed
from support.samples import ALICE, BOB, NETWORK_ID, endpoint, flip, identity

ENDPOINTS = (Endpoint("192.0.2.1", 6783), Endpoint("2001:db8::1", 1))


def record(
    who: Identity = ALICE,
    *,
    sequence: int = 5,
    incarnation: int = 9,
    nickname: str = "alice",
    endpoints: tuple[Endpoint, ...] = ENDPOINTS,
) -> PeerRecord:
    return write_record(
        who,
        NETWORK_ID,
        incarnation=incarnation,
        sequence=sequence,
        nickname=nickname,
        overlay_mtu=1376,
        capabilities=3,
        life=7,
        endpoints=endpoints,
        links=(),
    )


def reason_of(raw: bytes, network: bytes = NETWORK_ID) -> DropReason:
    with pytest.raises(BadRecord) as caught:
        read_record(raw, network)
    assert str(caught.value)
    return caught.value.reason


def test_a_record_is_read_as_written() -> None:
    written = record()
    assert read_record(written.raw, NETWORK_ID) == written
    assert (written.name, written.public_key) == (ALICE.name, ALICE.public_key)
    assert (written.incarnation, written.sequence, written.nickname) == (9, 5, "alice")
    assert (written.overlay_mtu, written.capabilities) == (1376, 3)
    assert written.endpoints == ENDPOINTS


def test_the_hand_made_body_is_the_one_that_is_written() -> None:
    # So what the tests below change in it is all that they change.
    written = write_record(
        ALICE,
        NETWORK_ID,
        incarnation=1,
        sequence=5,
        nickname="",
        overlay_mtu=1376,
        capabilities=0,
        life=7,
        endpoints=ENDPOINTS[:1],
        links=(),
    )
    body = record_body(ALICE, sequence=5, endpoints=[endpoint_bytes(ENDPOINTS[0].host)])
    assert signed(ALICE, body) == written.raw


def test_fields_of_a_later_version_are_signed_kept_and_ignored() -> None:
    raw = signed(ALICE, record_body(ALICE, sequence=5, trailing=b"later"))
    later = read_record(raw, NETWORK_ID)
    assert later.raw == raw
    assert later.sequence == 5
    assert reason_of(raw.replace(b"later", b"LATER")) is DropReason.BAD_PEER_RECORD


def test_any_changed_bit_is_noticed() -> None:
    raw = record().raw
    for bit in range(8 * len(raw)):
        assert reason_of(flip(raw, bit)) in (
            DropReason.BAD_PEER_RECORD,
            DropReason.NAME_KEY_MISMATCH,
        )


def test_cut_off_records_are_noticed() -> None:
    raw = record().raw
    for size in range(len(raw)):
        assert reason_of(raw[:size]) in (
            DropReason.BAD_PEER_RECORD,
            DropReason.NAME_KEY_MISMATCH,
        )


def test_a_record_is_of_one_network() -> None:
    assert reason_of(record().raw, b"another!") is DropReason.BAD_PEER_RECORD


def test_a_name_that_does_not_fit_the_key_has_its_own_reason() -> None:
    stolen = record_body(BOB, sequence=5, name=ALICE.name)
    assert reason_of(signed(BOB, stolen)) is DropReason.NAME_KEY_MISMATCH


def test_a_record_signed_by_another_is_refused() -> None:
    assert reason_of(signed(BOB, record_body(ALICE, sequence=5))) is DropReason.BAD_PEER_RECORD


def test_the_last_sequence_is_nobodys() -> None:
    assert read_record(signed(ALICE, record_body(ALICE, sequence=MAX_SEQUENCE)), NETWORK_ID)
    maximum = record_body(ALICE, sequence=MAX_SEQUENCE + 1)
    assert reason_of(signed(ALICE, maximum)) is DropReason.BAD_PEER_RECORD


def test_another_format_is_refused() -> None:
    body = b"\x02" + record_body(ALICE, sequence=5)[1:]
    assert reason_of(signed(ALICE, body)) is DropReason.BAD_PEER_RECORD


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
    ],
)
def test_groups_and_nowhere_are_no_peers_address(address: str) -> None:
    body = record_body(ALICE, sequence=5, endpoints=[endpoint_bytes(address)])
    assert reason_of(signed(ALICE, body)) is DropReason.BAD_PEER_RECORD


@pytest.mark.parametrize(
    "packed",
    [b"\x05\x01\x02\x03\x04\x00\x50", b"\x04\x01\x02\x03\x04\x00\x00", b"\x04\x01\x02"],
    ids=["family", "port", "cut off"],
)
def test_malformed_endpoints_are_refused(packed: bytes) -> None:
    body = record_body(ALICE, sequence=5, endpoints=[packed])
    assert reason_of(signed(ALICE, body)) is DropReason.BAD_PEER_RECORD


def test_a_mapped_address_is_read_in_its_one_spelling() -> None:
    body = record_body(ALICE, sequence=5, endpoints=[endpoint_bytes("::ffff:192.0.2.1")])
    assert read_record(signed(ALICE, body), NETWORK_ID).endpoints == (Endpoint("192.0.2.1", 6783),)


def test_the_number_of_endpoints_is_bounded_at_both_ends() -> None:
    many = tuple(endpoint(number) for number in range(1, MAX_ENDPOINTS + 2))
    assert record(endpoints=many[:-1]).endpoints == many[:-1]
    with pytest.raises(ValueError, match="at most 16"):
        record(endpoints=many)
    packed = [endpoint_bytes(each.host) for each in many]
    body = record_body(ALICE, sequence=5, endpoints=packed)
    assert reason_of(signed(ALICE, body)) is DropReason.BAD_PEER_RECORD


def test_a_nickname_is_short_and_printable() -> None:
    assert record(nickname="n" * MAX_NICKNAME_BYTES).nickname == "n" * MAX_NICKNAME_BYTES
    for nickname in ("n" * (MAX_NICKNAME_BYTES + 1), "a\x1b[2J"):
        with pytest.raises(ValueError):
            record(nickname=nickname)


# The table.


def test_the_newest_wins_in_any_order() -> None:
    versions = [
        record(sequence=1),
        record(sequence=2, nickname="a"),
        record(sequence=2, nickname="b"),
        record(sequence=2, incarnation=10),
        record(sequence=3),
    ]
    winners = set()
    for order in itertools.permutations(versions):
        table = RecordTable()
        news = [version for version in order if table.put(version)]
        winner = table.get(ALICE.name)
        assert winner is not None
        assert winner.sequence == 3
        winners.add(winner.raw)
        # What is news only ever rises, and ends with the winner.
        assert [version.order for version in news] == sorted(version.order for version in news)
        assert news[-1] == winner
        assert not any(table.put(version) for version in order)
    assert len(winners) == 1


def test_equal_sequences_are_ordered_the_same_everywhere() -> None:
    first, second = record(sequence=2, nickname="a"), record(sequence=2, nickname="b")
    tables = []
    for order in ((first, second), (second, first)):
        table = RecordTable()
        for version in order:
            table.put(version)
        tables.append(table.get(ALICE.name))
    assert tables[0] == tables[1]


def test_writers_do_not_touch_each_other() -> None:
    table = RecordTable()
    assert table.put(record(ALICE, sequence=9))
    assert table.put(record(BOB, sequence=1))
    assert {each.name for each in table} == {ALICE.name, BOB.name}
    assert table.get(identity(99).name) is None


def test_the_table_is_bounded_and_spares_whom_it_is_told_to(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(records_module, "MAX_RECORDS", 2)
    table = RecordTable()
    assert table.put(record(ALICE))
    assert table.make_room(keep=set()) is None, "there is room"
    assert table.put(record(BOB))
    assert table.put(record(ALICE, sequence=6))
    assert table.make_room(keep={ALICE.name, BOB.name}) is None, "nobody can be spared"
    forgotten = table.make_room(keep={ALICE.name})
    assert forgotten is not None
    assert forgotten.name == BOB.name
    assert [each.name for each in table] == [ALICE.name]


def test_what_is_held_already_is_known_by_its_bytes() -> None:
    table = RecordTable()
    ours = record(ALICE)
    assert not table.holds(ours.raw)
    table.put(ours)
    assert table.holds(ours.raw)
    assert not table.holds(ours.raw + b"x")
    assert not table.holds(b"short")
