"""What hypothesis draws for the replicated types: any state that members can bring about.

Hostile members included: two contents under one dot or Lamport counter, removals of what nobody
put. Pools are small, so that states meet. Needs hypothesis.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from hypothesis import strategies as st

from meshnet.crdt.base import MAX_COUNTER, Lattice
from meshnet.crdt.counter import Counter
from meshnet.crdt.lww import LwwMap, LwwRegister
from meshnet.crdt.orset import OrMap, OrSet
from meshnet.ids import PeerName

L = TypeVar("L", bound=Lattice[Any])
Entries = Mapping[bytes, bytes]

WRITERS = [PeerName(bytes((number,)) * 16) for number in (1, 2, 3)]
TYPES: list[type[Lattice[Any]]] = [LwwRegister, LwwMap, OrSet, OrMap, Counter]

_NEAR_THE_END = MAX_COUNTER - 1
_U64 = st.sampled_from([*range(1, 9), _NEAR_THE_END]).map(lambda number: number.to_bytes(8, "big"))
_INCARNATIONS = st.sampled_from([bytes(8), b"\xff" * 8])
_TEXTS = st.sampled_from([b"\x00", b"\x01a", b"\x02\xc3\xa4"])
_VALUES = st.sampled_from([b"", b"x", b"y"])

_WRITES = st.one_of(
    st.builds(lambda lamport, value: lamport + b"\x01" + value, _U64, _VALUES),
    st.builds(lambda lamport: lamport + b"\x00", _U64),
)
_DOTS = st.builds(lambda incarnation, counter: b"+" + incarnation + counter, _INCARNATIONS, _U64)
_PAIRS = st.builds(lambda lamport, key, value: lamport + key + value, _U64, _TEXTS, _VALUES)
_RUNS = st.builds(
    lambda peer, incarnation, ends: (b"-" + peer + incarnation + min(ends), max(ends)),
    st.sampled_from(WRITERS),
    _INCARNATIONS,
    st.tuples(_U64, _U64),
)
_TOTALS = st.tuples(st.integers(0, 3), st.integers(0, 3)).filter(any)


def _dotted(puts: st.SearchStrategy[bytes]) -> st.SearchStrategy[Entries]:
    return st.builds(
        lambda live, removed: live | dict(removed),
        st.dictionaries(_DOTS, puts, max_size=4),
        st.lists(_RUNS, max_size=3),
    )


_ENTRIES: dict[type[Lattice[Any]], st.SearchStrategy[Entries]] = {
    LwwRegister: st.dictionaries(st.just(b"value"), _WRITES, max_size=1),
    LwwMap: st.dictionaries(_TEXTS, _WRITES, max_size=3),
    OrSet: _dotted(_TEXTS),
    OrMap: _dotted(_PAIRS),
    Counter: st.dictionaries(
        _INCARNATIONS,
        _TOTALS.map(lambda totals: b"".join(total.to_bytes(8, "big") for total in totals)),
        max_size=2,
    ),
}


def parts(kind: type[L], writer: PeerName) -> st.SearchStrategy[L]:
    """What ``writer`` by itself can say."""
    return _ENTRIES[kind].map(lambda entries: kind.from_entries(entries, writer))


def states(kind: type[L]) -> st.SearchStrategy[L]:
    """What all of `WRITERS` together can say."""

    def joined(said: tuple[L, ...]) -> L:
        whole = kind()
        for part in said:
            whole.apply(part)
        return whole

    return st.tuples(*(parts(kind, writer) for writer in WRITERS)).map(joined)
