"""The laws can fail: for each there is a type that breaks it, and is told so by name."""

from __future__ import annotations

import subprocess
import sys
from typing import Self

import pytest

from meshnet.crdt.base import Lattice
from meshnet.ids import PeerName
from meshnet.testing import check_fragment_laws, check_lattice_laws
from meshnet.wire.cursor import MalformedError
from support.samples import ALICE, BOB


class Colours(Lattice[str]):
    """A good one, as small as they come: names of colours that anyone may add, for ever."""

    name = "colours"

    def __init__(self, *colours: str) -> None:
        self.colours = set(colours)

    def apply(self, delta: Self) -> list[str]:
        new = sorted(delta.colours - self.colours)
        self.colours.update(new)
        return new

    def changes_since(self, before: Self) -> list[str]:
        return sorted(self.colours - before.colours)

    def copy(self) -> Self:
        return type(self)(*self.colours)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Colours) and self.colours == other.colours

    def __repr__(self) -> str:
        return f"{sorted(self.colours)}"

    def to_entries(self, writer: PeerName, about: Self | None = None) -> dict[bytes, bytes]:
        return {colour.encode(): b"" for colour in self.colours}

    def join_entry(self, writer: PeerName, key: bytes, value: bytes | None) -> None:
        if key not in (b"red", b"green", b"blue") or value:
            raise MalformedError(f"no colour: {key!r}")
        if value is not None:
            self.colours.add(key.decode())


def check(kind: type[Colours]) -> None:
    red, green, both = kind("red"), kind("green"), kind("red", "blue")
    check_lattice_laws([red, green, both])
    check_lattice_laws([red, red])
    check_fragment_laws(ALICE.name, both, green, red, bad_entries=[(b"x", b""), (b"red", b"x")])
    check_fragment_laws(BOB.name, red, both, green)


def test_a_good_type_passes() -> None:
    check(Colours)


class LastWins(Colours):
    def apply(self, delta: Self) -> list[str]:
        changes = sorted(delta.colours - self.colours)
        self.colours = set(delta.colours or self.colours)
        return changes


class Forgets(Colours):
    def merge(self, other: Self) -> Self:
        return type(self)(*(self.colours ^ other.colours or self.colours & other.colours))


class CountsJoins(Colours):
    def __init__(self, *colours: str) -> None:
        super().__init__(*colours)
        self.joins = 0

    def merge(self, other: Self) -> Self:
        joined = super().merge(other)
        joined.joins = 1 + max(self.joins, other.joins) if self.colours != other.colours else 0
        return joined

    def __eq__(self, other: object) -> bool:
        return super().__eq__(other) and self.joins == getattr(other, "joins", None)


class Intersects(Colours):
    def merge(self, other: Self) -> Self:
        if not self.colours or not other.colours:
            return type(self)(*self.colours, *other.colours)
        return type(self)(*(self.colours & other.colours))


class Grows(Colours):
    def merge(self, other: Self) -> Self:
        return type(self)(*self.colours, *other.colours, "blue")


class ChangesItsFirst(Colours):
    def merge(self, other: Self) -> Self:
        self.colours |= other.colours
        return self.copy()


class ChangesItsDelta(Colours):
    def apply(self, delta: Self) -> list[str]:
        changes = super().apply(delta)
        delta.colours.add("blue")
        return changes


class MergesOtherThanItApplies(Colours):
    def merge(self, other: Self) -> Self:
        return type(self)(*self.colours, *other.colours)

    def apply(self, delta: Self) -> list[str]:
        if self.colours and delta.colours != self.colours:
            return []
        return super().apply(delta)


class AlwaysTells(Colours):
    def apply(self, delta: Self) -> list[str]:
        super().apply(delta)
        return ["something"]


class OverlooksRed(Colours):
    def changes_since(self, before: Self) -> list[str]:
        return [colour for colour in super().changes_since(before) if colour != "red"]


class SharesItsCopy(Colours):
    def copy(self) -> Self:
        return self


class EqualToAll(Colours):
    def __eq__(self, other: object) -> bool:
        return True


class EqualToItself(Colours):
    __eq__ = object.__eq__


class LosesEntries(Colours):
    def to_entries(self, writer: PeerName, about: Self | None = None) -> dict[bytes, bytes]:
        entries = super().to_entries(writer)
        entries.pop(b"red", None)
        return entries


