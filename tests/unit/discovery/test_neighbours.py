"""How each peer stands: wanted, spare or gone."""

from __future__ import annotations

import pytest

from meshnet.discovery.backoff import CEILING_S
from meshnet.discovery.gone import TURN_S
from meshnet.discovery.neighbours import FULL_MESH_AFTER_S, WANT_SETTLE_S, Neighbours
from meshnet.discovery.targets import (
    MAX_GONE_DIALS,
    NEWS_S,
    YIELD_S,
    Standing,
    Targets,
    TargetState,
    Trouble,
)
from meshnet.ids import PeerName
from support.samples import NETWORK_ID, endpoint, rng

US = PeerName(bytes(16))  # The least name: it yields to nobody.
DEGREE = 8
ENOUGH = 4


def peer(number: int) -> PeerName:
    return PeerName(number.to_bytes(2, "big") * 8)


PEERS = [peer(number) for number in range(1, 31)]


class Side:
    """The part of one peer that decides whom to dial."""

    def __init__(self, known: list[PeerName], degree: int = DEGREE) -> None:
        self.targets = Targets(US, rng("targets"))
        self.neighbours = Neighbours(US, NETWORK_ID, degree, self.targets)
        for number, each in enumerate(known, start=1):
            standing = self.neighbours.standing_when_heard_of(each, 0.0)
            self.targets.set_discovered(each, [endpoint(number)], 0.0, standing=standing)

    def those(self, standing: Standing) -> set[PeerName]:
        return {
            target.peer
            for target in self.targets
            if target.standing is standing and target.peer is not None and not target.configured
        }

    def dial(self, until: float) -> dict[PeerName, float]:
        """Who is dialled until then, and when; nobody answers."""
        dialled: dict[PeerName, float] = {}
        now = 0.0
        while (at := self.next_deadline()) is not None and at <= until:
            now = max(now, at)
            self.neighbours.handle_timer(now)
            for target in self.targets.due(now):
                assert target.peer is not None
                dialled.setdefault(target.peer, now)
                self.targets.failed(target.id, "refused", now, refused=False)
        return dialled

    def next_deadline(self) -> float | None:
        deadlines = (self.targets.next_deadline(), self.neighbours.next_deadline())
        return min((at for at in deadlines if at is not None), default=None)


def test_up_to_so_many_peers_all_are_wanted() -> None:
    side = Side(PEERS[:DEGREE])
    side.neighbours.follow(set(PEERS[:DEGREE]), 0.0)
    assert side.those(Standing.WANTED) == set(PEERS[:DEGREE])
    assert not side.neighbours.is_crowded
    assert all(side.neighbours.wants(each) for each in PEERS)


def test_of_more_only_the_neighbours_on_the_rings_are_wanted_and_dialled() -> None:
    side = Side(PEERS)
    side.neighbours.follow(set(PEERS), 0.0)
    wanted = side.those(Standing.WANTED)
    assert 2 <= len(wanted) <= ENOUGH
    assert wanted == {each for each in PEERS if side.neighbours.wants(each)}
    assert side.those(Standing.SPARE) == set(PEERS) - wanted
    assert side.dial(60.0).keys() == wanted
    for target in side.targets:
        if target.peer not in wanted:
            assert (target.state, target.trouble) == (TargetState.RESTING, Trouble.UNNEEDED)
            assert side.targets.next_try(target) is None


def test_the_first_few_heard_of_are_dialled_before_it_is_known_who_reaches_them() -> None:
    assert set(Side(PEERS[:2]).dial(0.0)) == set(PEERS[:2])
    assert Side(PEERS[:DEGREE]).dial(0.0).keys() == set(PEERS[:2])
    assert Side(PEERS).dial(NEWS_S / 2) == {}, "who hears of many at once waits what routes say"


def test_whom_nobody_reaches_after_all_is_gone() -> None:
    side = Side(PEERS[:2])
    side.neighbours.follow({PEERS[0]}, NEWS_S / 2)
    assert side.those(Standing.GONE) == set()
    side.neighbours.handle_timer(NEWS_S)
    assert side.those(Standing.WANTED) == {PEERS[0]}
    assert side.those(Standing.GONE) == {PEERS[1]}


