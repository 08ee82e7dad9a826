"""Last writer wins: who saw more wins, ties end the same everywhere, bad entries hide nothing."""

from __future__ import annotations

import pytest

from meshnet.crdt.base import (
    MAX_COUNTER,
    MAX_KEY_BYTES,
    MAX_VALUE_BYTES,
    CounterExhausted,
    KeyChange,
    ValueChange,
)
from meshnet.crdt.dots import Origin
from meshnet.crdt.lww import LwwMap, LwwRegister
from meshnet.wire.cursor import MalformedError
from support.samples import ALICE, BOB

LOW, HIGH = sorted((ALICE.name, BOB.name))
LOW_ORIGIN, HIGH_ORIGIN = Origin(LOW, 1), Origin(HIGH, 1)


def entry(lamport: int, rest: bytes) -> bytes:
    return lamport.to_bytes(8, "big") + rest


def test_a_new_register_and_a_cleared_one_have_no_value() -> None:
    register = LwwRegister()
    assert register.value is None
    assert register.apply(register.put(LOW_ORIGIN, b"x")) == [ValueChange(None, b"x")]
    assert register.apply(register.put(LOW_ORIGIN, None)) == [ValueChange(b"x", None)]
    assert register.value is None


def test_who_has_seen_a_write_wins_over_it_whatever_its_name() -> None:
    register = LwwRegister()
    register.apply(register.put(HIGH_ORIGIN, b"first"))
    register.apply(register.put(LOW_ORIGIN, b"second"))
    assert register.value == b"second"


def test_writes_that_did_not_see_each_other_end_with_the_higher_writer() -> None:
    bottom = LwwMap()
    one, two = bottom.put(LOW_ORIGIN, "k", b"low"), bottom.put(HIGH_ORIGIN, "k", b"high")
    assert one.merge(two)["k"] == two.merge(one)["k"] == b"high"


def test_two_contents_under_one_counter_of_one_writer_end_with_the_greater_value() -> None:
    removed, a, b = (
        LwwMap.from_entries({b"\x01k": entry(1, rest)}, LOW)
        for rest in (b"\x00", b"\x01a", b"\x01b")
    )
    assert removed.merge(a)["k"] == a.merge(removed)["k"] == b"a", "a value beats its removal"
    assert b.merge(a)["k"] == a.merge(b)["k"] == b"b"


def test_a_removal_wins_over_what_it_saw_and_comes_late_or_early() -> None:
    here = LwwMap()
    put = here.put(HIGH_ORIGIN, "k", b"x")
    here.apply(put)
    removal = here.remove(LOW_ORIGIN, "k")
    assert here.apply(removal) == [KeyChange("k", b"x", None)]

    there = LwwMap()
    assert there.apply(removal) == []
    assert there.apply(put) == []
    assert there == here
    assert "k" not in there
    assert dict(there.items()) == {}
    with pytest.raises(KeyError):
        there["k"]


def test_a_removal_of_what_is_not_there_says_nothing() -> None:
    assert LwwMap().remove(LOW_ORIGIN, "k") == LwwMap()


def test_a_new_write_beats_all_that_the_map_has_seen_not_only_its_key() -> None:
    # A returning peer may bring a write of a key whose removal was forgotten with its writer.
    late = LwwMap.from_entries({b"\x01k": entry(7, b"\x01old")}, HIGH)
    here = LwwMap.from_entries({b"\x05other": entry(9, b"\x01")}, HIGH)
    here.apply(here.put(LOW_ORIGIN, "k", b"new"))
    here.apply(late)
    assert here["k"] == b"new"


