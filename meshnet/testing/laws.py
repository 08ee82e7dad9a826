"""The laws of replicated types: run them against a type of your own.

Each check raises AssertionError with the law that was broken and what breaks it. Let hypothesis
draw the states (`meshnet.testing.crdt_strategies` shows how), two to four at a time::

    @given(st.lists(my_states, min_size=1, max_size=3))
    def test_laws(states):
        check_lattice_laws(states)
"""

from __future__ import annotations

import copy
import itertools
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeVar

from meshnet.crdt.base import MAX_ENTRY_KEY_BYTES, KeyedLattice, Lattice
from meshnet.ids import PeerName
from meshnet.wire.cursor import MalformedError

L = TypeVar("L", bound=Lattice[Any])

_MAX_STATES = 4
_TOO_LONG = (b"\xff" * (MAX_ENTRY_KEY_BYTES + 1), b"")


def check_lattice_laws(states: Sequence[L]) -> None:
    """States of one type, each of which may be the delta of another; at most 4.

    Their joins must not depend on order, grouping or repetition, must never lose anything, and
    `apply` must do in place what `merge` does beside.
    """
    assert 0 < len(states) <= _MAX_STATES, f"give 1 to {_MAX_STATES} states at once"
    before = copy.deepcopy(list(states))
    for state in states:
        _check_equality(state)
    for a, b in itertools.product(states, repeat=2):
        _check_arguments(a, b)
    for state in states:
        _check_alone(state)
    for a, b in itertools.product(states, repeat=2):
        _check_pair(a, b)
    for a, b, c in itertools.product(states, repeat=3):
        left, right = a.merge(b).merge(c), a.merge(b.merge(c))
        assert left == right, f"not associative: ({a} v {b}) v {c} = {left}, but {right}"
    _check_any_order(states)
    _check_unchanged(states, before)


def check_fragment_laws(
    writer: PeerName,
    fragment: L,
    delta: L,
    others: L,
    bad_entries: Iterable[tuple[bytes, bytes | None]] = (_TOO_LONG,),
) -> None:
    """What ``writer`` alone says, ``fragment``, and is about to say, ``delta``; ``others`` is what
    all others say.

    Entries must mean each by itself what they mean together, and read back as what was written.
    The entries that `publish` and `settle` change must be all that a follower needs to know.
    ``bad_entries`` must be refused, without harm to the others.
    """
    before = copy.deepcopy([fragment, delta, others])
    for state in (fragment, delta):
        _check_entries(writer, state)
        for key, value in bad_entries:
            _check_bad_entry(writer, state, key, value)
    whole = others.merge(fragment)
    part = type(others).from_entries(whole.to_entries(writer), writer)
    assert whole.merge(part) == whole, f"asserts more than there is: {part} of {whole}"
    _check_publish(writer, fragment, delta, whole)
    _check_settle(writer, fragment, whole, None)
    _check_settle(writer, fragment, whole, others)
    _check_unchanged([fragment, delta, others], before)


def _check_equality(state: Lattice[Any]) -> None:
    twin = copy.deepcopy(state)
    assert state == twin, f"equality is not structural: {state} is not its deep copy"
    assert state != object(), f"equal to anything: {state}"
    assert state.copy() == state, f"copy differs: {state.copy()} of {state}"


def _check_arguments(a: L, b: L) -> None:
    # Python's own copies: a wrong `copy` must not hide what happens to arguments.
    before = copy.deepcopy([a, b])
    a.merge(b)
    _check_unchanged([a, b], before)
    joined = a.copy()
    joined.apply(b)
    _check_unchanged([a, b], before)
    # What was joined goes its own way: nothing is shared.
    joined.apply(b.merge(a))
    _check_unchanged([a, b], before)


def _check_alone(state: Lattice[Any]) -> None:
    bottom = type(state)()
    assert state.merge(state) == state, f"not idempotent: {state} v itself = {state.merge(state)}"
    assert state.merge(bottom) == state, f"bottom adds to {state}"
    assert bottom.merge(state) == state, f"bottom takes from {state}"
    again = state.copy()
    assert again.apply(again) == [], f"applying {state} to itself changed something"
    assert again == state, f"not idempotent: applying {state} to itself gave {again}"


def _check_pair(a: L, b: L) -> None:
    joined = a.merge(b)
    assert joined == b.merge(a), f"not commutative: {a} v {b} = {joined}, but {b.merge(a)}"
    for part in (a, b):
        assert joined.merge(part) == joined, f"not monotone: {a} v {b} = {joined} lacks of {part}"
    assert (a == b) == (b == a), f"equality is one-sided: {a}, {b}"

    applied = a.copy()
    changes = applied.apply(b)
    assert applied == joined, f"delta is not state: {a} with {b} applied = {applied}, not {joined}"
    assert not changes or applied != a, f"told of changes, but nothing changed: {changes}"
    seen = applied.changes_since(a)
    assert sorted(map(repr, seen)) == sorted(map(repr, changes)), (
        f"changes_since is not apply: {seen}, but {changes}"
    )
    if isinstance(applied, KeyedLattice):
        before: Any = a
        for change in changes:
            key = applied.key_of(change)
            assert applied.change_at(key, before) == change, f"{change} is not at its key {key!r}"
    assert applied.changes_since(joined) == [], f"no change, but {applied.changes_since(joined)}"
    assert applied.apply(b) == [], f"told of a change twice: {b} on {applied}"
    assert applied == joined, f"not idempotent: {b} applied twice gave {applied}, not {joined}"


