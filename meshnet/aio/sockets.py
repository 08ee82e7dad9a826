"""The underlay sockets: one TCP listener and one UDP socket on the same address.

The UDP socket is read and written in non-blocking bursts with `add_reader`: asyncio's own datagram
protocol takes one datagram per turn of the loop and is about ten times slower.
"""

from __future__ import annotations

import contextlib
import errno
import socket
from collections.abc import Callable, Iterable
from typing import TypeVar

from meshnet.errors import ListenError
from meshnet.ids import Endpoint, join_host_port
from meshnet.peering.data_path import Datagram
from meshnet.switch.ethernet import MAX_OVERLAY_MTU, max_frame_bytes
from meshnet.wire.ciphers import LARGEST_TAG_BYTES
from meshnet.wire.datagram import (
    BROADCAST_HEADER,
    HEADER_BYTES,
    PART_HEADER_BYTES,
    RELAY_HEADER,
)

# Linux values (linux/in.h, linux/in6.h, asm-generic/socket.h) that the socket module lacks.
_IP_MTU_DISCOVER = 10
_IPV6_MTU_DISCOVER = 23
_PMTUDISC_DONT = 0
_SO_SNDBUFFORCE = 32
_SO_RCVBUFFORCE = 33

# Our choice: at 1 Gb/s, 4 MiB are 33 ms of datagrams while Python is busy elsewhere.
_SOCKET_BUFFER_BYTES = 4 * 1024 * 1024
_BACKLOG = 128
_IPV6_IS_OFF = (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL)
_MAX_CACHED_ADDRESSES = 4096

# What each wrapping adds: a frame is in one datagram, which may be for all, which may be relayed.
_WRAPPED_BYTES = HEADER_BYTES + PART_HEADER_BYTES + LARGEST_TAG_BYTES
MAX_DATAGRAM_BYTES = (
    3 * _WRAPPED_BYTES
    + max_frame_bytes(MAX_OVERLAY_MTU)
    + BROADCAST_HEADER.size
    + RELAY_HEADER.size
)

T = TypeVar("T")
_SocketAddress = tuple[str, int] | tuple[str, int, int, int]


def listen(host: str, port: int) -> tuple[socket.socket, UdpSocket]:
    """(TCP listener, UDP socket), both on one address.

    An empty host is all addresses of both families, or of IPv4 where IPv6 is off. Port 0 finds one
    that is free for both. Raises ListenError with one line that says what to do.
    """
    return _on_any(host, lambda host: _listen(host, port))


def listen_tcp(host: str, port: int, option: str) -> socket.socket:
    """A TCP listener alone, by the same rules; ``option`` is named when the port is in use."""
    listener = _on_any(host, lambda host: _bound(host, port, socket.SOCK_STREAM, option))
    listener.listen(_BACKLOG)
    return listener


def _on_any(host: str, bind: Callable[[str], T]) -> T:
    """Bound to ``host`` or, when that is empty, to all addresses that the system has."""
    if host:
        return bind(host)
    try:
        return bind("::")
    except ListenError as error:
        cause = error.__cause__
        if isinstance(cause, OSError) and cause.errno in _IPV6_IS_OFF:
            return bind("0.0.0.0")
        raise


def _listen(host: str, port: int) -> tuple[socket.socket, UdpSocket]:
    # With port 0 the TCP port is chosen first, and the same UDP port may be somebody else's.
    for _ in range(16):
        tcp = _bound(host, port, socket.SOCK_STREAM)
        try:
            udp = _bound(host, tcp.getsockname()[1], socket.SOCK_DGRAM)
        except ListenError:
            tcp.close()
            if port == 0:
                continue
            raise
        tcp.listen(_BACKLOG)
        return tcp, UdpSocket(udp)
    raise ListenError("no port is free for both TCP and UDP")


