"""Whom to dial and when, under virtual time."""

from __future__ import annotations

import itertools

from meshnet.discovery.backoff import CEILING_S, NO_ROOM_CEILING_S, REFUSED_DELAY_S
from meshnet.discovery.gone import TURN_S
from meshnet.discovery.targets import (
    EASY_INTERVAL_S,
    HASTY_LINKS,
    LINKED_NEWS_S,
    MAX_DIALS,
    NEWS_S,
    OURSELVES_DELAY_S,
    YIELD_S,
    Standing,
    Target,
    Targets,
    TargetState,
    Trouble,
)
from meshnet.ids import PeerName
from support.samples import ALICE, BOB, CAROL, endpoint, rng

# Sorted, so that it is known who yields to whom.
LOW, MIDDLE, HIGH = sorted((ALICE.name, BOB.name, CAROL.name))
A1, A2, A3 = endpoint(1), endpoint(2), endpoint(3)


def targets_of(name: PeerName = LOW) -> Targets:
    return Targets(name, rng("targets"))


def only(targets: Targets) -> Target:
    [target] = targets
    return target


def dial(targets: Targets, now: float) -> list[str]:
    return [str(target) for target in targets.due(now)]


def fail_until(targets: Targets, now: float, until: float) -> list[tuple[float, str]]:
    """Each dial comes to nothing at once; when and where was dialled?"""
    dialled = []
    while (deadline := targets.next_deadline()) is not None and (
        now := max(now, deadline)
    ) <= until:
        for target in targets.due(now):
            dialled.append((now, str(target)))
            targets.failed(target.id, "refused", now, refused=False)
    return dialled


def test_a_configured_address_is_dialled_at_once_and_once() -> None:
    targets = targets_of()
    targets.add_configured("host", 1, 5.0)
    assert targets.next_deadline() == 5.0
    assert dial(targets, 5.0) == ["host:1"]
    assert targets.next_deadline() is None
    assert dial(targets, 1e6) == []


def test_a_failed_dial_is_tried_again_soon_and_then_less_often_for_ever() -> None:
    targets = targets_of()
    targets.add_configured("host", 1, 0.0)
    dialled = fail_until(targets, 0.0, 600.0)
    waits = [later - earlier for (earlier, _), (later, _) in itertools.pairwise(dialled)]
    assert waits[0] < 0.3
    assert max(waits) <= CEILING_S
    assert min(waits[10:]) >= CEILING_S / 2
    assert 600.0 - dialled[-1][0] <= CEILING_S
    assert only(targets).reason == "refused"


def test_equal_seeds_wait_equally() -> None:
    runs = []
    for _ in range(2):
        targets = targets_of()
        targets.add_configured("host", 1, 0.0)
        runs.append(fail_until(targets, 0.0, 30.0))
    assert runs[0] == runs[1]


def test_a_refusal_that_needs_a_person_is_shown_and_looked_at_seldom() -> None:
    targets = targets_of()
    target = targets.add_configured("host", 1, 0.0)
    targets.due(0.0)
    targets.failed(target.id, "wrong password", 1.0, refused=True)
    assert (target.state, target.reason) == (TargetState.FAILED, "wrong password")
    assert targets.next_deadline() == 1.0 + REFUSED_DELAY_S
    assert dial(targets, 1.0 + REFUSED_DELAY_S) == ["host:1"]


def test_giving_an_address_again_retries_at_once_without_a_second_target() -> None:
    targets = targets_of()
    target = targets.add_configured("host", 1, 0.0)
    targets.due(0.0)
    targets.failed(target.id, "wrong password", 0.0, refused=True)
    assert targets.add_configured("host", 1, 2.0) is target
    assert dial(targets, 2.0) == ["host:1"]


def test_a_linked_target_rests_until_the_link_ends() -> None:
    targets = targets_of()
    target = targets.add_configured("host", 1, 0.0)
    targets.due(0.0)
    targets.linked(MIDDLE, target.id, 0.0)
    assert (target.state, target.peer) == (TargetState.LINKED, MIDDLE)
    assert targets.next_deadline() is None
    targets.unlinked(MIDDLE, "gone", 10.0)
    assert target.reason == "gone"
    deadline = targets.next_deadline()
    assert deadline is not None
    assert 10.0 < deadline < 10.3


def test_our_own_address_is_shown_as_failed_and_never_dialled_again() -> None:
    targets = targets_of()
    target = targets.add_configured(A1.host, 1, 0.0)
    targets.due(0.0)
    targets.is_ourselves(target.id, "own address", 0.0)
    targets.failed(target.id, "closed", 0.0, refused=False)
    assert (target.state, target.reason) == (TargetState.FAILED, "own address")
    assert targets.next_deadline() is None
    assert dial(targets, 1e6) == []


