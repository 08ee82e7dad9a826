"""What is cut, and the rules of the hub and of a gateway: as values, and as lines for nft."""

from __future__ import annotations

from meshnet.lab.cuts import Cuts, hub_rules
from meshnet.lab.nat import gateway_ipv4, gateway_rules, inside_ipv4


def test_a_host_is_cut_off_from_all_until_it_is_healed() -> None:
    cuts = Cuts().with_cut(2).with_cut(2)
    assert cuts == Cuts(hosts=frozenset({2}))
    assert cuts.healed(1) == cuts
    assert cuts.healed(2) == Cuts()


def test_a_pair_is_the_same_whichever_is_named_first() -> None:
    cuts = Cuts().with_cut(3, 1)
    assert cuts == Cuts().with_cut(1, 3)
    assert (cuts.partners(1), cuts.partners(3), cuts.partners(2)) == ([3], [1], [])
    assert cuts.healed(1, 3) == cuts.healed(3, 1) == Cuts()
    assert cuts.healed(1, 2) == cuts


def test_to_heal_a_host_undoes_every_cut_that_names_it() -> None:
    cuts = Cuts().with_cut(1).with_cut(1, 2).with_cut(3, 1).with_cut(2, 3)
    assert cuts.healed(1) == Cuts().with_cut(2, 3)


def test_a_hub_without_cuts_or_loss_drops_nothing() -> None:
    assert "drop" not in hub_rules(Cuts(), 0.0)


def test_a_hub_drops_both_ways_whatever_is_cut() -> None:
    rules = hub_rules(Cuts().with_cut(4).with_cut(2, 1), 0.0).splitlines()
    assert "iifname { port4 } drop" in rules
    assert "oifname { port4 } drop" in rules
    assert "iifname . oifname { port1 . port2, port2 . port1 } drop" in rules


def test_a_hub_loses_the_share_that_is_asked_for() -> None:
    assert "numgen random mod 1000000 < 25000 drop" in hub_rules(Cuts(), 2.5)
    assert "drop" in hub_rules(Cuts(), 100.0).splitlines()


def test_the_same_cuts_are_the_same_lines() -> None:
    one = Cuts().with_cut(9).with_cut(1).with_cut(5, 6).with_cut(2, 3)
    other = Cuts().with_cut(2, 3).with_cut(6, 5).with_cut(1).with_cut(9)
    assert hub_rules(one, 1.0) == hub_rules(other, 1.0)


def test_a_gateway_keeps_ports_until_it_has_forgotten_then_takes_others_each_time() -> None:
    rules = [gateway_rules(rebound) for rebound in range(42)]
    assert " to :" not in rules[0]
    assert "masquerade to :20000-20999" in rules[1]
    assert "masquerade to :21000-21999" in rules[2]
    assert rules[41] == rules[1]
    assert len(set(rules)) == 41


def test_a_host_behind_nat_and_its_gateway_are_in_a_subnet_of_their_own() -> None:
    assert (inside_ipv4(7), gateway_ipv4(7)) == ("192.168.7.2", "192.168.7.1")
