"""The shape of datagrams: a fixed header, and parts of which all or none count."""

from __future__ import annotations

import pytest

from meshnet.wire.cursor import MalformedError
from meshnet.wire.datagram import (
    HEADER,
    HEADER_BYTES,
    MAX_PART_BYTES,
    PROBE_BYTES,
    DatagramType,
    PartType,
    pack_part,
    parse_parts,
)

PARTS = [(PartType.FRAME, b"frame"), (PartType.PROBE, bytes(PROBE_BYTES)), (PartType.FRAME, b"")]


def test_the_outer_header_is_frozen() -> None:
    assert HEADER_BYTES == 16
    packed = HEADER.pack(DatagramType.DATA, 1, 0x0203, 0x04050607, 0x08090A0B0C0D0E0F)
    assert packed.hex() == "04010203040506070809 0a0b0c0d0e0f".replace(" ", "")


def test_parts_are_read_as_packed_and_in_order() -> None:
    assert parse_parts(b"".join(pack_part(*part) for part in PARTS)) == PARTS


def test_a_datagram_may_hold_nothing() -> None:
    assert parse_parts(b"") == []


def test_a_part_may_be_as_long_as_its_length_can_say() -> None:
    body = bytes(MAX_PART_BYTES)
    assert parse_parts(pack_part(PartType.FRAME, body)) == [(PartType.FRAME, body)]


def test_parts_of_later_versions_are_handed_over() -> None:
    assert parse_parts(b"\xc8\x00\x02xy") == [(0xC8, b"xy")]


@pytest.mark.parametrize("cut", range(1, 3 + 5))
def test_a_cut_part_spoils_the_whole_datagram(cut: int) -> None:
    good = pack_part(PartType.PROBE, bytes(PROBE_BYTES))
    with pytest.raises(MalformedError):
        parse_parts(good + pack_part(PartType.FRAME, b"frame")[:cut])