def test_a_neighbour_that_leaves_is_replaced_and_wanted_again_when_it_returns() -> None:
    side = Side(PEERS)
    side.neighbours.follow(set(PEERS), 0.0)
    before = side.those(Standing.WANTED)
    lost = min(before)
    side.neighbours.follow(set(PEERS) - {lost}, 1.0)
    assert side.those(Standing.GONE) == {lost}
    assert before - {lost} <= side.those(Standing.WANTED)
    side.neighbours.follow(set(PEERS), 2.0)
    assert side.those(Standing.WANTED) == before
    assert side.those(Standing.GONE) == set()


def test_a_mesh_about_as_large_as_that_does_not_change_its_mind_all_the_time() -> None:
    side = Side(PEERS[: DEGREE + 1])
    few, many = set(PEERS[:DEGREE]), set(PEERS[: DEGREE + 1])
    crowded = []
    for step in range(21):
        side.neighbours.follow(few if step % 2 else many, step * 20.0)
        crowded.append(side.neighbours.is_crowded)
    side.neighbours.follow(few, 401.0)
    for now in (400.0 + FULL_MESH_AFTER_S, 401.0 + FULL_MESH_AFTER_S):
        side.neighbours.handle_timer(now)
        crowded.append(side.neighbours.is_crowded)
    assert crowded == [True] * 22 + [False]
    assert side.those(Standing.WANTED) == few
    assert side.neighbours.next_deadline() is None


def test_who_has_links_enough_does_not_dial_a_neighbour_of_a_moment() -> None:
    side = Side(PEERS)
    for each in PEERS[-ENOUGH:]:
        side.targets.linked(each, None, 0.0)
    side.neighbours.follow(set(PEERS), 0.0)
    assert side.dial(WANT_SETTLE_S * 0.9) == {}
    side.neighbours.follow(set(), WANT_SETTLE_S * 0.9)
    side.neighbours.follow(set(PEERS), WANT_SETTLE_S * 0.9)
    assert side.dial(WANT_SETTLE_S * 1.8) == {}
    assert side.dial(WANT_SETTLE_S * 1.9 + YIELD_S).keys() <= side.those(Standing.WANTED)


def test_an_address_that_a_user_gave_is_wanted_whatever_the_rings_say() -> None:
    side = Side(PEERS)
    side.neighbours.follow(set(PEERS), 0.0)
    spare = min(side.those(Standing.SPARE))
    given = side.targets.add_configured("host", 1, 0.0)
    [dialled] = [target for target in side.targets.due(0.0) if target is given]
    side.targets.linked(spare, dialled.id, 0.0)
    assert side.neighbours.wants(spare)
    side.targets.unlinked(spare, "gone", 10.0)
    assert (given.state, side.targets.next_try(given) is None) == (TargetState.WAITING, False)
    side.targets.forget(given)
    assert not side.neighbours.wants(spare)


def test_those_gone_are_dialled_in_turn_for_ever() -> None:
    side = Side(PEERS)
    side.neighbours.follow(set(PEERS), 0.0)
    side.neighbours.follow(set(PEERS[:10]), 10.0)
    dialled = side.dial(10.0 + 3 * 20 * TURN_S)
    assert set(PEERS[10:]) <= dialled.keys()
    # Days later nothing has changed.
    times = []
    for _ in range(5):
        at = side.targets.next_deadline()
        assert at is not None
        times.append(at + 86_400.0)
        for target in side.targets.due(times[-1]):
            side.targets.failed(target.id, "no answer", times[-1], refused=False)
    assert times == sorted(times)


def test_whoever_loses_all_links_dials_many_at_once() -> None:
    side = Side(PEERS)
    for each in PEERS[:6]:
        side.targets.linked(each, None, 0.0)
    side.neighbours.follow(set(PEERS), 0.0)
    for each in PEERS[:6]:
        side.targets.unlinked(each, "lost", 100.0)
    side.neighbours.follow(set(), 100.0)
    under_way: set[PeerName] = set()
    now = 100.0
    while now < 103.0:  # Nobody answers, and it takes 3 s to know.
        now = max(now, side.targets.next_deadline() or 103.0)
        under_way |= {target.peer for target in side.targets.due(now) if target.peer}
    assert 20 <= len(under_way) <= MAX_GONE_DIALS


@pytest.mark.parametrize("gone", [1, 3])
def test_of_a_few_that_are_gone_each_is_dialled_as_soon_as_in_a_small_mesh(gone: int) -> None:
    side = Side(PEERS[:gone])
    side.dial(30.0)
    dialled = side.dial(30.0 + gone * max(CEILING_S, TURN_S))
    assert dialled.keys() == set(PEERS[:gone])
