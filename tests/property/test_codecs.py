"""Every codec reads what it wrote, and meets arbitrary bytes with its documented error only."""

from __future__ import annotations

import contextlib

from hypothesis import assume, given
from hypothesis import strategies as st

from meshnet.errors import AuthenticationError
from meshnet.gossip.fragments import (
    HEAD_BYTES,
    MAX_SEQUENCE,
    pack_channel,
    parse_head,
    read_channel,
    sign_fragment,
    verify_head,
)
from meshnet.gossip.messages import (
    MAX_PATHS,
    Want,
    pack_delta,
    pack_want,
    parse_delta,
    parse_index_entry,
    parse_nodes,
    parse_want,
)
from meshnet.gossip.tree import Tree
from meshnet.ids import ChannelId, Endpoint, PeerName
from meshnet.testing.strategies import endpoints, nicknames, peer_names
from meshnet.topology.cost import HOP_COST, MAX_COST
from meshnet.topology.records import Description, read_record, record_entries
from meshnet.wire.ciphers import CIPHERS, CipherId
from meshnet.wire.cursor import Cursor, MalformedError, is_clean, pack_text
from meshnet.wire.datagram import PartType, pack_part, parse_parts
from meshnet.wire.handshake import initiate, read_initiation
from meshnet.wire.messages import TOKEN_BYTES, MessageType, pack_message, parse_message
from meshnet.wire.session import Session
from support.records import TOPOLOGY
from support.samples import ALICE, BOB, NETWORK_ID, PSK, endpoint, flip, session_pair
from support.strategies import CHANNELS, CIPHER_LISTS, PATHS, U32, U64


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
    nickname=nicknames(),
    overlay_mtu=st.integers(0, 65535),
    capabilities=U32,
    life=U64,
    endpoints=st.lists(endpoints(), max_size=16).map(tuple),
    costs=st.dictionaries(peer_names(), st.integers(HOP_COST, MAX_COST), max_size=300),
)
def test_peer_records_round_trip(
    nickname: str,
    overlay_mtu: int,
    capabilities: int,
    life: int,
    endpoints: tuple[Endpoint, ...],
    costs: dict[PeerName, int],
) -> None:
    description = Description(nickname, overlay_mtu, capabilities, life, endpoints)
    entries = record_entries(description, costs)
    record = read_record(ALICE.name, ALICE.public_key, entries)
    assert (record.name, record.public_key) == (ALICE.name, ALICE.public_key)
    assert (record.description, record.costs) == (description, costs)


@given(st.dictionaries(st.binary(max_size=20), st.binary(max_size=300), max_size=3), st.booleans())
def test_arbitrary_entries_are_a_record_or_malformed(
    entries: dict[bytes, bytes], described: bool
) -> None:
    # A member may sign whatever it likes.
    if described:
        entries[b"\0"] = b"\1" + entries.get(b"\0", b"")
    with contextlib.suppress(MalformedError):
        record = read_record(ALICE.name, ALICE.public_key, entries)
        again = record_entries(record.description, record.costs)
        assert read_record(ALICE.name, ALICE.public_key, again) == record
        assert all(len(peer) == 16 for peer in record.links)


@given(CHANNELS, U64, st.integers(0, MAX_SEQUENCE), st.lists(st.binary(max_size=20)))
def test_heads_round_trip(
    channel: ChannelId, incarnation: int, sequence: int, keys: list[bytes]
) -> None:
    tree = Tree.of((key, key) for key in keys)
    fragment = sign_fragment(
        ALICE, NETWORK_ID, channel, tree, incarnation=incarnation, sequence=sequence
    )
    head = fragment.head
    assert len(head.raw) == HEAD_BYTES
    assert parse_head(head.raw) == head
    assert (head.writer, head.public_key) == (ALICE.name, ALICE.public_key)
    assert (head.incarnation, head.sequence) == (incarnation, sequence)
    assert (head.root, head.size_bytes) == (tree.digest, tree.size_bytes)
    verify_head(head, NETWORK_ID, channel)


@given(CHANNELS, st.binary(max_size=20))
def test_channels_round_trip(channel: ChannelId, rest: bytes) -> None:
    cursor = Cursor(pack_channel(channel) + rest)
    assert read_channel(cursor) == channel
    assert cursor.read_rest() == rest


@given(st.binary(max_size=300))
def test_arbitrary_bytes_are_nobodys_head(raw: bytes) -> None:
    with contextlib.suppress(MalformedError, AuthenticationError):
        verify_head(parse_head(raw), NETWORK_ID, TOPOLOGY)
        raise AssertionError("nobody signed this")


@given(
    st.none() | st.tuples(CHANNELS, peer_names()),
    st.binary(min_size=32, max_size=32),
    st.lists(PATHS, max_size=MAX_PATHS).map(tuple),
)
def test_wants_round_trip(
    tree: tuple[ChannelId, PeerName] | None, root: bytes, paths: tuple[str, ...]
) -> None:
    want = Want(tree, root, paths)
    assert parse_want(pack_want(want)) == want


ENTRIES = st.dictionaries(st.binary(max_size=512), st.binary(max_size=2000), max_size=5)


@given(ENTRIES, ENTRIES)
def test_deltas_round_trip(before: dict[bytes, bytes], after: dict[bytes, bytes]) -> None:
    base, tree = Tree.of(before.items()), Tree.of((before | after).items())
    tree = tree.updated((key, None) for key in list(before)[:2])
    fragment = sign_fragment(ALICE, NETWORK_ID, TOPOLOGY, tree, incarnation=1, sequence=1)
    said = parse_delta(pack_delta(TOPOLOGY, fragment, base))
    assert (said.channel, said.head, said.base) == (TOPOLOGY, fragment.head, base.digest)
    assert base.updated(said.changes).digest == tree.digest


@given(st.binary(max_size=400), st.booleans())
def test_arbitrary_bytes_are_gossip_or_malformed(body: bytes, of_a_fragment: bool) -> None:
    if of_a_fragment:
        # Past the first field, which arbitrary bytes seldom get right.
        body = b"\1" + pack_channel(TOPOLOGY) + body
    with contextlib.suppress(MalformedError):
        want = parse_want(body)
        assert pack_want(want) == body
    with contextlib.suppress(MalformedError):
        parse_nodes(body)
    with contextlib.suppress(MalformedError):
        said = parse_delta(body)
        assert body.startswith(pack_channel(said.channel) + said.head.raw)
    with contextlib.suppress(MalformedError):
        channel, head = parse_index_entry((body[:-HEAD_BYTES], body[-HEAD_BYTES:]))
        assert body == pack_channel(channel) + head.writer + head.raw


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
