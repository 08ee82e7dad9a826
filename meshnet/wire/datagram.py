"""The shape of UDP datagrams: the outer header, and the inner parts of a sealed one.

Wire.md section 5. The data path parses inline what it must at speed; the layout is here alone.

    0        1        2                 4                          8                         16
    +--------+--------+-----------------+--------------------------+--------------------------+
    |  type  | flags  |    reserved     |      receiver index      |         counter          |
    +--------+--------+-----------------+--------------------------+--------------------------+
"""

from __future__ import annotations

import enum
import struct

from meshnet.wire.cursor import MalformedError

# From wire.md section 5.1.
HEADER = struct.Struct(">BBHIQ")
HEADER_BYTES = HEADER.size
MAC_BYTES = 16
COOKIE_BYTES = 16


class DatagramType(enum.IntEnum):
    INITIATION = 1
    RESPONSE = 2
    COOKIE_REPLY = 3
    DATA = 4
    CLEAR_DATA = 5
    """Frames in clear, between two peers that both trust the subnet between them."""
    BROADCAST = 6
    """Sealed by its source's sender key, for all; travels inside parts of sessions only."""


# From wire.md section 5.4.
PART_HEADER = struct.Struct(">BH")
PART_HEADER_BYTES = PART_HEADER.size
MAX_PART_BYTES = 65535
PROBE_BYTES = 8


class PartType(enum.IntEnum):
    FRAME = 1
    PROBE = 2
    PROBE_ACK = 3
    RELAY = 4
    """The relay header, and a whole DATA datagram for another peer, sealed for that peer alone."""
    MESSAGE = 5
    """Something for whoever reads its topic at the other end (section 5.8), and the answer."""
    MESSAGE_ACK = 6
    BROADCAST = 7
    """The broadcast header, and a whole BROADCAST datagram, for all (section 5.9)."""
    KEY_WANT = 8
    """Asks for the sender key of a BROADCAST, and the answer."""
    KEY = 9


# From wire.md section 5.6: source, destination, how many more peers may pass it on.
RELAY_HEADER = struct.Struct(">16s16sB")

# From wire.md section 5.9: source, how many more peers may pass it on.
BROADCAST_HEADER = struct.Struct(">16sB")


Part = tuple[int, bytes]
"""(type, body). The type may be one we do not know: parts of later versions are skipped."""


def pack_part(part_type: PartType, body: bytes) -> bytes:
    return PART_HEADER.pack(part_type, len(body)) + body


def parse_parts(payload: bytes) -> list[Part]:
    """All parts of an opened datagram, or MalformedError: then none of them counts."""
    parts: list[Part] = []
    at, size = 0, len(payload)
    while at < size:
        body_at = at + PART_HEADER_BYTES
        if body_at > size:
            raise MalformedError("part header cut off")
        part_type, length = PART_HEADER.unpack_from(payload, at)
        at = body_at + length
        if at > size:
            raise MalformedError("part longer than its datagram")
        parts.append((part_type, payload[body_at:at]))
    return parts