def test_a_name_that_is_ours_may_come_to_mean_another_host() -> None:
    targets = targets_of()
    target = targets.add_configured("host", 1, 0.0)
    targets.due(0.0)
    targets.is_ourselves(target.id, "own address", 0.0)
    assert (target.state, target.reason) == (TargetState.FAILED, "own address")
    assert targets.next_deadline() == OURSELVES_DELAY_S


def test_of_a_peers_addresses_only_the_one_that_is_ours_is_left_out() -> None:
    targets = targets_of()
    targets.set_discovered(MIDDLE, [A1, A2], 0.0)
    [target] = targets.due(0.0)
    targets.set_discovered(MIDDLE, [A3, A1, A2], 0.0)
    targets.is_ourselves(target.id, "own address", 0.0)
    assert target.addresses == ((A3.host, A3.port), (A2.host, A2.port))


def test_an_address_where_another_peer_answers_is_left_out() -> None:
    targets = targets_of(LOW)
    targets.set_discovered(MIDDLE, [A1, A2], 0.0)
    [target] = targets.due(0.0)
    targets.linked(HIGH, target.id, 0.0)
    assert (target.peer, target.addresses) == (MIDDLE, ((A2.host, A2.port),))
    assert dial(targets, 0.0) == [str(A2)]


def test_links_that_end_at_once_are_dialled_ever_more_seldom() -> None:
    targets = targets_of()
    target = targets.add_configured("host", 1, 0.0)
    waits: list[float] = []
    now = 0.0
    for _ in range(8):
        assert targets.due(now) == [target]
        targets.linked(MIDDLE, target.id, now)
        targets.unlinked(MIDDLE, "duplicate", now + 0.1)
        deadline = targets.next_deadline()
        assert deadline is not None
        waits.append(deadline - now)
        now = deadline
    assert waits[-1] > 1.0 > waits[0]


def test_of_two_that_hear_of_each_other_only_one_dials_at_once() -> None:
    low, high = targets_of(LOW), targets_of(HIGH)
    low.set_discovered(HIGH, [A1], 0.0)
    high.set_discovered(LOW, [A2], 0.0)
    assert (low.next_deadline(), high.next_deadline()) == (0.0, YIELD_S)


def test_the_addresses_of_a_peer_are_tried_in_turn() -> None:
    targets = targets_of()
    targets.set_discovered(MIDDLE, [A1, A2, A3], 0.0)
    dialled = [address for _, address in fail_until(targets, 0.0, 10.0)]
    assert dialled[:6] == [str(A1), str(A2), str(A3)] * 2


def test_new_addresses_of_a_peer_replace_the_old_at_once() -> None:
    targets = targets_of()
    targets.set_discovered(MIDDLE, [A1], 0.0)
    fail_until(targets, 0.0, 20.0)
    targets.set_discovered(MIDDLE, [A2], 20.5)
    assert dial(targets, 20.5) == [str(A2)]


def test_a_peer_that_announces_nothing_more_is_not_dialled() -> None:
    targets = targets_of()
    targets.set_discovered(MIDDLE, [A1], 0.0)
    [target] = targets.due(0.0)
    targets.set_discovered(MIDDLE, [], 0.0)
    targets.failed(target.id, "refused", 0.0, refused=False)
    assert list(targets) == []
    assert targets.next_deadline() is None
    targets.set_discovered(MIDDLE, [], 0.0)
    assert list(targets) == []


def test_a_peer_linked_already_is_not_dialled_when_it_is_heard_of() -> None:
    targets = targets_of()
    targets.linked(MIDDLE, None, 0.0)
    targets.set_discovered(MIDDLE, [A1], 0.0)
    assert dial(targets, 100.0) == []
    targets.unlinked(MIDDLE, "gone", 100.0)
    assert dial(targets, 101.0) == [str(A1)]


def test_one_peer_is_dialled_by_one_of_its_targets_at_a_time() -> None:
    targets = targets_of()
    configured = targets.add_configured(A1.host, A1.port, 0.0)
    targets.due(0.0)
    targets.linked(MIDDLE, configured.id, 0.0)
    targets.set_discovered(MIDDLE, [A2], 0.0)
    targets.unlinked(MIDDLE, "gone", 10.0)
    assert len(targets.due(20.0)) == 1
    assert [targets.due(20.0 + tenths / 10) for tenths in range(50)] == [[]] * 50


