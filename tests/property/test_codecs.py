"""Every codec reads what it wrote, and meets arbitrary bytes with its documented error only."""

from __future__ import annotations

import contextlib

from hypothesis import assume, given
from hypothesis import strategies as st

from meshnet.errors import AuthenticationError
from meshnet.gossip.records import MAX_SEQUENCE, BadRecord, read_record, write_record
from meshnet.ids import Endpoint, PeerName
from meshnet.testing.strategies import endpoints, nicknames
from meshnet.wire.ciphers import CIPHERS, CipherId
from meshnet.wire.cursor import Cursor, MalformedError, is_clean, pack_text
from meshnet.wire.datagram import PartType, pack_part, parse_parts
from meshnet.wire.handshake import initiate, read_initiation
from meshnet.wire.messages import TOKEN_BYTES, MessageType, pack_message, parse_message
from meshnet.wire.session import Session
from support.records import record_body, signed
from support.samples import ALICE, BOB, NETWORK_ID, PSK, endpoint, flip, session_pair
from support.strategies import CIPHER_LISTS, U32, U64


@given(st.lists(st.tuples(st.sampled_from(PartType), st.binary(max_size=100)), max_size=10))
def test_parts_round_trip(parts: list[tuple[PartType, bytes]]) -> None:
    assert parse_parts(b"".join(pack_part(*part) for part in parts)) == parts


@given(st.binary(max_size=200))
def test_arbitrary_bytes_are_parts_that_say_the_same_or_malformed(payload: bytes) -> None:
    with contextlib.suppress(MalformedError):
        parts = parse_parts(payload)
        assert sum(3 + len(body) for _, body in parts) == len(payload)


@given(st.sampled_from(MessageType), st.binary(min_size=TOKEN_BYTES, max_size=TOKEN_BYTES))
def test_messages_round_trip(kind: MessageType, body: bytes) -> None:
    assert parse_message(pack_message(kind, body)) == (kind, body)


@given(st.binary(max_size=100))
def test_arbitrary_bytes_are_a_message_or_malformed(plaintext: bytes) -> None:
    with contextlib.suppress(MalformedError):
        _, body = parse_message(plaintext)
        assert body == plaintext[1:]


@given(nicknames(), st.binary(max_size=10))
def test_texts_round_trip_and_leave_the_rest_alone(text: str, rest: bytes) -> None:
    cursor = Cursor(pack_text(text, 64) + rest)
    assert cursor.read_text(64) == text
    assert cursor.read_rest() == rest


@given(st.binary(max_size=80))
def test_arbitrary_bytes_are_a_clean_text_or_malformed(raw: bytes) -> None:
    with contextlib.suppress(MalformedError):
        text = Cursor(raw).read_text(64)
        assert is_clean(text)
        assert pack_text(text, 64) == raw[: 1 + raw[0]]


@given(
    incarnation=U64,
    sequence=st.integers(0, MAX_SEQUENCE),
    nickname=nicknames(),
    overlay_mtu=st.integers(0, 65535),
    capabilities=U32,
    life=U64,
    endpoints=st.lists(endpoints(), max_size=16).map(tuple),
    links=st.sets(st.binary(min_size=16, max_size=16).map(PeerName), max_size=200),
)
def test_records_round_trip(
    incarnation: int,
    sequence: int,
    nickname: str,
    overlay_mtu: int,
    capabilities: int,
    life: int,
    endpoints: tuple[Endpoint, ...],
    links: set[PeerName],
) -> None:
    record = write_record(
        ALICE,
        NETWORK_ID,
        incarnation=incarnation,
        sequence=sequence,
        nickname=nickname,
        overlay_mtu=overlay_mtu,
        capabilities=capabilities,
        life=life,
        endpoints=endpoints,
        links=links,
    )
    assert read_record(record.raw, NETWORK_ID) == record
    assert (record.incarnation, record.sequence, record.nickname) == (
        incarnation,
        sequence,
        nickname,
    )
    assert (record.overlay_mtu, record.capabilities) == (overlay_mtu, capabilities)
    assert (record.life, record.endpoints, record.links) == (
        life,
        endpoints,
        frozenset(links),
    )


