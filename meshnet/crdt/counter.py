"""A counter that goes up and down: two totals per origin, each of which only rises."""

from __future__ import annotations

from typing import NamedTuple, Self

from meshnet.crdt.base import (
    MAX_COUNTER,
    CounterExhausted,
    Lattice,
    ValueChange,
    pack_u64,
    read_counter,
)
from meshnet.crdt.dots import Origin
from meshnet.ids import PeerName
from meshnet.wire.cursor import Cursor, MalformedError


class _Totals(NamedTuple):
    """All that one origin ever added and took away."""

    up: int
    down: int

    def join(self, other: _Totals) -> _Totals:
        return _Totals(max(self.up, other.up), max(self.down, other.down))


_NOTHING = _Totals(0, 0)


class Counter(Lattice[ValueChange[int]]):
    """The sum of what all origins added and took away."""

    __slots__ = ("_totals", "_value")
    name = "counter"

    def __init__(self) -> None:
        self._totals: dict[Origin, _Totals] = {}
        self._value = 0

    @property
    def value(self) -> int:
        return self._value

    def add(self, origin: Origin, amount: int) -> Self:
        """Count ``amount``, which may be negative; 0 gives bottom.

        Raises TypeError for what is no int, CounterExhausted when a total of ``origin`` would reach
        2**64 - 1.
        """
        if not isinstance(amount, int):
            raise TypeError(f"{amount!r} is no amount: give an int")
        delta = type(self)()
        if amount == 0:
            return delta
        up, down = self._totals.get(origin, _NOTHING)
        totals = _Totals(up + max(amount, 0), down + max(-amount, 0))
        if max(totals) >= MAX_COUNTER:
            raise CounterExhausted("the totals of this incarnation are full: take a new one")
        delta._join(origin, totals)
        return delta

    def _join(self, origin: Origin, totals: _Totals) -> None:
        known = self._totals.get(origin, _NOTHING)
        joined = known.join(totals)
        if joined != known:
            self._totals[origin] = joined
            self._value += (joined.up - joined.down) - (known.up - known.down)

    def apply(self, delta: Self) -> list[ValueChange[int]]:
        before = self._value
        for origin, totals in delta._totals.items():
            self._join(origin, totals)
        return [ValueChange(before, self._value)] if before != self._value else []

    def changes_since(self, before: Self) -> list[ValueChange[int]]:
        return [] if self._value == before._value else [ValueChange(before._value, self._value)]

    def copy(self) -> Self:
        twin = type(self)()
        twin._totals, twin._value = self._totals.copy(), self._value
        return twin

    def __eq__(self, other: object) -> bool:
        return isinstance(other, type(self)) and self._totals == other._totals

    def __repr__(self) -> str:
        return f"Counter({self._value}, {self._totals})"

    def to_entries(self, writer: PeerName, about: Self | None = None) -> dict[bytes, bytes]:
        origins = self._totals if about is None else about._totals
        return {
            pack_u64(origin.incarnation): b"".join(map(pack_u64, self._totals[origin]))
            for origin in origins
            if origin.peer == writer and origin in self._totals
        }

    def join_entry(self, writer: PeerName, key: bytes, value: bytes | None) -> None:
        cursor = Cursor(key)
        origin = Origin(writer, cursor.read_u64())
        cursor.finish()
        if value is None:
            return
        cursor = Cursor(value)
        totals = _Totals(read_counter(cursor, least=0), read_counter(cursor, least=0))
        cursor.finish()
        if totals == _NOTHING:
            raise MalformedError("totals of nothing are not written")
        self._join(origin, totals)
