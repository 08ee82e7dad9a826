"""The data-session handshake in two datagrams, and what becomes of forged ones."""

from __future__ import annotations

import pytest

from meshnet.errors import AuthenticationError
from meshnet.wire.ciphers import CipherId
from meshnet.wire.datagram import COOKIE_BYTES, HEADER, HEADER_BYTES, MAC_BYTES, DatagramType
from meshnet.wire.handshake import Initiation, PendingHandshake, initiate, read_initiation
from meshnet.wire.identity import Identity
from meshnet.wire.session import Session
from support.samples import ALICE, BOB, CAROL, NETWORK_ID, OTHER_PSK, PSK, endpoint, flip

AEGIS, CHACHA = CipherId.AEGIS_128L, CipherId.CHACHA20_POLY1305
BOTH = (AEGIS, CHACHA)
STAMP, A_INDEX, B_INDEX = 77, 0x0A0A0A0A, 0x0B0B0B0B


def start(
    *, static: bytes = BOB.static.public, ciphers: tuple[CipherId, ...] = BOTH
) -> PendingHandshake:
    """Alice calls Bob."""
    return initiate(
        ALICE,
        NETWORK_ID,
        peer=BOB.name,
        their_static=static,
        our_index=A_INDEX,
        stamp=STAMP,
        ciphers=ciphers,
        capabilities=3,
        ephemeral_secret=b"\x0a" * 32,
        remote=endpoint(2),
        now=1.0,
    )


def read(datagram: bytes, who: Identity = BOB, network: bytes = NETWORK_ID) -> Initiation:
    return read_initiation(who, network, datagram, b"\x0b" * 32)


def answer(
    datagram: bytes, *, psk: bytes = PSK, preference: tuple[CipherId, ...] = BOTH
) -> tuple[bytes, Session]:
    return read(datagram).answer(
        peer=ALICE.name,
        our_index=B_INDEX,
        preference=preference,
        capabilities=4,
        psk=psk,
        remote=endpoint(1),
        now=2.0,
    )


def test_two_datagrams_make_a_session_that_carries_both_ways() -> None:
    pending = start()
    response, bobs = answer(pending.datagram)
    alices = pending.finish(response, (PSK,), now=3.0)
    assert (alices.peer, alices.our_index, alices.their_index) == (BOB.name, A_INDEX, B_INDEX)
    assert (bobs.peer, bobs.our_index, bobs.their_index) == (ALICE.name, B_INDEX, A_INDEX)
    assert bobs.open(alices.seal(b"there")) == b"there"
    assert alices.open(bobs.seal(b"back")) == b"back"
    assert alices.send_key != alices.receive_key
    assert (alices.created_at, bobs.created_at) == (3.0, 2.0)


def test_the_first_message_says_what_the_responder_must_know() -> None:
    first = read(start().datagram)
    assert first.static == ALICE.static.public
    assert (first.stamp, first.sender_index, first.capabilities) == (STAMP, A_INDEX, 3)
    assert first.ciphers == BOTH


def test_nothing_of_it_is_in_clear() -> None:
    datagram = start().datagram
    for secret in (ALICE.static.public, ALICE.public_key, BOB.static.public):
        assert secret not in datagram
    assert STAMP.to_bytes(8, "big") not in datagram


def test_the_headers_name_type_and_receiver() -> None:
    pending = start()
    assert HEADER.unpack_from(pending.datagram) == (DatagramType.INITIATION, 0, 0, A_INDEX, 0)
    proof_at = HEADER_BYTES + MAC_BYTES
    assert pending.datagram[proof_at : proof_at + COOKIE_BYTES] == bytes(COOKIE_BYTES)
    response, _ = answer(pending.datagram)
    assert HEADER.unpack_from(response) == (DatagramType.RESPONSE, 0, 0, A_INDEX, 0)


@pytest.mark.parametrize(
    ("offered", "preference", "chosen"),
    [
        (BOTH, BOTH, AEGIS),
        (BOTH, (CHACHA,), CHACHA),
        ((CHACHA,), BOTH, CHACHA),
        ((CHACHA, AEGIS), (CHACHA, AEGIS), CHACHA),
    ],
)
def test_both_ends_use_the_cipher_that_was_chosen(
    offered: tuple[CipherId, ...], preference: tuple[CipherId, ...], chosen: CipherId
) -> None:
    pending = start(ciphers=offered)
    response, bobs = answer(pending.datagram, preference=preference)
    alices = pending.finish(response, (PSK,), now=3.0)
    assert alices.cipher.id is bobs.cipher.id is chosen
    assert bobs.open(alices.seal(b"text")) == b"text"


def test_without_a_common_cipher_there_is_no_session() -> None:
    with pytest.raises(AuthenticationError, match="no common cipher"):
        answer(start(ciphers=(AEGIS,)).datagram, preference=(CHACHA,))


def test_a_cipher_that_was_not_offered_is_not_taken() -> None:
    # A responder that says AEGIS though only ChaCha was offered: it reads the same first message,
    # but takes the offer for another.
    pending = start(ciphers=(CHACHA,))
    first = read(pending.datagram)
    lying = Initiation(first.static, first.stamp, A_INDEX, 0, (AEGIS,), first._state)
    response, _ = lying.answer(
        peer=ALICE.name,
        our_index=B_INDEX,
        preference=(AEGIS,),
        capabilities=0,
        psk=PSK,
        remote=endpoint(1),
        now=2.0,
    )
    with pytest.raises(AuthenticationError, match="not offered"):
        pending.finish(response, (PSK,), now=3.0)


@pytest.mark.parametrize(
    ("who", "network"),
    [(CAROL, NETWORK_ID), (BOB, b"anothr n")],
    ids=["another peer", "another network"],
)
def test_an_initiation_is_for_one_peer_of_one_network(who: Identity, network: bytes) -> None:
    with pytest.raises(AuthenticationError):
        read(start().datagram, who, network)


def test_any_changed_byte_of_an_initiation_is_noticed() -> None:
    datagram = start().datagram
    for at in range(HEADER_BYTES + MAC_BYTES + COOKIE_BYTES, len(datagram)):
        with pytest.raises(AuthenticationError):
            read(flip(datagram, 8 * at))


def test_any_changed_byte_of_a_response_is_noticed_and_the_genuine_one_still_works() -> None:
    pending = start()
    response, bobs = answer(pending.datagram)
    for at in range(HEADER_BYTES, len(response)):
        with pytest.raises(AuthenticationError):
            pending.finish(flip(response, 8 * at), (PSK,), now=3.0)
    assert bobs.open(pending.finish(response, (PSK,), now=3.0).seal(b"text")) == b"text"


def test_cut_off_handshakes_are_noticed() -> None:
    pending = start()
    response, _ = answer(pending.datagram)
    for size in range(len(pending.datagram)):
        with pytest.raises(AuthenticationError):
            read(pending.datagram[:size])
    for size in range(len(response)):
        with pytest.raises(AuthenticationError):
            pending.finish(response[:size], (PSK,), now=3.0)


def test_a_response_made_with_another_psk_is_refused() -> None:
    pending = start()
    response, _ = answer(pending.datagram, psk=OTHER_PSK)
    with pytest.raises(AuthenticationError):
        pending.finish(response, (PSK,), now=3.0)
    # Several passwords may be tried on one answer.
    assert pending.finish(response, (OTHER_PSK,), now=3.0).their_index == B_INDEX


def test_a_degenerate_key_of_the_responder_is_refused() -> None:
    with pytest.raises(AuthenticationError):
        start(static=bytes(32))
