"""One link: who gets in, what both ends are told when somebody does not, what is believed when."""

from __future__ import annotations

import pytest

from meshnet.errors import CloseCode, LocalProtocolError, RemoteProtocolError
from meshnet.wire.link import (
    HEADER_BYTES,
    HELLO_BYTES,
    MAX_HANDSHAKE_FRAME_BYTES,
    MAX_RECORD_BYTES,
    FrameKind,
    LinkConfig,
    LinkState,
)
from support.link_pair import (
    Cut,
    End,
    HandDialler,
    byte_by_byte,
    frame,
    hello,
    linked,
    payload_of,
    pump,
    split_frames,
    whole,
)
from support.samples import ALICE, BOB, CAROL, NETWORK_ID, OTHER_PSK, flip, link_config

RECORDS = [b"one", b"x" * 1000, b"three"]


def established() -> tuple[End, End]:
    """Alice, who dialled, and Bob."""
    dialler, listener = linked(link_config(ALICE, life=7), link_config(BOB, life=8))
    assert dialler.protocol.state is listener.protocol.state is LinkState.ESTABLISHED
    return dialler, listener


def confirming() -> tuple[End, End]:
    """The same, but Alice's last message is still on its way."""
    dialler, listener = End.dialler(link_config(ALICE)), End.listener(link_config(BOB))
    while dialler.protocol.state is not LinkState.CONFIRMING:
        listener.receive(dialler.protocol.data_to_send())
        dialler.receive(listener.protocol.data_to_send())
    return dialler, listener


@pytest.mark.parametrize("cut", [whole, byte_by_byte])
def test_both_ends_learn_who_the_other_is(cut: Cut) -> None:
    dialler, listener = linked(link_config(ALICE, life=7), link_config(BOB, life=8), cut)
    [bob], [alice] = dialler.authenticated, listener.authenticated
    assert (bob.peer, bob.public_key, bob.life) == (BOB.name, BOB.public_key, 8)
    assert (alice.peer, alice.public_key, alice.life) == (ALICE.name, ALICE.public_key, 7)


def test_capabilities_reach_the_other_end() -> None:
    dialler, listener = linked(
        LinkConfig(ALICE, NETWORK_ID, (bytes(32),), capabilities=5),
        LinkConfig(BOB, NETWORK_ID, (bytes(32),), capabilities=6),
    )
    assert (dialler.authenticated[0].capabilities, listener.authenticated[0].capabilities) == (6, 5)


@pytest.mark.parametrize("cut", [whole, byte_by_byte])
def test_records_arrive_whole_in_order_and_sealed(cut: Cut) -> None:
    dialler, listener = established()
    for sender, receiver in ((dialler, listener), (listener, dialler)):
        for record in RECORDS:
            sender.protocol.send_record(record)
        stream = sender.protocol.data_to_send()
        assert not any(record in stream for record in RECORDS)
        for piece in cut(stream):
            receiver.receive(piece)
        assert receiver.records == RECORDS


def test_the_longest_record_passes_and_a_longer_one_is_our_mistake() -> None:
    dialler, listener = established()
    dialler.protocol.send_record(bytes(MAX_RECORD_BYTES))
    with pytest.raises(LocalProtocolError, match="too long"):
        dialler.protocol.send_record(bytes(MAX_RECORD_BYTES + 1))
    pump(dialler, listener)
    assert listener.records == [bytes(MAX_RECORD_BYTES)]


def test_no_record_is_sent_before_the_other_end_has_proved_itself() -> None:
    dialler = End.dialler(link_config(ALICE))
    with pytest.raises(LocalProtocolError):
        dialler.protocol.send_record(b"early")
    dialler, _ = confirming()
    assert dialler.authenticated == []
    with pytest.raises(LocalProtocolError):
        dialler.protocol.send_record(b"early")


# Refusals: both ends know why.


