"""Channels: what is written counts at once, is kept before it is told, and hides nothing."""

from __future__ import annotations

import itertools
from typing import Any, Self

import pytest

from meshnet.crdt import Counter, LwwMap, LwwRegister, Origin, OrSet
from meshnet.crdt.base import MAX_ENTRY_KEY_BYTES, MAX_ENTRY_VALUE_BYTES, MAX_VALUE_BYTES
from meshnet.engine import Engine
from meshnet.errors import ConfigError, LocalProtocolError, StateError
from meshnet.events import UpdatesKept, UpdatesLost
from meshnet.gossip import channels as channels_module
from meshnet.gossip.channels import (
    OPEN_ENTRIES,
    REFOLD_INTERVAL_S,
    SETTLE_ENTRIES,
    SLICE_ENTRIES,
    OpenChannel,
)
from meshnet.gossip.fragments import MAX_KEY_BYTES as MAX_PACKED_KEY_BYTES
from meshnet.gossip.fragments import MAX_VALUE_BYTES as MAX_PACKED_VALUE_BYTES
from meshnet.gossip.messages import MAX_BODY_BYTES
from meshnet.gossip.tree import EMPTY, Tree
from meshnet.ids import ChannelId, PeerName
from meshnet.testing import Cluster
from meshnet.wire.cursor import pack_text
from support.channels import Member, fragment_by, fresh_fold
from support.samples import ALICE, BOB, CAROL

NAMES = ChannelId("names", "or-set")
FULL = "cannot write: No space left on device"


def elements(count: int, who: Origin, prefix: str = "e") -> OrSet:
    value = OrSet()
    for number in range(count):
        value.apply(value.add(who, f"{prefix}{number}"))
    return value


def tree_of(state: OrSet, who: Any) -> Tree:
    return Tree.of(state.to_entries(who.name).items())


# Names and types.


def test_a_channel_is_its_name_and_its_type() -> None:
    channels = Member().channels
    names = channels.open("names", OrSet)
    assert channels.open("names", OrSet) is names
    others = channels.open("names", LwwMap)
    assert (names.id, others.id) == (NAMES, ChannelId("names", "lww-map"))

    class Other(OrSet):
        pass

    with pytest.raises(ConfigError, match="another class called or-set"):
        channels.open("names", Other)


@pytest.mark.parametrize("name", ["", "x" * 65, "line\nbreak"])
def test_a_name_that_cannot_be_one_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match="name"):
        Member().channels.open(name, OrSet)


# Updates.


def test_an_update_counts_at_once_and_is_acknowledged_when_it_is_written() -> None:
    member = Member(durable=True)
    names = member.channels.open("names", OrSet)
    ticket = member.update(names, OrSet.add, "www")
    assert "www" in names.value
    member.channels.flush()
    [_] = member.channels.records_to_write()
    member.follow()
    assert member.told(UpdatesKept) == []
    assert member.gossip.replica.get(NAMES, ALICE.name) is None, "told before it was kept"
    member.channels.written()
    member.follow()
    assert member.told(UpdatesKept) == [UpdatesKept(NAMES, ticket)]
    assert member.gossip.replica.get(NAMES, ALICE.name) is not None


def test_many_updates_are_one_signature_and_one_record() -> None:
    member = Member(durable=True)
    names = member.channels.open("names", OrSet)
    tickets = [member.update(names, OrSet.add, f"{number}") for number in range(50)]
    assert len(member.flush()) == 1
    assert member.told(UpdatesKept) == [UpdatesKept(NAMES, tickets[-1])]


def test_an_update_of_what_is_not_there_is_acknowledged_at_once() -> None:
    member = Member(durable=True)
    names = member.channels.open("names", OrSet)
    assert member.update(names, OrSet.remove, "absent") <= names.kept
    assert not member.channels.can_flush


