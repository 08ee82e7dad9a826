"""The signed record each peer writes about itself, and the table of the newest of each.

The first fragment: one writer, one signature, whole on each link, newest wins (docs/wire.md
section 6). Whether a record is valid depends on its bytes alone, never on the link that brought
it, so relays agree and a bad one never closes a link.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Collection, Container, Iterator

from attrs import define

from meshnet.errors import AuthenticationError, DropReason
from meshnet.ids import Endpoint, PeerName
from meshnet.wire.crypto import SIGNATURE_BYTES
from meshnet.wire.cursor import Cursor, MalformedError, pack_text
from meshnet.wire.identity import Identity, verify

# From wire.md section 6.
FORMAT = 1
MAX_NICKNAME_BYTES = 64
MAX_ENDPOINTS = 16
MAX_SEQUENCE = 2**64 - 2
"""The type's maximum is invalid for everybody: nobody could ever write after it."""

MAX_LINKS = 200
MAX_RECORD_BYTES = 4096
"""With room for the fields of later versions; ours have at most about 3800 bytes."""

# Our choice: what members can make us hold, 8 MiB in all.
MAX_RECORDS = 2048

_CONTEXT = b"peer record"
_NAME = slice(1, 17)
_LIMITED_BROADCAST = ipaddress.IPv4Address("255.255.255.255")


class BadRecord(Exception):
    """A record that does not count; ``reason`` is the counter it is dropped under."""

    def __init__(self, reason: DropReason, text: str) -> None:
        super().__init__(text)
        self.reason = reason


@define(frozen=True)
class PeerRecord:
    """What a peer says of itself. ``raw`` is the signed form, passed on as it came."""

    name: PeerName
    public_key: bytes
    incarnation: int
    sequence: int
    nickname: str
    overlay_mtu: int
    capabilities: int
    life: int
    endpoints: tuple[Endpoint, ...]
    links: frozenset[PeerName]
    raw: bytes

    @property
    def order(self) -> tuple[int, int, bytes]:
        """A total order over one writer's records; the greatest wins."""
        return (self.sequence, self.incarnation, self.raw)


def write_record(
    identity: Identity,
    network_id: bytes,
    *,
    incarnation: int,
    sequence: int,
    nickname: str,
    overlay_mtu: int,
    capabilities: int,
    life: int,
    endpoints: tuple[Endpoint, ...],
    links: Collection[PeerName],
) -> PeerRecord:
    """Our own record, signed. Raises ValueError for what nobody would accept from us."""
    if len(endpoints) > MAX_ENDPOINTS:
        raise ValueError(f"at most {MAX_ENDPOINTS} addresses can be announced")
    if len(links) > MAX_LINKS:
        raise ValueError(f"at most {MAX_LINKS} links can be announced")
    body = (
        bytes((FORMAT,))
        + identity.name
        + identity.public_key
        + incarnation.to_bytes(8, "big")
        + sequence.to_bytes(8, "big")
        + pack_text(nickname, MAX_NICKNAME_BYTES)
        + overlay_mtu.to_bytes(2, "big")
        + capabilities.to_bytes(4, "big")
        + life.to_bytes(8, "big")
        + bytes((len(endpoints),))
        + b"".join(_pack_endpoint(endpoint) for endpoint in endpoints)
        + bytes((len(links),))
        + b"".join(sorted(links))
    )
    try:
        return read_record(body + identity.sign(_CONTEXT, network_id + body), network_id)
    except BadRecord as error:
        raise ValueError(str(error)) from error


def read_record(raw: bytes, network_id: bytes) -> PeerRecord:
    """Parse and verify. Raises BadRecord.

    Fields after the links are a later version's: covered by the signature, otherwise ignored.
    """
    try:
        if len(raw) > MAX_RECORD_BYTES:
            raise MalformedError(f"record of {len(raw)} bytes")
        record = _parse(raw)
    except (MalformedError, ValueError) as error:
        raise BadRecord(DropReason.BAD_PEER_RECORD, str(error)) from error
    if PeerName.of(record.public_key) != record.name:
        raise BadRecord(
            DropReason.NAME_KEY_MISMATCH, f"the name {record.name} does not fit the key"
        )
    body, signature = raw[:-SIGNATURE_BYTES], raw[-SIGNATURE_BYTES:]
    try:
        verify(record.public_key, _CONTEXT, network_id + body, signature)
    except AuthenticationError as error:
        raise BadRecord(DropReason.BAD_PEER_RECORD, str(error)) from error
    return record


