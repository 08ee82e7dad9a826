"""Interface addresses by rtnetlink: give one to a device, take it back, list those of the host."""

from __future__ import annotations

import contextlib
import errno
import ipaddress
import socket
import struct
from collections.abc import Iterable

from meshnet.errors import TapError
from meshnet.linux.rtnetlink import Request, attribute, attributes, exchange, tell
from meshnet.values import Value

# linux/rtnetlink.h, linux/if_addr.h
_RTM_NEWADDR = 20
_RTM_DELADDR = 21
_RTM_GETADDR = 22
_IFA_ADDRESS = 1
_IFA_LOCAL = 2
_IFA_PROTO = 11
_IFA_F_NODAD = 0x02
_IFA_F_TENTATIVE_OR_FAILED = 0x40 | 0x08
_RT_SCOPE_UNIVERSE = 0
# Our choice of the numbers free for users: who has put an address there (Linux 5.18; older ones
# ignore it). Shown by `ip -details address` as `proto 0x6d`.
_PROTO_MESHNET = 0x6D

_ADDRESS = struct.Struct("=BBBBI")

Interface = ipaddress.IPv4Interface | ipaddress.IPv6Interface
Address = ipaddress.IPv4Address | ipaddress.IPv6Address


class HostAddress(Value):
    """An address of this host, and the interface that has it. ``ours``: a node put it there."""

    interface: str
    address: Address
    prefix: int
    ours: bool


def add_address(interface: str, address: Interface) -> None:
    """Give ``address`` (with its prefix length) to ``interface``; fine when it has it already.

    Without duplicate address detection (RFC 4862 section 5.4): it would ask before any peer is
    connected, hear nothing, and only delay the first packets. Raises TapError.
    """
    flags = _IFA_F_NODAD if address.version == 6 else 0
    ours = attribute(_IFA_PROTO, bytes((_PROTO_MESHNET,)))
    try:
        tell(_RTM_NEWADDR, Request.NEW, _packed(interface, address, flags) + ours)
    except OSError as error:
        if error.errno == errno.EEXIST:
            return
        advice = {
            errno.EPERM: "no permission: run as root (CAP_NET_ADMIN)",
            errno.EACCES: "IPv6 is off on the device (sysctl net.ipv6.conf.*.disable_ipv6)",
            errno.EADDRNOTAVAIL: "IPv6 is off on this host",
        }.get(error.errno or 0, str(error.strerror))
        raise TapError(f"cannot give {address} to {interface}: {advice}") from error


def remove_our_addresses(
    interface: str, *, only: Iterable[Interface] | None = None, keep: Iterable[Interface] = ()
) -> None:
    """Take back what a node put there: all, or ``only`` these, and in no case what to ``keep``."""
    kept = set(keep)
    wanted = None if only is None else set(only)
    for entry in host_addresses():
        address = ipaddress.ip_interface((entry.address, entry.prefix))
        if entry.interface != interface or not entry.ours or address in kept:
            continue
        if wanted is None or address in wanted:
            with contextlib.suppress(OSError):  # Gone meanwhile, with its device or alone.
                tell(_RTM_DELADDR, Request.ONE, _packed(interface, address, 0))


def host_addresses() -> list[HostAddress]:
    """All usable addresses of this host; tentative and duplicate ones are left out.

    Raises OSError.
    """
    found: list[HostAddress] = []
    names = dict(socket.if_nameindex())
    for body in exchange(_RTM_GETADDR, Request.ALL, _ADDRESS.pack(0, 0, 0, 0, 0)):
        _family, prefix, flags, _scope, index = _ADDRESS.unpack_from(body)
        values = dict(attributes(body[_ADDRESS.size :]))
        packed = values.get(_IFA_LOCAL, values.get(_IFA_ADDRESS))
        if packed is not None and index in names and not flags & _IFA_F_TENTATIVE_OR_FAILED:
            ours = values.get(_IFA_PROTO) == bytes((_PROTO_MESHNET,))
            address = ipaddress.ip_address(packed)
            found.append(HostAddress(names[index], address, prefix, ours))
    return found


def reachable_addresses(addresses: list[HostAddress], *, without: str) -> list[Address]:
    """Those others may dial: not loopback, not link-local, not on the interface ``without``.

    The overlay's own device is left out, or links would run through the overlay they make.
    """
    return [
        entry.address
        for entry in addresses
        if entry.interface != without
        and not (entry.address.is_loopback or entry.address.is_link_local)
    ]


def _packed(interface: str, address: Interface, flags: int) -> bytes:
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    head = _ADDRESS.pack(
        family,
        address.network.prefixlen,
        flags,
        _RT_SCOPE_UNIVERSE,
        socket.if_nametoindex(interface),
    )
    packed = address.ip.packed
    return head + attribute(_IFA_LOCAL, packed) + attribute(_IFA_ADDRESS, packed)
