"""What channels cost: a signed flush beside a bare signature, joining, and bytes for one change."""

from __future__ import annotations

import itertools

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from meshnet.crdt import LwwMap, Origin
from meshnet.gossip.exchange import Gossip
from meshnet.gossip.fold import Fold
from meshnet.gossip.fragments import Fragment, sign_fragment, verify_head
from meshnet.gossip.tree import Tree
from meshnet.ids import ChannelId, PeerName, network_id
from meshnet.wire.cursor import pack_text
from meshnet.wire.identity import Identity, verify

NETWORK = network_id("benchmark")
CHANNEL = ChannelId("names", LwwMap.name)
WRITER, READER = (Identity.of_seed(bytes((number,)) * 32) for number in (1, 2))
COUNT = 10_000


def write(number: int) -> bytes:
    """An entry's value: a Lamport counter, and ten bytes that are there."""
    return number.to_bytes(8, "big") + b"\x01" + bytes(10)


def fragment(tree: Tree, sequence: int) -> Fragment:
    return sign_fragment(WRITER, NETWORK, CHANNEL, tree, incarnation=1, sequence=sequence)


@pytest.fixture(scope="module")
def tree() -> Tree:
    return Tree.of((pack_text(f"key {number}", 255), write(1)) for number in range(COUNT))


# A flush, beside what of it is the signature's.


def test_one_change_signed(benchmark: BenchmarkFixture, tree: Tree) -> None:
    """A mutation, its entry, the way to the root, the signature."""
    value = LwwMap.from_entries(dict(tree), WRITER.name)
    origin, numbers = Origin(WRITER.name, 1), itertools.count(1)

    def flush() -> None:
        number = next(numbers)
        delta = value.put(origin, f"key {number % COUNT}", bytes(10))
        fragment(tree.updated(value.publish(delta, WRITER.name).items()), number)

    benchmark(flush)


def test_a_bare_signature(benchmark: BenchmarkFixture) -> None:
    benchmark(WRITER.sign, b"fragment", bytes(100))


def test_a_head_verified(benchmark: BenchmarkFixture, tree: Tree) -> None:
    head = fragment(tree, 1).head
    benchmark(verify_head, head, NETWORK, CHANNEL)


def test_a_bare_signature_verified(benchmark: BenchmarkFixture) -> None:
    signature = WRITER.sign(b"fragment", bytes(100))
    benchmark(verify, WRITER.public_key, b"fragment", bytes(100), signature)


# Joining.


def test_ten_thousand_entries_joined(benchmark: BenchmarkFixture, tree: Tree) -> None:
    """In the slices in which an engine does it."""

    def join() -> None:
        fold = Fold(LwwMap, {WRITER.name: tree}, None)
        while fold.is_behind:
            fold.catch_up(100)

    benchmark(join)
    benchmark.extra_info["entries_per_round"] = COUNT


def test_ten_thousand_entries_into_a_dict(benchmark: BenchmarkFixture, tree: Tree) -> None:
    """What of the above is walking the tree."""
    benchmark(lambda: dict(tree))
    benchmark.extra_info["entries_per_round"] = COUNT


# Bytes.


def peers(tree: Tree) -> tuple[Gossip, Gossip]:
    """Two that hold the same."""
    made = [
        Gossip(
            who,
            NETWORK,
            incarnation=1,
            first_sequence=0,
            told_by_writer=_nobody,
            is_alive=lambda _peer: True,
        )
        for who in (WRITER, READER)
    ]
    for gossip in made:
        gossip.publish(CHANNEL, fragment(tree, 1))
    return made[0], made[1]


def _nobody(_writer: PeerName, _peer: PeerName) -> bool:
    return False


def exchange(a: Gossip, b: Gossip) -> int:
    """Link them and carry what they say until they have no more: the bytes."""
    a.neighbour_up(READER.name)
    b.neighbour_up(WRITER.name)
    sent_bytes = 0
    while messages := [
        *((b, WRITER.name, kind, body) for _, kind, body in a.messages_to_send()),
        *((a, READER.name, kind, body) for _, kind, body in b.messages_to_send()),
    ]:
        for to, sender, kind, body in messages:
            sent_bytes += 1 + len(body)
            to.receive(sender, kind, body, 0.0)
    return sent_bytes


@pytest.mark.parametrize("changed", [0, 1, 100])
def test_bytes_of_a_link_that_comes_again(
    benchmark: BenchmarkFixture, tree: Tree, changed: int
) -> None:
    """See ``sent_bytes``; what the whole costs stands beside it as ``whole_bytes``."""
    newer = tree.updated((pack_text(f"key {n}", 255), write(2)) for n in range(changed))
    sent: list[int] = []

    def link() -> None:
        a, b = peers(tree)
        if changed:
            a.publish(CHANNEL, fragment(newer, 2))
        sent.append(exchange(a, b))
        held = b.replica.get(CHANNEL, WRITER.name)
        assert held is not None
        assert held.tree.digest == newer.digest

    benchmark(link)
    benchmark.extra_info["sent_bytes"] = sent[0]
    benchmark.extra_info["whole_bytes"] = sum(len(key) + len(value) for key, value in tree)