@pytest.mark.parametrize("cut", [whole, byte_by_byte])
@pytest.mark.parametrize(
    ("listener", "code"),
    [
        (link_config(BOB, psk=OTHER_PSK), CloseCode.WRONG_PASSWORD),
        (link_config(BOB, network="other"), CloseCode.OTHER_NETWORK),
        (link_config(BOB, network="other", psk=OTHER_PSK), CloseCode.OTHER_NETWORK),
        (link_config(ALICE, life=1), CloseCode.SELF),
        (link_config(ALICE, life=2), CloseCode.SAME_IDENTITY),
    ],
    ids=["password", "network", "network and password", "self", "same identity"],
)
def test_a_refusal_is_known_at_both_ends(listener: LinkConfig, code: CloseCode, cut: Cut) -> None:
    ours, theirs = linked(link_config(ALICE, life=1), listener, cut)
    assert (ours.learned, theirs.learned) == (code, code)
    assert ours.authenticated == theirs.authenticated == []
    assert ours.protocol.state is theirs.protocol.state is LinkState.CLOSED


def test_a_refusal_in_clear_is_labelled_unauthenticated() -> None:
    ours, _ = linked(link_config(ALICE), link_config(BOB, psk=OTHER_PSK))
    [closed] = ours.closed
    assert closed.code is CloseCode.WRONG_PASSWORD
    assert closed.text == CloseCode.WRONG_PASSWORD.text
    assert not closed.authenticated


@pytest.mark.parametrize(("lowest", "highest"), [(2, 9), (0, 0)], ids=["newer", "older"])
@pytest.mark.parametrize("dialling", [True, False])
def test_another_version_is_refused_and_named(lowest: int, highest: int, dialling: bool) -> None:
    end = End.dialler(link_config(ALICE)) if dialling else End.listener(link_config(ALICE))
    end.protocol.data_to_send()
    end.receive(hello(lowest=lowest, highest=highest))
    assert end.learned is CloseCode.OTHER_VERSION
    assert f"theirs {lowest} to {highest}" in str(end.error)
    stream = end.protocol.data_to_send()
    if not dialling:
        assert stream[:HELLO_BYTES] == hello()
        stream = stream[HELLO_BYTES:]
    assert (FrameKind.CLOSE, bytes((CloseCode.OTHER_VERSION,))) in split_frames(stream)


def test_a_range_of_versions_that_holds_ours_is_fine() -> None:
    listener = End.listener(link_config(BOB))
    listener.receive(hello(lowest=0, highest=200))
    assert listener.error is None
    assert listener.protocol.data_to_send() == hello()


def test_who_claims_the_key_of_another_is_refused_and_told() -> None:
    listener = End.listener(link_config(BOB))
    [(kind, body)] = HandDialler(CAROL).meet(listener, payload_of(ALICE.public_key))
    assert listener.learned is CloseCode.BAD_IDENTITY
    assert listener.events == []
    assert (kind, body) == (FrameKind.CLOSE, bytes((CloseCode.BAD_IDENTITY,)))


def test_who_claims_a_key_that_is_none_is_refused() -> None:
    listener = End.listener(link_config(BOB))
    HandDialler(CAROL).meet(listener, payload_of(bytes(32)))
    assert listener.learned is CloseCode.BAD_IDENTITY


def test_the_hand_made_dialler_gets_in_with_its_own_key_and_a_later_versions_fields() -> None:
    # The counterpart of the two above: what they do differently is what they were refused for.
    listener = End.listener(link_config(BOB))
    HandDialler(CAROL).meet(listener, payload_of(CAROL.public_key, extra=b"later"))
    assert [who.peer for who in listener.authenticated] == [CAROL.name]


def test_a_payload_that_is_cut_off_is_a_protocol_error() -> None:
    listener = End.listener(link_config(BOB))
    HandDialler(CAROL).meet(listener, payload_of(CAROL.public_key)[:-1])
    assert listener.learned is CloseCode.PROTOCOL_ERROR


def test_a_hello_changed_in_flight_breaks_the_handshake() -> None:
    dialler, listener = End.dialler(link_config(ALICE)), End.listener(link_config(BOB))
    stream = dialler.protocol.data_to_send()
    # The reserved bytes mean nothing, so nothing but the prologue can tell.
    listener.receive(flip(stream, 8 * 10))
    pump(dialler, listener)
    assert dialler.authenticated == listener.authenticated == []
    assert dialler.learned is CloseCode.PROTOCOL_ERROR


