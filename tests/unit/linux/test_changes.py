"""What the kernel says of routes, byte by byte; what it says when is shown in `netns`."""

from __future__ import annotations

import errno
import ipaddress
import os
import socket
import struct

import pytest

from meshnet.linux.changes import Changes, ChangeSocket, Network, routed_networks
from meshnet.linux.rtnetlink import attribute

UNICAST, LOCAL = 1, 2
DESTINATION, GATEWAY = 1, 5
NEWADDR, DELADDR, NEWROUTE, DELROUTE, NEWLINK = 20, 21, 24, 25, 16


def route(family: int, prefix: int, to: str | None, kind: int = UNICAST) -> bytes:
    head = struct.pack("=BBBBBBBBI", family, prefix, 0, 0, 254, 3, 0, kind, 0)
    destination = attribute(DESTINATION, ipaddress.ip_address(to).packed) if to else b""
    return head + destination + attribute(GATEWAY, bytes(4))


@pytest.mark.parametrize(
    ("body", "network"),
    [
        (route(socket.AF_INET, 24, "192.0.2.0"), "192.0.2.0/24"),
        (route(socket.AF_INET, 32, "192.0.2.7"), "192.0.2.7/32"),
        (route(socket.AF_INET, 0, None), "0.0.0.0/0"),
        (route(socket.AF_INET6, 64, "2001:db8::"), "2001:db8::/64"),
        (route(socket.AF_INET6, 0, None), "::/0"),
    ],
)
def test_where_a_route_leads(body: bytes, network: str) -> None:
    assert list(routed_networks(body)) == [ipaddress.ip_network(network)]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        route(socket.AF_INET, 24, "192.0.2.0")[:11],
        route(socket.AF_INET, 32, "192.0.2.7", LOCAL),
        route(socket.AF_INET, 33, "192.0.2.0"),
        route(socket.AF_INET6, 24, "192.0.2.0"),
        route(socket.AF_BRIDGE if hasattr(socket, "AF_BRIDGE") else 7, 0, None),
    ],
)
def test_what_leads_nowhere_says_nothing(body: bytes) -> None:
    assert list(routed_networks(body)) == []


class Said:
    """A netlink socket that says what a test has it say."""

    def __init__(self, *said: bytes | OSError) -> None:
        self._said = list(said)

    def recv(self, _size: int) -> bytes:
        if not self._said:
            raise BlockingIOError
        item = self._said.pop(0)
        if isinstance(item, OSError):
            raise item
        return item


def read(*said: bytes | OSError) -> Changes:
    changes = ChangeSocket.__new__(ChangeSocket)
    changes._socket = Said(*said)  # type: ignore[assignment]
    return changes.read()


def message(kind: int, body: bytes = b"") -> bytes:
    return struct.pack("=IHHII", 16 + len(body), kind, 0, 0, 0) + body


def no_room() -> OSError:
    return OSError(errno.ENOBUFS, os.strerror(errno.ENOBUFS))


NETWORK: Network = ipaddress.ip_network("192.0.2.0/24")


@pytest.mark.parametrize(
    ("said", "changes"),
    [
        ([], Changes(False, (), False)),
        ([message(NEWLINK)], Changes(False, (), False)),
        ([message(NEWADDR)], Changes(True, (), False)),
        ([message(DELADDR) + message(NEWLINK)], Changes(True, (), False)),
        (
            [
                message(kind, route(socket.AF_INET, 24, "192.0.2.0"))
                for kind in (NEWROUTE, DELROUTE)
            ],
            Changes(False, (NETWORK,), False),
        ),
        ([no_room(), message(NEWADDR)], Changes(True, (), True)),
    ],
)
def test_what_is_said_is_taken_together(said: list[bytes | OSError], changes: Changes) -> None:
    assert read(*said) == changes
    assert bool(read(*said)) == (changes != Changes(False, (), False))


def test_a_turn_reads_no_more_than_its_share() -> None:
    said: list[bytes | OSError] = [message(NEWADDR)] * 100
    changes = ChangeSocket.__new__(ChangeSocket)
    changes._socket = fake = Said(*said)  # type: ignore[assignment]
    changes.read()
    assert 0 < len(fake._said) < 100


def test_what_ends_the_news_is_raised() -> None:
    with pytest.raises(OSError, match="Bad file"):
        read(OSError(errno.EBADF, os.strerror(errno.EBADF)))
