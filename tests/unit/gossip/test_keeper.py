"""What is written down gives the fragments again, whatever became of the disk."""

from __future__ import annotations

import random

import pytest

from meshnet.errors import StateError
from meshnet.gossip import keeper as keeper_module
from meshnet.gossip.fragments import MAX_FRAGMENT_BYTES, MAX_KEY_BYTES, Fragment
from meshnet.gossip.keeper import Keeper
from meshnet.gossip.tree import EMPTY, ENTRY_BYTES, Tree
from meshnet.ids import ChannelId, network_id
from meshnet.ports import MAX_JOURNAL_RECORD_BYTES
from support.channels import fragment_by
from support.samples import ALICE, BOB, CAROL, NETWORK_ID

ONE, TWO = ChannelId("one", "or-set"), ChannelId("two", "or-set")
Versions = dict[tuple[ChannelId, object], Fragment]


def loaded(records: list[bytes], network: bytes = NETWORK_ID) -> list[tuple[ChannelId, Fragment]]:
    return list(Keeper().load(records, network, CAROL.name))


def same(fragment: Fragment, other: Fragment) -> bool:
    return (fragment.head, dict(fragment.tree)) == (other.head, dict(other.tree))


def test_the_records_of_many_versions_give_the_newest_ones() -> None:
    draw = random.Random(1)
    keeper, records = Keeper(), []
    newest: Versions = {}
    for sequence in range(1, 60):
        who, channel = draw.choice((ALICE, BOB)), draw.choice((ONE, TWO))
        known = newest.get((channel, who.name))
        change = (b"key %d" % draw.randrange(9), draw.choice((None, draw.randbytes(9))))
        tree = (known.tree if known is not None else EMPTY).updated([change])
        newest[channel, who.name] = fragment_by(who, channel, tree, sequence)
        records.append(keeper.record_of(channel, newest[channel, who.name]))
        keeper.done()
    for found in (loaded(records), loaded(keeper.snapshot())):
        assert len(found) == len(newest) == 4
        for channel, fragment in found:
            assert same(fragment, newest[channel, fragment.head.writer])


def test_a_change_costs_what_it_is_large() -> None:
    keeper = Keeper()
    tree = Tree.of((b"key %d" % number, bytes(20)) for number in range(5000))
    whole = keeper.record_of(ONE, fragment_by(ALICE, ONE, tree))
    changed = fragment_by(ALICE, ONE, tree.updated([(b"key 7", b"new")]), 2)
    assert len(keeper.record_of(ONE, changed)) < 400 < len(whole)


def test_after_a_refusal_the_next_record_builds_on_what_the_disk_has() -> None:
    keeper = Keeper()
    first, second, third = (
        fragment_by(ALICE, ONE, {b"n": b"%d" % number}, number) for number in (1, 2, 3)
    )
    records = [keeper.record_of(ONE, first)]
    keeper.done()
    keeper.record_of(ONE, second)
    keeper.record_of(ONE, third)
    keeper.record_of(TWO, fragment_by(ALICE, TWO, {}, 4))
    keeper.undo()
    assert keeper.get(TWO, ALICE.name) is None
    assert keeper.get(ONE, ALICE.name) is first
    records.append(keeper.record_of(ONE, third))
    [(_, found)] = loaded(records)
    assert same(found, third)


def test_a_large_fragment_in_place_of_another_is_one_record_that_the_journal_takes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """All that is gone and all that is new do not fit together; nobody may stop us by that."""
    assert MAX_FRAGMENT_BYTES <= MAX_JOURNAL_RECORD_BYTES
    # The same on a smaller scale.
    scale_bytes = 256 * 1024
    monkeypatch.setattr(keeper_module, "MAX_JOURNAL_RECORD_BYTES", scale_bytes)
    keeper = Keeper()
    count = scale_bytes // (ENTRY_BYTES + MAX_KEY_BYTES)
    records = []
    for sequence in (1, 2):
        filler = bytes((sequence,)) * (MAX_KEY_BYTES - 8)
        tree = Tree.of((number.to_bytes(8, "big") + filler, b"") for number in range(count))
        fragment = fragment_by(BOB, ONE, tree, sequence)
        records.append(keeper.record_of(ONE, fragment))
    assert max(map(len, records)) <= scale_bytes
    [(_, found)] = loaded(records)
    assert found.head == fragment.head


