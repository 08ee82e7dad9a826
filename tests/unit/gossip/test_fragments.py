"""Signed fragments: valid by their bytes alone, ordered the same everywhere."""

from __future__ import annotations

import itertools

import pytest

from meshnet.errors import AuthenticationError
from meshnet.gossip.fragments import (
    HEAD_BYTES,
    MAX_CHANNEL_NAME_BYTES,
    MAX_FRAGMENT_BYTES,
    MAX_SEQUENCE,
    MAX_TYPE_NAME_BYTES,
    Fragment,
    Head,
    fragment_of,
    pack_channel,
    parse_head,
    read_channel,
    sign_fragment,
    verify_head,
)
from meshnet.gossip.tree import EMPTY, Tree
from meshnet.ids import ChannelId
from meshnet.wire.crypto import SIGNATURE_BYTES
from meshnet.wire.cursor import Cursor, MalformedError
from support.records import TOPOLOGY, head_body, signed
from support.samples import ALICE, BOB, NETWORK_ID, flip

TREE = Tree.of([(b"key", b"value"), (b"other", b"")])


def fragment(tree: Tree = TREE, *, sequence: int = 5, incarnation: int = 9) -> Fragment:
    return sign_fragment(
        ALICE, NETWORK_ID, TOPOLOGY, tree, incarnation=incarnation, sequence=sequence
    )


def is_valid(raw: bytes, channel: ChannelId = TOPOLOGY, network: bytes = NETWORK_ID) -> bool:
    try:
        verify_head(parse_head(raw), network, channel)
    except (MalformedError, AuthenticationError):
        return False
    return True


def test_a_head_is_read_as_signed() -> None:
    head = fragment().head
    assert parse_head(head.raw) == head
    assert is_valid(head.raw)
    assert (head.writer, head.public_key) == (ALICE.name, ALICE.public_key)
    assert (head.incarnation, head.sequence) == (9, 5)
    assert (head.root, head.size_bytes) == (TREE.digest, TREE.size_bytes)


def test_the_hand_made_head_is_the_one_that_is_signed() -> None:
    body = head_body(ALICE, TREE, sequence=5, incarnation=9)
    assert signed(ALICE, body) == fragment().head.raw


def test_any_changed_bit_is_noticed() -> None:
    raw = fragment().head.raw
    assert not any(is_valid(flip(raw, bit)) for bit in range(8 * len(raw)))


def test_heads_of_another_length_are_noticed() -> None:
    raw = fragment().head.raw
    assert len(raw) == HEAD_BYTES
    for wrong in (*(raw[:size] for size in range(len(raw))), raw + b"\0"):
        with pytest.raises(MalformedError):
            parse_head(wrong)


def test_a_head_is_of_one_network_and_one_channel_and_one_type() -> None:
    raw = fragment().head.raw
    name, kind = TOPOLOGY
    assert not is_valid(raw, network=b"another!")
    assert not is_valid(raw, ChannelId("another", kind))
    assert not is_valid(raw, ChannelId(name, "another"))
    # No letter can move from one to the other either.
    assert not is_valid(raw, ChannelId(name + kind[0], kind[1:]))


def test_a_head_signed_by_another_is_refused() -> None:
    assert not is_valid(signed(BOB, head_body(ALICE, TREE, sequence=5)))


def test_the_name_is_that_of_the_key_so_it_cannot_be_stolen() -> None:
    assert parse_head(signed(BOB, head_body(BOB, TREE, sequence=5))).writer == BOB.name


def test_the_last_sequence_is_nobodys() -> None:
    assert is_valid(signed(ALICE, head_body(ALICE, TREE, sequence=MAX_SEQUENCE)))
    with pytest.raises(MalformedError, match="sequence"):
        parse_head(signed(ALICE, head_body(ALICE, TREE, sequence=MAX_SEQUENCE + 1)))


def test_a_fragment_has_a_largest_size() -> None:
    for size_bytes in (MAX_FRAGMENT_BYTES, MAX_FRAGMENT_BYTES + 1):
        raw = signed(ALICE, head_body(ALICE, TREE, sequence=1, size_bytes=size_bytes))
        assert is_valid(raw) == (size_bytes == MAX_FRAGMENT_BYTES)


def test_head_and_entries_must_fit() -> None:
    head = fragment().head
    assert fragment_of(head, TREE) == fragment()
    assert fragment_of(head, EMPTY) is None
    body = head_body(ALICE, TREE, sequence=1, size_bytes=TREE.size_bytes - 1)
    assert fragment_of(parse_head(signed(ALICE, body)), TREE) is None


def test_an_empty_fragment_is_one() -> None:
    empty = fragment(EMPTY)
    assert (empty.head.size_bytes, empty.head.root) == (0, bytes(32))
    assert fragment_of(empty.head, EMPTY) == empty


@pytest.mark.parametrize(
    "channel",
    [
        ChannelId("n" * (MAX_CHANNEL_NAME_BYTES + 1), "type"),
        ChannelId("name", "t" * (MAX_TYPE_NAME_BYTES + 1)),
        ChannelId("name\n", "type"),
        ChannelId("name", "\x1b"),
    ],
)
def test_names_of_channels_are_short_and_printable(channel: ChannelId) -> None:
    with pytest.raises(ValueError, match="bytes of text"):
        pack_channel(channel)
    name, kind = (text.encode() for text in channel)
    with pytest.raises(MalformedError):
        read_channel(Cursor(bytes((len(name),)) + name + bytes((len(kind),)) + kind))


# Order.


def in_order(*versions: Fragment) -> list[Head]:
    return sorted((version.head for version in versions), key=lambda head: head.order)


def test_the_sequence_counts_first_then_the_incarnation() -> None:
    versions = (
        fragment(sequence=1, incarnation=9),
        fragment(sequence=2, incarnation=1),
        fragment(sequence=2, incarnation=2),
    )
    for shuffled in itertools.permutations(versions):
        assert in_order(*shuffled) == [version.head for version in versions]


def test_equal_numbers_are_ordered_by_content_and_contradict() -> None:
    first, second = fragment().head, fragment(EMPTY).head
    assert (first.order > second.order) == (first.root > second.root)
    assert first.contradicts(second)
    assert second.contradicts(first)


@pytest.mark.parametrize(
    "other",
    [fragment(), fragment(EMPTY, sequence=6), fragment(EMPTY, incarnation=8)],
    ids=["the same", "another sequence", "another incarnation"],
)
def test_other_numbers_or_the_same_content_do_not_contradict(other: Fragment) -> None:
    assert not fragment().head.contradicts(other.head)


def test_two_signatures_of_one_content_are_ordered_and_do_not_contradict() -> None:
    head = fragment().head
    resigned = parse_head(head.raw[:-SIGNATURE_BYTES] + bytes(SIGNATURE_BYTES))
    assert head.order > resigned.order
    assert not head.contradicts(resigned)
