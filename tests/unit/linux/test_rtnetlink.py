"""Attributes of rtnetlink, both ways; what the kernel makes of them is shown in `netns`."""

from __future__ import annotations

import struct
import sys

import pytest

from meshnet.linux.rtnetlink import attribute, attributes, messages, text, u32


@pytest.mark.parametrize("size", range(10))
def test_attributes_are_padded_to_four_bytes_and_read_back(size: int) -> None:
    first, second = bytes(range(size)), b"next"
    packed = attribute(3, first) + attribute(7, second)
    assert len(packed) % 4 == 0
    assert list(attributes(packed)) == [(3, first), (7, second)]


def test_a_length_counts_the_header_and_not_the_padding() -> None:
    assert int.from_bytes(attribute(3, b"abcde")[:2], sys.byteorder) == 4 + 5


def test_attributes_nest() -> None:
    inner = attribute(1, text("bridge")) + attribute(2, u32(1376))
    [(kind, value)] = attributes(attribute(18, inner))
    assert kind == 18
    number = (1376).to_bytes(4, sys.byteorder)
    assert list(attributes(value)) == [(1, b"bridge\0"), (2, number)]


def test_the_flag_for_nesting_is_no_part_of_the_type() -> None:
    nested = 1 << 15
    assert list(attributes(attribute(nested | 18, b"abcd"))) == [(18, b"abcd")]


def test_an_attribute_shorter_than_its_header_ends_the_list() -> None:
    assert list(attributes(attribute(1, b"") + bytes(8))) == [(1, b"")]


def message(kind: int, body: bytes, size: int | None = None) -> bytes:
    header_bytes = 16
    return struct.pack("=IHHII", size or header_bytes + len(body), kind, 0, 1, 0) + body


def test_the_messages_of_one_answer_are_read_one_by_one() -> None:
    three = message(16, b"body") + message(16, b"more") + message(3, b"")
    assert list(messages(three)) == [(16, b"body"), (16, b"more"), (3, b"")]


def test_a_message_shorter_than_its_header_ends_the_answer() -> None:
    assert list(messages(message(16, b"body") + message(16, bytes(8), size=3))) == [(16, b"body")]
