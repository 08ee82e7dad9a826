"""What the switch needs to know of an Ethernet header, and the MTU words that go with it.

Frames are opaque past the two addresses: VLAN tags (IEEE 802.1Q) and payloads pass untouched.
"""

from __future__ import annotations

MAC_BYTES = 6
HEADER_BYTES = 14
VLAN_TAG_BYTES = 4

# RFC 8200 section 5: IPv6 needs 1280; the upper bound is the common jumbo frame.
MIN_OVERLAY_MTU = 1280
MAX_OVERLAY_MTU = 9000
DEFAULT_OVERLAY_MTU = 1376


def max_frame_bytes(overlay_mtu: int) -> int:
    """The longest frame the network carries: header, one VLAN tag, and an IP packet of the MTU."""
    return HEADER_BYTES + VLAN_TAG_BYTES + overlay_mtu


def is_group(mac: bytes) -> bool:
    """True for broadcast and multicast addresses (the individual/group bit)."""
    return bool(mac[0] & 1)
