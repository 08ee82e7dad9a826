"""The values everybody names things by: peers, endpoints, MAC addresses.

Parse and format only; nothing here does I/O or knows a protocol.
"""

from __future__ import annotations

import hashlib
import ipaddress
from typing import NamedTuple, Self

PEER_NAME_BYTES = 16
NETWORK_ID_BYTES = 8


class PeerName(bytes):
    """A peer's identity: BLAKE2b-128 of its Ed25519 public key (16 bytes).

    It is the hash of a key, so nobody can bear the name of another peer (design: "cannot be
    stolen"). A subclass of ``bytes`` because it is the key of every table on the data path.
    """

    __slots__ = ()

    def __new__(cls, raw: bytes) -> Self:
        if len(raw) != PEER_NAME_BYTES:
            raise ValueError(f"a peer name has {PEER_NAME_BYTES} bytes, got {len(raw)}")
        return super().__new__(cls, raw)

    @classmethod
    def of(cls, public_key: bytes) -> Self:
        """The name that belongs to an Ed25519 public key (32 bytes)."""
        return cls(hashlib.blake2b(public_key, digest_size=PEER_NAME_BYTES).digest())

    @classmethod
    def parse(cls, text: str) -> Self:
        """The name printed as 32 hex digits; raises ValueError for anything else."""
        if len(text) != 2 * PEER_NAME_BYTES:
            raise ValueError(f"a peer name has {2 * PEER_NAME_BYTES} hex digits")
        return cls(bytes.fromhex(text))

    @property
    def short(self) -> str:
        """The first 8 hex digits, for people and log lines; not unique by promise."""
        return self[:4].hex()

    def __str__(self) -> str:
        return self.hex()

    def __repr__(self) -> str:
        return f"PeerName({self.hex()})"


class ChannelId(NamedTuple):
    """A channel's name, and the name of its type: another type is another channel."""

    name: str
    type: str


class Endpoint(NamedTuple):
    """An underlay address: canonical IP text and a port, for TCP and UDP alike.

    ``host`` is never an IPv4-mapped IPv6 address: a dual-stack socket's view is undone at the
    edge, so that the same host is the same value everywhere.
    """

    host: str
    port: int

    @classmethod
    def of(cls, host: str, port: int) -> Self:
        """Canonical form of an IP address and port; raises ValueError when it is neither."""
        address = ipaddress.ip_address(host)
        if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
            address = address.ipv4_mapped
        if not 0 < port < 65536:
            raise ValueError(f"port {port} is not in 1..65535")
        return cls(str(address), port)

    @property
    def is_ipv6(self) -> bool:
        return ":" in self.host

    def __str__(self) -> str:
        return join_host_port(self.host, self.port)


Remote = Endpoint | PeerName
"""Where a session's datagrams go: an underlay address or, by its name, to a peer through others."""


def join_host_port(host: str, port: int) -> str:
    """``host:port``, with brackets round an IPv6 address (RFC 3986 section 3.2.2)."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def split_host_port(text: str, default_port: int | None) -> tuple[str, int]:
    """Split ``HOST[:PORT]``, ``[IPV6][:PORT]`` or a bare IPv6 address.

    The host may be empty (``:6783``). Raises ValueError with one line that says what is wrong.
    """
    if text.startswith("["):
        host, bracket, rest = text[1:].partition("]")
        if not bracket or (rest and not rest.startswith(":")):
            raise ValueError(f"{text!r}: write an IPv6 address with a port as [ADDR]:PORT")
        port_text = rest[1:]
        if rest and not port_text:
            raise ValueError(f"{text!r}: no port after the colon")
    elif text.count(":") > 1:
        host, port_text = text, ""
    else:
        host, colon, port_text = text.partition(":")
        if colon and not port_text:
            raise ValueError(f"{text!r}: no port after the colon")
    if not port_text:
        if default_port is None:
            raise ValueError(f"{text!r}: a port is missing")
        return host, default_port
    if not (port_text.isascii() and port_text.isdigit()) or not int(port_text) < 65536:
        raise ValueError(f"{text!r}: {port_text!r} is not a port (0..65535)")
    return host, int(port_text)


def network_id(network: str) -> bytes:
    """The 8 bytes by which peers of one network know each other before any key is used.

    Unauthenticated by nature: it separates networks from mistakes, the psk from attackers.
    """
    return hashlib.blake2b(
        network.encode(), digest_size=NETWORK_ID_BYTES, person=b"meshnet-network"
    ).digest()


def mac_of(peer: PeerName) -> bytes:
    """The MAC address of a peer's own TAP: derived from its name, so a restart keeps it.

    Locally administered, unicast (IEEE 802: bit 1 set, bit 0 clear in the first byte).
    """
    digest = bytearray(hashlib.blake2b(peer, digest_size=6, person=b"meshnet-tap-mac").digest())
    digest[0] = (digest[0] & 0xFC) | 0x02
    return bytes(digest)


def format_mac(mac: bytes) -> str:
    return mac.hex(":")
