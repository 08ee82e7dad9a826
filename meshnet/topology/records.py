"""What each peer says of itself: its fragment of the channel `topology` (wire.md section 6.4).

One entry describes the peer, and one stands for each of its links, so that a link that comes or
goes changes one small entry.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from collections.abc import Set as AbstractSet

from meshnet.ids import PEER_NAME_BYTES, ChannelId, Endpoint, PeerName
from meshnet.topology.cost import pack_cost, parse_cost
from meshnet.values import Value
from meshnet.wire.cursor import Cursor, MalformedError, pack_text

# From wire.md section 6.4.
TOPOLOGY = ChannelId("topology", "peer-record")
FORMAT = 1
MAX_NICKNAME_BYTES = 64
MAX_ENDPOINTS = 16
MAX_RECORD_ENTRIES = 4096
"""Links, mostly: whoever announces more says nothing. A record is read whole at each change."""

_DESCRIPTION_KEY = b"\0"
_LINK_PREFIX = b"\1"
_LIMITED_BROADCAST = ipaddress.IPv4Address("255.255.255.255")


class Description(Value):
    """What a peer says of itself, without its links. ``life`` is random per start (u64)."""

    nickname: str
    overlay_mtu: int
    capabilities: int
    life: int
    endpoints: tuple[Endpoint, ...]


class PeerRecord(Value):
    """A peer: its name and Ed25519 key, its description, and its links with what each costs."""

    name: PeerName
    public_key: bytes
    description: Description
    costs: Mapping[PeerName, int]
    """What it announces of each of its links; not to be changed."""

    @property
    def links(self) -> AbstractSet[PeerName]:
        """To whom it announces a link."""
        return self.costs.keys()

    @property
    def nickname(self) -> str:
        return self.description.nickname

    @property
    def overlay_mtu(self) -> int:
        return self.description.overlay_mtu

    @property
    def life(self) -> int:
        return self.description.life

    @property
    def endpoints(self) -> tuple[Endpoint, ...]:
        return self.description.endpoints


def record_entries(description: Description, costs: Mapping[PeerName, int]) -> dict[bytes, bytes]:
    """The entries of our fragment, with the costs of our links.

    Raises ValueError for what nobody would accept from us.
    """
    if len(description.endpoints) > MAX_ENDPOINTS:
        raise ValueError(f"at most {MAX_ENDPOINTS} addresses can be announced")
    packed = (
        bytes((FORMAT,))
        + pack_text(description.nickname, MAX_NICKNAME_BYTES)
        + description.overlay_mtu.to_bytes(2, "big")
        + description.capabilities.to_bytes(4, "big")
        + description.life.to_bytes(8, "big")
        + bytes((len(description.endpoints),))
        + b"".join(_pack_endpoint(endpoint) for endpoint in description.endpoints)
    )
    try:
        _parse_description(packed)
    except MalformedError as error:
        raise ValueError(str(error)) from error
    return {_DESCRIPTION_KEY: packed} | {
        link_key(peer): pack_cost(cost) for peer, cost in costs.items()
    }


def read_record(name: PeerName, public_key: bytes, entries: Mapping[bytes, bytes]) -> PeerRecord:
    """The record that a fragment's entries make. Raises MalformedError.

    Entries of other kinds are a later version's, and ignored.
    """
    if (packed := entries.get(_DESCRIPTION_KEY)) is None:
        raise MalformedError("no description")
    costs = {
        PeerName(key[1:]): parse_cost(value)
        for key, value in entries.items()
        if key[:1] == _LINK_PREFIX and len(key) == 1 + PEER_NAME_BYTES
    }
    return PeerRecord(name, public_key, _parse_description(packed), costs)


def link_key(peer: PeerName) -> bytes:
    """The key under which a writer says that it is linked to ``peer``."""
    return _LINK_PREFIX + peer


def is_dialable(endpoint: Endpoint) -> bool:
    """False for groups and such: nobody shall be able to aim the whole mesh's dials at them."""
    address = ipaddress.ip_address(endpoint.host)
    return not (address.is_multicast or address.is_unspecified or address == _LIMITED_BROADCAST)


def _parse_description(packed: bytes) -> Description:
    """Fields after the endpoints are a later version's, and ignored."""
    cursor = Cursor(packed)
    if (form := cursor.read_u8()) != FORMAT:
        raise MalformedError(f"description format {form} is unknown")
    nickname = cursor.read_text(MAX_NICKNAME_BYTES)
    overlay_mtu, capabilities = cursor.read_u16(), cursor.read_u32()
    life = cursor.read_u64()
    if (count := cursor.read_u8()) > MAX_ENDPOINTS:
        raise MalformedError(f"{count} endpoints")
    endpoints = tuple(_read_endpoint(cursor) for _ in range(count))
    return Description(nickname, overlay_mtu, capabilities, life, endpoints)


def _pack_endpoint(endpoint: Endpoint) -> bytes:
    address = ipaddress.ip_address(endpoint.host)
    return bytes((address.version,)) + address.packed + endpoint.port.to_bytes(2, "big")


def _read_endpoint(cursor: Cursor) -> Endpoint:
    version = cursor.read_u8()
    if version not in (4, 6):
        raise MalformedError(f"address family {version}")
    packed = cursor.read_bytes(4 if version == 4 else 16)
    try:
        # Canonical first: an IPv4 address in IPv6 clothes is judged as what it is.
        endpoint = Endpoint.of(str(ipaddress.ip_address(packed)), cursor.read_u16())
    except ValueError as error:
        raise MalformedError(str(error)) from error
    if not is_dialable(endpoint):
        raise MalformedError(f"{endpoint.host} is no peer's address")
    return endpoint
