"""A NAT by itself: which address is seen outside, who is let in, what is forgotten."""

from __future__ import annotations

import pytest

from meshnet.ids import Endpoint
from meshnet.testing import Nat, NatRule, Transport

OUTER = "198.51.100.1"
INSIDE, NEIGHBOUR = Endpoint("10.0.0.1", 6783), Endpoint("10.0.0.2", 6783)
ONE, ITS_OTHER_PORT, OTHER = (
    Endpoint("192.0.2.1", 6783),
    Endpoint("192.0.2.1", 7000),
    Endpoint("192.0.2.2", 6783),
)
KIND, STRICT = NatRule.ENDPOINT_INDEPENDENT, NatRule.ADDRESS_AND_PORT_DEPENDENT


@pytest.mark.parametrize(
    ("rule", "ports"),
    [(KIND, 1), (NatRule.ADDRESS_DEPENDENT, 2), (STRICT, 3)],
)
def test_a_mapping_is_shared_by_what_the_rule_says(rule: NatRule, ports: int) -> None:
    nat = Nat(OUTER, mapping=rule)
    seen = [nat.outbound(INSIDE, to, 0.0) for to in (ONE, ITS_OTHER_PORT, OTHER, ONE)]
    assert {address.host for address in seen} == {OUTER}
    assert len({address.port for address in seen}) == ports
    assert seen[3] == seen[0]


def test_each_host_and_transport_has_its_own_mapping() -> None:
    nat = Nat(OUTER)
    seen = {
        nat.outbound(INSIDE, ONE, 0.0),
        nat.outbound(NEIGHBOUR, ONE, 0.0),
        nat.outbound(INSIDE, ONE, 0.0, Transport.TCP),
    }
    assert len(seen) == 3


@pytest.mark.parametrize(
    ("rule", "let_in"),
    [
        (KIND, [ONE, ITS_OTHER_PORT, OTHER]),
        (NatRule.ADDRESS_DEPENDENT, [ONE, ITS_OTHER_PORT]),
        (STRICT, [ONE]),
    ],
)
def test_who_is_let_in_by_a_mapping(rule: NatRule, let_in: list[Endpoint]) -> None:
    nat = Nat(OUTER, filtering=rule)
    outside = nat.outbound(INSIDE, ONE, 0.0)
    found = [nat.inbound(outside, source, 1.0) for source in (ONE, ITS_OTHER_PORT, OTHER)]
    assert found == [INSIDE if s in let_in else None for s in (ONE, ITS_OTHER_PORT, OTHER)]


def test_nobody_is_let_in_where_nothing_was_sent() -> None:
    nat = Nat(OUTER, filtering=KIND)
    outside = nat.outbound(INSIDE, ONE, 0.0)
    assert nat.inbound(Endpoint(OUTER, outside.port + 1), ONE, 0.0) is None
    assert nat.inbound(Endpoint("198.51.100.9", outside.port), ONE, 0.0) is None
    assert nat.inbound(outside, ONE, 0.0, Transport.TCP) is None


def test_a_mapping_expires_unless_something_leaves_by_it() -> None:
    nat = Nat(OUTER, expires_s=30.0)
    outside = nat.outbound(INSIDE, ONE, 0.0)
    assert nat.inbound(outside, ONE, 29.0) == INSIDE
    assert nat.outbound(INSIDE, ONE, 29.0) == outside
    assert nat.inbound(outside, ONE, 59.0) == INSIDE
    assert nat.inbound(outside, ONE, 59.1) is None
    assert nat.outbound(INSIDE, ONE, 59.2) != outside


def test_connections_do_not_expire() -> None:
    nat = Nat(OUTER, expires_s=30.0)
    outside = nat.outbound(INSIDE, ONE, 0.0, Transport.TCP)
    assert nat.inbound(outside, ONE, 7200.0, Transport.TCP) == INSIDE


def test_rebinding_forgets_all_mappings() -> None:
    nat = Nat(OUTER)
    outside = nat.outbound(INSIDE, ONE, 0.0)
    nat.rebind()
    assert nat.inbound(outside, ONE, 0.0) is None
    again = nat.outbound(INSIDE, ONE, 0.0)
    assert (again.host, again != outside) == (OUTER, True)
    nat.rebind("198.51.100.2")
    assert nat.outbound(INSIDE, ONE, 0.0).host == "198.51.100.2"
