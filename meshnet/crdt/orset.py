"""Observed-remove set and map: a removal takes away what its writer had seen, nothing newer.

Each put has a dot of its own; a state is the puts that live and the dots that are removed for
good. Together these are the causal context: a dot in neither has not been heard of. They are kept
apart because then every entry means the same by itself, whatever else of its fragment is known:
"this dot lives", "these dots are removed". A single context entry with all dots ever issued would
remove, as a delta, each live dot that the delta does not repeat.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple, Self, TypeVar

from meshnet.crdt.base import (
    MAX_COUNTER,
    MAX_KEY_BYTES,
    ChangeT,
    CounterExhausted,
    ElementChange,
    KeyChange,
    KeyedLattice,
    check_value,
    pack_u64,
    read_counter,
    read_value,
)
from meshnet.crdt.dots import Dot, DotContext, Origin, Run
from meshnet.crdt.ordered import Ordered
from meshnet.ids import PEER_NAME_BYTES, PeerName
from meshnet.wire.cursor import Cursor, MalformedError, pack_text

_KeyT = TypeVar("_KeyT")
_ItemT = TypeVar("_ItemT")

_LIVE, _REMOVED = b"+", b"-"


class _Put(NamedTuple):
    """What a dot stands for. Ordered, so that two under one dot (an equivocating writer) end."""

    key: str
    lamport: int
    value: bytes


_Before = dict[str, _Put | None]
"""What users saw under the keys that a delta touches, before it."""


class _ObservedRemove(KeyedLattice[ChangeT]):
    """The causal core of both types: keys, live only as long as a dot of theirs lives.

    Puts of one key that did not see each other live on together until somebody puts or removes
    the key again. Who does so removes them all; nothing else grows with how many they are.
    """

    __slots__ = ("_by_key", "_counters", "_live", "_removed")

    def __init__(self) -> None:
        self._live: dict[Dot, _Put] = {}
        self._removed = DotContext()
        # Two indices of _live, in order: the dots of each key under their Lamport counters, so
        # that the last is the one that is seen, and the counters of each origin.
        self._by_key: dict[str, Ordered[tuple[int, Dot]]] = {}
        self._counters: dict[Origin, Ordered[int]] = {}

    @abstractmethod
    def _change(self, key: str, before: _Put | None, after: _Put | None) -> ChangeT | None:
        """What users see when another put (None: none) is now the one of ``key``."""

    @abstractmethod
    def _pack_put(self, put: _Put) -> bytes: ...

    @abstractmethod
    def _read_put(self, cursor: Cursor) -> _Put: ...

    def __contains__(self, key: str) -> bool:
        return key in self._by_key

    def __iter__(self) -> Iterator[str]:
        """In no particular order."""
        return iter(self._by_key)

    def __len__(self) -> int:
        return len(self._by_key)

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, type(self))
            and self._live == other._live
            and self._removed == other._removed
        )

    def __repr__(self) -> str:
        return f"{type(self).__name__}(live={self._live}, removed={self._removed})"

    def known_keys(self) -> Iterable[str]:
        return self._by_key.keys()

    def change_at(self, key: str, before: Self) -> ChangeT | None:
        return self._change(key, before._winner(key), self._winner(key))

    def parts(self) -> list[Any]:
        return [*self._live, *self._live.values(), *self._by_key.values()]

    def copy(self) -> Self:
        twin = type(self)()
        twin._live = self._live.copy()
        twin._removed = self._removed.copy()
        twin._by_key = {key: dots.copy() for key, dots in self._by_key.items()}
        twin._counters = {origin: numbers.copy() for origin, numbers in self._counters.items()}
        return twin

    def remove(self, _origin: Origin, key: str) -> Self:
        """The delta that removes all of ``key`` that this state knows; bottom when it is absent.

        Called as all mutators are, though who removes takes no dot.
        """
        pack_text(key, MAX_KEY_BYTES)
        delta = type(self)()
        self._remove_seen(key, delta)
        return delta

    def _remove_seen(self, key: str, delta: Self) -> None:
        for dot in sorted(dot for _, dot in self._by_key.get(key, ())):
            # With what is removed around it already, so that the remover's runs grow together.
            delta._removed.add(self._removed.grown(_run_of(dot)))

    def _put(self, origin: Origin, put: _Put) -> Self:
        """Always under a new dot: an add must win over removals it does not know, every time."""
        counters = self._counters.get(origin)
        counter = 1 + max(counters.last if counters else 0, self._removed.last(origin))
        if counter >= MAX_COUNTER:
            raise CounterExhausted("no dot is left for this incarnation: take a new one")
        delta = type(self)()
        self._remove_seen(put.key, delta)
        delta._hold(Dot(*origin, counter), put)
        return delta

    def apply(self, delta: Self) -> list[ChangeT]:
        before: _Before = {}
        for run in delta._removed:
            self._join_removed(run, before)
        for dot, put in delta._live.items():
            self._join_live(dot, put, before)
        changes = (self._change(key, put, self._winner(key)) for key, put in before.items())
        return [change for change in changes if change is not None]

    def _join_removed(self, run: Run, before: _Before | None = None) -> None:
        if not self._removed.add(run):
            return
        for dot in self._live_in(run):
            self._note(self._live[dot].key, before)
            self._drop(dot)

    def _join_live(self, dot: Dot, put: _Put, before: _Before | None = None) -> None:
        known = self._live.get(dot)
        if dot in self._removed or (known is not None and known >= put):
            return
        self._note(put.key, before)
        if known is not None:
            self._note(known.key, before)
            self._drop(dot)
        self._hold(dot, put)

    def _note(self, key: str, before: _Before | None) -> None:
        if before is not None and key not in before:
            before[key] = self._winner(key)

    def _winner(self, key: str) -> _Put | None:
        """Of the puts of ``key`` that live: the highest Lamport counter, then the highest dot."""
        dots = self._by_key.get(key)
        if dots is None:
            return None
        _, dot = dots.last
        return self._live[dot]

    def _hold(self, dot: Dot, put: _Put) -> None:
        self._live[dot] = put
        _index(self._by_key, put.key, (put.lamport, dot))
        _index(self._counters, dot.origin, dot.counter)

    def _drop(self, dot: Dot) -> None:
        put = self._live.pop(dot)
        dots, counters = self._by_key[put.key], self._counters[dot.origin]
        dots.remove((put.lamport, dot))
        counters.remove(dot.counter)
        if not dots:
            del self._by_key[put.key]
        if not counters:
            del self._counters[dot.origin]

    def _live_in(self, run: Run) -> list[Dot]:
        # By search, not by walking the run: a hostile one may be 2**64 long.
        counters = self._counters.get(run.origin)
        if counters is None:
            return []
        return [Dot(*run.origin, counter) for counter in counters.between(run.first, run.last)]

    def to_entries(self, writer: PeerName, about: Self | None = None) -> dict[bytes, bytes]:
        dots: Iterable[Dot] = self._live
        runs: Iterable[Run] = self._removed
        if about is not None:
            dots = [dot for dot in about._live if dot in self._live]
            dots += [dot for run in about._removed for dot in self._live_in(run)]
            runs = [near for run in about._removed for near in self._removed.touching(run)]
        entries = {
            _LIVE + pack_u64(dot.incarnation) + pack_u64(dot.counter): self._pack_put(
                self._live[dot]
            )
            for dot in dots
            if dot.peer == writer
        }
        for origin, first, last in runs:
            key = _REMOVED + origin.peer + pack_u64(origin.incarnation) + pack_u64(first)
            entries[key] = pack_u64(last)
        return entries

    def join_entry(self, writer: PeerName, key: bytes, value: bytes | None) -> None:
        cursor = Cursor(key)
        kind = cursor.read_bytes(1)
        if kind == _LIVE:
            # The writer's name is not in it: nobody can put under another's dot.
            dot = Dot(writer, cursor.read_u64(), read_counter(cursor))
            cursor.finish()
            if value is None:
                # Removed in any case, also when the fragment starts over without its past.
                self._join_removed(_run_of(dot))
            else:
                self._join_live(dot, self._parse_put(value))
        elif kind == _REMOVED:
            peer = PeerName(cursor.read_bytes(PEER_NAME_BYTES))
            origin, first = Origin(peer, cursor.read_u64()), read_counter(cursor)
            cursor.finish()
            # One that is gone is part of a longer run now: no dot comes back.
            if value is not None:
                self._join_removed(Run(origin, first, _parse_last(value, first)))
        else:
            raise MalformedError(f"entry of unknown kind {kind!r}")

    def _parse_put(self, raw: bytes) -> _Put:
        cursor = Cursor(raw)
        put = self._read_put(cursor)
        cursor.finish()
        return put

    def settle(
        self, whole: Self, writer: PeerName, about: Self | None = None
    ) -> dict[bytes, bytes | None]:
        """Own puts that others removed are dropped; runs whose gap others removed become one."""
        superfluous = type(self)()
        for run in whole._removed if about is None else about._removed:
            closed = whole._removed.grown(run)
            if self._live_in(closed) or len(self._removed.touching(closed)) > 1:
                superfluous._removed.add(closed)
        return self.publish(superfluous, writer)


class OrSet(_ObservedRemove[ElementChange]):
    """A set of texts. An add wins over a removal that did not know of it."""

    __slots__ = ()
    name = "or-set"

    def add(self, origin: Origin, element: str) -> Self:
        """Raises ValueError for an element that nobody would accept.

        CounterExhausted when ``origin`` has no dot left. Adding again what is there renews it:
        removals that did not know of this add do not take it away.
        """
        pack_text(element, MAX_KEY_BYTES)
        return self._put(origin, _Put(element, 0, b""))

    @staticmethod
    def key_of(change: ElementChange) -> str:
        return change.element

    def _change(self, key: str, before: _Put | None, after: _Put | None) -> ElementChange | None:
        if (before is None) == (after is None):
            return None
        return ElementChange(key, after is not None)

    def _pack_put(self, put: _Put) -> bytes:
        return pack_text(put.key, MAX_KEY_BYTES)

    def _read_put(self, cursor: Cursor) -> _Put:
        return _Put(cursor.read_text(MAX_KEY_BYTES), 0, b"")


class OrMap(_ObservedRemove[KeyChange]):
    """Values by key. A put wins over a removal that did not know of it.

    Of puts that did not know of each other the one with the highest Lamport counter is seen, then
    the one with the highest dot; the next put or removal replaces them all.
    """

    __slots__ = ()
    name = "or-map"

    def __getitem__(self, key: str) -> bytes:
        if (put := self._winner(key)) is None:
            raise KeyError(key)
        return put.value

    def get(self, key: str) -> bytes | None:
        put = self._winner(key)
        return put.value if put is not None else None

    def items(self) -> Iterator[tuple[str, bytes]]:
        """In no particular order."""
        for key in self:
            yield key, self[key]

    def put(self, origin: Origin, key: str, value: bytes) -> Self:
        """Raises ValueError for a key or value that nobody would accept.

        CounterExhausted when ``origin`` has no dot left, or this key no Lamport counter.
        """
        pack_text(key, MAX_KEY_BYTES)
        seen = self._winner(key)
        lamport = 1 + (seen.lamport if seen is not None else 0)
        if lamport >= MAX_COUNTER:
            raise CounterExhausted("no put can follow on this key: remove it first")
        return self._put(origin, _Put(key, lamport, check_value(value)))

    @staticmethod
    def key_of(change: KeyChange) -> str:
        return change.key

    def _change(self, key: str, before: _Put | None, after: _Put | None) -> KeyChange | None:
        old = before.value if before is not None else None
        new = after.value if after is not None else None
        return KeyChange(key, old, new) if old != new else None

    def _pack_put(self, put: _Put) -> bytes:
        return pack_u64(put.lamport) + pack_text(put.key, MAX_KEY_BYTES) + put.value

    def _read_put(self, cursor: Cursor) -> _Put:
        lamport = read_counter(cursor)
        return _Put(cursor.read_text(MAX_KEY_BYTES), lamport, read_value(cursor))


def _index(index: dict[_KeyT, Ordered[_ItemT]], key: _KeyT, item: _ItemT) -> None:
    items = index.get(key)
    if items is None:
        index[key] = Ordered(item)
    else:
        items.add(item)


def _run_of(dot: Dot) -> Run:
    return Run(dot.origin, dot.counter, dot.counter)


def _parse_last(raw: bytes, first: int) -> int:
    cursor = Cursor(raw)
    last = read_counter(cursor, least=first)
    cursor.finish()
    return last
