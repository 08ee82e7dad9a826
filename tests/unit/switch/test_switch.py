"""The learning switch: where frames go, what it learns, forgets and refuses."""

from __future__ import annotations

import pytest

from meshnet.switch import switch as switch_module
from meshnet.switch.ethernet import DEFAULT_OVERLAY_MTU
from meshnet.switch.switch import (
    FLAPPING_MOVES,
    FLAPPING_WINDOW_S,
    MAC_AGE_S,
    MAX_MACS,
    Switch,
    Verdict,
)
from support.samples import ALICE, BOB, BROADCAST, ethernet, mac

OURS, OTHERS, MOVING = mac(1), mac(2), mac(3)
MULTICAST = bytes.fromhex("3333000000fb")


@pytest.fixture
def switch() -> Switch:
    return Switch(DEFAULT_OVERLAY_MTU)


@pytest.mark.parametrize("destination", [BROADCAST, MULTICAST, OTHERS])
def test_groups_and_unknown_addresses_are_flooded(switch: Switch, destination: bytes) -> None:
    assert switch.from_local(ethernet(destination, OURS), 0.0) is Verdict.FLOOD


def test_the_way_back_is_learned_from_the_way_there(switch: Switch) -> None:
    assert switch.from_peer(ethernet(BROADCAST, OTHERS), ALICE.name, 0.0) is Verdict.FLOOD
    assert switch.from_local(ethernet(OTHERS, OURS), 0.0) == ALICE.name


def test_what_is_on_the_local_side_is_not_carried(switch: Switch) -> None:
    switch.from_local(ethernet(BROADCAST, OURS), 0.0)
    assert switch.from_local(ethernet(OURS, MOVING), 0.0) is Verdict.LOCAL


def test_a_frame_from_a_peer_goes_to_the_local_side_only(switch: Switch) -> None:
    # Split horizon: each peer reaches all others itself. A flood is told from what is known to be
    # here, since only floods are limited.
    switch.from_peer(ethernet(BROADCAST, OTHERS), BOB.name, 0.0)
    switch.from_local(ethernet(BROADCAST, OURS), 0.0)
    for destination in (BROADCAST, OTHERS, mac(77)):
        assert switch.from_peer(ethernet(destination, MOVING), ALICE.name, 0.0) is Verdict.FLOOD
    assert switch.from_peer(ethernet(OURS, MOVING), ALICE.name, 0.0) is Verdict.LOCAL
    later = MAC_AGE_S + 1.0
    assert switch.from_peer(ethernet(OURS, MOVING), ALICE.name, later) is Verdict.FLOOD


def test_moves_are_followed_at_once_in_all_directions(switch: Switch) -> None:
    def goes_to() -> object:
        return switch.from_local(ethernet(MOVING, OURS), 1.0)

    for _ in range(2):
        switch.from_peer(ethernet(BROADCAST, MOVING), ALICE.name, 1.0)
        assert goes_to() == ALICE.name
        switch.from_peer(ethernet(BROADCAST, MOVING), BOB.name, 1.0)
        assert goes_to() == BOB.name
        switch.from_local(ethernet(BROADCAST, MOVING), 1.0)
        assert goes_to() is Verdict.LOCAL


def test_an_address_not_heard_of_for_long_is_flooded_again(switch: Switch) -> None:
    switch.from_peer(ethernet(BROADCAST, OTHERS), ALICE.name, 0.0)
    assert switch.from_local(ethernet(OTHERS, OURS), MAC_AGE_S) == ALICE.name
    assert switch.from_local(ethernet(OTHERS, OURS), MAC_AGE_S + 0.1) is Verdict.FLOOD


def test_being_heard_again_keeps_an_address(switch: Switch) -> None:
    for now in (0.0, MAC_AGE_S, 2 * MAC_AGE_S):
        switch.from_peer(ethernet(BROADCAST, OTHERS), ALICE.name, now)
    assert switch.from_local(ethernet(OTHERS, OURS), 3 * MAC_AGE_S) == ALICE.name


