"""News of this host's addresses and routes, as the kernel has them (rtnetlink(7))."""

from __future__ import annotations

import errno
import ipaddress
import socket
import struct
from collections.abc import Iterator

from meshnet.linux.rtnetlink import NETLINK_ROUTE, attributes, messages
from meshnet.values import Value

# linux/rtnetlink.h
_RTM_NEWADDR = 20
_RTM_DELADDR = 21
_RTM_NEWROUTE = 24
_RTM_DELROUTE = 25
_RTMGRP_IPV4_IFADDR = 0x10
_RTMGRP_IPV4_ROUTE = 0x40
_RTMGRP_IPV6_IFADDR = 0x100
_RTMGRP_IPV6_ROUTE = 0x400
_GROUPS = _RTMGRP_IPV4_IFADDR | _RTMGRP_IPV4_ROUTE | _RTMGRP_IPV6_IFADDR | _RTMGRP_IPV6_ROUTE
_RTA_DST = 1
_RTN_UNICAST = 1

# family, destination's prefix length, source's, service, table, protocol, scope, type, flags
_ROUTE = struct.Struct("=BBBBBBBBI")
_RECEIVE_BYTES = 65536
# One turn reads no more; what is left makes the socket readable again.
_MAX_READS = 16

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


class Changes(Value):
    """What has changed since the last look. ``missed``: more than the kernel could keep for us."""

    addresses: bool
    routes: tuple[Network, ...]
    missed: bool

    def __bool__(self) -> bool:
        return self.addresses or self.missed or bool(self.routes)


class ChangeSocket:
    """Readable when addresses or routes change. Raises OSError where there is no netlink."""

    def __init__(self) -> None:
        kind = socket.SOCK_RAW | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK
        self._socket = socket.socket(socket.AF_NETLINK, kind, NETLINK_ROUTE)
        try:
            self._socket.bind((0, _GROUPS))
        except OSError:
            self._socket.close()
            raise

    def fileno(self) -> int:
        return self._socket.fileno()

    def close(self) -> None:
        self._socket.close()

    def read(self) -> Changes:
        """All that has happened, or a good part of it. Raises OSError when nothing more comes."""
        addresses, missed = False, False
        routes: dict[Network, None] = {}
        for _ in range(_MAX_READS):
            try:
                data = self._socket.recv(_RECEIVE_BYTES)
            except BlockingIOError:
                break
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise
                missed = True
                continue
            for kind, body in messages(data):
                addresses = addresses or kind in (_RTM_NEWADDR, _RTM_DELADDR)
                if kind in (_RTM_NEWROUTE, _RTM_DELROUTE):
                    routes |= dict.fromkeys(routed_networks(body))
        return Changes(addresses, tuple(routes), missed)


def routed_networks(body: bytes) -> Iterator[Network]:
    """Where a route leads, of the body of its message; nothing if it is for this host itself."""
    if len(body) < _ROUTE.size:
        return
    family, prefix, _, _, _, _, _, kind, _ = _ROUTE.unpack_from(body)
    if kind != _RTN_UNICAST or family not in (socket.AF_INET, socket.AF_INET6):
        return
    values = dict(attributes(body[_ROUTE.size :]))
    nothing = bytes(4 if family == socket.AF_INET else 16)
    packed = values.get(_RTA_DST, nothing)
    if len(packed) == len(nothing) and prefix <= 8 * len(packed):
        yield ipaddress.ip_network((packed, prefix), strict=False)
