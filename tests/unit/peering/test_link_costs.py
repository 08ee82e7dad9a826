"""However much a link swings, its cost is announced once a minute."""

from __future__ import annotations

from meshnet.peering.link_costs import LinkCosts
from meshnet.topology.cost import HOP_COST
from support.samples import ALICE, BOB


def test_each_link_has_its_own_cost() -> None:
    costs = LinkCosts()
    assert costs.of(BOB.name) == HOP_COST
    assert not costs.take_up([(BOB.name, 0.1), (ALICE.name, 0.001)] * 2, 0.0, by_udp=True)
    assert costs.take_up([(BOB.name, 0.1), (ALICE.name, 0.001)], 0.0, by_udp=True)
    assert costs.of(BOB.name) > 5 * HOP_COST
    assert costs.of(ALICE.name) == HOP_COST
    costs.forget(BOB.name)
    assert costs.of(BOB.name) == HOP_COST


def test_a_link_that_swings_is_told_of_once_a_minute_even_if_it_comes_and_goes() -> None:
    costs = LinkCosts()
    told = 0
    for turn in range(120):
        now = turn * 30.0
        told += costs.take_up([(BOB.name, 0.5 if turn % 2 else 0.001)] * 3, now, by_udp=True)
        if turn % 10 == 9:
            costs.forget(BOB.name)
    assert 30 < told <= 62
    # What could not be told is told later.
    told_late = [
        costs.take_up([(BOB.name, 2.0)], 4000.0 + second, by_udp=True) for second in range(100)
    ]
    assert any(told_late)


def test_losses_count() -> None:
    costs = LinkCosts()
    costs.take_up([(BOB.name, 0.001)] * 3, 0.0, by_udp=True)
    assert costs.take_up([(BOB.name, None)] * 20, 0.0, by_udp=True)
    assert costs.of(BOB.name) > HOP_COST