class RecordTable:
    """The newest record of every peer known, our own included."""

    def __init__(self) -> None:
        self._records: dict[PeerName, PeerRecord] = {}

    def __iter__(self) -> Iterator[PeerRecord]:
        return iter(self._records.values())

    def get(self, name: PeerName) -> PeerRecord | None:
        return self._records.get(name)

    def holds(self, raw: bytes) -> bool:
        """True when exactly this is known already: no need to verify it once more."""
        known = self._records.get(PeerName(raw[_NAME])) if len(raw) >= _NAME.stop else None
        return known is not None and known.raw == raw

    def put(self, record: PeerRecord) -> bool:
        """True when ``record`` is news. False for what is known or older."""
        known = self._records.get(record.name)
        if known is not None and record.order <= known.order:
            return False
        self._records[record.name] = record
        return True

    def make_room(self, keep: Container[PeerName]) -> PeerRecord | None:
        """At the bound, forget the peer first heard of among those not in ``keep``: which one."""
        if len(self._records) < MAX_RECORDS:
            return None
        oldest = next((name for name in self._records if name not in keep), None)
        return self._records.pop(oldest) if oldest is not None else None


def _parse(raw: bytes) -> PeerRecord:
    cursor = Cursor(raw[:-SIGNATURE_BYTES])
    if (form := cursor.read_u8()) != FORMAT:
        raise MalformedError(f"record format {form} is unknown")
    name, public_key = PeerName(cursor.read_bytes(16)), cursor.read_bytes(32)
    incarnation, sequence = cursor.read_u64(), cursor.read_u64()
    if sequence > MAX_SEQUENCE:
        raise MalformedError("sequence at its maximum")
    nickname = cursor.read_text(MAX_NICKNAME_BYTES)
    overlay_mtu, capabilities = cursor.read_u16(), cursor.read_u32()
    life = cursor.read_u64()
    if (count := cursor.read_u8()) > MAX_ENDPOINTS:
        raise MalformedError(f"{count} endpoints")
    endpoints = tuple(_read_endpoint(cursor) for _ in range(count))
    if (count := cursor.read_u8()) > MAX_LINKS:
        raise MalformedError(f"{count} links")
    links = frozenset(PeerName(cursor.read_bytes(16)) for _ in range(count))
    return PeerRecord(
        name,
        public_key,
        incarnation,
        sequence,
        nickname,
        overlay_mtu,
        capabilities,
        life,
        endpoints,
        links,
        raw,
    )


def _pack_endpoint(endpoint: Endpoint) -> bytes:
    address = ipaddress.ip_address(endpoint.host)
    return bytes((address.version,)) + address.packed + endpoint.port.to_bytes(2, "big")


def _read_endpoint(cursor: Cursor) -> Endpoint:
    version = cursor.read_u8()
    if version not in (4, 6):
        raise MalformedError(f"address family {version}")
    packed = cursor.read_bytes(4 if version == 4 else 16)
    # Canonical first, so that an IPv4 address in IPv6 clothes is judged as what it is.
    endpoint = Endpoint.of(str(ipaddress.ip_address(packed)), cursor.read_u16())
    if not is_dialable(endpoint):
        raise MalformedError(f"{endpoint.host} is no peer's address")
    return endpoint


def is_dialable(endpoint: Endpoint) -> bool:
    """False for groups and such: nobody shall be able to aim the whole mesh's dials at them."""
    address = ipaddress.ip_address(endpoint.host)
    return not (address.is_multicast or address.is_unspecified or address == _LIMITED_BROADCAST)
