"""Which of two links of a pair to keep: both ends must choose the same."""

from __future__ import annotations

import itertools

import pytest

from meshnet.peering.links import Link, surplus
from meshnet.wire.identity import Identity
from meshnet.wire.link import LinkAuthenticated, LinkProtocol
from support.samples import ALICE, BOB, endpoint, link_config, rng

LESSER, GREATER = sorted((ALICE, BOB), key=lambda who: who.name)

Dial = tuple[Identity, int]
"""(who dialled, the how-manieth of its dials)."""


def other(who: Identity) -> Identity:
    return GREATER if who is LESSER else LESSER


def as_seen_by(us: Identity, number: int, dial: Dial, *, life: int = 1) -> Link:
    """The link ``number`` that ``dial`` made, at our end of it."""
    dialler, serial = dial
    outbound = dialler is us
    protocol = LinkProtocol(
        link_config(us),
        dialler=outbound,
        rng=rng(number),
        serial=serial if outbound else 0,
    )
    peer = other(us)
    who = LinkAuthenticated(peer.name, peer.public_key, life, 0, 0 if outbound else serial)
    return Link(number, protocol, endpoint(number), outbound, 1 if outbound else None, who)


def closed_at_each_end(first: Dial, second: Dial) -> set[int]:
    """The links (1 and 2) that are closed, over both ends and both orders of arrival."""
    return {
        surplus(us.name, *order).id
        for us in (LESSER, GREATER)
        for order in itertools.permutations((as_seen_by(us, 1, first), as_seen_by(us, 2, second)))
    }


@pytest.mark.parametrize(
    ("first", "second", "closed"),
    [
        ((LESSER, 1), (GREATER, 1), 2),
        ((GREATER, 7), (LESSER, 1), 1),
        ((LESSER, 1), (LESSER, 2), 1),
        ((GREATER, 9), (GREATER, 8), 2),
    ],
    ids=["lesser's first", "lesser's second", "later dial second", "later dial first"],
)
def test_both_ends_close_the_same_link_whatever_comes_first(
    first: Dial, second: Dial, closed: int
) -> None:
    assert closed_at_each_end(first, second) == {closed}


@pytest.mark.parametrize("dialler", [LESSER, GREATER], ids=["lesser", "greater"])
def test_a_link_to_a_former_life_is_the_one_to_close(dialler: Identity) -> None:
    old = as_seen_by(LESSER, 1, (other(dialler), 5), life=1)
    new = as_seen_by(LESSER, 2, (dialler, 1), life=2)
    assert surplus(LESSER.name, old, new) is old


def test_a_link_has_no_peer_before_it_is_authenticated() -> None:
    protocol = LinkProtocol(link_config(ALICE), dialler=False, rng=rng(1))
    assert Link(1, protocol, endpoint(1), False, None).peer is None
