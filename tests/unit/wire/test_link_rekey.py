"""Keys of a link are renewed in the stream, at any moment, without losing or mixing a record."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshnet.errors import CloseCode, RemoteProtocolError
from meshnet.wire import link, noise
from meshnet.wire.key_life import REJECT_AFTER_S, REKEY_AFTER_S
from meshnet.wire.link import FrameKind, LinkState
from support.link_pair import End, frame, linked, pump
from support.samples import ALICE, BOB, CAROL, OTHER_PSK, PSK, link_config

DUE = REKEY_AFTER_S + 5.1


def established() -> tuple[End, End]:
    dialler, listener = linked(link_config(ALICE), link_config(BOB))
    assert dialler.protocol.state is listener.protocol.state is LinkState.ESTABLISHED
    return dialler, listener


def keys(end: End) -> set[bytes]:
    send, receive = end.protocol._send, end.protocol._receive
    assert send is not None
    assert receive is not None
    return {send.key, receive.key}


def kinds(stream: bytes) -> list[int]:
    found = []
    while stream:
        size = 2 + int.from_bytes(stream[:2], "big")
        found.append(stream[2])
        stream = stream[size:]
    return found


def test_the_dialler_renews_when_the_keys_are_old_and_both_then_hold_new_ones() -> None:
    dialler, listener = established()
    before = keys(dialler)
    assert REKEY_AFTER_S <= dialler.protocol.next_deadline() <= REKEY_AFTER_S + 5
    assert dialler.protocol.keep_fresh(REKEY_AFTER_S - 0.1)
    assert dialler.protocol.data_to_send() == b""
    assert dialler.protocol.keep_fresh(DUE)
    pump(dialler, listener, now=DUE)
    assert keys(dialler) == keys(listener)
    assert not before & keys(dialler)
    for end, other in ((dialler, listener), (listener, dialler)):
        end.protocol.send_record(b"by new keys")
        pump(end, other, now=DUE)
        assert other.records == [b"by new keys"]
        assert end.error is None
    assert dialler.protocol.next_deadline() >= DUE + REKEY_AFTER_S
    assert listener.protocol.next_deadline() == DUE + REJECT_AFTER_S


def test_the_listener_never_begins_so_both_at_once_cannot_be() -> None:
    dialler, listener = established()
    assert listener.protocol.keep_fresh(DUE)
    assert listener.protocol.data_to_send() == b""
    assert dialler.protocol.keep_fresh(DUE)
    assert dialler.protocol.keep_fresh(DUE + 1)
    assert kinds(dialler.protocol.data_to_send()) == [FrameKind.REKEY]


def test_bytes_that_arrive_are_occasion_enough() -> None:
    dialler, listener = established()
    before = keys(dialler)
    listener.protocol.send_record(b"late")
    pump(listener, dialler, now=DUE)
    assert dialler.records == [b"late"]
    assert not before & keys(dialler)


def test_keys_are_renewed_by_count_in_either_direction() -> None:
    for busy in ("_send", "_receive"):
        dialler, listener = established()
        before = keys(dialler)
        other = "_receive" if busy == "_send" else "_send"
        for end, direction in ((dialler, busy), (listener, other)):
            getattr(end.protocol, direction).counter = link.REKEY_AFTER_FRAMES
        assert dialler.protocol.keep_fresh(1.0)
        pump(dialler, listener, now=1.0)
        assert not before & keys(listener)
        assert keys(dialler) == keys(listener)


@given(st.integers(0, 2**32), st.integers(1, 30))
def test_records_arrive_whole_and_in_order_however_renewals_fall_between_them(
    seed: int, renewals: int
) -> None:
    drawn = random.Random(seed)
    dialler, listener = established()
    sent: dict[int, list[bytes]] = {0: [], 1: []}
    ends = (dialler, listener)
    pipes = [b"", b""]
    seen = {frozenset(keys(dialler))}
    for _ in range(renewals * 10):
        which = drawn.randrange(2)
        action = drawn.randrange(4)
        if action == 0:
            record = drawn.randbytes(drawn.randrange(1, 90))
            sent[which].append(record)
            ends[which].protocol.send_record(record)
        elif action == 1:
            # New keys count from 0 again, so each time is one to renew.
            assert dialler.protocol.keep_fresh(DUE)
        else:
            pipes[which] += ends[which].protocol.data_to_send()
            size = drawn.randrange(len(pipes[which]) + 1)
            ends[1 - which].receive(pipes[which][:size])
            pipes[which] = pipes[which][size:]
        seen.add(frozenset(keys(dialler)))
    for which in (0, 1, 0, 1, 0, 1, 0, 1):
        ends[1 - which].receive(pipes[which] + ends[which].protocol.data_to_send())
        pipes[which] = b""
    assert dialler.error is listener.error is None
    assert listener.records == sent[0]
    assert dialler.records == sent[1]
    assert keys(dialler) == keys(listener)
    assert all(not one & other for one in seen for other in seen if one is not other)


def test_old_keys_are_refused_at_both_ends_and_nothing_is_sent_by_them() -> None:
    for which in (0, 1):
        ends = established()
        end, other = ends[which], ends[1 - which]
        other.protocol.send_record(b"too late")
        late = other.protocol.data_to_send()
        end.receive(late, REJECT_AFTER_S)
        assert end.records == []
        assert end.error is not None
        assert str(end.error) == link.KEYS_EXPIRED
        assert end.protocol.state is LinkState.CLOSED
        assert end.protocol.data_to_send() == b""
        assert not other.protocol.keep_fresh(REJECT_AFTER_S)
        assert other.protocol.data_to_send() == b""


def test_used_up_keys_are_refused() -> None:
    dialler, _ = established()
    assert dialler.protocol._send is not None
    dialler.protocol._send.counter = link.MAX_FRAMES
    assert not dialler.protocol.keep_fresh(1.0)


def test_no_key_and_counter_seal_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: set[tuple[bytes, int]] = set()
    encrypt = noise.CipherState.encrypt

    def watched(state: noise.CipherState, ad: bytes, plaintext: bytes) -> bytes:
        if ad[2:3] in (bytes((FrameKind.RECORD,)), bytes((FrameKind.REKEY,))) and len(ad) == 3:
            assert (state.key, state.counter) not in seen
            seen.add((state.key, state.counter))
        return encrypt(state, ad, plaintext)

    monkeypatch.setattr(noise.CipherState, "encrypt", watched)
    dialler, listener = established()
    for turn in range(1, 20):
        now = turn * DUE
        for end in (dialler, listener):
            end.protocol.send_record(b"text")
        assert dialler.protocol.keep_fresh(now)
        pump(dialler, listener, now=now)
    assert len(dialler.records) == len(listener.records) == 19
    # The last key of the dialler's direction has sealed no more than its confirmation.
    assert len({key for key, _ in seen}) == 2 * 19 + 1


# Passwords that changed meanwhile.


def renewed(dialler: End, listener: End) -> None:
    dialler.protocol.keep_fresh(DUE)
    pump(dialler, listener, now=DUE)


def test_a_renewal_takes_the_psks_of_now() -> None:
    dialler, listener = established()
    dialler.protocol.use_psks((PSK, OTHER_PSK))
    listener.protocol.use_psks((OTHER_PSK,))
    before = keys(dialler)
    renewed(dialler, listener)
    assert dialler.error is listener.error is None
    assert not before & keys(listener)


def test_who_has_only_a_removed_password_is_told_so_at_the_renewal() -> None:
    dialler, listener = established()
    listener.protocol.use_psks((OTHER_PSK,))
    renewed(dialler, listener)
    assert dialler.learned is CloseCode.WRONG_PASSWORD
    assert listener.closed == [] or listener.learned is CloseCode.WRONG_PASSWORD


def test_who_has_only_a_removed_password_cannot_put_off_the_end_of_its_link() -> None:
    # It can say that it has the new key, by the old one, but not show it.
    dialler, listener = established()
    listener.protocol.use_psks((OTHER_PSK,))
    assert dialler.protocol.keep_fresh(DUE)
    listener.receive(dialler.protocol.data_to_send(), DUE)
    listener.receive(sealed(dialler, b""), DUE)
    assert listener.protocol.next_deadline() == REJECT_AFTER_S
    assert listener.protocol.keep_fresh(REJECT_AFTER_S - 1)
    assert not listener.protocol.keep_fresh(REJECT_AFTER_S)


def test_keys_are_as_old_as_the_answer_that_made_them_however_late_they_are_confirmed() -> None:
    dialler, listener = established()
    assert dialler.protocol.keep_fresh(DUE)
    listener.receive(dialler.protocol.data_to_send(), DUE)
    dialler.receive(listener.protocol.data_to_send(), DUE)
    listener.receive(dialler.protocol.data_to_send(), DUE + 9)
    assert listener.protocol.next_deadline() == DUE + REJECT_AFTER_S
    assert listener.records == []


# What is not believed.


def provoke(end: End, data: bytes) -> RemoteProtocolError:
    end.receive(data)
    assert end.error is not None
    assert end.protocol.state is LinkState.CLOSED
    return end.error


def sealed(end: End, plaintext: bytes) -> bytes:
    end.protocol._send_sealed(FrameKind.REKEY, plaintext)
    return end.protocol.data_to_send()


def test_a_renewal_in_clear_is_refused() -> None:
    _, listener = established()
    assert provoke(listener, frame(FrameKind.REKEY, bytes(96))).code is CloseCode.PROTOCOL_ERROR


def test_a_renewal_before_the_link_stands_is_refused() -> None:
    dialler = End.dialler(link_config(ALICE))
    listener = End.listener(link_config(BOB))
    listener.receive(dialler.protocol.data_to_send())
    assert provoke(listener, frame(FrameKind.REKEY, bytes(96))).code is CloseCode.PROTOCOL_ERROR


@pytest.mark.parametrize("message", [b"", b"\x09" * 96, b"short"])
def test_garbage_as_first_message_is_refused(message: bytes) -> None:
    dialler, listener = established()
    assert provoke(listener, sealed(dialler, message)).code is CloseCode.PROTOCOL_ERROR


def test_an_answer_to_no_question_is_refused() -> None:
    dialler, listener = established()
    assert provoke(dialler, sealed(listener, bytes(48))).code is CloseCode.PROTOCOL_ERROR


def test_a_forged_answer_is_refused() -> None:
    dialler, listener = established()
    assert dialler.protocol.keep_fresh(DUE)
    assert provoke(dialler, sealed(listener, bytes(48))).code is CloseCode.WRONG_PASSWORD


def test_a_renewal_within_a_renewal_is_refused() -> None:
    dialler, listener = established()
    assert dialler.protocol.keep_fresh(DUE)
    listener.receive(dialler.protocol.data_to_send())
    assert provoke(listener, sealed(dialler, b"\x09" * 96)).code is CloseCode.PROTOCOL_ERROR


def test_another_identity_cannot_take_over_a_link_by_renewing_it() -> None:
    dialler, listener = established()
    dialler.protocol._config = dialler.protocol._config.replaced(identity=CAROL)
    assert dialler.protocol.keep_fresh(DUE)
    assert provoke(listener, dialler.protocol.data_to_send()).code is CloseCode.BAD_IDENTITY


def test_a_renewal_of_one_link_does_not_fit_another() -> None:
    (dialler, listener), (elsewhere, _) = (
        established(),
        linked(link_config(ALICE, life=5), link_config(BOB)),
    )
    dialler.protocol._handshake_hash = elsewhere.protocol._handshake_hash
    assert dialler.protocol.keep_fresh(DUE)
    said = dialler.protocol.data_to_send()
    assert provoke(listener, said).code is CloseCode.PROTOCOL_ERROR
