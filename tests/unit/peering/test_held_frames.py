"""What waits for a session: in order, bounded for each peer and in all, not for long."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from meshnet.peering.held_frames import (
    HOLD_S,
    MAX_HELD_BYTES,
    MAX_HELD_BYTES_IN_ALL,
    MAX_HELD_FRAMES,
    MAX_HELD_FRAMES_IN_ALL,
    HeldFrames,
)
from support.samples import BOB, CAROL, identity


def test_frames_come_back_in_order_and_once() -> None:
    held = HeldFrames()
    for number in range(5):
        assert held.put(BOB.name, b"%d" % number, 1.0)
        assert held.put(CAROL.name, b"c", 1.0)
    assert BOB.name in held
    assert held.take(BOB.name) == [b"0", b"1", b"2", b"3", b"4"]
    assert held.take(BOB.name) == []
    assert BOB.name not in held
    assert len(held) == 5


def test_nobody_holds_more_than_their_share() -> None:
    held = HeldFrames()
    assert [held.put(BOB.name, b"x", 0.0) for _ in range(MAX_HELD_FRAMES + 1)].count(False) == 1
    assert held.put(CAROL.name, bytes(MAX_HELD_BYTES), 0.0)
    assert not held.put(CAROL.name, b"x", 0.0)


def test_all_together_hold_no_more_than_there_is_room_for() -> None:
    held = HeldFrames()
    peers = [identity(number).name for number in range(40)]
    taken = [held.put(peer, b"x", 0.0) for peer in peers for _ in range(MAX_HELD_FRAMES)]
    assert taken.count(True) == len(held) == MAX_HELD_FRAMES_IN_ALL
    held = HeldFrames()
    large = MAX_HELD_BYTES // 2
    taken = [held.put(peer, bytes(large), 0.0) for peer in peers for _ in range(2)]
    assert taken.count(True) == MAX_HELD_BYTES_IN_ALL // large


def test_what_waits_too_long_is_let_go_with_all_behind_it() -> None:
    held = HeldFrames()
    held.put(BOB.name, b"first", 1.0)
    held.put(BOB.name, b"later", 1.0 + HOLD_S - 0.1)
    held.put(CAROL.name, b"other", 2.0)
    assert held.next_deadline() == 1.0 + HOLD_S
    assert held.pop_overdue(1.0 + HOLD_S - 0.01) == 0
    assert held.pop_overdue(1.0 + HOLD_S) == 2
    assert held.take(CAROL.name) == [b"other"]
    assert held.next_deadline() is None


STEPS = st.lists(st.tuples(st.sampled_from("ptw"), st.integers(0, 3), st.integers(0, 2**17)))


@given(STEPS)
def test_it_is_as_a_list_for_each_peer(steps: list[tuple[str, int, int]]) -> None:
    held, model = HeldFrames(), dict[int, list[bytes]]()
    since, now = dict[int, float](), 0.0
    for kind, number, size in steps:
        peer = identity(number).name
        if kind == "p" and held.put(peer, frame := bytes(size), now):
            since.setdefault(number, now)
            model.setdefault(number, []).append(frame)
        elif kind == "t":
            assert held.take(peer) == model.pop(number, [])
            since.pop(number, None)
        elif kind == "w":
            now += 1.0
            late = [n for n, at in since.items() if now >= at + HOLD_S]
            assert held.pop_overdue(now) == sum(len(model.pop(n)) for n in late)
            for n in late:
                del since[n]
        assert len(held) == sum(map(len, model.values()))
        assert all(sum(map(len, frames)) <= MAX_HELD_BYTES for frames in model.values())
