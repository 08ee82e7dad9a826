"""Any entry of any type is joined, or MalformedError and nothing changed; joined ones write back.

The first byte chooses the type; then come entries, each with its writer, some of them gone.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from fuzz.plan import Plan, piece
from meshnet.crdt.base import MAX_COUNTER, Lattice
from meshnet.crdt.counter import Counter
from meshnet.crdt.dots import Origin
from meshnet.crdt.lww import LwwMap, LwwRegister
from meshnet.crdt.orset import OrMap, OrSet
from meshnet.wire.cursor import MalformedError
from support.samples import ALICE, BOB

_TYPES: tuple[type[Lattice[Any]], ...] = (Counter, LwwRegister, LwwMap, OrSet, OrMap)

COVERS = (
    "meshnet.crdt.base:Lattice.from_entries",
    "meshnet.crdt.base:read_counter",
    "meshnet.crdt.base:read_value",
    "meshnet.crdt.counter:Counter.join_entry",
    "meshnet.crdt.lww:LwwRegister.join_entry",
    "meshnet.crdt.lww:LwwMap.join_entry",
    "meshnet.crdt.lww:_parse_write",
    "meshnet.crdt.orset:_ObservedRemove.join_entry",
    "meshnet.crdt.orset:_ObservedRemove._join_live",
    "meshnet.crdt.orset:_ObservedRemove._join_removed",
    "meshnet.crdt.orset:OrSet._read_put",
    "meshnet.crdt.orset:OrMap._read_put",
    "meshnet.crdt.orset:_parse_last",
)

_GONE, _OF_BOB = 1, 2
_MAX = MAX_COUNTER.to_bytes(8, "big")


def check(data: bytes) -> None:
    plan = Plan(data)
    kind = _TYPES[plan.number() % len(_TYPES)]
    state = kind()
    fragments: dict[Any, dict[bytes, bytes | None]] = {ALICE.name: {}, BOB.name: {}}
    while not plan.over:
        form = plan.number()
        writer = BOB.name if form & _OF_BOB else ALICE.name
        key, value = plan.piece(), (None if form & _GONE else plan.piece(2))
        fragments[writer][key] = value
        before = state.copy()
        try:
            state.join_entry(writer, key, value)
        except MalformedError:
            assert state == before
        else:
            repeated = state.copy()
            repeated.join_entry(writer, key, value)
            assert repeated == state
    for writer, entries in fragments.items():
        _whole(kind, writer, entries)


def _whole(kind: type[Lattice[Any]], writer: Any, entries: dict[bytes, bytes | None]) -> None:
    bad: list[bytes] = []
    whole = kind.from_entries(entries, writer, lambda key, _error: bad.append(key))
    try:
        assert kind.from_entries(entries, writer) == whole
        assert not bad
    except MalformedError:
        assert bad
    assert set(bad) <= entries.keys()
    written = whole.to_entries(writer)
    assert kind.from_entries(written, writer) == whole
    # Or nobody could ever go on after it.
    assert not any(value[:8] == _MAX or value[8:] == _MAX for value in written.values())
    assert issubclass(kind, Counter) or not any(key[-8:] == _MAX for key in written)
    # The same in another order, and twice.
    backwards = dict(reversed(entries.items()))
    again = kind.from_entries(backwards, writer, lambda _key, _error: None)
    assert again == whole
    assert again.apply(whole) == []


def _packed(entries: dict[bytes, bytes], form: int = 0) -> bytes:
    return b"".join(bytes((form,)) + piece(k) + piece(v, 2) for k, v in entries.items())


def seeds() -> Iterator[bytes]:
    origin = Origin(ALICE.name, 7)
    a_set, a_map, keys = OrSet(), OrMap(), LwwMap()
    for text in ("a", "b", "c"):
        a_set.apply(a_set.add(origin, text))
        a_map.apply(a_map.put(origin, text, b"value"))
        keys.apply(keys.put(origin, text, b"value"))
    a_set.apply(a_set.remove(origin, "b"))
    a_map.apply(a_map.remove(origin, "b"))
    keys.apply(keys.remove(origin, "b"))
    states: tuple[Lattice[Any], ...] = (
        Counter().add(origin, -3),
        LwwRegister().put(origin, b"value"),
        keys,
        a_set,
        a_map,
    )
    for number, state in enumerate(states):
        entries = state.to_entries(ALICE.name)
        start = bytes((number,))
        yield start + _packed(entries)
        yield start + _packed(entries) * 2
        yield start + _packed(entries) + _packed(entries, _OF_BOB)
        yield start + b"".join(bytes((_GONE,)) + piece(key) for key in entries)
        yield start + _packed(dict.fromkeys(entries, b""))
        yield start + _packed({key: value + b"\0" for key, value in entries.items()})
        yield start + _packed({key + b"\0": value for key, value in entries.items()})
        yield start + _packed(dict.fromkeys(entries, (MAX_COUNTER).to_bytes(8, "big") * 2))
        yield start + _packed(dict.fromkeys(entries, bytes(16)))
        yield start + _packed(dict.fromkeys(entries, bytes(7) + b"\1" + bytes(17 * 1024)))
        yield start + _packed(dict.fromkeys(entries, bytes(7) + b"\1\2"))
        yield start + _packed({b"": b"", b"?": b""})
    removed = LwwRegister()
    removed.apply(removed.put(origin, None))
    yield b"\1" + _packed(removed.to_entries(ALICE.name))
    yield b"\4" + _packed({b"+" + bytes(15) + b"\1": bytes(7) + b"\1\1a" + bytes(17 * 1024)})
    one = b"+" + bytes(15) + b"\1"
    yield b"\4" + _packed({one: bytes(7) + b"\1\1a"}) + _packed({one: bytes(7) + b"\2\1b"})
    yield b"\3" + _packed({b"-" + ALICE.name + bytes(15) + b"\1": b"\x7f" + bytes(7)})
