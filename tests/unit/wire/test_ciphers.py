"""Which cipher a pair takes, and how a machine ranks them."""

from __future__ import annotations

import itertools

import pytest

from meshnet.wire.ciphers import (
    CIPHERS,
    DEFAULT_PREFERENCE,
    LARGEST_TAG_BYTES,
    CipherId,
    choose,
    rank_by_speed,
)

AEGIS, CHACHA = CipherId.AEGIS_128L, CipherId.CHACHA20_POLY1305


@pytest.mark.parametrize(
    ("theirs", "ours", "chosen"),
    [
        ([AEGIS, CHACHA], [AEGIS, CHACHA], AEGIS),
        ([CHACHA, AEGIS], [CHACHA, AEGIS], CHACHA),
        ([AEGIS, CHACHA], [CHACHA, AEGIS], CHACHA),
        ([CHACHA, AEGIS], [AEGIS, CHACHA], AEGIS),
        ([CHACHA], [AEGIS, CHACHA], CHACHA),
        ([AEGIS, CHACHA], [CHACHA], CHACHA),
        ([200, AEGIS], [AEGIS, CHACHA], AEGIS),
        ([200, 201, CHACHA, AEGIS], [AEGIS, CHACHA], CHACHA),
        ([AEGIS, AEGIS, CHACHA], [CHACHA, AEGIS], AEGIS),
    ],
)
def test_the_cipher_that_suits_the_slower_end_best_is_chosen(
    theirs: list[int], ours: list[CipherId], chosen: CipherId
) -> None:
    assert choose(theirs, ours) is chosen


@pytest.mark.parametrize("theirs", [[], [200, 0], [CHACHA]])
def test_nothing_is_chosen_where_nothing_is_common(theirs: list[int]) -> None:
    assert choose(theirs, [AEGIS]) is None


def test_the_table_is_frozen_on_the_wire() -> None:
    assert {number.value: CIPHERS[number].name for number in CipherId} == {
        1: "ChaCha20-Poly1305",
        2: "AEGIS-128L",
    }
    assert set(DEFAULT_PREFERENCE) == set(CIPHERS)
    assert LARGEST_TAG_BYTES == 32


@pytest.mark.parametrize("slow", CipherId)
def test_the_machine_ranks_by_what_it_measures(slow: CipherId) -> None:
    # A clock that ticks once a call, and 100 times as much within the runs of one cipher: they are
    # measured one after the other, eight readings each.
    readings = itertools.count()
    order = list(CIPHERS)

    def clock() -> float:
        number = next(readings)
        measured = order[number // 8]
        return number * (100.0 if measured is slow else 1.0)

    assert rank_by_speed(clock)[-1] is slow
