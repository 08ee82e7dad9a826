"""What a peer holds of all channels: bounds, and digests over the heads."""

from __future__ import annotations

import pytest

from meshnet.gossip import replica as replica_module
from meshnet.gossip.fragments import Fragment, sign_fragment
from meshnet.gossip.messages import parse_index_entry
from meshnet.gossip.replica import Replica
from meshnet.gossip.tree import EMPTY, EMPTY_DIGEST, Tree
from meshnet.ids import ChannelId
from meshnet.wire.identity import Identity
from support.samples import ALICE, BOB, CAROL, NETWORK_ID

ONE, TWO = ChannelId("one", "opaque"), ChannelId("two", "opaque")


def fragment(
    who: Identity = ALICE, size: int = 10, *, sequence: int = 1, channel: ChannelId = ONE
) -> Fragment:
    """A fragment of so many bytes, as they are counted."""
    tree = Tree.of([(b"k", bytes(size - 65))]) if size >= 65 else EMPTY
    return sign_fragment(who, NETWORK_ID, channel, tree, incarnation=1, sequence=sequence)


def test_it_holds_one_fragment_of_each_writer_in_each_channel() -> None:
    replica = Replica()
    first, second = fragment(size=70), fragment(sequence=2, size=100)
    other = fragment(channel=TWO)
    assert replica.get(ONE, ALICE.name) is None
    assert replica.put(ONE, first) is EMPTY
    assert replica.put(ONE, second) is first.tree
    assert replica.put(TWO, other) is EMPTY
    assert replica.get(ONE, ALICE.name) is second
    assert replica.channel(TWO) == {ALICE.name: other}
    assert replica.channels() == [ONE, TWO]
    assert dict(replica) == {(ONE, ALICE.name): second, (TWO, ALICE.name): other}
    assert (replica.fragments, replica.size_bytes) == (2, 100)


def test_what_is_removed_is_gone_and_no_longer_counted() -> None:
    replica = Replica()
    replica.put(ONE, fragment(size=100))
    before = replica.index.digest
    replica.put(ONE, fragment(BOB, size=200))
    replica.put(TWO, fragment(BOB, channel=TWO))
    assert replica.index.digest != before
    replica.remove(ONE, BOB.name)
    replica.remove(TWO, BOB.name)
    replica.remove(TWO, BOB.name)
    assert replica.channels() == [ONE]
    assert (replica.fragments, replica.size_bytes) == (1, 100)
    assert replica.index.digest == before


def test_what_is_removed_before_the_index_was_asked_for_is_not_in_it() -> None:
    replica = Replica()
    replica.put(ONE, fragment())
    replica.remove(ONE, ALICE.name)
    assert replica.index.digest == EMPTY_DIGEST


def test_the_index_has_the_newest_head_of_each() -> None:
    replica = Replica()
    for number in (1, 2):
        for who in (ALICE, BOB):
            replica.put(ONE, fragment(who, sequence=number))
        replica.put(TWO, fragment(BOB, sequence=number, channel=TWO))
    found = {
        (channel, head.writer): head.sequence
        for channel, head in map(parse_index_entry, replica.index)
    }
    assert found == {(ONE, ALICE.name): 2, (ONE, BOB.name): 2, (TWO, BOB.name): 2}


def test_equal_states_have_equal_digests_in_whatever_order_they_came() -> None:
    fragments = [fragment(who, sequence=n) for who in (ALICE, BOB) for n in (1, 2)]
    digests = set()
    for order in (fragments, [fragments[0], fragments[2], fragments[1], fragments[3]]):
        replica = Replica()
        for each in order:
            replica.put(ONE, each)
        digests.add((replica.index.digest, replica.digest(ONE)))
    assert len(digests) == 1


def test_a_channel_has_a_digest_of_its_own() -> None:
    replica = Replica()
    assert replica.digest(ONE) == EMPTY_DIGEST
    replica.put(ONE, fragment())
    before = replica.digest(ONE)
    replica.put(TWO, fragment(channel=TWO))
    assert replica.digest(ONE) == before
    replica.put(ONE, fragment(BOB))
    assert replica.digest(ONE) != before


# Bounds.


def test_the_number_of_fragments_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replica_module, "MAX_FRAGMENTS", 2)
    replica = Replica()
    for who in (ALICE, BOB):
        assert replica.has_room_for(ONE, fragment(who).head)
        assert not replica.has_room_for(ONE, fragment(who).head, coming=2)
        replica.put(ONE, fragment(who))
    assert not replica.has_room_for(ONE, fragment(CAROL).head)
    assert replica.has_room_for(ONE, fragment(ALICE, sequence=2).head), "newer for older"
    replica.remove(ONE, BOB.name)
    assert replica.has_room_for(ONE, fragment(CAROL).head)


def test_the_number_of_channels_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replica_module, "MAX_CHANNELS", 1)
    replica = Replica()
    replica.put(ONE, fragment())
    assert replica.has_room_for(ONE, fragment(BOB).head)
    assert not replica.has_room_for(TWO, fragment(channel=TWO).head)
    replica.remove(ONE, ALICE.name)
    assert replica.has_room_for(TWO, fragment(channel=TWO).head)


def test_all_that_is_held_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replica_module, "MAX_TOTAL_BYTES", 300)
    replica = Replica()
    replica.put(ONE, fragment(ALICE, 200))
    assert replica.has_room_for(ONE, fragment(BOB, 100).head)
    assert not replica.has_room_for(ONE, fragment(BOB, 101).head)
    assert not replica.has_room_for(ONE, fragment(BOB, 100).head, coming_bytes=1)
    assert replica.has_room_for(ONE, fragment(ALICE, 300, sequence=2).head), "in place of the old"
    assert not replica.has_room_for(ONE, fragment(ALICE, 301, sequence=2).head)


def test_who_shrinks_is_never_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    replica = Replica()
    replica.put(ONE, fragment(ALICE, 200))
    monkeypatch.setattr(replica_module, "MAX_TOTAL_BYTES", 100)
    assert replica.has_room_for(ONE, fragment(ALICE, 199, sequence=2).head)