def _bound(
    host: str, port: int, kind: socket.SocketKind, option: str = "--listen"
) -> socket.socket:
    what = "TCP" if kind is socket.SOCK_STREAM else "UDP"
    where = f"{what} {join_host_port(host, port)}"
    try:
        infos = socket.getaddrinfo(host, port, type=kind, flags=socket.AI_PASSIVE)
    except socket.gaierror as error:
        raise ListenError(f"cannot listen on {where}: {error.strerror}; see {option}") from error
    family, _, _, _, sockaddr = infos[0]
    try:
        bound = socket.socket(family, kind | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
    except OSError as error:
        raise ListenError(f"cannot listen on {where}: {error.strerror}") from error
    try:
        if family == socket.AF_INET6:
            bound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        if kind is socket.SOCK_STREAM:
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(sockaddr)
    except OSError as error:
        bound.close()
        advice = {
            errno.EADDRINUSE: f"the port is in use; choose another with {option}, or stop its user",
            errno.EADDRNOTAVAIL: f"the address is not one of this host; see `ip address`, {option}",
            errno.EACCES: f"no permission for this port; choose one above 1023 with {option}",
        }.get(error.errno or 0, f"{error.strerror}; see {option}")
        raise ListenError(f"cannot listen on {where}: {advice}") from error
    return bound


class UdpSocket:
    """Datagrams in bursts, by `Endpoint`.

    An `Endpoint` is made once per address and the same object given again, so the data path pays
    no parsing per datagram.
    """

    def __init__(self, bound: socket.socket) -> None:
        self._socket = bound
        self._mapped = bound.family == socket.AF_INET6
        self._endpoints: dict[_SocketAddress, Endpoint] = {}
        self._addresses: dict[Endpoint, _SocketAddress] = {}
        # Until frames are cut into pieces by us, a path that is too small must do it: datagrams
        # leave without don't-fragment (RFC 791), and over IPv6 the sending kernel fragments.
        with contextlib.suppress(OSError):
            bound.setsockopt(socket.IPPROTO_IP, _IP_MTU_DISCOVER, _PMTUDISC_DONT)
        if self._mapped:
            bound.setsockopt(socket.IPPROTO_IPV6, _IPV6_MTU_DISCOVER, _PMTUDISC_DONT)
        for force, plain in (
            (_SO_RCVBUFFORCE, socket.SO_RCVBUF),
            (_SO_SNDBUFFORCE, socket.SO_SNDBUF),
        ):
            try:
                bound.setsockopt(socket.SOL_SOCKET, force, _SOCKET_BUFFER_BYTES)
            except PermissionError:
                bound.setsockopt(socket.SOL_SOCKET, plain, _SOCKET_BUFFER_BYTES)

    def fileno(self) -> int:
        return self._socket.fileno()

    def close(self) -> None:
        self._socket.close()

    def receive(self, limit: int) -> list[Datagram]:
        """Up to ``limit`` waiting datagrams; an empty list when none waits."""
        datagrams: list[Datagram] = []
        receive, endpoints = self._socket.recvfrom, self._endpoints
        for _ in range(limit):
            try:
                datagram, address = receive(MAX_DATAGRAM_BYTES)
            except BlockingIOError:
                break
            except OSError:
                continue  # An ICMP error of an earlier send, reported here; not about this one.
            endpoint = endpoints.get(address)
            if endpoint is None:
                endpoint = self._new_endpoint(address)
            datagrams.append((datagram, endpoint))
        return datagrams

    def send(self, datagrams: Iterable[Datagram]) -> int:
        """Send a burst; returns how many the kernel did not take."""
        failed = 0
        send, addresses = self._socket.sendto, self._addresses
        for datagram, endpoint in datagrams:
            address = addresses.get(endpoint)
            if address is None:
                address = self._new_address(endpoint)
            try:
                send(datagram, address)
            except OSError:
                failed += 1  # Full buffer, no route: UDP may lose, the counter tells.
        return failed

    def _new_endpoint(self, address: _SocketAddress) -> Endpoint:
        # Anyone can send from any address: the cache is emptied rather than let grow.
        if len(self._endpoints) >= _MAX_CACHED_ADDRESSES:
            self._endpoints.clear()
        endpoint = Endpoint.of(address[0].partition("%")[0], address[1] or 1)
        self._endpoints[address] = endpoint
        return endpoint

    def _new_address(self, endpoint: Endpoint) -> _SocketAddress:
        if len(self._addresses) >= _MAX_CACHED_ADDRESSES:
            self._addresses.clear()
        mapped = self._mapped and not endpoint.is_ipv6
        address = (f"::ffff:{endpoint.host}" if mapped else endpoint.host, endpoint.port)
        self._addresses[endpoint] = address
        return address
