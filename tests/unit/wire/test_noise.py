"""The handshake state machine: turns are kept, forgeries stop it, copies are independent.

That it computes what Noise says is the vectors' business (tests/vectors/test_noise_vectors.py).
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from meshnet.errors import AuthenticationError, LocalProtocolError
from meshnet.wire import crypto
from meshnet.wire.noise import (
    IK,
    IK_PSK2,
    XX,
    XX_PSK3,
    CipherState,
    HandshakeState,
    Pattern,
    Role,
)
from support.samples import ALICE, BOB, CAROL, OTHER_PSK, PSK, flip

PATTERNS = [XX, IK, XX_PSK3, IK_PSK2]


def states(
    pattern: Pattern,
    *,
    prologues: tuple[bytes, bytes] = (b"same", b"same"),
    psks: tuple[bytes, bytes] = (PSK, PSK),
    remote_static: bytes = BOB.static.public,
) -> tuple[HandshakeState, HandshakeState]:
    """Alice, who initiates, and Bob."""
    return (
        HandshakeState.start(
            pattern,
            Role.INITIATOR,
            prologue=prologues[0],
            static=ALICE.static,
            ephemeral_secret=b"\x0a" * 32,
            remote_static=remote_static if pattern.responder_static_known else None,
            psk=psks[0] if pattern.has_psk else None,
        ),
        HandshakeState.start(
            pattern,
            Role.RESPONDER,
            prologue=prologues[1],
            static=BOB.static,
            ephemeral_secret=b"\x0b" * 32,
            psk=psks[1] if pattern.has_psk else None,
        ),
    )


Change = Callable[[int, bytes], bytes]


def play(
    alice: HandshakeState, bob: HandshakeState, change: Change = lambda _number, message: message
) -> None:
    """All messages; ``change`` sits on the wire."""
    writer, reader = alice, bob
    for number in range(len(alice.pattern.messages)):
        message = change(number, writer.write_message(bytes((number,)) * 5))
        assert reader.read_message(message) == bytes((number,)) * 5
        writer, reader = reader, writer


@pytest.mark.parametrize("pattern", PATTERNS, ids=lambda p: p.name)
def test_both_ends_learn_each_other_and_share_keys(pattern: Pattern) -> None:
    alice, bob = states(pattern)
    play(alice, bob)
    assert alice.finished
    assert bob.finished
    assert (alice.remote_static, bob.remote_static) == (BOB.static.public, ALICE.static.public)
    ours, theirs = alice.split(), bob.split()
    assert (ours.send_key, ours.receive_key) == (theirs.receive_key, theirs.send_key)
    assert ours.handshake_hash == theirs.handshake_hash


@pytest.mark.parametrize("pattern", PATTERNS, ids=lambda p: p.name)
@pytest.mark.parametrize("end", [0, -1], ids=["first byte", "last byte"])
def test_a_changed_message_never_ends_in_shared_keys(pattern: Pattern, end: int) -> None:
    for number in range(len(pattern.messages)):

        def change(at: int, message: bytes, number: int = number) -> bytes:
            bit = 8 * (len(message) - 1) if end else 0
            return flip(message, bit) if at == number else message

        alice, bob = states(pattern)
        with pytest.raises((AuthenticationError, AssertionError)):
            play(alice, bob, change)
        assert not (alice.finished and bob.finished)


@pytest.mark.parametrize("pattern", PATTERNS, ids=lambda p: p.name)
def test_cut_off_messages_do_not_verify(pattern: Pattern) -> None:
    alice, bob = states(pattern)
    message = alice.write_message(b"")
    for size in range(len(message)):
        with pytest.raises(AuthenticationError):
            bob.copy().read_message(message[:size])
    assert bob.read_message(message) == b""


@pytest.mark.parametrize("pattern", PATTERNS, ids=lambda p: p.name)
def test_the_prologue_is_authenticated(pattern: Pattern) -> None:
    with pytest.raises(AuthenticationError):
        play(*states(pattern, prologues=(b"one", b"two")))


@pytest.mark.parametrize("pattern", [XX_PSK3, IK_PSK2], ids=lambda p: p.name)
def test_another_psk_fails_at_the_last_message_only(pattern: Pattern) -> None:
    alice, bob = states(pattern, psks=(PSK, OTHER_PSK))
    reached = []

    def watch(number: int, message: bytes) -> bytes:
        reached.append(number)
        return message

    with pytest.raises(AuthenticationError):
        play(alice, bob, watch)
    assert reached[-1] == len(pattern.messages) - 1


def test_an_initiation_for_somebody_else_does_not_verify() -> None:
    with pytest.raises(AuthenticationError):
        play(*states(IK_PSK2, remote_static=CAROL.static.public))


def test_a_copy_can_fail_without_harm_to_the_first() -> None:
    alice, bob = states(IK_PSK2)
    bob.read_message(alice.write_message(b""))
    answer = bob.write_message(b"answer")
    wrong = alice.copy()
    wrong.psk = OTHER_PSK
    with pytest.raises(AuthenticationError):
        wrong.read_message(answer)
    assert alice.read_message(answer) == b"answer"


def test_each_end_speaks_in_turn_only() -> None:
    alice, bob = states(XX)
    assert alice.our_turn
    assert not bob.our_turn
    with pytest.raises(LocalProtocolError):
        bob.write_message(b"")
    with pytest.raises(LocalProtocolError):
        alice.read_message(b"")
    with pytest.raises(LocalProtocolError):
        alice.split()
    play(alice, bob)
    for end in (alice, bob):
        with pytest.raises(LocalProtocolError):
            end.write_message(b"")
        with pytest.raises(LocalProtocolError):
            end.read_message(b"")


def test_what_a_pattern_needs_must_be_given() -> None:
    with pytest.raises(LocalProtocolError, match="static key"):
        HandshakeState.start(
            IK,
            Role.INITIATOR,
            prologue=b"",
            static=ALICE.static,
            ephemeral_secret=bytes(32),
        )
    alice, bob = states(IK_PSK2)
    bob.psk = None
    bob.read_message(alice.write_message(b""))
    with pytest.raises(LocalProtocolError, match="psk"):
        bob.write_message(b"")


def test_a_message_has_a_bound() -> None:
    alice, _ = states(XX)
    with pytest.raises(LocalProtocolError, match="too long"):
        alice.write_message(bytes(65535))


def test_a_cipher_state_counts_successes_only() -> None:
    sealing, opening = CipherState(bytes(32)), CipherState(bytes(32))
    first, second = sealing.encrypt(b"", b"1"), sealing.encrypt(b"", b"2")
    with pytest.raises(AuthenticationError):
        opening.decrypt(b"", second)
    assert [opening.decrypt(b"", first), opening.decrypt(b"", second)] == [b"1", b"2"]
    with pytest.raises(AuthenticationError):
        opening.decrypt(b"", second)


def test_used_up_nonces_are_refused_rather_than_repeated() -> None:
    with pytest.raises(LocalProtocolError, match="used up"):
        CipherState(bytes(32), counter=2**64 - 1).encrypt(b"", b"")


@pytest.mark.parametrize("pattern", [XX_PSK3, IK_PSK2], ids=lambda pattern: pattern.name)
@pytest.mark.parametrize("fits", [True, False])
def test_a_message_tried_with_many_psks_costs_one_key_exchange(
    pattern: Pattern, fits: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Or whoever forges messages would have us work the harder, the more passwords we accept.
    writer, reader = states(pattern)
    while not writer.on_last_message:
        reader.read_message(writer.write_message(b""))
        writer, reader = reader, writer
    message = writer.write_message(b"payload")
    exchanges: list[bytes] = []

    def counted(secret: bytes, public: bytes) -> bytes:
        exchanges.append(public)
        return exchange(secret, public)

    exchange = crypto.x25519
    monkeypatch.setattr(crypto, "x25519", counted)
    psks = [bytes((number,)) * 32 for number in range(20, 27)] + [PSK if fits else OTHER_PSK]
    if fits:
        state, payload = reader.read_with_any(psks, message)
        assert payload == b"payload"
        assert state.split().send_key == writer.split().receive_key
    else:
        with pytest.raises(AuthenticationError):
            reader.read_with_any(psks, message)
    assert len(exchanges) == len({"ee", "es", "se", "ss"} & set(pattern.messages[-1]))
    # It is left as it was.
    monkeypatch.undo()
    assert reader.read_with_any([PSK], message)[1] == b"payload"
