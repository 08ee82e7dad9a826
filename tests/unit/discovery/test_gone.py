"""The pace of dials to those that nobody reaches."""

from __future__ import annotations

from meshnet.discovery.backoff import MAX_DIALS_PER_S
from meshnet.discovery.gone import HURRY_S, MAX_BURST, TURN_S, GoneQueue

NEVER_S = 1e6


def run(queue: GoneQueue, start: float, end: float, *, again_s: float) -> list[tuple[float, int]]:
    """Who has its turn when, each coming back with so long a wait."""
    turns = []
    while (at := queue.next_deadline()) is not None and max(at, start) <= end:
        start = max(at, start)
        target = queue.pop(start)
        assert target is not None, "its own deadline has come"
        turns.append((start, target))
        queue.set(target, start + again_s, start)
    return turns


def test_one_has_its_turn_though_all_waits_are_long() -> None:
    queue = GoneQueue()
    for target in range(500):
        queue.set(target, NEVER_S + target, 0.0)
    turns = run(queue, 0.0, 60.0, again_s=2 * NEVER_S)
    assert [at for at, _ in turns] == [TURN_S * n for n in range(1, 31)]
    assert len({target for _, target in turns}) == 30, "each in its turn"


def test_who_was_lost_last_and_so_waits_least_is_first() -> None:
    queue = GoneQueue()
    for target in range(5):
        queue.set(target, NEVER_S, 0.0)
    queue.set(7, 0.25, 0.0)
    assert queue.pop(0.2) is None
    assert queue.next_deadline() == 0.25
    assert queue.pop(0.25) == 7
    assert queue.next_deadline() == 0.25 + TURN_S


def test_the_dials_of_many_that_are_due_at_once_keep_to_the_rate() -> None:
    queue = GoneQueue()
    for target in range(1000):
        queue.set(target, 0.0, 0.0)
    turns = run(queue, 0.0, 20.0, again_s=NEVER_S)
    assert [at for at, _ in turns[:MAX_BURST]] == [0.0] * MAX_BURST
    assert 190 <= len(turns) - MAX_BURST <= 20.0 * MAX_DIALS_PER_S + 1


def test_who_hurries_takes_turns_faster_for_a_while() -> None:
    queue = GoneQueue()
    for target in range(500):
        queue.set(target, NEVER_S, 0.0)
    queue.hurry(0.0)
    turns = run(queue, 0.0, HURRY_S + 20.0, again_s=NEVER_S)
    soon = [at for at, _ in turns if at <= HURRY_S]
    assert len(soon) >= 0.9 * HURRY_S * MAX_DIALS_PER_S
    assert len(turns) - len(soon) == 20.0 / TURN_S


def test_in_a_hurry_too_nobody_is_dialled_all_the_time() -> None:
    queue = GoneQueue()
    for target in (1, 2):
        queue.set(target, NEVER_S, 0.0)
    queue.hurry(0.0)
    assert len(run(queue, 0.0, 20.0, again_s=NEVER_S)) == 2 * 20.0 / TURN_S
    queue.end_hurry()
    assert len(run(queue, 20.0, 40.0, again_s=NEVER_S)) == 20.0 / TURN_S


def test_who_is_taken_out_has_no_turn() -> None:
    queue = GoneQueue()
    queue.set(1, 5.0, 0.0)
    assert (len(queue), queue.deadline_of(1)) == (1, 5.0)
    queue.cancel(1)
    assert (len(queue), queue.deadline_of(1), queue.next_deadline()) == (0, None, None)
    assert queue.pop(NEVER_S) is None
