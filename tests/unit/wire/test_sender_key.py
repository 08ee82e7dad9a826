"""Sender keys: signed by their source for one network and life, each counter used once."""

from __future__ import annotations

import pytest

from meshnet.errors import AuthenticationError
from meshnet.ids import network_id
from meshnet.wire.ciphers import CIPHERS, CipherId
from meshnet.wire.cursor import MalformedError
from meshnet.wire.sender_key import (
    MAX_AGE_MS,
    SENDER_KEY_BYTES,
    SenderKey,
    SignedKey,
    pack_sender_key,
    pack_want,
    parse_sender_key,
    parse_want,
    sign_key,
)
from support.samples import ALICE, BOB, CAROL, NETWORK_ID, flip

KEY = bytes(range(32))


def signed(cipher: CipherId = CipherId.CHACHA20_POLY1305) -> SignedKey:
    return sign_key(ALICE, NETWORK_ID, life=7, key_id=5, cipher=cipher, key=KEY)


def in_use(key: SignedKey) -> SenderKey:
    return SenderKey(key, made_at=0.0, expires_at=180.0)


@pytest.mark.parametrize("cipher", CipherId)
def test_what_the_source_seals_others_open(cipher: CipherId) -> None:
    ours, theirs = in_use(signed(cipher)), in_use(signed(cipher))
    first, second = ours.seal(b"first"), ours.seal(b"second")
    assert b"first" not in first
    assert (theirs.open(second), theirs.open(first)) == (b"second", b"first")
    assert first[8:16] == bytes(8)
    assert second[8:16] == bytes(7) + b"\1"
    assert len(first) == 16 + 5 + CIPHERS[cipher].tag_bytes


@pytest.mark.parametrize("cipher", CipherId)
def test_every_bit_of_a_datagram_counts(cipher: CipherId) -> None:
    key = in_use(signed(cipher))
    datagram = key.seal(b"for all")
    for bit in range(8 * len(datagram)):
        with pytest.raises(AuthenticationError):
            key.open(flip(datagram, bit))
    with pytest.raises(AuthenticationError):
        key.open(datagram[:20])


def test_a_member_cannot_pass_off_a_key_of_another_as_its_own() -> None:
    """The source is bound to each datagram: or its datagrams could be repeated as the thief's."""
    datagram = in_use(signed()).seal(b"said by Alice")
    stolen = sign_key(BOB, NETWORK_ID, life=7, key_id=5, cipher=CipherId.CHACHA20_POLY1305, key=KEY)
    with pytest.raises(AuthenticationError):
        in_use(stolen).open(datagram)


def test_a_key_is_told_whole_with_its_age() -> None:
    body = pack_sender_key(signed(), 1.5)
    assert len(body) == SENDER_KEY_BYTES
    assert parse_sender_key(body) == (signed(), 1.5)
    assert parse_sender_key(pack_sender_key(signed(), 1e12))[1] == MAX_AGE_MS / 1000
    for cut in (body[:-1], body + b"\0", b""):
        with pytest.raises(MalformedError):
            parse_sender_key(cut)


def test_only_what_the_source_signed_for_this_network_is_good() -> None:
    signed().check(ALICE.public_key, NETWORK_ID)
    changes: list[dict[str, object]] = [
        {"source": CAROL.name},
        {"life": 8},
        {"id": 6},
        {"cipher_id": 2},
        {"key": bytes(32)},
        {"signature": bytes(64)},
    ]
    for change in changes:
        with pytest.raises(AuthenticationError):
            signed().replaced(**change).check(ALICE.public_key, NETWORK_ID)
    with pytest.raises(AuthenticationError):
        signed().check(BOB.public_key, NETWORK_ID)
    with pytest.raises(AuthenticationError):
        signed().check(ALICE.public_key, network_id("another"))


def test_a_cipher_that_nobody_knows_is_refused_though_well_signed() -> None:
    later = sign_key(ALICE, NETWORK_ID, life=7, key_id=5, cipher=99, key=KEY)  # type: ignore[arg-type]
    with pytest.raises(AuthenticationError, match="cipher 99"):
        later.check(ALICE.public_key, NETWORK_ID)


def test_keys_stay_out_of_what_is_printed() -> None:
    assert KEY.hex() not in repr(signed())
    assert repr(KEY) not in repr(signed())


def test_a_request_names_a_key() -> None:
    assert parse_want(pack_want(BOB.name, 2**32 - 1)) == (BOB.name, 2**32 - 1)
    with pytest.raises(MalformedError):
        parse_want(bytes(19))