def test_what_was_kept_for_another_network_is_left_out() -> None:
    records = [Keeper().record_of(ONE, fragment_by(ALICE, ONE, {b"key": b""}))]
    keeper = Keeper()
    assert list(keeper.load(records, network_id("another"), BOB.name)) == []
    assert keeper.snapshot() == []


def test_what_we_wrote_in_another_network_is_not_overwritten_in_this_one() -> None:
    records = [Keeper().record_of(ONE, fragment_by(ALICE, ONE, {b"key": b""}))]
    with pytest.raises(StateError, match=r"channel 'one' of another network.*--state-dir"):
        list(Keeper().load(records, network_id("another"), ALICE.name))


def test_records_that_no_version_of_ours_wrote_are_refused_in_one_line() -> None:
    keeper = Keeper()
    keeper.record_of(ONE, fragment_by(ALICE, ONE, {b"key": b"1"}))
    later = keeper.record_of(ONE, fragment_by(ALICE, ONE, {b"key": b"1", b"more": b""}, 2))
    for records, line in (
        ([later], "the journal holds a record that does not fit those before it"),
        ([b"nonsense"], "the journal holds a record that cannot be read"),
    ):
        with pytest.raises(StateError, match=line) as caught:
            loaded(records)
        assert "\n" not in str(caught.value)


def test_a_record_can_be_made_bit_by_bit() -> None:
    tree = Tree.of((b"key %d" % number, bytes(20)) for number in range(1000))
    fragment = fragment_by(ALICE, ONE, tree)
    keeper = Keeper()
    steps = 1
    while keeper.prepare(ONE, fragment, 100) == 100:
        assert keeper.prepared(ONE, ALICE.name) is None
        steps += 1
    assert steps == 11
    assert keeper.prepared(ONE, ALICE.name) is fragment
    assert keeper.record_of(ONE, fragment) == Keeper().record_of(ONE, fragment)
    assert keeper.prepared(ONE, ALICE.name) is None, "it is written once"


def test_what_changes_while_a_record_is_made_is_written_as_it_was() -> None:
    tree = Tree.of((b"key %d" % number, bytes(20)) for number in range(1000))
    first = fragment_by(ALICE, ONE, tree)
    later = fragment_by(ALICE, ONE, tree.updated([(b"key 7", b"new")]), 2)
    keeper = Keeper()
    keeper.prepare(ONE, first, 100)
    while keeper.prepare(ONE, later, 100) == 100:
        pass
    assert keeper.prepared(ONE, ALICE.name) is first
    records = [keeper.record_of(ONE, first), keeper.record_of(ONE, later)]
    assert [len(record) > 1000 for record in records] == [True, False]
    [(_, found)] = loaded(records)
    assert same(found, later)


def test_a_record_that_was_made_for_another_disk_is_made_again() -> None:
    first, second = (fragment_by(ALICE, ONE, {b"n": b"%d" % n}, n) for n in (1, 2))
    keeper = Keeper()
    keeper.record_of(ONE, first)
    keeper.prepare(ONE, second, 100)
    assert keeper.prepared(ONE, ALICE.name) is second
    keeper.undo()
    assert keeper.prepared(ONE, ALICE.name) is None
    [(_, found)] = loaded([keeper.record_of(ONE, second)])
    assert same(found, second)


def test_what_was_let_go_is_kept_no_more_unless_the_disk_refuses() -> None:
    keeper = Keeper()
    held = fragment_by(ALICE, ONE, {b"n": b"1"}, 1)
    records = [keeper.record_of(ONE, held)]
    keeper.done()
    assert keeper.record_of_removal(TWO, ALICE.name) is None
    assert keeper.record_of_removal(ONE, ALICE.name) is not None
    keeper.undo()
    assert keeper.get(ONE, ALICE.name) is held
    gone = keeper.record_of_removal(ONE, ALICE.name)
    assert gone is not None
    keeper.done()
    records.append(gone)
    assert loaded(records) == []
    assert keeper.snapshot() == []
    # And written anew.
    back = fragment_by(ALICE, ONE, {b"n": b"2"}, 2)
    records.append(keeper.record_of(ONE, back))
    [(_, found)] = loaded(records)
    assert same(found, back)
