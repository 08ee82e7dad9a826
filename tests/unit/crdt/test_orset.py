"""Observed-remove: what a removal did not see stays; what it saw never comes back."""

from __future__ import annotations

import pytest

from meshnet.crdt.base import (
    MAX_COUNTER,
    MAX_ENTRY_KEY_BYTES,
    MAX_ENTRY_VALUE_BYTES,
    MAX_KEY_BYTES,
    MAX_VALUE_BYTES,
    CounterExhausted,
    ElementChange,
    KeyChange,
)
from meshnet.crdt.dots import Origin
from meshnet.crdt.orset import OrMap, OrSet
from meshnet.wire.cursor import MalformedError
from support.samples import ALICE, BOB

A, B = (Origin(peer, 1) for peer in sorted((ALICE.name, BOB.name)))


def u64(number: int) -> bytes:
    return number.to_bytes(8, "big")


def live(origin: Origin, counter: int) -> bytes:
    return b"+" + u64(origin.incarnation) + u64(counter)


def removed(origin: Origin, first: int) -> bytes:
    return b"-" + origin.peer + u64(origin.incarnation) + u64(first)


def with_elements(*elements: str) -> OrSet:
    state = OrSet()
    for element in elements:
        state.apply(state.add(A, element))
    return state


def test_an_add_wins_over_a_removal_that_did_not_see_it() -> None:
    here = with_elements("x")
    there = here.copy()
    removal, again = there.remove(A, "x"), here.add(A, "x")
    assert here.merge(removal).merge(again) == here.merge(again).merge(removal)
    assert "x" in here.merge(again).merge(removal)


def test_adding_again_what_is_there_wins_over_removals_too() -> None:
    # Nothing is seen of it here, yet it counts: whoever adds may rely on it, every time.
    here = with_elements("x")
    again = here.add(A, "x")
    assert here.merge(again) != here
    assert here.copy().apply(again) == []


def test_a_removed_element_does_not_come_back_with_old_news() -> None:
    add = OrSet().add(A, "x")
    removal = add.remove(A, "x")
    late = OrSet()
    assert late.apply(removal) == []
    assert late.apply(add) == []
    assert "x" not in late
    assert list(late) == []


def test_adds_of_two_peers_are_one_element_until_a_removal_that_saw_both() -> None:
    one, two = OrSet().add(A, "x"), OrSet().add(B, "x")
    both = one.merge(two)
    assert list(both) == ["x"]
    assert "x" in both.merge(one.remove(A, "x"))
    assert both.apply(both.remove(A, "x")) == [ElementChange("x", present=False)]
    assert len(both) == 0


def test_puts_that_did_not_see_each_other_end_with_the_longer_chain_then_the_higher_dot() -> None:
    base = OrMap()
    low, high = base.put(A, "k", b"low"), base.put(B, "k", b"high")
    both = low.merge(high)
    assert both["k"] == b"high"

    chain = low.merge(low.put(A, "k", b"low, twice"))
    assert chain.merge(high)["k"] == high.merge(chain)["k"] == b"low, twice"


def test_a_put_replaces_all_that_it_saw_and_tells_what_changed() -> None:
    here = OrMap().put(A, "k", b"a").merge(OrMap().put(B, "k", b"b"))
    assert here.apply(here.put(A, "k", b"c")) == [KeyChange("k", b"b", b"c")]
    assert here.apply(here.put(A, "k", b"c")) == []
    assert len([key for key in here.to_entries(A.peer) if key.startswith(b"+")]) == 1
    assert not [key for key in here.to_entries(B.peer) if key.startswith(b"+")]
    assert here.apply(here.remove(A, "k")) == [KeyChange("k", b"c", None)]
    assert here.get("k") is None
    with pytest.raises(KeyError):
        here["k"]


def test_a_dot_that_says_two_things_ends_with_the_greater_and_both_keys_are_told() -> None:
    said = [
        OrMap.from_entries({live(A, 1): u64(1) + key + b"x"}, A.peer) for key in (b"\1a", b"\1b")
    ]
    state = said[0].copy()
    assert state.apply(said[1]) == [KeyChange("b", None, b"x"), KeyChange("a", b"x", None)]
    assert state == said[1] == said[1].merge(said[0])


