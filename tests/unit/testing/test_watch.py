"""The invariants notice what they are there for."""

from __future__ import annotations

import pytest

from meshnet.errors import CloseCode
from meshnet.events import LinkLost, LinkRefused
from meshnet.testing.watch import BrokenInvariantError, Watch
from meshnet.wire.datagram import COOKIE_BYTES, HEADER, DatagramType
from meshnet.wire.link import FrameKind
from support.link_pair import frame, hello
from support.samples import BOB, endpoint


def data(counter: int, index: int = 7) -> bytes:
    return HEADER.pack(DatagramType.DATA, 0, 0, index, counter) + bytes(16)


def initiation(ephemeral: bytes, rest: bytes, cookie: bytes = bytes(COOKIE_BYTES)) -> bytes:
    return HEADER.pack(DatagramType.INITIATION, 0, 0, 0, 0) + cookie + ephemeral + rest


def response(ephemeral: bytes, rest: bytes) -> bytes:
    return HEADER.pack(DatagramType.RESPONSE, 0, 0, 3, 0) + ephemeral + rest


def test_a_counter_that_is_sealed_twice_is_noticed() -> None:
    watch = Watch()
    for counter in (0, 1, 5):
        watch.datagram_sent("a, life 1", "b", data(counter))
    # Another session, another receiver, another life: other keys.
    watch.datagram_sent("a, life 1", "b", data(0, index=8))
    watch.datagram_sent("a, life 1", "c", data(0))
    watch.datagram_sent("a, life 2", "b", data(0))
    with pytest.raises(BrokenInvariantError, match="counter 5"):
        watch.datagram_sent("a, life 1", "b", data(5))


@pytest.mark.parametrize("make", [initiation, response])
def test_an_ephemeral_key_that_is_used_twice_is_noticed(make: object) -> None:
    assert callable(make)
    watch = Watch()
    watch.datagram_sent("a", "b", make(b"\x01" * 32, b"one"))
    watch.datagram_sent("a", "c", make(b"\x01" * 32, b"one"))
    watch.datagram_sent("a", "b", make(b"\x02" * 32, b"other"))
    with pytest.raises(BrokenInvariantError, match="ephemeral"):
        watch.datagram_sent("b", "a", make(b"\x01" * 32, b"other"))


def test_the_same_first_message_with_a_cookie_is_no_second_key() -> None:
    watch = Watch()
    watch.datagram_sent("a", "b", initiation(b"\x01" * 32, b"one"))
    watch.datagram_sent("a", "b", initiation(b"\x01" * 32, b"one", b"c" * COOKIE_BYTES))


@pytest.mark.parametrize("before", [b"", hello()])
def test_an_ephemeral_key_of_a_link_that_is_used_twice_is_noticed(before: bytes) -> None:
    watch = Watch()
    watch.stream_written("a", before + frame(FrameKind.HANDSHAKE, b"\x01" * 32 + b"one"))
    watch.stream_written("a", before + frame(FrameKind.RECORD, bytes(40)))
    watch.stream_written("a", before + frame(FrameKind.RECORD, bytes(41)))
    with pytest.raises(BrokenInvariantError, match="ephemeral"):
        watch.stream_written("b", frame(FrameKind.HANDSHAKE, b"\x01" * 32 + b"one"))


def test_a_link_that_ends_over_malformed_bytes_is_noticed() -> None:
    watch, malformed = Watch(), CloseCode.PROTOCOL_ERROR
    watch.event_seen("a", LinkLost(BOB.name, "connection reset"))
    watch.event_seen("a", LinkRefused(endpoint(1), True, "", CloseCode.WRONG_PASSWORD, True))
    with pytest.raises(BrokenInvariantError, match="no byte was changed"):
        watch.event_seen("a", LinkLost(BOB.name, malformed.text))
    with pytest.raises(BrokenInvariantError, match="no byte was changed"):
        watch.event_seen("a", LinkRefused(endpoint(1), True, "x", malformed, False))


def test_any_bytes_may_be_looked_at() -> None:
    for size in range(60):
        watch = Watch()
        watch.datagram_sent("a", "b", bytes((size % 6,)) * size)
        watch.stream_written("a", bytes(size))
