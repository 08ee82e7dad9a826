"""Last writer wins: a register and a map, ordered by Lamport counter, then by writer.

No clock is asked. Who has seen a write and writes then, wins over it; of writes that did not see
each other the one with the higher counter wins, then the writer with the higher name, the same
for everybody.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple, Self

from meshnet.crdt.base import (
    MAX_COUNTER,
    MAX_KEY_BYTES,
    CounterExhausted,
    KeyChange,
    KeyedLattice,
    Lattice,
    ValueChange,
    check_value,
    pack_u64,
    read_counter,
    read_value,
)
from meshnet.crdt.dots import Origin
from meshnet.ids import PeerName
from meshnet.wire.cursor import Cursor, MalformedError, pack_text

_REGISTER_KEY = b"value"
_REMOVED, _PRESENT = 0, 1

_FAR = 2**63
"""Lamport counters from here on do not move the map's clock: honest ones never get there, and one
hostile write would otherwise leave nobody a counter for any other key."""


class Write(NamedTuple):
    """One writer's word on one value; None: removed."""

    lamport: int
    writer: PeerName
    value: bytes | None

    def beats(self, other: Write | None) -> bool:
        """Total, so that two contents under one counter (an equivocating writer) have an end."""
        return other is None or self._order > other._order

    @property
    def _order(self) -> tuple[int, bytes, bool, bytes]:
        return (self.lamport, self.writer, self.value is not None, self.value or b"")


class LwwRegister(Lattice[ValueChange[bytes | None]]):
    """One value, or None: never written, or written as None."""

    __slots__ = ("_write",)
    name = "lww-register"

    def __init__(self) -> None:
        self._write: Write | None = None

    @property
    def value(self) -> bytes | None:
        return self._write.value if self._write is not None else None

    def put(self, origin: Origin, value: bytes | None) -> Self:
        """Raises ValueError for too long a value, CounterExhausted when no counter is left."""
        delta = type(self)()
        lamport = self._write.lamport if self._write is not None else 0
        delta._write = _write_after(lamport, origin.peer, value)
        return delta

    def apply(self, delta: Self) -> list[ValueChange[bytes | None]]:
        if delta._write is None or not delta._write.beats(self._write):
            return []
        before, self._write = self.value, delta._write
        return [ValueChange(before, self.value)] if before != self.value else []

    def changes_since(self, before: Self) -> list[ValueChange[bytes | None]]:
        return [] if self.value == before.value else [ValueChange(before.value, self.value)]

    def copy(self) -> Self:
        twin = type(self)()
        twin._write = self._write
        return twin

    def __eq__(self, other: object) -> bool:
        return isinstance(other, type(self)) and self._write == other._write

    def __repr__(self) -> str:
        return f"LwwRegister({self._write})"

    def to_entries(self, writer: PeerName, about: Self | None = None) -> dict[bytes, bytes]:  # noqa: ARG002 -- there is but one
        if self._write is None or self._write.writer != writer:
            return {}
        return {_REGISTER_KEY: _pack_write(self._write)}

    def join_entry(self, writer: PeerName, key: bytes, value: bytes | None) -> None:
        if key != _REGISTER_KEY:
            raise MalformedError("a register has one entry")
        if value is not None and (write := _parse_write(value, writer)).beats(self._write):
            self._write = write

    def settle(
        self,
        whole: Self,
        writer: PeerName,
        about: Self | None = None,  # noqa: ARG002 -- but one
    ) -> dict[bytes, bytes | None]:
        if self._write is None or not _is_beaten(self._write, whole._write, writer):
            return {}
        self._write = None
        return {_REGISTER_KEY: None}