def test_a_refused_update_is_undone_and_the_next_one_is_kept() -> None:
    member = Member(durable=True)
    names = member.channels.open("names", OrSet)
    member.update(names, OrSet.add, "kept")
    member.flush()
    member.update(names, OrSet.add, "lost")
    member.flush(refused=FULL)
    assert member.told(UpdatesLost) == [UpdatesLost(NAMES, FULL)]
    assert set(names.value) == {"kept"}
    # Nothing is left of it that somebody could wait for.
    assert member.update(names, OrSet.remove, "absent") <= names.kept
    ticket = member.update(names, OrSet.add, "again")
    member.flush()
    assert member.told(UpdatesKept)[-1].ticket == ticket
    assert set(names.value) == {"kept", "again"}
    assert names.value == fresh_fold(member.gossip.replica, NAMES, OrSet)


def test_what_was_refused_does_not_count_with_what_comes_after() -> None:
    member = Member(durable=True)
    hits = member.channels.open("hits", Counter)
    member.update(hits, Counter.add, 5)
    member.flush(refused=FULL)
    member.update(hits, Counter.add, 1)
    member.flush()
    assert hits.value.value == 1
    assert fresh_fold(member.gossip.replica, hits.id, Counter).value == 1


def test_a_large_channel_takes_no_updates_until_it_is_rid_of_the_refused_ones() -> None:
    member = Member(durable=True)
    names = member.channels.open("names", OrSet)
    member.hear(NAMES, fragment_by(BOB, NAMES, tree_of(elements(3000, Origin(BOB.name, 1)), BOB)))
    member.catch_up()
    member.update(names, OrSet.add, "lost")
    member.flush(refused=FULL)
    with pytest.raises(StateError, match="try again"):
        member.update(names, OrSet.add, "too soon")
    member.catch_up()
    assert not names.is_behind
    assert len(names.value) == 3000
    member.update(names, OrSet.add, "later")
    assert len(names.value) == 3001


def test_updates_of_other_channels_do_not_wait_behind_a_refused_one() -> None:
    member = Member(durable=True)
    names, hits = member.channels.open("names", OrSet), member.channels.open("hits", Counter)
    member.update(names, OrSet.add, "lost")
    member.channels.flush()
    member.channels.records_to_write()
    ticket = member.update(hits, Counter.add, 1)
    member.channels.not_written(FULL)
    assert member.channels.can_flush
    member.flush()
    assert member.told(UpdatesKept) == [UpdatesKept(hits.id, ticket)]


def test_too_large_a_part_is_refused_and_nothing_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(channels_module, "MAX_FRAGMENT_BYTES", 1000)
    member = Member()
    names = member.channels.open("names", LwwMap)
    member.update(names, LwwMap.put, "small", b"value")
    before, tree = names.value.copy(), names.tree
    with pytest.raises(LocalProtocolError, match="'names' would be too large"):
        member.update(names, LwwMap.put, "large", bytes(1000))
    assert (names.value, names.tree) == (before, tree)
    member.update(names, LwwMap.put, "another", b"value")
    assert names.mine == names.value
    assert dict(names.value.items()).keys() == {"small", "another"}


class Ages(Counter):
    """A type with two mistakes: it takes what it cannot write, and writes what it cannot read."""

    name = "ages"

    def to_entries(self, writer: PeerName, about: Self | None = None) -> dict[bytes, bytes]:
        if self.value == 98:
            raise OverflowError("what nobody thought of")
        entries = super().to_entries(writer, about)
        return {key: b"" if self.value == 99 else value for key, value in entries.items()}


def test_an_update_that_cannot_be_written_changes_nothing() -> None:
    member = Member()
    ages = member.channels.open("ages", Ages)
    member.update(ages, Ages.add, 2)
    for bad, error in ((96, OverflowError), (97, LocalProtocolError)):
        with pytest.raises(error):
            member.update(ages, Ages.add, bad)
        assert ages.value.value == 2
    member.update(ages, Ages.add, 3)
    assert ages.value.value == 5
    assert ages.state_of(ages.tree).value == 5


