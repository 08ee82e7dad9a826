"""What the switch needs to know of an Ethernet header, and the MTU words that go with it.

Frames are opaque past the two addresses: VLAN tags (IEEE 802.1Q) and payloads pass untouched.
"""

from __future__ import annotations

MAC_BYTES = 6
HEADER_BYTES = 14
VLAN_TAG_BYTES = 4
# IEEE 802.3 section 3.2.7: what a frame is padded to, its check sequence not counted.
MIN_PAYLOAD_BYTES = 46
BROADCAST = b"\xff" * MAC_BYTES
ETHERTYPE_ARP = b"\x08\x06"
ETHERTYPE_IPV6 = b"\x86\xdd"

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


def mac_of_multicast(ipv6: bytes) -> bytes:
    """Where frames to an IPv6 multicast address (16 bytes) go (RFC 2464 section 7)."""
    return b"\x33\x33" + ipv6[-4:]