# Strangers.


@pytest.mark.parametrize(
    "data", [b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01", b"\0" * 100, b"MESHNEt\n"]
)
@pytest.mark.parametrize("cut", [whole, byte_by_byte])
def test_a_stranger_is_not_answered(data: bytes, cut: Cut) -> None:
    listener = End.listener(link_config(BOB))
    for piece in cut(data):
        listener.receive(piece)
    assert listener.error is not None
    assert listener.learned is CloseCode.PROTOCOL_ERROR
    assert listener.protocol.data_to_send() == b""
    assert listener.events == []


def test_a_listener_says_nothing_before_it_has_read_a_whole_hello() -> None:
    listener = End.listener(link_config(BOB))
    assert listener.protocol.data_to_send() == b""
    for byte in byte_by_byte(hello()[:-1]):
        listener.receive(byte)
        assert listener.protocol.data_to_send() == b""
    listener.receive(hello()[-1:])
    assert listener.protocol.data_to_send() == hello()


def test_an_error_is_raised_once_and_then_all_is_ignored() -> None:
    listener = End.listener(link_config(BOB))
    with pytest.raises(RemoteProtocolError):
        listener.protocol.receive(b"nonsense", 0.0)
    listener.protocol.receive(b"more nonsense", 0.0)
    listener.protocol.receive(hello(), 0.0)
    assert listener.protocol.data_to_send() == b""


def transcript() -> bytes:
    """All that a dialler says to a listener, first record included."""
    dialler, listener = End.dialler(link_config(ALICE)), End.listener(link_config(BOB))
    said = b""
    while (part := dialler.protocol.data_to_send()) or not dialler.authenticated:
        said += part
        listener.receive(part)
        dialler.receive(listener.protocol.data_to_send())
    dialler.protocol.send_record(b"record")
    return said + dialler.protocol.data_to_send()


def test_cut_off_input_never_completes_anything() -> None:
    stream = transcript()
    record_bytes = HEADER_BYTES + len(b"record") + 16
    for size in range(len(stream) + 1):
        listener = End.listener(link_config(BOB))
        listener.receive(stream[:size])
        assert listener.error is None
        assert bool(listener.authenticated) == (size >= len(stream) - record_bytes)
        assert listener.records == ([b"record"] if size == len(stream) else [])


# Frames.


@pytest.mark.parametrize("kind", [FrameKind.HANDSHAKE, FrameKind.RECORD, FrameKind.CLOSE, 99])
def test_an_oversized_handshake_frame_is_refused_by_its_header(kind: int) -> None:
    listener = End.listener(link_config(BOB))
    oversized = MAX_HANDSHAKE_FRAME_BYTES + 1
    listener.receive(hello() + oversized.to_bytes(2, "big") + bytes((kind,)))
    assert listener.learned is CloseCode.PROTOCOL_ERROR
    assert "oversized" in str(listener.error)


def test_a_handshake_frame_of_the_largest_size_is_waited_for() -> None:
    listener = End.listener(link_config(BOB))
    listener.receive(hello() + MAX_HANDSHAKE_FRAME_BYTES.to_bytes(2, "big") + b"\x01")
    assert listener.error is None


def test_an_empty_frame_is_refused() -> None:
    listener = End.listener(link_config(BOB))
    listener.receive(hello() + b"\0\0\0")
    assert "empty frame" in str(listener.error)


@pytest.mark.parametrize("kind", [FrameKind.RECORD, 0, 99])
def test_no_other_frame_comes_before_the_handshake_is_done(kind: int) -> None:
    listener = End.listener(link_config(BOB))
    listener.receive(hello() + frame(kind, bytes(40)))
    assert listener.learned is CloseCode.PROTOCOL_ERROR


@pytest.mark.parametrize("kind", [FrameKind.HANDSHAKE, 0, 99])
def test_an_established_link_takes_no_other_frames(kind: int) -> None:
    dialler, listener = established()
    dialler.receive(frame(kind, bytes(40)))
    assert dialler.learned is CloseCode.PROTOCOL_ERROR
    pump(dialler, listener)
    assert listener.learned is CloseCode.PROTOCOL_ERROR


def test_a_degenerate_ephemeral_key_is_a_protocol_error() -> None:
    listener = End.listener(link_config(BOB))
    listener.receive(hello() + frame(FrameKind.HANDSHAKE, bytes(48)))
    assert listener.learned is CloseCode.PROTOCOL_ERROR


def test_a_replayed_record_closes_the_link_and_is_not_delivered_twice() -> None:
    dialler, listener = established()
    dialler.protocol.send_record(b"pay 10")
    stream = dialler.protocol.data_to_send()
    listener.receive(stream + stream)
    assert listener.records == [b"pay 10"]
    assert listener.learned is CloseCode.PROTOCOL_ERROR


def test_records_out_of_order_close_the_link() -> None:
    dialler, listener = established()
    dialler.protocol.send_record(b"first")
    first = dialler.protocol.data_to_send()
    dialler.protocol.send_record(b"second")
    listener.receive(dialler.protocol.data_to_send() + first)
    assert listener.records == []
    assert listener.learned is CloseCode.PROTOCOL_ERROR


def test_any_changed_bit_of_a_record_closes_the_link_or_never_completes() -> None:
    dialler, _ = established()
    dialler.protocol.send_record(b"record")
    record = dialler.protocol.data_to_send()
    for bit in range(8 * len(record)):
        _, listener = established()
        listener.receive(flip(record, bit))
        assert listener.records == []
        assert listener.closed == []
        # A longer length waits for more, all else is known at once.
        assert listener.error is not None or bit < 16


def test_events_before_an_error_can_still_be_drained() -> None:
    dialler, listener = established()
    dialler.protocol.send_record(b"good")
    with pytest.raises(RemoteProtocolError):
        listener.protocol.receive(dialler.protocol.data_to_send() + frame(99, b""), 0.0)
    listener.receive(b"")
    assert listener.records == [b"good"]


# Closing.


@pytest.mark.parametrize("code", CloseCode)
def test_an_established_link_is_closed_under_seal(code: CloseCode) -> None:
    for closing, other in (established(), established()[::-1]):
        closing.protocol.close(code)
        closing.protocol.close(CloseCode.TIMEOUT)
        pump(closing, other)
        [closed] = other.closed
        assert (closed.code, closed.text, closed.authenticated) == (code, code.text, True)
        assert other.error is None
        with pytest.raises(LocalProtocolError):
            closing.protocol.send_record(b"after")


@pytest.mark.parametrize("dialler_hears", [True, False])
def test_a_close_in_clear_is_not_believed_once_established(dialler_hears: bool) -> None:
    dialler, listener = established()
    end = dialler if dialler_hears else listener
    end.receive(frame(FrameKind.CLOSE, bytes((CloseCode.SHUTDOWN,))))
    assert end.closed == []
    assert end.learned is CloseCode.PROTOCOL_ERROR


@pytest.mark.parametrize("body", [b"", b"\x01\x02"])
def test_a_close_of_another_size_is_malformed(body: bytes) -> None:
    listener = End.listener(link_config(BOB))
    listener.receive(hello() + frame(FrameKind.CLOSE, body))
    assert listener.learned is CloseCode.PROTOCOL_ERROR
    assert listener.closed == []


def test_a_close_code_of_a_later_version_still_closes() -> None:
    listener = End.listener(link_config(BOB))
    listener.receive(hello() + frame(FrameKind.CLOSE, b"\xc8"))
    [closed] = listener.closed
    assert closed.code is CloseCode.PROTOCOL_ERROR
    assert "200" in closed.text
    assert listener.protocol.state is LinkState.CLOSED


def test_a_dialler_that_closes_before_the_confirmation_is_believed() -> None:
    # It has the keys, and so has a listener that accepted its last message.
    dialler, listener = confirming()
    dialler.protocol.close(CloseCode.SHUTDOWN)
    pump(dialler, listener)
    assert listener.learned is CloseCode.SHUTDOWN


def test_no_psk_is_in_the_repr_of_a_configuration() -> None:
    config = link_config(ALICE, psk=OTHER_PSK)
    assert repr(OTHER_PSK) not in repr(config)
