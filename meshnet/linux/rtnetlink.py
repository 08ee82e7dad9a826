"""One rtnetlink request and its answers (netlink(7), rtnetlink(7)), and attributes in both ways.

A handful of messages is all that a node sends, so they are spelled out here and in the modules
above: a netlink library would add about 40 % to the node's memory and double its start-up time for
them (docs/decisions/0002-dependencies.md).
"""

from __future__ import annotations

import enum
import os
import socket
import struct
from collections.abc import Iterator

# linux/netlink.h
NETLINK_ROUTE = 0
_NLMSG_ERROR = 2
_NLMSG_DONE = 3
_NLM_F_REQUEST = 0x1
_NLM_F_ACK = 0x4
_NLA_TYPE_MASK = 0x3FFF

_MESSAGE = struct.Struct("=IHHII")
_ATTRIBUTE = struct.Struct("=HH")
_ERROR = struct.Struct("=i")
_U32 = struct.Struct("=I")
_RECEIVE_BYTES = 65536


class Request(enum.IntEnum):
    """Flags of a request (linux/netlink.h)."""

    ONE = _NLM_F_REQUEST | _NLM_F_ACK
    """Get, change or delete one thing."""
    ALL = _NLM_F_REQUEST | 0x300
    """NLM_F_DUMP: list them."""
    NEW = _NLM_F_REQUEST | _NLM_F_ACK | 0x400 | 0x200
    """NLM_F_CREATE and NLM_F_EXCL: make it; EEXIST when it is there."""


def exchange(message_type: int, request: Request, body: bytes) -> Iterator[bytes]:
    """Send one request; yield the bodies of the answers. Raises OSError with the kernel's errno."""
    kind = socket.SOCK_RAW | socket.SOCK_CLOEXEC
    with socket.socket(socket.AF_NETLINK, kind, NETLINK_ROUTE) as s:
        s.bind((0, 0))
        s.send(_MESSAGE.pack(_MESSAGE.size + len(body), message_type, request, 1, 0) + body)
        while True:
            for answer, payload in messages(s.recv(_RECEIVE_BYTES)):
                if answer == _NLMSG_DONE:
                    return
                if answer == _NLMSG_ERROR:
                    number = -_ERROR.unpack_from(payload)[0]
                    if number:
                        raise OSError(number, os.strerror(number))
                    return
                yield payload


def messages(data: bytes) -> Iterator[tuple[int, bytes]]:
    """(type, body) of each message in ``data``."""
    at = 0
    while at + _MESSAGE.size <= len(data):
        size, kind, _flags, _sequence, _port = _MESSAGE.unpack_from(data, at)
        if size < _MESSAGE.size:
            return
        yield kind, data[at + _MESSAGE.size : at + size]
        at += _aligned(size)


def tell(message_type: int, request: Request, body: bytes) -> None:
    """Send one request that is answered by yes or no. Raises OSError with the kernel's errno."""
    for _ in exchange(message_type, request, body):
        pass


def attributes(data: bytes) -> Iterator[tuple[int, bytes]]:
    """(type, value) of each attribute in ``data``."""
    at = 0
    while at + _ATTRIBUTE.size <= len(data):
        size, kind = _ATTRIBUTE.unpack_from(data, at)
        if size < _ATTRIBUTE.size:
            return
        yield kind & _NLA_TYPE_MASK, data[at + _ATTRIBUTE.size : at + size]
        at += _aligned(size)


def attribute(kind: int, value: bytes) -> bytes:
    """One attribute; concatenate several, or use them as the value of one that nests them."""
    size = _ATTRIBUTE.size + len(value)
    return _ATTRIBUTE.pack(size, kind) + value + bytes(_aligned(size) - size)


def text(value: str) -> bytes:
    """A string as the kernel wants it: with a final zero."""
    return value.encode() + b"\0"


def u32(value: int) -> bytes:
    return _U32.pack(value)


def _aligned(size: int) -> int:
    return (size + 3) & ~3