def test_an_entry_that_others_would_refuse_is_refused_here() -> None:
    class Wide(LwwRegister):
        name = "wide"

        def to_entries(self, writer: Any, about: Any = None) -> dict[bytes, bytes]:
            return {key: value * 2 for key, value in super().to_entries(writer, about).items()}

    member = Member()
    wide = member.channels.open("wide", Wide)
    with pytest.raises(LocalProtocolError, match="entry too long"):
        member.update(wide, Wide.put, bytes(MAX_VALUE_BYTES))
    assert wide.tree is EMPTY
    assert wide.value == Wide()


def test_the_largest_entry_of_every_type_is_one_that_neighbours_take() -> None:
    assert MAX_ENTRY_KEY_BYTES <= MAX_PACKED_KEY_BYTES
    assert MAX_ENTRY_VALUE_BYTES <= MAX_PACKED_VALUE_BYTES
    assert MAX_PACKED_KEY_BYTES + MAX_PACKED_VALUE_BYTES < MAX_BODY_BYTES - 1024


def test_writes_before_the_value_has_caught_up_name_nothing_twice() -> None:
    """A channel that is larger than what is joined at once, opened by its own writer."""
    member = Member()
    own = elements(2 * OPEN_ENTRIES, Origin(ALICE.name, 1))
    others = elements(2 * OPEN_ENTRIES, Origin(BOB.name, 1), "b")
    member.hear(NAMES, fragment_by(BOB, NAMES, tree_of(others, BOB)))
    member.hear(NAMES, fragment_by(ALICE, NAMES, tree_of(own, ALICE)))
    names = member.channels.open("names", OrSet)
    assert names.is_behind
    member.update(names, OrSet.add, "new")
    member.catch_up()
    member.flush()
    assert len(names.value) == 4 * OPEN_ENTRIES + 1
    assert "new" in names.value
    assert names.value == fresh_fold(member.gossip.replica, NAMES, OrSet)


def beaten(member: Member) -> OpenChannel[LwwMap]:
    """A map in which every key of ours was then written by Bob."""
    names = member.channels.open("names", LwwMap)
    for number in range(2 * SETTLE_ENTRIES):
        member.update(names, LwwMap.put, f"{number}", b"ours")
    theirs = LwwMap()
    for number in range(2 * SETTLE_ENTRIES):
        theirs.apply(names.value.put(Origin(BOB.name, 1), f"{number}", b"theirs"))
    member.hear(names.id, fragment_by(BOB, names.id, theirs.to_entries(BOB.name)))
    member.catch_up()
    return names


def test_what_others_have_beaten_is_not_said_for_ever() -> None:
    member = Member()
    names = beaten(member)
    before = names.value.copy()
    member.flush()
    assert len(names.tree) == 0
    assert names.value == before == fresh_fold(member.gossip.replica, names.id, LwwMap)
    # That is no reason to make the value anew, now or with the next write.
    member.update(names, LwwMap.put, "0", b"ours again")
    member.flush()
    assert not names.is_behind


def test_nothing_is_dropped_for_what_its_writer_has_taken_back() -> None:
    member = Member()
    names = beaten(member)
    member.hear(names.id, fragment_by(BOB, names.id, {}, 2))
    member.channels.work(0.0)
    assert not names.fold.only_grew
    member.flush()
    member.catch_up(now=100.0)
    assert len(names.tree) == 2 * SETTLE_ENTRIES
    assert set(dict(names.value.items()).values()) == {b"ours"}
    assert names.value == fresh_fold(member.gossip.replica, names.id, LwwMap)


# What others write.


def test_changes_are_told_once_and_as_users_see_them() -> None:
    member = Member()
    names = member.channels.open("names", LwwMap)
    value = LwwMap()
    for sequence, (key, text) in enumerate([("a", b"1"), ("b", b"2"), ("a", b"3")], 1):
        value.apply(value.put(Origin(BOB.name, 1), key, text))
        entries = value.to_entries(BOB.name)
        member.hear(names.id, fragment_by(BOB, names.id, entries, sequence))
        member.catch_up()
    assert [(c.key, c.before, c.after) for c in member.changes] == [
        ("a", None, b"1"),
        ("b", None, b"2"),
        ("a", b"1", b"3"),
    ]