def test_a_hostile_counter_stops_the_writing_of_its_own_key_only() -> None:
    hostile = LwwMap.from_entries({b"\x01k": entry(MAX_COUNTER - 1, b"\x01")}, HIGH)
    with pytest.raises(CounterExhausted):
        hostile.put(LOW_ORIGIN, "k", b"")
    for number in range(3):
        hostile.apply(hostile.put(LOW_ORIGIN, f"other {number}", b"fine"))
        hostile.apply(hostile.put(LOW_ORIGIN, f"other {number}", b"still fine"))
    assert hostile.to_entries(LOW)[b"\x07other 0"][:8] < (100).to_bytes(8, "big")


def test_what_users_write_is_bounded_as_what_is_read() -> None:
    bottom = LwwMap()
    assert bottom.put(LOW_ORIGIN, "k" * MAX_KEY_BYTES, bytes(MAX_VALUE_BYTES))
    for key, value in [
        ("k" * (MAX_KEY_BYTES + 1), b""),
        ("k", bytes(MAX_VALUE_BYTES + 1)),
        ("new\nline", b""),
        ("\ud800", b""),
    ]:
        with pytest.raises(ValueError):
            bottom.put(LOW_ORIGIN, key, value)


def test_a_value_that_the_caller_changes_later_stays_as_it_was() -> None:
    value = bytearray(b"x")
    written = LwwMap().put(LOW_ORIGIN, "k", value)  # type: ignore[arg-type]  # callers without types do it
    value[:] = b"y"
    assert written["k"] == b"x"


@pytest.mark.parametrize(
    ("key", "value"),
    [
        (b"", entry(1, b"\x00")),
        (b"\x02k", entry(1, b"\x00")),
        (b"\x01k+", entry(1, b"\x00")),
        (b"\x01\n", entry(1, b"\x00")),
        (b"\x01\xff", entry(1, b"\x00")),
        (b"\x01k", b""),
        (b"\x01k", entry(0, b"\x00")),
        (b"\x01k", entry(MAX_COUNTER, b"\x01x")),
        (b"\x01k", entry(1, b"")),
        (b"\x01k", entry(1, b"\x00x")),
        (b"\x01k", entry(1, b"\x02x")),
        (b"\x01k", entry(1, b"\x01" + bytes(MAX_VALUE_BYTES + 1))),
    ],
)
def test_a_bad_entry_is_refused_and_the_good_one_beside_it_counts(key: bytes, value: bytes) -> None:
    with pytest.raises(MalformedError):
        LwwMap.from_entries({key: value}, LOW)
    bad: list[bytes] = []
    entries = {key: value, b"\x04good": entry(1, b"\x01x")}
    read = LwwMap.from_entries(entries, LOW, lambda at, _: bad.append(at))
    assert dict(read.items()) == {"good": b"x"}
    assert bad == [key]


def test_a_register_has_one_entry() -> None:
    assert list(LwwRegister().put(LOW_ORIGIN, b"x").to_entries(LOW)) == [b"value"]
    with pytest.raises(MalformedError):
        LwwRegister.from_entries({b"other": entry(1, b"\x00")}, LOW)


def test_a_fragment_drops_what_others_have_beaten() -> None:
    own, whole = LwwMap(), LwwMap()
    for key in ("kept", "beaten"):
        delta = whole.put(HIGH_ORIGIN, key, b"mine")
        whole.apply(delta)
        own.publish(delta, HIGH)
    beating = whole.put(LOW_ORIGIN, "beaten", b"theirs")
    whole.apply(beating)
    assert own.settle(whole, HIGH, beating) == {b"\x06beaten": None}
    assert list(own.to_entries(HIGH)) == [b"\x04kept"]


def test_a_fragment_keeps_what_only_its_own_writer_has_beaten() -> None:
    # A disk set back to an older copy: nobody else vouches for the newer write.
    own = LwwMap.from_entries({b"\x01k": entry(1, b"\x01old")}, LOW)
    whole = own.merge(LwwMap.from_entries({b"\x01k": entry(2, b"\x01new")}, LOW))
    assert own.settle(whole, LOW) == {}
    assert dict(own.items()) == {"k": b"old"}