def _check_any_order(states: Sequence[L]) -> None:
    """Lost, late, doubled, or replaced by the full state: all ways end the same."""
    end = _join(states)
    for order in itertools.permutations(states):
        replica = type(end)()
        for delta in (*order, order[0]):
            seen = replica.copy()
            replica.apply(delta)
            assert replica.merge(seen) == replica, f"apply went down: from {seen} to {replica}"
        assert replica == end, f"the order shows: {order} gave {replica}, not {end}"
        late = order[0].copy()
        late.apply(end)
        assert late == end, f"the full state does not make up for losses: {late}, not {end}"


def _check_unchanged(states: Sequence[L], before: Sequence[L]) -> None:
    for state, was in zip(states, before, strict=True):
        assert state == was, f"an argument was changed: {was} into {state}"


def _check_entries(writer: PeerName, state: L) -> None:
    kind = type(state)
    entries = state.to_entries(writer)
    back = kind.from_entries(entries, writer)
    assert back == state, f"entries do not round-trip: {entries} are {back}, not {state}"
    assert back.to_entries(writer) == entries, f"equal states, other entries: {back}, {state}"
    pieces = [kind.from_entries({key: value}, writer) for key, value in entries.items()]
    for piece, entry in zip(pieces, entries.items(), strict=True):
        assert piece.to_entries(writer) == dict([entry]), f"not canonical: {entry} is {piece}"
    for order in (pieces, pieces[::-1]):
        joined = _join([kind(), *order])
        assert joined == state, f"entries mean other things together: {joined}, not {state}"


def _check_bad_entry(writer: PeerName, state: L, key: bytes, value: bytes | None) -> None:
    """It is told of and hides no other, wherever it stands."""
    kind = type(state)
    good, bad = state.to_entries(writer), {key: value}
    good.pop(key, None)
    expected = kind.from_entries(good, writer)
    for entries in (bad | good, good | bad):
        told: dict[bytes, MalformedError] = {}
        read = kind.from_entries(entries, writer, told.__setitem__)
        assert list(told) == [key], f"a bad entry was read: {key!r}: {value!r}"
        assert read == expected, f"a bad entry hides good ones: {read}, not {expected}"
    try:
        kind.from_entries(bad, writer)
    except MalformedError:
        return
    raise AssertionError(f"a bad entry was read: {key!r}: {value!r}")


def _check_publish(writer: PeerName, fragment: L, delta: L, whole: L) -> None:
    own, held = fragment.copy(), _Held(fragment.to_entries(writer))
    changed = own.publish(delta, writer)
    held.write(changed)
    assert own == fragment.merge(delta), f"publish is not apply: {own} of {fragment} and {delta}"
    assert held.entries == own.to_entries(writer), f"publish wrote {changed} of {own}"
    assert own.publish(delta, writer) == {}, f"published twice: {delta}"

    follower = whole.copy()
    follower.apply(type(own).from_entries(changed, writer))
    known = whole.merge(delta)
    assert follower == known, f"followers of changed entries miss something: {follower}, {known}"
    assert whole.merge(own) == known, f"newcomers miss something: {whole.merge(own)}, {known}"


def _check_settle(writer: PeerName, fragment: L, whole: L, about: L | None) -> None:
    own, held = fragment.copy(), _Held(fragment.to_entries(writer))
    follower, witness = whole.copy(), copy.deepcopy(whole)
    changed = own.settle(whole, writer, about)
    held.write(changed)
    assert whole == witness, f"settle changed the whole: {witness} into {whole}"
    assert held.entries == own.to_entries(writer), f"settle wrote {changed} of {own}"
    assert len(held.entries) <= len(fragment.to_entries(writer)), f"settle added: {changed}"
    assert own.settle(whole, writer, about) == {}, f"settle does not come to rest: {own}"
    assert whole.merge(own) == whole, f"settle says what nobody said: {own}"
    changes = follower.apply(type(own).from_entries(changed, writer))
    assert (changes, follower) == ([], whole), f"settle is seen: {changes}, {follower}"


class _Held:
    """The entries of a fragment, as who stores or relays them has them."""

    def __init__(self, entries: dict[bytes, bytes]) -> None:
        self.entries = entries

    def write(self, changed: Mapping[bytes, bytes | None]) -> None:
        for key, value in changed.items():
            assert self.entries.get(key) != value, f"written, but not changed: {key!r}"
            if value is None:
                del self.entries[key]
            else:
                self.entries[key] = value


def _join(states: Sequence[L]) -> L:
    whole = type(states[0])()
    for state in states:
        whole.apply(state)
    return whole
