"""What every replicated type is: a lattice, cut into entries that single writers sign.

A channel holds one *fragment* per writer: a set of entries ``key -> value`` that only this writer
may change. Each entry has a meaning by itself, a state of the type; a fragment's state is the join
of its entries' meanings, the channel's value is the join of all fragments. So any part of any
fragment is a delta, and who got the parts in another order, twice or late ends in the same state.
docs/crdt.md has the entries of each type.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from typing import Any, ClassVar, Generic, Self, TypeVar

from meshnet.errors import MeshError
from meshnet.ids import PeerName
from meshnet.values import Value
from meshnet.wire.cursor import Cursor, MalformedError

# From docs/crdt.md section 2.
MAX_KEY_BYTES = 255
MAX_VALUE_BYTES = 16 * 1024
MAX_COUNTER = 2**64 - 1
"""Of a u64 that only rises; invalid for everybody: nobody could ever go on after it."""

# Of every type, users' own too.
MAX_ENTRY_KEY_BYTES = 1 + MAX_KEY_BYTES
MAX_ENTRY_VALUE_BYTES = 8 + 1 + MAX_KEY_BYTES + MAX_VALUE_BYTES

T = TypeVar("T")
ChangeT = TypeVar("ChangeT", covariant=True)
OnBad = Callable[[bytes, MalformedError], None]


class CounterExhausted(MeshError):
    """No higher counter is left: honest use never gets there, a hostile member can lead there."""


class ValueChange(Value, Generic[T]):
    """The one value of a state is another now."""

    before: T
    after: T


class KeyChange(Value):
    """What a map holds under ``key`` is another now; None: nothing."""

    key: str
    before: bytes | None
    after: bytes | None


class ElementChange(Value):
    """``element`` came into a set, or left it."""

    element: str
    present: bool


class Lattice(ABC, Generic[ChangeT]):
    """A replicated type. Called without arguments the class gives bottom, the state of no news.

    Mutators change nothing: they take an `Origin`, who writes, and what to write, and return
    a delta, a small state of the same type. Who writes
    applies it to the channel's value and hands it to `publish` of the own fragment.
    `meshnet.testing.check_lattice_laws` and `check_fragment_laws` tell what subclasses promise.
    """

    __slots__ = ()

    name: ClassVar[str]
    """How channels call the type."""

    @abstractmethod
    def apply(self, delta: Self) -> list[ChangeT]:
        """Join ``delta`` into this state, in time that grows with ``delta``; what users see change.

        Empty when nothing they can see did. ``delta`` is not changed and nothing of it is shared
        that could change later.
        """

    @abstractmethod
    def changes_since(self, before: Self) -> list[ChangeT]:
        """What users saw change, had ``before`` become this state."""

    @abstractmethod
    def copy(self) -> Self:
        """An equal state of its own."""

    @abstractmethod
    def __eq__(self, other: object) -> bool:
        """Structural: equal states have equal entries and stay equal under equal news."""

    @abstractmethod
    def to_entries(self, writer: PeerName, about: Self | None = None) -> dict[bytes, bytes]:
        """The entries by which ``writer`` asserts its part of this state; equal for equal states.

        With ``about`` at least those that joining ``about`` can change are given, the others may
        be left out, so that a change costs what it is large.
        """

    @abstractmethod
    def join_entry(self, writer: PeerName, key: bytes, value: bytes | None) -> None:
        """Join what one entry of ``writer`` says; None: that it is gone from the fragment.

        Judged by its bytes and its writer alone. Raises MalformedError, and then nothing changed.
        """

    @classmethod
    def from_entries(
        cls,
        entries: Mapping[bytes, bytes | None],
        writer: PeerName,
        on_bad: OnBad | None = None,
    ) -> Self:
        """The state that entries of one writer mean: a whole fragment, or what changed in it.

        Raises MalformedError at the first bad entry. With ``on_bad`` each bad entry goes there
        and the others count: one bad entry must not hide a writer's good ones.
        """
        state = cls()
        for key, value in entries.items():
            try:
                if len(key) > MAX_ENTRY_KEY_BYTES or len(value or b"") > MAX_ENTRY_VALUE_BYTES:
                    raise MalformedError("entry too long")
                state.join_entry(writer, key, value)
            except MalformedError as error:
                if on_bad is None:
                    raise
                on_bad(key, error)
        return state

    def merge(self, other: Self) -> Self:
        """The join of both, as a new state; neither is changed."""
        joined = self.copy()
        joined.apply(other)
        return joined

    def publish(self, delta: Self, writer: PeerName) -> dict[bytes, bytes | None]:
        """Join ``writer``'s own ``delta`` into this state, its fragment: the entries to write.

        None: the entry is to be deleted.
        """
        before = self.to_entries(writer, delta)
        self.apply(delta)
        return _difference(before, self.to_entries(writer, delta))

    def settle(
        self,
        whole: Self,  # noqa: ARG002 -- of those that have something to give up
        writer: PeerName,  # noqa: ARG002
        about: Self | None = None,  # noqa: ARG002
    ) -> dict[bytes, bytes | None]:
        """Give up what this state, ``writer``'s fragment, need not say any more: what to write.

        ``whole`` is the join of all fragments and does not change by this; ``about`` (the delta
        just applied to it) bounds the search. May be called late, in batches or never: it only
        keeps fragments small. A type that has nothing to give up leaves this as it is.
        """
        return {}


class KeyedLattice(Lattice[ChangeT]):
    """A type of which users see something under keys, so that two values can be compared key by
    key, some at a time: what grows large should be one."""

    __slots__ = ()

    @abstractmethod
    def known_keys(self) -> Iterable[str]:
        """All under which users see something, and perhaps others; no key twice."""

    @abstractmethod
    def change_at(self, key: str, before: Self) -> ChangeT | None:
        """What users saw change under ``key``, had ``before`` become this state."""

    @staticmethod
    @abstractmethod
    def key_of(change: Any) -> str:
        """The key of one of this type's changes."""

    def parts(self) -> list[Any]:
        """What this state is made of, in a moment: held by who lets go of it some at a time."""
        return []

    def changes_since(self, before: Self) -> list[ChangeT]:
        keys = dict.fromkeys((*before.known_keys(), *self.known_keys()))
        changes = (self.change_at(key, before) for key in keys)
        return [change for change in changes if change is not None]


