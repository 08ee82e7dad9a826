"""The few facts about Ethernet that the switch uses."""

from __future__ import annotations

import pytest

from meshnet.switch.ethernet import (
    DEFAULT_OVERLAY_MTU,
    is_group,
    mac_of_multicast,
    max_frame_bytes,
)
from support.samples import BROADCAST, mac


def test_the_longest_frame_has_a_vlan_tag_and_a_full_packet() -> None:
    assert max_frame_bytes(DEFAULT_OVERLAY_MTU) == 14 + 4 + 1376


@pytest.mark.parametrize(
    ("address", "group"),
    [(BROADCAST, True), (bytes.fromhex("01005e000001"), True), (mac(1), False), (bytes(6), False)],
)
def test_groups_are_told_by_one_bit(address: bytes, group: bool) -> None:
    assert is_group(address) is group


def test_an_ipv6_group_has_its_own_mac_address() -> None:
    # RFC 2464 section 7: 33-33 and the last four bytes.
    address = bytes.fromhex("ff0200000000000000000001ff28 9c5a")
    assert mac_of_multicast(address).hex("-") == "33-33-ff-28-9c-5a"