def test_a_fragment_and_its_removal_elsewhere_join_in_any_order() -> None:
    # A's own fragment holds two puts; B's holds the removal of one of them, and nothing of A's.
    of_a = OrSet.from_entries({live(A, 1): b"\x01x", live(A, 2): b"\x01y"}, A.peer)
    of_b = OrSet.from_entries({removed(A, 1): u64(1)}, B.peer)
    assert set(of_a.merge(of_b)) == set(of_b.merge(of_a)) == {"y"}


def test_a_change_of_one_entry_leaves_the_writers_other_dots_alone() -> None:
    here = OrSet.from_entries({live(A, 1): b"\x01x", live(A, 2): b"\x01y"}, A.peer)
    here.apply(OrSet.from_entries({live(A, 3): b"\x01z"}, A.peer))
    assert set(here) == {"x", "y", "z"}


def test_an_entry_gone_from_a_fragment_is_a_dot_removed() -> None:
    here = OrSet.from_entries({live(A, 1): b"\x01x"}, A.peer)
    assert here.apply(OrSet.from_entries({live(A, 1): None}, A.peer)) == [
        ElementChange("x", present=False)
    ]


def test_a_removal_entry_that_is_gone_brings_nothing_back() -> None:
    here = with_elements("x")
    here.apply(here.remove(A, "x"))
    before = here.copy()
    assert here.apply(OrSet.from_entries({removed(A, 1): None}, B.peer)) == []
    assert here == before


def test_each_change_writes_few_entries_however_many_there_are() -> None:
    own = with_elements(*map(str, range(300)))
    for element in ("150", "7", "8", "299", "149", "151"):
        changed = own.publish(own.remove(A, element), A.peer)
        assert len(changed) <= 4, "the dot, and the runs next to it"
        changed = own.publish(own.add(A, "0"), A.peer)
        assert len(changed) <= 5


def test_long_churn_leaves_one_run() -> None:
    own = OrSet()
    for number in range(200):
        own.publish(own.add(A, str(number)), A.peer)
        own.publish(own.remove(A, str(number)), A.peer)
    assert own.to_entries(A.peer) == {removed(A, 1): u64(200)}


def test_what_another_took_away_is_dropped_from_the_fragment() -> None:
    # A puts, B takes: without this A's fragment would grow for ever.
    whole, of_a, of_b = OrSet(), OrSet(), OrSet()
    for number in range(50):
        put = whole.add(A, str(number))
        whole.apply(put)
        of_a.publish(put, A.peer)
        taken = whole.remove(A, str(number))
        whole.apply(taken)
        of_b.publish(taken, B.peer)
        assert live(A, number + 1) in of_a.settle(whole, A.peer, taken)
    assert of_a.to_entries(A.peer) == of_b.to_entries(B.peer) == {removed(A, 1): u64(50)}


def test_removers_runs_grow_together_when_others_close_the_gaps() -> None:
    whole, of_b = with_elements(*map(str, range(20))), OrSet()
    for number in range(0, 20, 2):
        taken = whole.remove(A, str(number))
        whole.apply(taken)
        of_b.publish(taken, B.peer)
    assert len(of_b.to_entries(B.peer)) == 10
    for number in range(1, 20, 2):
        taken = whole.remove(A, str(number))
        whole.apply(taken)
        of_b.settle(whole, B.peer, taken)
    assert len(of_b.to_entries(B.peer)) == 1


def test_a_removal_is_written_with_what_is_removed_around_it() -> None:
    whole, of_b = with_elements("1", "2", "3", "4"), OrSet()
    of_b.publish(whole.remove(A, "2"), B.peer)
    for element in ("1", "2", "3"):
        whole.apply(whole.remove(A, element))
    changed = of_b.publish(whole.remove(A, "4"), B.peer)
    assert changed == {removed(A, 1): u64(4), removed(A, 2): None}