def read_counter(cursor: Cursor, least: int = 1) -> int:
    """A u64 that only rises. Raises MalformedError below ``least`` and at the type's maximum."""
    counter = cursor.read_u64()
    if not least <= counter < MAX_COUNTER:
        raise MalformedError(f"counter {counter}")
    return counter


def pack_u64(number: int) -> bytes:
    return number.to_bytes(8, "big")


def read_value(cursor: Cursor) -> bytes:
    """The rest, as a user's value. Raises MalformedError when it is too long."""
    value = cursor.read_rest()
    if len(value) > MAX_VALUE_BYTES:
        raise MalformedError(f"value of {len(value)} bytes")
    return value


def check_value(value: bytes) -> bytes:
    """``value``, as what cannot change later. Raises ValueError when nobody would accept it.

    TypeError for what is no bytes.
    """
    if not isinstance(value, bytes | bytearray | memoryview):
        raise TypeError(f"{value!r} is no value: give bytes")
    if len(value) > MAX_VALUE_BYTES:
        raise ValueError(f"value of {len(value)} bytes: at most {MAX_VALUE_BYTES} are allowed")
    return bytes(value)


def _difference(
    before: Mapping[bytes, bytes], after: Mapping[bytes, bytes]
) -> dict[bytes, bytes | None]:
    changed: dict[bytes, bytes | None] = {key: None for key in before if key not in after}
    changed |= {key: value for key, value in after.items() if before.get(key) != value}
    return changed