def test_an_end_of_a_dial_that_is_none_of_ours_changes_nothing() -> None:
    targets = targets_of()
    target = targets.add_configured("host", 1, 0.0)
    targets.failed(None, "inbound", 0.0, refused=False)
    targets.failed(99, "unknown", 0.0, refused=False)
    targets.is_ourselves(None, "inbound", 0.0)
    targets.failed(target.id, "was never dialled", 0.0, refused=False)
    assert (target.state, target.failures) == (TargetState.WAITING, 0)
    assert targets.get(target.id) is target
    assert targets.get(99) is None


# Addresses that lead elsewhere. Every host that runs containers announces 172.17.0.1 and finds
# itself there; addresses change hands. What was heard of a peer must not be lost by that.


def test_an_announced_address_that_leads_to_ourselves_is_passed_over() -> None:
    targets = targets_of()
    targets.set_discovered(MIDDLE, [A1, A2], 0.0)
    [target] = targets.due(0.0)
    targets.is_ourselves(target.id, "own address", 0.0)
    targets.failed(target.id, "own address", 0.0, refused=False)
    assert dial(targets, 10.0) == [str(A2)]


def test_an_announced_address_that_leads_to_another_peer_is_passed_over() -> None:
    targets = targets_of()
    targets.set_discovered(MIDDLE, [A1, A2], 0.0)
    [target] = targets.due(0.0)
    targets.linked(HIGH, target.id, 0.0)
    assert dial(targets, 10.0) == [str(A2)]


def test_a_forgotten_target_is_not_dialled_again_and_may_be_given_anew() -> None:
    targets = targets_of()
    target = targets.add_configured("host", 1, 0.0)
    targets.forget(target)
    assert targets.configured_at("host", 1) is None
    assert targets.next_deadline() is None
    targets.add_configured("host", 1, 1.0)
    assert dial(targets, 1.0) == ["host:1"]


def test_what_the_last_try_of_each_address_gave_is_kept_while_it_is_announced() -> None:
    targets = targets_of()
    targets.set_discovered(HIGH, [A1, A2], 0.0)
    assert fail_until(targets, 0.0, 3.0)
    assert only(targets).results == {(a.host, a.port): "refused" for a in (A1, A2)}
    targets.set_discovered(HIGH, [A2, A3], 3.0)
    fail_until(targets, 3.0, 9.0)
    assert set(only(targets).results) == {(a.host, a.port) for a in (A2, A3)}


def test_each_kind_of_trouble_is_kept_until_there_is_a_link() -> None:
    targets = targets_of()
    target = targets.add_configured("host", 1, 0.0)
    assert target.trouble is None
    for trouble in (Trouble.DIAL_FAILED, Trouble.REFUSED, Trouble.CONN_LIMIT):
        assert targets.due(targets.next_deadline() or 0.0) == [target]
        targets.failed(target.id, "why", 0.0, refused=False, trouble=trouble)
        assert target.trouble is trouble
    targets.linked(HIGH, target.id, 1.0)
    assert (target.trouble, target.reason) == (None, "")
    targets.unlinked(HIGH, "gone", 2.0)
    assert target.trouble is Trouble.LINK_LOST


def test_who_has_no_room_for_us_is_looked_at_seldom() -> None:
    targets = targets_of()
    target = targets.add_configured("host", 1, 0.0)
    targets.due(0.0)
    targets.linked(HIGH, target.id, 0.0)
    targets.unlinked(HIGH, "too many links", 0.1, trouble=Trouble.NO_ROOM)
    assert target.state is TargetState.FAILED
    assert 0.1 + REFUSED_DELAY_S <= (targets.next_try(target) or 0.0) <= 0.1 + 2 * REFUSED_DELAY_S


def test_who_never_has_room_is_asked_ever_more_seldom_but_for_ever() -> None:
    targets = targets_of()
    target = targets.add_configured("host", 1, 0.0)
    now, tries = 0.0, []
    while now < 86_400.0:
        tries.append(now)
        assert targets.due(now) == [target]
        targets.linked(HIGH, target.id, now)
        targets.unlinked(HIGH, "too many links", now + 0.1, trouble=Trouble.NO_ROOM)
        now = targets.next_try(target) or 1e9
    waits = [later - earlier for earlier, later in itertools.pairwise(tries)]
    assert max(waits) <= NO_ROOM_CEILING_S + 0.1
    assert min(waits[10:]) >= NO_ROOM_CEILING_S / 2