class NamesTheTime(Colours):
    times = 0

    def to_entries(self, writer: PeerName, about: Self | None = None) -> dict[bytes, bytes]:
        NamesTheTime.times += 1
        return {colour.encode(): bytes((self.times,)) for colour in self.colours}

    def join_entry(self, writer: PeerName, key: bytes, value: bytes | None) -> None:
        super().join_entry(writer, key, None if value is None else b"")


class EntriesNeedEachOther(Colours):
    def to_entries(self, writer: PeerName, about: Self | None = None) -> dict[bytes, bytes]:
        return super().to_entries(writer) | ({b"blue": b""} if len(self.colours) > 1 else {})

    @classmethod
    def from_entries(cls, entries, writer, on_bad=None):  # type: ignore[no-untyped-def]
        state = super().from_entries(entries, writer, on_bad)
        if len(entries) == 1:
            state.colours.discard("blue")
        return state


class ReadsAnything(Colours):
    def join_entry(self, writer: PeerName, key: bytes, value: bytes | None) -> None:
        if value is not None:
            self.colours.add(key.decode("latin-1"))


class StopsAtBadEntries(Colours):
    @classmethod
    def from_entries(cls, entries, writer, on_bad=None):  # type: ignore[no-untyped-def]
        state = cls()
        for key, value in entries.items():
            try:
                state.join_entry(writer, key, value)
            except MalformedError as error:
                if on_bad is None:
                    raise
                on_bad(key, error)
                break
        return state


class PublishesTooLittle(Colours):
    def publish(self, delta: Self, writer: PeerName) -> dict[bytes, bytes | None]:
        self.apply(delta)
        return {}


class PublishesTooMuch(Colours):
    def publish(self, delta: Self, writer: PeerName) -> dict[bytes, bytes | None]:
        self.apply(delta)
        return dict(self.to_entries(writer))


class DoesNotKeepWhatItPublishes(Colours):
    def publish(self, delta: Self, writer: PeerName) -> dict[bytes, bytes | None]:
        return self.copy().publish_for(self, delta, writer)

    def publish_for(self, _: Self, delta: Self, writer: PeerName) -> dict[bytes, bytes | None]:
        return Colours.publish(self, delta, writer)


class SettlesForLess(Colours):
    """Gives up what nobody else says."""

    def settle(
        self, whole: Self, writer: PeerName, about: Self | None = None
    ) -> dict[bytes, bytes | None]:
        gone = dict.fromkeys(self.to_entries(writer))
        self.colours.clear()
        whole.colours.clear()
        return dict(gone)


class SettlesForMore(Colours):
    def settle(
        self, whole: Self, writer: PeerName, about: Self | None = None
    ) -> dict[bytes, bytes | None]:
        return self.publish(type(self)("red", "green", "blue"), writer)


@pytest.mark.parametrize(
    ("kind", "law"),
    [
        (LastWins, "not commutative"),
        (Forgets, "not (associative|monotone)"),
        (CountsJoins, "bottom adds|not associative"),
        (Intersects, "not monotone"),
        (Grows, "not idempotent|bottom adds"),
        (ChangesItsFirst, "an argument was changed"),
        (ChangesItsDelta, "an argument was changed"),
        (MergesOtherThanItApplies, "delta is not state"),
        (AlwaysTells, "changed something"),
        (OverlooksRed, "changes_since is not apply"),
        (SharesItsCopy, "an argument was changed"),
        (EqualToAll, "equal to anything"),
        (EqualToItself, "equality is not structural"),
        (LosesEntries, "do not round-trip"),
        (NamesTheTime, "equal states, other entries"),
        (EntriesNeedEachOther, "do not round-trip|not canonical|other things together"),
        (ReadsAnything, "a bad entry was read"),
        (StopsAtBadEntries, "a bad entry hides good ones"),
        (PublishesTooLittle, "publish wrote"),
        (PublishesTooMuch, "written, but not changed"),
        (DoesNotKeepWhatItPublishes, "publish is not apply"),
        (SettlesForLess, "settle changed the whole"),
        (SettlesForMore, "settle"),
    ],
)
def test_a_type_that_breaks_a_law_is_told_which(kind: type[Colours], law: str) -> None:
    with pytest.raises(AssertionError, match=law):
        check(kind)


def test_so_many_states_take_too_long() -> None:
    for count in (0, 5):
        with pytest.raises(AssertionError, match="1 to 4"):
            check_lattice_laws([Colours()] * count)


def test_the_kit_needs_no_hypothesis() -> None:
    done = subprocess.run(
        [sys.executable, "-c", "import sys, meshnet.testing; print('hypothesis' in sys.modules)"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "False"