def test_sweeping_drops_what_is_too_old_and_nothing_else(switch: Switch) -> None:
    switch.from_peer(ethernet(BROADCAST, OTHERS), ALICE.name, 0.0)
    switch.from_peer(ethernet(BROADCAST, MOVING), ALICE.name, 10.0)
    switch.sweep(MAC_AGE_S)
    assert len(switch) == 2
    switch.sweep(MAC_AGE_S + 5.0)
    assert len(switch) == 1
    assert switch.from_local(ethernet(MOVING, OURS), MAC_AGE_S + 5.0) == ALICE.name


def test_forgetting_a_peer_forgets_what_was_behind_it_only(switch: Switch) -> None:
    switch.from_peer(ethernet(BROADCAST, OTHERS), ALICE.name, 0.0)
    switch.from_peer(ethernet(BROADCAST, MOVING), BOB.name, 0.0)
    switch.forget_peer(ALICE.name)
    assert switch.from_local(ethernet(OTHERS, OURS), 0.0) is Verdict.FLOOD
    assert switch.from_local(ethernet(MOVING, OURS), 0.0) == BOB.name


@pytest.mark.parametrize("source", [BROADCAST, MULTICAST])
def test_a_group_cannot_send_and_is_never_learned(switch: Switch, source: bytes) -> None:
    frame = ethernet(OURS, source)
    assert switch.from_local(frame, 0.0) is Verdict.BAD_SOURCE
    assert switch.from_peer(frame, ALICE.name, 0.0) is Verdict.BAD_SOURCE
    assert len(switch) == 0
    assert switch.from_local(ethernet(source, OURS), 0.0) is Verdict.FLOOD


def test_the_bounds_of_a_frame_are_exact(switch: Switch) -> None:
    header = ethernet(BROADCAST, OURS, b"")
    longest = header.ljust(switch.max_frame_bytes, b"\0")
    for verdict, frame in (
        (Verdict.RUNT, b""),
        (Verdict.RUNT, header[:-1]),
        (None, header),
        (None, longest),
        (Verdict.OVERSIZED, longest + b"\0"),
    ):
        assert switch.from_local(frame, 0.0) is (verdict or Verdict.FLOOD)
        assert switch.from_peer(frame, ALICE.name, 0.0) is (verdict or Verdict.FLOOD)


def test_a_refused_frame_teaches_nothing(switch: Switch) -> None:
    switch.from_peer(ethernet(BROADCAST, OTHERS).ljust(9000), ALICE.name, 0.0)
    assert len(switch) == 0


def test_a_vlan_tag_changes_neither_decision_nor_bound(switch: Switch) -> None:
    full_packet = bytes(DEFAULT_OVERLAY_MTU)
    tagged = OTHERS + OURS + bytes.fromhex("81000064 0800") + full_packet
    switch.from_peer(ethernet(BROADCAST, OTHERS), ALICE.name, 0.0)
    assert switch.from_local(tagged, 0.0) == ALICE.name