def test_addresses_by_the_thousand_are_dialled_some_at_a_time() -> None:
    targets = targets_of()
    for number in range(1, 1001):
        targets.set_discovered(PeerName(number.to_bytes(16, "big")), [endpoint(number)], 0.0)
    dialled, now = 0, 0.0
    while dialled < 1000:
        now = max(now, targets.next_deadline() or now)
        under_way = targets.due(now)
        assert len([t for t in targets if t.state is TargetState.CONNECTING]) <= MAX_DIALS
        dialled += len(under_way)
        for target in under_way:
            targets.failed(target.id, "no answer", now + 3, refused=False)
        assert now < 120


def test_while_as_many_are_dialled_as_may_be_nothing_is_due() -> None:
    targets = targets_of()
    for number in range(1, MAX_DIALS + 101):
        targets.set_discovered(PeerName(number.to_bytes(16, "big")), [endpoint(number)], 0.0)
    first, *_ = targets.due(1.0)
    assert targets.next_deadline() is None, "the rest would be looked through again and again"
    assert targets.due(2.0) == []
    targets.failed(first.id, "no answer", 2.0, refused=False)
    deadline = targets.next_deadline()
    assert deadline is not None
    assert deadline <= 2.0
    assert len(targets.due(2.0)) == 1


def test_a_record_that_changes_all_the_time_is_not_dialled_all_the_time() -> None:
    targets, dials = targets_of(), 0
    for step in range(1000):
        now = step / 100
        targets.set_discovered(HIGH, [endpoint(1 + step % 2)], now)
        for target in targets.due(now):
            dials += 1
            targets.failed(target.id, "refused", now, refused=False)
    assert 3 <= dials <= 12


def heard_of(targets: Targets, numbers: range, standing: Standing = Standing.WANTED) -> None:
    for number in numbers:
        peer = PeerName(bytes((number,)) * 16)
        targets.set_discovered(peer, [endpoint(number)], 0.0, standing=standing)


def reached(targets: Targets, numbers: range) -> None:
    targets.set_reachable({PeerName(bytes((number,)) * 16) for number in numbers})


def run(targets: Targets, until: float, answers: bool = True) -> list[float]:
    """When each dial was made, of which each gives a link at once if it ``answers``."""
    dialled: list[float] = []
    while (at := targets.next_deadline()) is not None and at <= until:
        now = max(at, dialled[-1] if dialled else 0.0)
        for target in targets.due(now):
            dialled.append(now)
            if answers and target.peer is not None:
                targets.linked(target.peer, target.id, now)
    return dialled


def test_when_there_are_links_enough_who_is_reached_through_others_is_dialled_by_turns() -> None:
    targets = targets_of()
    reached(targets, range(1, 21))
    heard_of(targets, range(1, 21))
    dialled = run(targets, 60.0)
    assert len(dialled) == 20
    hasty = [at for at in dialled if at == dialled[0]]
    assert HASTY_LINKS <= len(hasty) <= HASTY_LINKS + 1
    later = dialled[len(hasty) :]
    assert min(b - a for a, b in itertools.pairwise(later)) >= EASY_INTERVAL_S - 1e-9


def test_who_is_dialled_without_haste_and_does_not_answer_holds_up_none_but_those() -> None:
    targets = targets_of()
    reached(targets, range(1, 21))
    heard_of(targets, range(1, 21))
    dialled = run(targets, 60.0, answers=False)
    assert len(dialled) == HASTY_LINKS
    assert targets.next_deadline() is None, "as many as may be are being dialled"
    targets.add_configured("host", 1, 61.0)
    assert dial(targets, 61.0) == ["host:1"]


def test_who_waits_for_its_turn_says_when_it_came_and_may_be_forgotten() -> None:
    targets = targets_of()
    reached(targets, range(1, 21))
    heard_of(targets, range(1, 21))
    run(targets, 60.0, answers=False)
    waiting = [target for target in targets if target.state is TargetState.WAITING]
    assert waiting
    assert all(targets.next_try(target) is not None for target in waiting)
    for target in waiting:
        targets.forget(target)
    for target in list(targets):
        targets.failed(target.id, "refused", 61.0, refused=True)
    assert dial(targets, 61.0) == []


def test_who_has_a_link_waits_longer_to_see_whether_somebody_new_is_reached() -> None:
    # By then it may also be the turn of one of those gone.
    for links, first in ((0, 0.0), (1, min(LINKED_NEWS_S, TURN_S))):
        targets = targets_of()
        for number in range(links):
            targets.linked(PeerName(bytes((100 + number,)) * 16), None, 0.0)
        heard_of(targets, range(1, 2), Standing.GONE)
        deadline = targets.next_deadline()
        assert deadline is not None
        assert first <= deadline <= first + NEWS_S + YIELD_S