class LwwMap(KeyedLattice[KeyChange]):
    """Values by key. A removal is a write too, kept with its counter, so that it can win."""

    __slots__ = ("_clock", "_writes")
    name = "lww-map"

    def __init__(self) -> None:
        self._writes: dict[str, Write] = {}
        self._clock = 0  # the greatest counter seen below _FAR

    def __getitem__(self, key: str) -> bytes:
        if (value := self.get(key)) is None:
            raise KeyError(key)
        return value

    def get(self, key: str) -> bytes | None:
        write = self._writes.get(key)
        return write.value if write is not None else None

    def __contains__(self, key: str) -> bool:
        return self.get(key) is not None

    def items(self) -> Iterator[tuple[str, bytes]]:
        """What is there, in no particular order; removed keys are not."""
        for key, write in self._writes.items():
            if write.value is not None:
                yield key, write.value

    def put(self, origin: Origin, key: str, value: bytes) -> Self:
        """Raises ValueError for a key or value that nobody would accept.

        CounterExhausted when no counter is left for this key.
        """
        pack_text(key, MAX_KEY_BYTES)
        return self._written(origin.peer, key, value)

    def remove(self, origin: Origin, key: str) -> Self:
        """Bottom when ``key`` is not there. Raises what `put` does."""
        pack_text(key, MAX_KEY_BYTES)
        return self._written(origin.peer, key, None) if key in self else type(self)()

    def _written(self, writer: PeerName, key: str, value: bytes | None) -> Self:
        # The map's clock, not the key's alone: where a removal was forgotten together with its
        # writer, a new write still beats what a returning peer brings.
        known = self._writes.get(key)
        lamport = max(self._clock, known.lamport if known is not None else 0)
        delta = type(self)()
        delta._hold(key, _write_after(lamport, writer, value))
        return delta

    def _hold(self, key: str, write: Write) -> None:
        self._writes[key] = write
        if self._clock < write.lamport < _FAR:
            self._clock = write.lamport

    def apply(self, delta: Self) -> list[KeyChange]:
        changes = []
        for key, write in delta._writes.items():
            known = self._writes.get(key)
            if not write.beats(known):
                continue
            self._hold(key, write)
            before = known.value if known is not None else None
            if before != write.value:
                changes.append(KeyChange(key, before, write.value))
        return changes

    def known_keys(self) -> Iterable[str]:
        return self._writes.keys()

    def change_at(self, key: str, before: Self) -> KeyChange | None:
        old, new = before.get(key), self.get(key)
        return KeyChange(key, old, new) if old != new else None

    @staticmethod
    def key_of(change: KeyChange) -> str:
        return change.key

    def parts(self) -> list[Any]:
        return [*self._writes, *self._writes.values()]

    def copy(self) -> Self:
        twin = type(self)()
        twin._writes, twin._clock = self._writes.copy(), self._clock
        return twin

    def __eq__(self, other: object) -> bool:
        return isinstance(other, type(self)) and self._writes == other._writes

    def __repr__(self) -> str:
        return f"LwwMap({self._writes})"

    def to_entries(self, writer: PeerName, about: Self | None = None) -> dict[bytes, bytes]:
        return {
            pack_text(key, MAX_KEY_BYTES): _pack_write(write)
            for key, write in self._some(about)
            if write.writer == writer
        }

    def _some(self, about: Self | None) -> Iterable[tuple[str, Write]]:
        if about is None:
            return self._writes.items()
        return [(key, self._writes[key]) for key in about._writes if key in self._writes]

    def join_entry(self, writer: PeerName, key: bytes, value: bytes | None) -> None:
        cursor = Cursor(key)
        text = cursor.read_text(MAX_KEY_BYTES)
        cursor.finish()
        if value is None:
            return
        write = _parse_write(value, writer)
        if write.beats(self._writes.get(text)):
            self._hold(text, write)

    def settle(
        self, whole: Self, writer: PeerName, about: Self | None = None
    ) -> dict[bytes, bytes | None]:
        changed: dict[bytes, bytes | None] = {}
        for key, write in list(self._some(about)):
            if _is_beaten(write, whole._writes.get(key), writer):
                del self._writes[key]
                changed[pack_text(key, MAX_KEY_BYTES)] = None
        return changed


def _is_beaten(write: Write, by: Write | None, writer: PeerName) -> bool:
    """By another: who equivocates may not make itself forget."""
    return by is not None and by.writer != writer and by.beats(write)


def _write_after(lamport: int, writer: PeerName, value: bytes | None) -> Write:
    if lamport + 1 >= MAX_COUNTER:
        raise CounterExhausted("no write can follow: a member has used up the Lamport counter")
    return Write(lamport + 1, writer, check_value(value) if value is not None else None)


def _pack_write(write: Write) -> bytes:
    lamport = pack_u64(write.lamport)
    if write.value is None:
        return lamport + bytes((_REMOVED,))
    return lamport + bytes((_PRESENT,)) + write.value


def _parse_write(raw: bytes, writer: PeerName) -> Write:
    cursor = Cursor(raw)
    lamport = read_counter(cursor)
    kind = cursor.read_u8()
    if kind == _REMOVED:
        cursor.finish()
        return Write(lamport, writer, None)
    if kind != _PRESENT:
        raise MalformedError(f"a write is {_REMOVED} or {_PRESENT}, not {kind}")
    return Write(lamport, writer, read_value(cursor))