def test_dots_are_not_used_again_after_removals() -> None:
    state = with_elements("x")
    state.apply(state.remove(A, "x"))
    assert state.add(A, "y").to_entries(A.peer) == {live(A, 2): b"\x01y"}
    assert state.add(Origin(A.peer, 2), "y").to_entries(A.peer) == {
        b"+" + u64(2) + u64(1): b"\x01y"
    }


def test_who_has_no_dot_left_takes_a_new_incarnation() -> None:
    hostile = OrSet.from_entries({removed(A, 1): u64(MAX_COUNTER - 1)}, B.peer)
    with pytest.raises(CounterExhausted, match="new one"):
        hostile.add(A, "x")
    hostile.apply(hostile.add(Origin(A.peer, 2), "x"))
    assert "x" in hostile


def test_a_key_whose_lamport_counter_is_used_up_is_free_again_once_removed() -> None:
    hostile = OrMap.from_entries({live(B, 1): u64(MAX_COUNTER - 1) + b"\x01k"}, B.peer)
    with pytest.raises(CounterExhausted, match="remove it first"):
        hostile.put(A, "k", b"")
    hostile.apply(hostile.remove(A, "k"))
    hostile.apply(hostile.put(A, "k", b"mine"))
    assert hostile["k"] == b"mine"


PUT = u64(1) + b"\x01k"


@pytest.mark.parametrize(
    ("key", "value"),
    [
        (b"", PUT),
        (b"?" + live(A, 1)[1:], PUT),
        (live(A, 0), PUT),
        (live(A, MAX_COUNTER), PUT),
        (live(A, 1) + b"\x00", PUT),
        (live(A, 1)[:-1], PUT),
        (live(A, 1), b""),
        (live(A, 1), u64(0) + b"\x01k"),
        (live(A, 1), u64(MAX_COUNTER) + b"\x01k"),
        (live(A, 1), u64(1) + b"\x02k"),
        (live(A, 1), u64(1) + b"\x01\x1b"),
        (live(A, 1), PUT + bytes(MAX_VALUE_BYTES + 1)),
        (removed(A, 0), u64(1)),
        (removed(A, 2), u64(1)),
        (removed(A, 1), u64(MAX_COUNTER)),
        (removed(A, 1), u64(1) + b"\x00"),
        (removed(A, 1) + b"\x00", u64(1)),
        (removed(A, 1)[:20], u64(1)),
    ],
)
def test_a_bad_entry_is_refused_and_the_good_one_beside_it_counts(key: bytes, value: bytes) -> None:
    with pytest.raises(MalformedError):
        OrMap.from_entries({key: value}, A.peer)
    bad: list[bytes] = []
    entries = {key: value, live(A, 5): u64(1) + b"\x04goodx"}
    read = OrMap.from_entries(entries, A.peer, lambda at, _: bad.append(at))
    assert dict(read.items()) == {"good": b"x"}
    assert bad == [key]


def test_an_elements_entry_holds_nothing_else() -> None:
    with pytest.raises(MalformedError):
        OrSet.from_entries({live(A, 1): b"\x01x+"}, A.peer)


def test_what_users_write_is_bounded_as_what_is_read() -> None:
    [(key, value)] = (
        OrMap().put(A, "k" * MAX_KEY_BYTES, bytes(MAX_VALUE_BYTES)).to_entries(A.peer).items()
    )
    assert len(key) <= MAX_ENTRY_KEY_BYTES
    assert len(value) == MAX_ENTRY_VALUE_BYTES
    with pytest.raises(ValueError, match="16384"):
        OrMap().put(A, "k", bytes(MAX_VALUE_BYTES + 1))
    for bad in ("k" * (MAX_KEY_BYTES + 1), "new\nline"):
        with pytest.raises(ValueError, match="255 bytes of text"):
            OrMap().put(A, bad, b"")
        with pytest.raises(ValueError, match="255 bytes of text"):
            OrSet().add(A, bad)
