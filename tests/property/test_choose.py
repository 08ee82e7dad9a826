"""The choice of a cipher, whichever end makes it."""

from __future__ import annotations

from hypothesis import given

from meshnet.wire.ciphers import CipherId, choose
from support.strategies import CIPHER_LISTS

Ciphers = tuple[CipherId, ...]


@given(CIPHER_LISTS, CIPHER_LISTS)
def test_the_choice_is_common_to_both_and_made_when_there_is_one(
    one: Ciphers, two: Ciphers
) -> None:
    chosen = choose(one, two)
    if set(one) & set(two):
        assert chosen in one
        assert chosen in two
    else:
        assert chosen is None


@given(CIPHER_LISTS, CIPHER_LISTS)
def test_either_end_finds_a_choice_equally_good_for_the_slower(one: Ciphers, two: Ciphers) -> None:
    there, back = choose(one, two), choose(two, one)
    assert (there is None) == (back is None)
    if there is not None and back is not None:
        assert worse_rank(there, one, two) == worse_rank(back, one, two)


@given(CIPHER_LISTS, CIPHER_LISTS)
def test_no_other_common_cipher_suits_the_slower_end_better(one: Ciphers, two: Ciphers) -> None:
    chosen = choose(one, two)
    for other in set(one) & set(two):
        assert chosen is not None
        assert worse_rank(chosen, one, two) <= worse_rank(other, one, two)


@given(CIPHER_LISTS)
def test_two_of_one_mind_take_their_first(one: Ciphers) -> None:
    assert choose(one, one) == (one[0] if one else None)


def worse_rank(cipher: CipherId, one: Ciphers, two: Ciphers) -> int:
    return max(one.index(cipher), two.index(cipher))
