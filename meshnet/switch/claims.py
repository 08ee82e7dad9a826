"""Who says at which MAC address an overlay address is: two who do not agree are a conflict.

Only frames to groups are looked at: ARP requests and gratuitous ARP, neighbour solicitations and
unsolicited advertisements. Every host sends them before it sends anything else, and in a network
they are few. Nothing is answered or held back here: ARP and ND are carried as they are, so that
what the hosts believe is what the hosts said (docs/decisions/0017-switch-and-bridge.md).
"""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import NamedTuple

from attrs import define

from meshnet.events import AddressConflict
from meshnet.ids import PeerName, format_mac
from meshnet.switch.announce import (
    ARP,
    ARP_OF_ETHERNET_IPV4,
    ARP_REPLY,
    ARP_REQUEST,
    ICMPV6_HEADER,
    IPV6_HEADER,
    ND_HOP_LIMIT,
    NEIGHBOUR_ADVERTISEMENT,
    NEIGHBOUR_SOLICITATION,
    NEXT_HEADER_ICMPV6,
    SOURCE_LINK_ADDRESS,
    TARGET_LINK_ADDRESS,
)
from meshnet.switch.ethernet import (
    ETHERTYPE_ARP,
    ETHERTYPE_IPV6,
    HEADER_BYTES,
    MAC_BYTES,
    is_group,
)

# Our choice. An address that moves to another host changes its MAC address once. Two hosts that
# both have it claim it in turns, each as often as its neighbours' caches or its own need it.
TURNS_WITHIN_S = 60.0
TELL_INTERVAL_S = 60.0
# Bounds what hosts that invent addresses can make us hold; past it the oldest is forgotten.
MAX_CLAIMS = 4096

_ND_TARGET_BYTES = 16
_UNSPECIFIED = (bytes(4), bytes(16))


class Claim(NamedTuple):
    """``address`` (4 or 16 bytes, network order) is said to be at ``mac``."""

    address: bytes
    mac: bytes


def claim_in(frame: bytes) -> Claim | None:
    """What an ARP or ND frame claims of its sender. None for all others, malformed ones included.

    Probes for an address (RFC 5227 section 2.1.1, RFC 4862 section 5.4) claim nothing yet. Frames
    with a VLAN tag belong to other networks and are left out.
    """
    kind = frame[2 * MAC_BYTES : HEADER_BYTES]
    if kind == ETHERTYPE_ARP:
        claim = _claim_in_arp(frame)
    elif kind == ETHERTYPE_IPV6:
        claim = _claim_in_nd(frame)
    else:
        return None
    if claim is None or claim.address in _UNSPECIFIED or is_group(claim.mac):
        return None
    return claim


def _claim_in_arp(frame: bytes) -> Claim | None:
    if len(frame) < HEADER_BYTES + ARP.size:
        return None
    *kind, operation, mac, address, _, _ = ARP.unpack_from(frame, HEADER_BYTES)
    if tuple(kind) != ARP_OF_ETHERNET_IPV4 or operation not in (ARP_REQUEST, ARP_REPLY):
        return None
    return Claim(address, mac)


def _claim_in_nd(frame: bytes) -> Claim | None:
    icmp = HEADER_BYTES + IPV6_HEADER.size
    target = icmp + ICMPV6_HEADER.size
    option = target + _ND_TARGET_BYTES
    if len(frame) < option:
        return None
    _, _, next_header, hops, source, _ = IPV6_HEADER.unpack_from(frame, HEADER_BYTES)
    # RFC 4861 section 7.1: who is not on this link cannot have 255 hops left.
    if next_header != NEXT_HEADER_ICMPV6 or hops != ND_HOP_LIMIT:
        return None
    if frame[icmp] == NEIGHBOUR_SOLICITATION:
        address, wanted = source, SOURCE_LINK_ADDRESS
    elif frame[icmp] == NEIGHBOUR_ADVERTISEMENT:
        address, wanted = frame[target:option], TARGET_LINK_ADDRESS
    else:
        return None
    while option + 2 + MAC_BYTES <= len(frame) and frame[option + 1]:
        if frame[option] == wanted:
            return Claim(address, frame[option + 2 : option + 2 + MAC_BYTES])
        option += 8 * frame[option + 1]
    return None


@define(eq=False, repr=False)
class _Held:
    """The newest claim of an address, and the MAC address it was at before."""

    mac: bytes
    where: PeerName | None
    mac_before: bytes | None
    changed_at: float


class ClaimTable:
    """The newest claim of each address. ``None`` stands for the local side."""

    def __init__(self) -> None:
        self._own_mac = b""
        self._own: frozenset[bytes] = frozenset()
        self._held: dict[bytes, _Held] = {}
        self._told: dict[bytes, float] = {}

    def __len__(self) -> int:
        return len(self._held)

    def set_own(self, mac: bytes, addresses: Iterable[IPv4Address | IPv6Address]) -> None:
        """This host's own addresses, all at ``mac``."""
        self._own_mac = mac
        self._own = frozenset(address.packed for address in addresses)

    def see(self, frame: bytes, where: PeerName | None, now: float) -> AddressConflict | None:
        """Look at a frame to a group that came from ``where``; a conflict is told now and then."""
        claim = claim_in(frame)
        if claim is None:
            return None
        if claim.address in self._own:
            if claim.mac == self._own_mac:
                return None
            return self._conflict(claim, where, self._own_mac, None, now)
        held = self._held.get(claim.address)
        if held is None:
            if len(self._held) >= MAX_CLAIMS:
                del self._held[next(iter(self._held))]
            self._held[claim.address] = _Held(claim.mac, where, None, now)
            return None
        if held.mac == claim.mac:
            held.where = where
            return None
        in_turns = held.mac_before == claim.mac and now - held.changed_at <= TURNS_WITHIN_S
        self._held[claim.address] = _Held(claim.mac, where, held.mac, now)
        if not in_turns:
            return None
        return self._conflict(claim, where, held.mac, held.where, now)

    def _conflict(
        self,
        claim: Claim,
        where: PeerName | None,
        other_mac: bytes,
        other_where: PeerName | None,
        now: float,
    ) -> AddressConflict | None:
        told_at = self._told.get(claim.address)
        if told_at is not None and now - told_at < TELL_INTERVAL_S:
            return None
        if told_at is None and len(self._told) >= MAX_CLAIMS:
            del self._told[next(iter(self._told))]
        self._told[claim.address] = now
        return AddressConflict(
            str(ip_address(claim.address)),
            ((format_mac(claim.mac), where), (format_mac(other_mac), other_where)),
        )