def test_a_full_table_learns_nothing_new_but_still_follows_moves(
    switch: Switch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(switch_module, "MAX_MACS", 100)
    for number in range(100):
        switch.from_peer(ethernet(BROADCAST, mac(1000 + number)), ALICE.name, 0.0)
    switch.from_peer(ethernet(BROADCAST, OTHERS), ALICE.name, 0.0)
    assert len(switch) == 100
    assert switch.from_local(ethernet(OTHERS, mac(1000)), 0.0) is Verdict.FLOOD
    switch.from_peer(ethernet(BROADCAST, mac(1001)), BOB.name, 0.0)
    assert switch.from_local(ethernet(mac(1001), mac(1000)), 0.0) == BOB.name
    switch.sweep(MAC_AGE_S + 1.0)
    switch.from_peer(ethernet(BROADCAST, OTHERS), ALICE.name, MAC_AGE_S + 1.0)
    assert len(switch) == 1


def test_the_table_holds_as_much_as_promised(switch: Switch) -> None:
    for number in range(MAX_MACS + 10):
        switch.from_peer(ethernet(BROADCAST, mac(number)), ALICE.name, 0.0)
    assert len(switch) == MAX_MACS


def test_who_comes_here_by_a_frame_that_not_all_see_is_told_of_once(switch: Switch) -> None:
    switch.from_peer(ethernet(BROADCAST, OTHERS), ALICE.name, 0.0)
    switch.from_peer(ethernet(BROADCAST, MOVING), BOB.name, 0.0)
    switch.from_local(ethernet(BROADCAST, OURS), 0.0)
    assert switch.arrived == []
    switch.from_local(ethernet(OTHERS, MOVING), 0.0)
    assert switch.arrived == [MOVING]
    switch.from_local(ethernet(OTHERS, MOVING), 0.0)
    switch.from_local(ethernet(OTHERS, OURS), 0.0)
    assert switch.arrived == [MOVING]
    switch.from_peer(ethernet(OURS, MOVING), BOB.name, 0.0)
    switch.from_local(ethernet(OURS, MOVING), 0.0)
    assert switch.arrived == [MOVING, MOVING]
    switch.from_local(ethernet(OTHERS, OURS), MAC_AGE_S + 1.0)
    assert switch.arrived == [MOVING, MOVING], "what is unknown is flooded, so all see it"


def test_who_is_not_noted_is_not_announced_with_each_frame(
    switch: Switch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(switch_module, "MAX_MACS", 100)
    for number in range(100):
        switch.from_peer(ethernet(BROADCAST, mac(1000 + number)), ALICE.name, 0.0)
    for _ in range(10):
        assert switch.from_local(ethernet(mac(1007), OURS), 0.0) == ALICE.name
    assert switch.arrived == [], "each would be a broadcast to every peer"


def test_moves_are_counted_and_staying_is_none(switch: Switch) -> None:
    for _ in range(3):
        switch.from_local(ethernet(BROADCAST, MOVING), 0.0)
    assert switch.moves == 0
    switch.from_peer(ethernet(BROADCAST, MOVING), ALICE.name, 0.0)
    switch.from_peer(ethernet(BROADCAST, MOVING), BOB.name, 0.0)
    switch.from_peer(ethernet(BROADCAST, MOVING), BOB.name, 0.0)
    switch.from_local(ethernet(BROADCAST, MOVING), 0.0)
    assert switch.moves == 3
    assert switch.flapping == []


def go_round(switch: Switch, times: int, *, each_s: float) -> None:
    for number in range(times):
        side = ALICE.name if number % 2 else BOB.name
        switch.from_peer(ethernet(BROADCAST, MOVING), side, number * each_s)


def test_an_address_that_keeps_changing_sides_is_told_of_once_in_a_window(switch: Switch) -> None:
    go_round(switch, FLAPPING_MOVES, each_s=0.01)
    assert switch.flapping == [], "the first sight is no move"
    go_round(switch, 5 * FLAPPING_MOVES, each_s=0.01)
    assert switch.flapping == [MOVING]


def test_moving_now_and_then_is_no_loop(switch: Switch) -> None:
    go_round(switch, 10 * FLAPPING_MOVES, each_s=1.2 * FLAPPING_WINDOW_S / FLAPPING_MOVES)
    assert switch.moves == 10 * FLAPPING_MOVES - 1
    assert switch.flapping == []


def test_so_many_movers_are_remembered(switch: Switch, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(switch_module, "_MAX_MOVERS", 3)
    for number in range(10):
        for peer in (ALICE.name, BOB.name):
            switch.from_peer(ethernet(BROADCAST, mac(number)), peer, 0.0)
    assert switch.moves == 10
    assert len(switch._movers) == 3