def test_bad_entries_are_attributed_once_and_hide_nothing() -> None:
    member = Member()
    names = member.channels.open("names", OrSet)
    good = elements(5, Origin(BOB.name, 1))
    tree = tree_of(good, BOB)
    member.hear(NAMES, fragment_by(BOB, NAMES, tree.updated([(b"?", b"nonsense")])))
    member.hear(NAMES, fragment_by(CAROL, NAMES, {b"!": b"x"}))
    member.catch_up()
    assert names.value == good
    assert {event.writer for event in member.bad_entries} == {BOB.name, CAROL.name}
    # One of Bob's is gone unexplained, so all is joined anew: not told of again.
    [gone, *_] = dict(tree)
    member.hear(NAMES, fragment_by(BOB, NAMES, tree.updated([(b"?", b"x"), (gone, None)]), 2))
    member.catch_up(now=100.0)
    assert len(names.value) == 4
    assert [event.writer for event in member.bad_entries].count(CAROL.name) == 1


class CountedMap(LwwMap):
    """Counts the entries that are joined."""

    name = "counted"
    joined = 0

    def join_entry(self, writer: Any, key: bytes, value: bytes | None) -> None:
        CountedMap.joined += 1
        super().join_entry(writer, key, value)


@pytest.fixture
def most_in_a_call(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many entries each call of an engine has joined."""
    counts: list[int] = []

    def counting(name: str) -> None:
        call = getattr(Engine, name)

        def counted(self: Engine, *arguments: Any) -> Any:
            CountedMap.joined = 0
            result = call(self, *arguments)
            counts.append(CountedMap.joined)
            return result

        monkeypatch.setattr(Engine, name, counted)

    for name in ("receive_link_bytes", "handle_timer", "open_channel", "links_to_send"):
        counting(name)
    return counts


LAMPORT_1 = (1).to_bytes(8, "big") + b"\x01"


def large(count: int) -> Tree:
    return Tree.of((pack_text(f"key {n}", 255), LAMPORT_1) for n in range(count))


def test_a_large_channel_is_joined_in_slices(most_in_a_call: list[int]) -> None:
    count = 100_000
    cluster = Cluster(seed=1)
    host = cluster.add("a")
    opened = host.engine.open_channel("large", CountedMap, cluster.now)
    host.engine.gossip.publish(opened.id, fragment_by(BOB, opened.id, large(count)))
    calls = 0
    while calls == 0 or opened.is_behind:
        host.engine.handle_timer(cluster.now)
        calls += 1
    assert calls >= count / SLICE_ENTRIES
    assert sum(1 for _ in opened.value.items()) == count
    assert sum(most_in_a_call) == count
    assert max(most_in_a_call) <= SLICE_ENTRIES


def test_what_is_fetched_is_joined_in_slices(most_in_a_call: list[int]) -> None:
    count = 5000
    cluster = Cluster(seed=1)
    a, b = cluster.add("a"), cluster.add("b")
    opened = b.engine.open_channel("large", CountedMap, cluster.now)
    a.engine.gossip.publish(opened.id, a.engine.gossip.sign(opened.id, large(count)))
    b.connect(a)
    b.drain()
    cluster.run_until(lambda: len(opened.trees) == 1, within_s=60, every_s=0.1)
    cluster.run_until(lambda: not opened.is_behind, within_s=60, every_s=0.01)
    assert sum(1 for _ in opened.value.items()) == count
    assert sum(most_in_a_call) == count
    assert max(most_in_a_call) <= SLICE_ENTRIES


def test_opening_a_large_channel_joins_no_more_than_its_bound() -> None:
    member = Member()
    tree = tree_of(elements(3 * OPEN_ENTRIES, Origin(BOB.name, 1)), BOB)
    member.hear(NAMES, fragment_by(BOB, NAMES, tree))
    names = member.channels.open("names", OrSet)
    assert len(names.value) == OPEN_ENTRIES
    assert names.is_behind
    member.catch_up()
    assert len(names.value) == 3 * OPEN_ENTRIES


def test_channels_that_are_behind_take_turns() -> None:
    member = Member()
    opened = [member.channels.open(name, OrSet) for name in ("one", "two")]
    tree = tree_of(elements(4 * SLICE_ENTRIES, Origin(BOB.name, 1)), BOB)
    for channel in opened:
        member.hear(channel.id, fragment_by(BOB, channel.id, tree))
    for done in (1, 2, 3):
        member.channels.work(0.0)
        member.channels.work(0.0)
        assert [len(channel.value) for channel in opened] == [done * SLICE_ENTRIES] * 2


def test_a_writer_that_takes_back_makes_the_value_anew_every_10_s_at_most() -> None:
    member = Member()
    names = member.channels.open("names", OrSet)
    both = elements(2, Origin(BOB.name, 1))
    trees = [tree_of(both, BOB), tree_of(elements(1, Origin(BOB.name, 1)), BOB)]
    made: list[float] = []
    for second in range(60):
        member.hear(NAMES, fragment_by(BOB, NAMES, trees[second % 2], second + 1))
        before = names.fold
        member.catch_up(now=float(second))
        if names.fold is not before:
            made.append(float(second))
    assert made
    assert all(later - earlier >= REFOLD_INTERVAL_S for earlier, later in itertools.pairwise(made))
    at = member.channels.next_work_at(60.0)
    assert at is not None
    assert at <= made[-1] + REFOLD_INTERVAL_S
    member.catch_up(now=at)
    assert names.value == fresh_fold(member.gossip.replica, NAMES, OrSet)
    assert not names.is_behind


def test_updates_while_the_value_is_made_anew_keep_all_that_is_ours() -> None:
    member = Member()
    names = member.channels.open("names", OrSet)
    for number in range(5):
        member.update(names, OrSet.add, f"ours {number}")
    member.flush()
    whole = tree_of(elements(3000, Origin(BOB.name, 1)), BOB)
    [gone, *_] = dict(whole)
    member.hear(NAMES, fragment_by(BOB, NAMES, whole, 1))
    member.catch_up()
    member.hear(NAMES, fragment_by(BOB, NAMES, whole.updated([(gone, None)]), 2))
    while names.refold is None:
        member.channels.work(0.0)
    member.update(names, OrSet.add, "in the middle")
    member.flush()
    member.catch_up()
    assert len(names.value) == 5 + 1 + 2999
    assert names.value == fresh_fold(member.gossip.replica, NAMES, OrSet)


# Our own fragments, from elsewhere.


def test_what_the_mesh_has_of_ours_is_ours_again() -> None:
    member = Member()
    names = member.channels.open("names", OrSet)
    member.update(names, OrSet.add, "here")
    member.flush()
    lost = fragment_by(ALICE, NAMES, tree_of(elements(3, Origin(ALICE.name, 2)), ALICE), 2**50)
    member.gossip.go_above(NAMES, lost.head.sequence)
    member.channels.take_back(NAMES, lost)
    assert set(names.value) == {"here", "e0", "e1", "e2"}
    member.flush()
    held = member.gossip.replica.get(NAMES, ALICE.name)
    assert held is not None
    assert held.head.order > lost.head.order
    assert names.value == fresh_fold(member.gossip.replica, NAMES, OrSet)


def test_what_we_have_more_of_than_the_mesh_is_signed_above_its_number() -> None:
    member = Member()
    names = member.channels.open("names", OrSet)
    for element in ("one", "two"):
        member.update(names, OrSet.add, element)
        member.flush()
    less = fragment_by(ALICE, NAMES, names.tree.updated([(next(iter(names.tree))[0], None)]), 2**50)
    member.gossip.go_above(NAMES, less.head.sequence)
    member.channels.take_back(NAMES, less)
    member.flush()
    held = member.gossip.replica.get(NAMES, ALICE.name)
    assert held is not None
    assert held.head.order > less.head.order
    assert held.tree.digest == names.tree.digest
    assert not member.channels.can_flush


def test_what_says_the_same_is_not_signed_again() -> None:
    """Or two that hold one key would answer each other without end."""
    member = Member()
    names = member.channels.open("names", OrSet)
    member.update(names, OrSet.add, "same")
    member.flush()
    twin = fragment_by(ALICE, NAMES, names.tree, 2**50)
    member.channels.take_back(NAMES, twin)
    assert not member.channels.can_flush
    assert member.gossip.replica.get(NAMES, ALICE.name) is twin


def test_what_was_written_meanwhile_does_not_replace_a_later_fragment_of_ours() -> None:
    member = Member(durable=True)
    names = member.channels.open("names", OrSet)
    member.update(names, OrSet.add, "here")
    member.channels.flush()
    later = fragment_by(ALICE, NAMES, names.tree, 2**50)
    member.channels.take_back(NAMES, later)
    member.channels.written()
    assert member.gossip.replica.get(NAMES, ALICE.name) is later


def test_what_only_our_disk_has_is_joined_when_the_channel_is_opened() -> None:
    """Acknowledged, then a crash, and the mesh tells of a later fragment without it."""
    before = Member(durable=True)
    before.update(before.channels.open("names", OrSet), OrSet.add, "acknowledged")
    records = before.flush()

    member = Member(durable=True, generation=2)
    member.channels.load(records, member.gossip._network_id)
    member.follow()
    mesh = fragment_by(ALICE, NAMES, tree_of(elements(1, Origin(ALICE.name, 2)), ALICE), 2**50)
    member.gossip.go_above(NAMES, mesh.head.sequence)
    member.channels.take_back(NAMES, mesh)
    member.channels.keep_others()
    assert member.channels.records_to_write() == []

    names = member.channels.open("names", OrSet)
    assert set(names.value) == {"acknowledged", "e0"}
    member.flush()
    assert names.value == fresh_fold(member.gossip.replica, NAMES, OrSet)


# What others write is kept too.


def test_what_others_wrote_is_kept_and_not_written_twice() -> None:
    member = Member(durable=True)
    member.hear(NAMES, fragment_by(BOB, NAMES, {b"key": b"value"}))
    member.channels.keep_others()
    records = member.channels.records_to_write()
    assert len(records) == 1
    member.channels.written()

    again = Member(durable=True)
    again.channels.load(records, again.gossip._network_id)
    again.follow()
    found = again.gossip.replica.get(NAMES, BOB.name)
    assert found is not None
    assert dict(found.tree) == {b"key": b"value"}
    again.channels.keep_others()
    assert again.channels.records_to_write() == []


def test_what_the_disk_refused_of_others_is_tried_again() -> None:
    member = Member(durable=True)
    member.hear(NAMES, fragment_by(BOB, NAMES, {b"key": b"value"}))
    member.channels.keep_others()
    refused = member.channels.records_to_write()
    member.channels.not_written(FULL)
    member.channels.keep_others()
    assert member.channels.records_to_write() == refused


def test_what_is_ours_already_is_not_looked_through_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Opening a large channel after a start finds on disk what the mesh has."""
    channel = ChannelId("large", LwwMap.name)
    tree = Tree.of(LwwMap().put(Origin(ALICE.name, 1), "k", b"v").to_entries(ALICE.name).items())
    held = fragment_by(ALICE, channel, tree)
    opened = OpenChannel(channel, LwwMap, ALICE.name, {ALICE.name: held}, None)
    looked: list[PeerName] = []

    def counted(_self: LwwMap, writer: PeerName) -> dict[bytes, bytes]:
        looked.append(writer)
        return dict(tree)

    monkeypatch.setattr(LwwMap, "to_entries", counted)
    assert opened.take_up(Tree.of(tree)) == []
    assert (looked, dict(opened.tree)) == ([], dict(tree))
    assert opened.value.get("k") == b"v"
