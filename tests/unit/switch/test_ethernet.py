"""The few facts about Ethernet that the switch uses."""

from __future__ import annotations

import pytest

from meshnet.switch.ethernet import DEFAULT_OVERLAY_MTU, is_group, max_frame_bytes
from support.samples import BROADCAST, mac


def test_the_longest_frame_has_a_vlan_tag_and_a_full_packet() -> None:
    assert max_frame_bytes(DEFAULT_OVERLAY_MTU) == 14 + 4 + 1376


@pytest.mark.parametrize(
    ("address", "group"),
    [(BROADCAST, True), (bytes.fromhex("01005e000001"), True), (mac(1), False), (bytes(6), False)],
)
def test_groups_are_told_by_one_bit(address: bytes, group: bool) -> None:
    assert is_group(address) is group
