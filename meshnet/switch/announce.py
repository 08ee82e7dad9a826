"""Telling neighbours at which MAC address our overlay addresses are, before they ask.

A peer that comes back with another MAC address (its state directory was lost) would not be reached
until its neighbours' caches age, half a minute or more. So our addresses are announced to each peer
when frames begin to flow to it, and to all when they change: gratuitous ARP requests (RFC 5227
section 3) and unsolicited neighbour advertisements (RFC 4861 section 7.2.6), as an interface that
has just come up would send them. Of other hosts' interfaces we know the MAC address alone: one that
comes to our side is announced to the other switches.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from ipaddress import IPv4Address, IPv6Address

from meshnet.ids import PeerName
from meshnet.switch.ethernet import (
    BROADCAST,
    ETHERTYPE_ARP,
    ETHERTYPE_IPV6,
    MIN_PAYLOAD_BYTES,
    mac_of_multicast,
)
from meshnet.timers import Timers

# RFC 4861 section 10: MAX_NEIGHBOR_ADVERTISEMENT, RETRANS_TIMER. RFC 5227 asks for two
# announcements of an IPv4 address, 2 s apart; one rhythm serves both, and one may be lost.
ANNOUNCEMENTS = 3
ANNOUNCE_INTERVAL_S = 1.0
# Our choice. Each is a frame to each new peer; a host with more has a router in front of them.
MAX_ANNOUNCED = 64

EVERYBODY = None
"""In place of a peer: all of them, by a broadcast."""

# RFC 826, RFC 4861, RFC 4443, RFC 8200
ARP = struct.Struct(">HHBBH6s4s6s4s")
ARP_OF_ETHERNET_IPV4 = (1, 0x0800, 6, 4)
ARP_REQUEST, ARP_REPLY = 1, 2
_RARP_REQUEST = 3
_ETHERTYPE_RARP = b"\x80\x35"
IPV6_HEADER = struct.Struct(">IHBB16s16s")
ICMPV6_HEADER = struct.Struct(">BBHI")
IPV6_VERSION = 6 << 28
NEXT_HEADER_ICMPV6 = 58
ND_HOP_LIMIT = 255
NEIGHBOUR_SOLICITATION, NEIGHBOUR_ADVERTISEMENT = 135, 136
SOURCE_LINK_ADDRESS, TARGET_LINK_ADDRESS = 1, 2
_FLAG_ROUTER = 1 << 31
_FLAG_OVERRIDE = 1 << 29
_ALL_NODES = IPv6Address("ff02::1").packed


def gratuitous_arp(address: IPv4Address, mac: bytes) -> bytes:
    """A broadcast frame that says: ``address`` is at ``mac``. Nobody answers it."""
    body = ARP.pack(
        *ARP_OF_ETHERNET_IPV4, ARP_REQUEST, mac, address.packed, bytes(6), address.packed
    )
    return BROADCAST + mac + ETHERTYPE_ARP + body.ljust(MIN_PAYLOAD_BYTES, b"\0")


def unsolicited_advertisement(address: IPv6Address, mac: bytes, *, router: bool) -> bytes:
    """A frame to all nodes that says: ``address`` is at ``mac``, and replaces what was known.

    ``router`` must be true where the host forwards IPv6: who uses it as its default router would
    otherwise stop to (RFC 4861 section 7.2.5).
    """
    flags = _FLAG_OVERRIDE | (_FLAG_ROUTER if router else 0)
    rest = address.packed + bytes((TARGET_LINK_ADDRESS, 1)) + mac
    size = ICMPV6_HEADER.size + len(rest)
    pseudo_header = address.packed + _ALL_NODES + struct.pack(">II", size, NEXT_HEADER_ICMPV6)
    blank = ICMPV6_HEADER.pack(NEIGHBOUR_ADVERTISEMENT, 0, 0, flags) + rest
    checksum = internet_checksum(pseudo_header + blank)
    return (
        mac_of_multicast(_ALL_NODES)
        + mac
        + ETHERTYPE_IPV6
        + IPV6_HEADER.pack(
            IPV6_VERSION, size, NEXT_HEADER_ICMPV6, ND_HOP_LIMIT, address.packed, _ALL_NODES
        )
        + ICMPV6_HEADER.pack(NEIGHBOUR_ADVERTISEMENT, 0, checksum, flags)
        + rest
    )


def arrival_notice(mac: bytes) -> bytes:
    """A broadcast frame from ``mac`` that says nothing else: switches learn by it where that is.

    A reverse ARP request (RFC 903) without an address, which hypervisors send for a guest that has
    moved. No host of today answers it.
    """
    body = ARP.pack(*ARP_OF_ETHERNET_IPV4, _RARP_REQUEST, mac, bytes(4), mac, bytes(4))
    return BROADCAST + mac + _ETHERTYPE_RARP + body.ljust(MIN_PAYLOAD_BYTES, b"\0")


def internet_checksum(data: bytes) -> int:
    """The checksum of RFC 1071 over an even number of bytes."""
    total: int = sum(struct.unpack(f">{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


class Announcer:
    """What to announce, to whom, and when.

    To each peer at most once in `ANNOUNCE_INTERVAL_S` while it stays, however often our addresses
    change: the changes of an interval go out together.
    """

    def __init__(self) -> None:
        self._frames: tuple[bytes, ...] = ()
        self._left: dict[PeerName | None, int] = {}
        self._timers: Timers[PeerName | None] = Timers()

    def set_own(
        self,
        mac: bytes,
        addresses: Sequence[IPv4Address | IPv6Address],
        *,
        router: bool,
        peers: Iterable[PeerName | None],
        now: float,
    ) -> None:
        """Our addresses from now on; ``peers`` are told when that is a change."""
        frames = tuple(
            gratuitous_arp(address, mac)
            if isinstance(address, IPv4Address)
            else unsolicited_advertisement(address, mac, router=router)
            for address in addresses[:MAX_ANNOUNCED]
        )
        if frames == self._frames:
            return
        self._frames = frames
        for peer in peers:
            self.peer_up(peer, now)

    def peer_up(self, peer: PeerName | None, now: float) -> None:
        """Frames flow to ``peer``."""
        if not self._frames:
            return
        if peer not in self._left:
            self._timers.set(peer, now)
        self._left[peer] = ANNOUNCEMENTS

    def peer_down(self, peer: PeerName | None) -> None:
        """Frames no longer flow to ``peer``."""
        self._left.pop(peer, None)
        self._timers.cancel(peer)

    def next_deadline(self) -> float | None:
        return self._timers.next_deadline()

    def pop_due(self, now: float) -> list[tuple[PeerName | None, tuple[bytes, ...]]]:
        """The frames to send now, and the peers to send them to."""
        due: list[tuple[PeerName | None, tuple[bytes, ...]]] = []
        for peer in self._timers.pop_due(now):
            if self._left[peer] == 0:
                del self._left[peer]  # An interval after the last one: what comes next is new.
                continue
            self._left[peer] -= 1
            self._timers.set(peer, now + ANNOUNCE_INTERVAL_S)
            due.append((peer, self._frames))
        return due
