"""Interface addresses by rtnetlink (rtnetlink(7)): give one to a device, list those of the host.

Two messages, so spelled out here: a netlink library would add about 40 % to the node's memory and
double its start-up time for them (docs/decisions/0002-dependencies.md).
"""

from __future__ import annotations

import errno
import ipaddress
import os
import socket
import struct
from collections.abc import Iterator

from attrs import define

from meshnet.errors import TapError

# linux/rtnetlink.h, linux/netlink.h, linux/if_addr.h
_NETLINK_ROUTE = 0
_RTM_NEWADDR = 20
_RTM_GETADDR = 22
_NLM_F_REQUEST = 0x1
_NLM_F_ACK = 0x4
_NLM_F_DUMP = 0x300
_NLM_F_CREATE = 0x400
_NLM_F_REPLACE = 0x100
_NLMSG_ERROR = 2
_NLMSG_DONE = 3
_IFA_ADDRESS = 1
_IFA_LOCAL = 2
_IFA_F_NODAD = 0x02
_IFA_F_TENTATIVE_OR_FAILED = 0x40 | 0x08
_RT_SCOPE_UNIVERSE = 0

_MESSAGE = struct.Struct("=IHHII")
_ADDRESS = struct.Struct("=BBBBI")
_ATTRIBUTE = struct.Struct("=HH")
_ERROR = struct.Struct("=i")
_RECEIVE_BYTES = 65536

Interface = ipaddress.IPv4Interface | ipaddress.IPv6Interface
Address = ipaddress.IPv4Address | ipaddress.IPv6Address


@define(frozen=True)
class HostAddress:
    """An address of this host, and the interface that has it."""

    interface: str
    address: Address


def add_address(interface: str, address: Interface) -> None:
    """Give ``address`` (with its prefix length) to ``interface``.

    Without duplicate address detection (RFC 4862 section 5.4): it would ask before any peer is
    connected, hear nothing, and only delay the first packets. Raises TapError.
    """
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    packed = address.ip.packed
    attributes = _attribute(_IFA_LOCAL, packed) + _attribute(_IFA_ADDRESS, packed)
    flags = _IFA_F_NODAD if address.version == 6 else 0
    body = _ADDRESS.pack(
        family,
        address.network.prefixlen,
        flags,
        _RT_SCOPE_UNIVERSE,
        socket.if_nametoindex(interface),
    )
    try:
        request = _NLM_F_REQUEST | _NLM_F_ACK | _NLM_F_CREATE | _NLM_F_REPLACE
        for _ in _exchange(_RTM_NEWADDR, request, body + attributes):
            pass
    except OSError as error:
        advice = {
            errno.EPERM: "no permission: run as root (CAP_NET_ADMIN)",
            errno.EACCES: "IPv6 is off on the device (sysctl net.ipv6.conf.*.disable_ipv6)",
            errno.EADDRNOTAVAIL: "IPv6 is off on this host",
        }.get(error.errno or 0, str(error.strerror))
        raise TapError(f"cannot give {address} to {interface}: {advice}") from error


def host_addresses() -> list[HostAddress]:
    """All usable addresses of this host; tentative and duplicate ones are left out.

    Raises OSError.
    """
    found: list[HostAddress] = []
    names = dict(socket.if_nameindex())
    for body in _exchange(_RTM_GETADDR, _NLM_F_REQUEST | _NLM_F_DUMP, _ADDRESS.pack(0, 0, 0, 0, 0)):
        _family, _prefix, flags, _scope, index = _ADDRESS.unpack_from(body)
        attributes = dict(_attributes(body[_ADDRESS.size :]))
        packed = attributes.get(_IFA_LOCAL, attributes.get(_IFA_ADDRESS))
        if packed is not None and index in names and not flags & _IFA_F_TENTATIVE_OR_FAILED:
            found.append(HostAddress(names[index], ipaddress.ip_address(packed)))
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


def _exchange(message_type: int, flags: int, body: bytes) -> Iterator[bytes]:
    """Send one request; yield the bodies of the answers. Raises OSError with the kernel's errno."""
    kind = socket.SOCK_RAW | socket.SOCK_CLOEXEC
    with socket.socket(socket.AF_NETLINK, kind, _NETLINK_ROUTE) as s:
        s.bind((0, 0))
        s.send(_MESSAGE.pack(_MESSAGE.size + len(body), message_type, flags, 1, 0) + body)
        while True:
            data = s.recv(_RECEIVE_BYTES)
            at = 0
            while at + _MESSAGE.size <= len(data):
                size, answer, _flags, _sequence, _port = _MESSAGE.unpack_from(data, at)
                payload = data[at + _MESSAGE.size : at + size]
                if answer == _NLMSG_DONE:
                    return
                if answer == _NLMSG_ERROR:
                    number = -_ERROR.unpack_from(payload)[0]
                    if number:
                        raise OSError(number, os.strerror(number))
                    return
                yield payload
                at += _aligned(size)


def _attributes(data: bytes) -> Iterator[tuple[int, bytes]]:
    at = 0
    while at + _ATTRIBUTE.size <= len(data):
        size, kind = _ATTRIBUTE.unpack_from(data, at)
        if size < _ATTRIBUTE.size:
            return
        yield kind, data[at + _ATTRIBUTE.size : at + size]
        at += _aligned(size)


def _attribute(kind: int, value: bytes) -> bytes:
    size = _ATTRIBUTE.size + len(value)
    return _ATTRIBUTE.pack(size, kind) + value + bytes(_aligned(size) - size)


def _aligned(size: int) -> int:
    return (size + 3) & ~3
