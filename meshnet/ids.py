"""The values everybody names things by: peers, endpoints, MAC addresses.

Parse and format only; nothing here does I/O or knows a protocol.
"""

from __future__ import annotations

import hashlib
import ipaddress
import re
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
        return bytes.__new__(cls, raw)

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

    The host is an IP address, a host name or empty (``:6783``). Raises ValueError with one line
    that says what is wrong.
    """
    if "/" in text:
        raise ValueError(f"{text!r}: write HOST or HOST:PORT, not a URL or a path")
    if text.startswith("["):
        host, bracket, rest = text[1:].partition("]")
        if not bracket or (rest and not rest.startswith(":")) or not _is_ipv6(host):
            raise ValueError(f"{text!r}: write an IPv6 address with a port as [ADDR]:PORT")
        port_text = rest[1:]
        if rest and not port_text:
            raise ValueError(f"{text!r}: no port after the colon")
    elif text.count(":") > 1:
        host, port_text = text, ""
        if not _is_ipv6(host):
            raise ValueError(f"{text!r}: write an IPv6 address with a port as [ADDR]:PORT")
        before, _, last = text.rpartition(":")
        if _is_ipv6(before) and _is_port(last):
            either = f"[{text}] or [{before}]:{last}"
            raise ValueError(f"{text!r}: it may end in a port or not; write {either}")
    else:
        host, colon, port_text = text.partition(":")
        if colon and not port_text:
            raise ValueError(f"{text!r}: no port after the colon")
    if not port_text and default_port is None:
        raise ValueError(f"{text!r}: a port is missing")
    if port_text and not _is_port(port_text):
        raise ValueError(f"{text!r}: {port_text!r} is not a port (0..65535)")
    if host and ":" not in host:
        _check_host(text, host)
    return host, int(port_text or default_port or 0)


# Of RFC 1123 section 2.1, and the underscore, which many networks have in names.
_LABEL = re.compile(r"(?!-)[A-Za-z0-9_-]{1,63}(?<!-)")
_MAX_NAME_BYTES = 253
# What names of interfaces may hold and brackets, ports and blanks do not.
_ZONE = re.compile(r"[A-Za-z0-9_.-]+")


def _check_host(text: str, host: str) -> None:
    """Raises ValueError unless ``host`` is an IPv4 address or a host name, also one of IDNA."""
    try:
        name = host if host.isascii() else host.encode("idna").decode()
    except UnicodeError:
        raise ValueError(f"{text!r}: {host!r} is not a host name") from None
    labels = name.removesuffix(".").split(".")
    if len(name) > _MAX_NAME_BYTES or not all(map(_LABEL.fullmatch, labels)):
        raise ValueError(
            f"{text!r}: {host!r} is not a host name (labels of 1 to 63 letters, digits, '-', '_')"
        )
    # A name's last label is never a number; the system would take that for an IPv4 address.
    if labels[-1].isdigit():
        try:
            ipaddress.IPv4Address(host)
        except ValueError:
            raise ValueError(
                f"{text!r}: {host!r} is no IPv4 address, which is four numbers of 0 to 255"
            ) from None


def _is_ipv6(host: str) -> bool:
    try:
        zone = ipaddress.IPv6Address(host).scope_id
    except ValueError:
        return False
    return zone is None or _ZONE.fullmatch(zone) is not None


def _is_port(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) < 10 and int(text) < 65536


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
