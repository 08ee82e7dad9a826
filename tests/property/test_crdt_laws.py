"""Every replicated type keeps the laws, in every state that members can bring about."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshnet.crdt.base import Lattice
from meshnet.testing import check_fragment_laws, check_lattice_laws
from meshnet.testing.crdt_strategies import TYPES, WRITERS, parts, states
from meshnet.wire.cursor import MalformedError

each_type = pytest.mark.parametrize("kind", TYPES, ids=[kind.name for kind in TYPES])


@each_type
@given(data=st.data())
def test_joins_of_any_states_keep_the_laws(data: st.DataObject, kind: type[Lattice[Any]]) -> None:
    check_lattice_laws(data.draw(st.lists(states(kind), min_size=1, max_size=3)))


@each_type
@given(data=st.data())
def test_deltas_of_one_writer_keep_the_laws(data: st.DataObject, kind: type[Lattice[Any]]) -> None:
    check_lattice_laws(data.draw(st.lists(parts(kind, WRITERS[0]), min_size=2, max_size=3)))


@each_type
@given(data=st.data())
def test_fragments_keep_the_laws(data: st.DataObject, kind: type[Lattice[Any]]) -> None:
    writer = data.draw(st.sampled_from(WRITERS))
    own = parts(kind, writer)
    check_fragment_laws(writer, data.draw(own), data.draw(own), data.draw(states(kind)))


@each_type
@given(data=st.data())
def test_arbitrary_bytes_are_an_entry_that_says_the_same_or_malformed(
    data: st.DataObject, kind: type[Lattice[Any]]
) -> None:
    entries = data.draw(parts(kind, WRITERS[0])).to_entries(WRITERS[0])
    samples = [*entries.items(), (b"\x01a", bytes(9)), (b"+" + bytes(16), bytes(9))]
    key, value = data.draw(st.sampled_from(samples))
    key, value = data.draw(bent(key)), data.draw(bent(value))
    with contextlib.suppress(MalformedError):
        state = kind.from_entries({key: value}, WRITERS[0])
        assert state.to_entries(WRITERS[0]) == {key: value}
    with contextlib.suppress(MalformedError):
        kind.from_entries({key: None}, WRITERS[0])


def bent(raw: bytes) -> st.SearchStrategy[bytes]:
    """``raw``, or something near it, or nothing like it."""
    return st.one_of(
        st.just(raw),
        st.binary(max_size=3).map(lambda more: raw + more),
        st.integers(0, len(raw)).map(lambda size: raw[:size]),
        st.builds(
            lambda at, byte: raw[:at] + bytes((byte,)) + raw[at + 1 :],
            st.integers(0, max(0, len(raw) - 1)),
            st.integers(0, 255),
        ),
        st.binary(max_size=40),
    )