@given(st.binary(max_size=300))
def test_arbitrary_bytes_are_a_bad_record(raw: bytes) -> None:
    try:
        read_record(raw, NETWORK_ID)
    except BadRecord:
        return
    raise AssertionError("nobody signed this")


@given(st.binary(max_size=200))
def test_arbitrary_signed_bytes_are_a_record_or_a_bad_one(body: bytes) -> None:
    # A member may sign whatever it likes.
    raw = signed(ALICE, record_body(ALICE, sequence=1)[:60] + body)
    with contextlib.suppress(BadRecord):
        record = read_record(raw, NETWORK_ID)
        assert record.name == ALICE.name
        assert record.raw == raw


@given(stamp=U64, index=U32, capabilities=U32, ciphers=CIPHER_LISTS)
def test_initiations_round_trip(
    stamp: int, index: int, capabilities: int, ciphers: tuple[CipherId, ...]
) -> None:
    pending = initiate(
        ALICE,
        NETWORK_ID,
        peer=BOB.name,
        their_static=BOB.static.public,
        our_index=index,
        stamp=stamp,
        ciphers=ciphers,
        capabilities=capabilities,
        ephemeral_secret=b"\x0a" * 32,
        remote=endpoint(2),
        now=0.0,
    )
    first = read_initiation(BOB, NETWORK_ID, pending.datagram, b"\x0b" * 32)
    assert (first.static, first.stamp, first.sender_index) == (ALICE.static.public, stamp, index)
    assert (first.capabilities, first.ciphers) == (capabilities, ciphers)


@given(st.binary(max_size=300))
def test_arbitrary_bytes_are_no_initiation_and_no_response(datagram: bytes) -> None:
    pending = initiate(
        ALICE,
        NETWORK_ID,
        peer=BOB.name,
        their_static=BOB.static.public,
        our_index=1,
        stamp=1,
        ciphers=tuple(CipherId),
        capabilities=0,
        ephemeral_secret=b"\x0a" * 32,
        remote=endpoint(2),
        now=0.0,
    )
    for attempt in (
        lambda: read_initiation(BOB, NETWORK_ID, datagram, b"\x0b" * 32),
        lambda: pending.finish(datagram, (PSK,), 0.0),
    ):
        try:
            attempt()
        except AuthenticationError:
            continue
        raise AssertionError("nobody sealed this")


@given(st.sampled_from(CipherId), st.lists(st.binary(max_size=200), max_size=5))
def test_sessions_carry_what_they_are_given(cipher: CipherId, payloads: list[bytes]) -> None:
    alice, bob = session_pair(cipher)
    datagrams = [alice.seal(payload) for payload in payloads]
    assert [bob.open(datagram) for datagram in reversed(datagrams)] == payloads[::-1]


@given(st.sampled_from(CipherId), st.binary(max_size=200), st.data())
def test_a_changed_datagram_never_opens(
    cipher: CipherId, payload: bytes, data: st.DataObject
) -> None:
    alice, bob = session_pair(cipher)
    datagram = alice.seal(payload)
    changed = data.draw(
        st.one_of(
            st.integers(0, 8 * len(datagram) - 1).map(lambda bit: flip(datagram, bit)),
            st.integers(0, len(datagram) - 1).map(lambda size: datagram[:size]),
            st.binary(min_size=1, max_size=20).map(lambda more: datagram + more),
            st.binary(max_size=100),
        )
    )
    assume(changed != datagram)
    assert not opens(bob, changed)


def opens(session: Session, datagram: bytes) -> bool:
    try:
        session.open(datagram)
    except AuthenticationError:
        return False
    return True


@given(st.binary(min_size=16, max_size=16))
def test_names_round_trip(raw: bytes) -> None:
    assert PeerName.parse(str(PeerName(raw))) == raw


@given(st.text(max_size=40))
def test_what_parses_as_a_name_prints_as_it(text: str) -> None:
    with contextlib.suppress(ValueError):
        assert str(PeerName.parse(text)) == text.lower()


@given(endpoints())
def test_an_endpoint_is_its_own_canonical_form(endpoint: Endpoint) -> None:
    assert Endpoint.of(*endpoint) == endpoint


def test_the_table_of_ciphers_is_whole() -> None:
    assert set(CIPHERS) == set(CipherId)
