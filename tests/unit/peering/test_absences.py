"""Since when peers are gone, and when their leases end."""

from __future__ import annotations

import pytest

from meshnet.ids import PeerName
from meshnet.peering.absences import LEASE_SPREAD, Absences
from support.samples import ALICE, BOB, CAROL, rng

A, B, C = ALICE.name, BOB.name, CAROL.name
LEASE_S = 1000.0


def absences(lease_s: float | None = LEASE_S, **before: float) -> Absences:
    names = {"a": A, "b": B, "c": C}
    return Absences(lease_s, {names[key]: gone_s for key, gone_s in before.items()}, rng("gone"))


def since(of: Absences, peer: PeerName) -> float:
    absence = of.get(peer)
    assert absence is not None
    return absence.since


def test_who_was_here_is_gone_since_then_and_others_since_they_were_heard_of() -> None:
    gone = absences()
    gone.follow([A], {A}, 10.0)
    assert len(gone) == 0
    gone.follow([A, B], {C}, 20.0)
    first, second = gone.get(A), gone.get(B)
    assert first is not None
    assert second is not None
    assert (first.since, first.was_here) == (20.0, True)
    assert (second.since, second.was_here) == (20.0, False)
    gone.follow([A, B], {B}, 30.0)
    assert gone.get(B) is None
    assert since(gone, A) == 20.0, "it goes on"


def test_what_earlier_lives_saw_counts_on_until_the_peer_is_back() -> None:
    gone = absences(a=500.0, b=500.0)
    gone.follow([A, B], {B}, 10.0)
    assert since(gone, A) == -490.0
    gone.follow([A, B], (), 20.0)
    assert since(gone, B) == 20.0
    gone.follow([A], {A}, 30.0)
    gone.follow([A], (), 40.0)
    assert since(gone, A) == 40.0
    assert gone.durations(50.0) == {A: 10.0}


def test_leases_end_after_their_time_and_a_share_of_it() -> None:
    gone = absences()
    gone.follow([A, B, C], (), 0.0)
    assert gone.ended(LEASE_S - 1.0) == []
    assert gone.ended(LEASE_S * (1 + LEASE_SPREAD)) == [A, B, C]
    ends = {absence.until for peer in (A, B, C) if (absence := gone.get(peer)) is not None}
    assert len(ends) == 3, "not all at once"
    gone.follow([B], (), 1.0)
    assert gone.ended(1e9) == [B], "who is known no more is gone no more"


def test_without_a_lease_none_ends() -> None:
    gone = absences(None)
    gone.follow([A], (), 0.0)
    assert gone.ended(1e12) == []


@pytest.mark.parametrize("flaps", [10_000])
def test_a_peer_that_comes_and_goes_leaves_nothing_behind(flaps: int) -> None:
    gone = absences()
    for number in range(flaps):
        gone.follow([A], {A} if number % 2 else (), float(number))
    assert len(gone) == 0
    assert gone.ended(1e9) == []
