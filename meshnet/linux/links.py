"""Network devices by rtnetlink: look at them, make a bridge, change and delete."""

from __future__ import annotations

import errno
import socket
import struct
from pathlib import Path

from meshnet.linux.rtnetlink import Request, attribute, attributes, exchange, tell, text, u32
from meshnet.values import Value

# linux/rtnetlink.h, linux/if_link.h, linux/if.h
_RTM_NEWLINK = 16
_RTM_DELLINK = 17
_RTM_GETLINK = 18
_RTM_SETLINK = 19
_IFLA_ADDRESS = 1
_IFLA_IFNAME = 3
_IFLA_MTU = 4
_IFLA_MASTER = 10
_IFLA_LINKINFO = 18
_IFLA_IFALIAS = 20
_IFLA_AF_SPEC = 26
_IFLA_INFO_KIND = 1
_IFLA_INFO_DATA = 2
_IFLA_BR_STP_STATE = 5
_IFLA_BR_MCAST_SNOOPING = 23
_IFLA_INET6_ADDR_GEN_MODE = 8
_IN6_ADDR_GEN_MODE_NONE = 1
_IFF_UP = 1

# family, device type, index, flags, which flags to change
_LINK = struct.Struct("=BxHiII")


class Link(Value):
    """A network device. ``kind`` is empty for hardware, ``master`` 0 for a port of nothing."""

    index: int
    name: str
    kind: str
    mac: bytes
    mtu: int
    master: int
    alias: str


def link_named(name: str) -> Link | None:
    """The device of that name, if there is one. Raises OSError."""
    try:
        request = _LINK.pack(0, 0, 0, 0, 0) + attribute(_IFLA_IFNAME, text(name))
        [body] = exchange(_RTM_GETLINK, Request.ONE, request)
        return _parsed(body)
    except OSError as error:
        if error.errno == errno.ENODEV:
            return None
        raise


def all_links() -> list[Link]:
    """Every device of this host. Raises OSError."""
    return [_parsed(body) for body in exchange(_RTM_GETLINK, Request.ALL, _LINK.pack(*[0] * 5))]


def make_bridge(name: str, mac: bytes, mtu: int) -> None:
    """Make a bridge that is a plain switch. Raises OSError.

    A MAC address that is given at birth stays; otherwise it would follow the ports. No spanning
    tree: nothing would answer it, and ports would wait 30 s. No multicast snooping: as soon as one
    querier is heard, it withholds multicast from ports whose reports it has missed, among them the
    groups that neighbour discovery and mDNS live on.
    """
    plain = attribute(_IFLA_BR_STP_STATE, u32(0)) + attribute(_IFLA_BR_MCAST_SNOOPING, b"\0")
    info = attribute(_IFLA_INFO_KIND, b"bridge") + attribute(_IFLA_INFO_DATA, plain)
    tell(
        _RTM_NEWLINK,
        Request.NEW,
        _LINK.pack(0, 0, 0, 0, 0)
        + attribute(_IFLA_IFNAME, text(name))
        + attribute(_IFLA_ADDRESS, mac)
        + attribute(_IFLA_MTU, u32(mtu))
        + attribute(_IFLA_LINKINFO, info),
    )


def set_link(
    index: int,
    *,
    up: bool | None = None,
    mac: bytes | None = None,
    mtu: int | None = None,
    alias: str | None = None,
    master: int | None = None,
) -> None:
    """Change a device; what is None stays. Raises OSError."""
    changes = b""
    if mac is not None:
        changes += attribute(_IFLA_ADDRESS, mac)
    if mtu is not None:
        changes += attribute(_IFLA_MTU, u32(mtu))
    if alias is not None:
        changes += attribute(_IFLA_IFALIAS, text(alias))
    if master is not None:
        changes += attribute(_IFLA_MASTER, u32(master))
    flags, mask = (_IFF_UP if up else 0), (0 if up is None else _IFF_UP)
    tell(_RTM_SETLINK, Request.ONE, _LINK.pack(0, 0, index, flags, mask) + changes)


def make_no_ipv6_address(index: int) -> None:
    """Give the device no link-local address of its own from its next start on. Raises OSError.

    Nothing happens where IPv6 is off.
    """
    mode = attribute(_IFLA_INET6_ADDR_GEN_MODE, bytes((_IN6_ADDR_GEN_MODE_NONE,)))
    change = attribute(_IFLA_AF_SPEC, attribute(socket.AF_INET6, mode))
    try:
        tell(_RTM_SETLINK, Request.ONE, _LINK.pack(0, 0, index, 0, 0) + change)
    except OSError as error:
        if error.errno not in (errno.EAFNOSUPPORT, errno.EINVAL):
            raise


def refuse_router_advertisements(name: str) -> bool:
    """Take no IPv6 route or address from whoever says to be a router; false when that failed."""
    try:
        Path(f"/proc/sys/net/ipv6/conf/{name}/accept_ra").write_text("0\n", encoding="ascii")
    except FileNotFoundError:
        pass  # IPv6 is off.
    except OSError:
        return False
    return True


def delete_link(index: int) -> None:
    """Delete a device; fine when it is gone. Raises OSError."""
    try:
        tell(_RTM_DELLINK, Request.ONE, _LINK.pack(0, 0, index, 0, 0))
    except OSError as error:
        if error.errno != errno.ENODEV:
            raise


def _parsed(body: bytes) -> Link:
    _family, _type, index, _flags, _change = _LINK.unpack_from(body)
    values = dict(attributes(body[_LINK.size :]))
    info = dict(attributes(values.get(_IFLA_LINKINFO, b"")))
    return Link(
        index,
        _string(values.get(_IFLA_IFNAME, b"")),
        _string(info.get(_IFLA_INFO_KIND, b"")),
        values.get(_IFLA_ADDRESS, b""),
        _number(values.get(_IFLA_MTU, b"")),
        _number(values.get(_IFLA_MASTER, b"")),
        _string(values.get(_IFLA_IFALIAS, b"")),
    )


def _string(value: bytes) -> str:
    return value.rstrip(b"\0").decode(errors="replace")


def _number(value: bytes) -> int:
    return int(struct.unpack("=I", value)[0]) if len(value) == 4 else 0
