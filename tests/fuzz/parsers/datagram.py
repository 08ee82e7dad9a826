"""Any payload is parts that pack to the same bytes, or MalformedError: then none of them counts."""

from __future__ import annotations

from collections.abc import Iterator

from meshnet.wire.cursor import MalformedError
from meshnet.wire.datagram import PART_HEADER, RELAY_HEADER, PartType, pack_part, parse_parts

COVERS = ("meshnet.wire.datagram:parse_parts",)


def check(data: bytes) -> None:
    try:
        parts = parse_parts(data)
    except MalformedError:
        return
    packed = b"".join(PART_HEADER.pack(kind, len(body)) + body for kind, body in parts)
    assert packed == data


def seeds() -> Iterator[bytes]:
    yield b""
    parts = [pack_part(kind, bytes(8)) for kind in PartType]
    yield from parts
    yield b"".join(parts)
    yield pack_part(PartType.RELAY, RELAY_HEADER.pack(bytes(16), bytes(16), 7) + bytes(32))
    yield parts[0][:2]
    yield parts[0][:-1]
    yield PART_HEADER.pack(99, 65535)
