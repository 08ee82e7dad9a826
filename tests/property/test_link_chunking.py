"""However a stream is cut, a link does the same (whole = byte by byte = random cuts)."""

from __future__ import annotations

from collections.abc import Callable

from hypothesis import given
from hypothesis import strategies as st

from meshnet.errors import RemoteProtocolError
from meshnet.testing.strategies import chunkings
from meshnet.wire.link import HELLO_BYTES, LinkEvent, LinkState
from support.link_pair import Cut, End, byte_by_byte, frame, hello, linked, whole
from support.samples import ALICE, BOB, OTHER_PSK, flip, link_config

RECORDS = [b"first", b"x" * 700, b"last"]


def conversation(tail: Callable[[End], bytes] = lambda _dialler: b"") -> bytes:
    """All that a dialler says in a whole link's life, and what ``tail`` adds."""
    dialler, listener = End.dialler(link_config(ALICE)), End.listener(link_config(BOB))
    said = b""
    while (part := dialler.protocol.data_to_send()) or not dialler.authenticated:
        said += part
        listener.receive(part)
        dialler.receive(listener.protocol.data_to_send())
    for record in RECORDS:
        dialler.protocol.send_record(record)
    return said + dialler.protocol.data_to_send() + tail(dialler)


def heard(stream: bytes, cut: Cut) -> tuple[list[LinkEvent], str | None, bytes, LinkState]:
    """Everything a listener makes of a stream."""
    listener = End.listener(link_config(BOB))
    said = b""
    for piece in cut(stream):
        listener.receive(piece)
        said += listener.protocol.data_to_send()
    error = None if listener.error is None else f"{listener.error.code} {listener.error}"
    return listener.events, error, said, listener.protocol.state


CONVERSATION = conversation()
BITS = st.integers(0, 8 * len(CONVERSATION) - 1)


def test_the_conversation_is_heard_whole() -> None:
    events, error, _, state = heard(CONVERSATION, whole)
    assert len(events) == 1 + len(RECORDS)
    assert (error, state) == (None, LinkState.ESTABLISHED)
    assert heard(CONVERSATION, byte_by_byte) == heard(CONVERSATION, whole)


@given(chunkings())
def test_a_good_stream_is_heard_the_same_in_any_cut(cut: Cut) -> None:
    assert heard(CONVERSATION, cut) == heard(CONVERSATION, whole)


@given(chunkings(), BITS)
def test_a_damaged_stream_is_heard_the_same_in_any_cut(cut: Cut, bit: int) -> None:
    damaged = flip(CONVERSATION, bit)
    assert heard(damaged, cut) == heard(damaged, whole)


@given(chunkings(), st.integers(0, len(CONVERSATION)), st.binary(max_size=100))
def test_a_stream_that_turns_to_garbage_is_heard_the_same_in_any_cut(
    cut: Cut, size: int, garbage: bytes
) -> None:
    stream = CONVERSATION[:size] + garbage
    assert heard(stream, cut) == heard(stream, whole)


@given(chunkings())
def test_two_ends_agree_in_any_cut(cut: Cut) -> None:
    dialler, listener = linked(link_config(ALICE), link_config(BOB), cut)
    assert dialler.authenticated[0].peer == BOB.name
    assert listener.authenticated[0].peer == ALICE.name
    dialler, listener = linked(link_config(ALICE), link_config(BOB, psk=OTHER_PSK), cut)
    assert dialler.learned is listener.learned is not None


@given(st.binary(max_size=200))
def test_arbitrary_bytes_raise_nothing_but_the_documented_error(data: bytes) -> None:
    for end in (End.listener(link_config(BOB)), End.dialler(link_config(ALICE))):
        end.receive(data)  # Lets nothing but RemoteProtocolError pass.
        assert end.authenticated == []


@given(st.lists(st.tuples(st.integers(0, 255), st.binary(max_size=120)), max_size=5))
def test_arbitrary_frames_after_a_hello_authenticate_nobody(
    frames: list[tuple[int, bytes]],
) -> None:
    for end in (End.listener(link_config(BOB)), End.dialler(link_config(ALICE))):
        end.receive(hello() + b"".join(frame(*each) for each in frames))
        assert end.authenticated == []
        assert end.records == []


@given(st.binary(max_size=200))
def test_after_an_error_nothing_more_is_raised_or_said(data: bytes) -> None:
    listener = End.listener(link_config(BOB))
    try:
        listener.protocol.receive(b"not a hello", 0.0)
    except RemoteProtocolError:
        pass
    else:
        raise AssertionError("that was not a hello")
    listener.protocol.receive(data, 0.0)
    assert listener.protocol.data_to_send() == b""
    assert listener.protocol.next_event() is None


def test_a_listener_speaks_only_after_a_hello() -> None:
    _, _, said, _ = heard(CONVERSATION[:HELLO_BYTES], byte_by_byte)
    assert said == hello()
