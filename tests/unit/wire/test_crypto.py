"""Whatever does not verify is an AuthenticationError, whatever shape it has."""

from __future__ import annotations

import hashlib
import hmac

import pytest

from meshnet.errors import AuthenticationError
from meshnet.wire import crypto
from meshnet.wire.ciphers import CIPHERS, CipherId
from support.samples import ALICE, BOB, flip

SIGNER = crypto.ed25519_keypair(bytes(32))

# RFC 7748 section 6.1: these u-coordinates give zero for every secret.
LOW_ORDER = [
    bytes(32),
    b"\x01".ljust(32, b"\0"),
    bytes.fromhex("e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800"),
    bytes.fromhex("5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157"),
    (2**255 - 20).to_bytes(32, "little"),
]


@pytest.mark.parametrize("number", CipherId)
def test_any_changed_bit_fails_to_open(number: CipherId) -> None:
    cipher = CIPHERS[number]
    key, nonce, ad = bytes(cipher.key_bytes), bytes(cipher.nonce_bytes), b"header"
    sealed = cipher.seal(key, nonce, ad, b"text")
    assert cipher.open(key, nonce, ad, sealed) == b"text"
    changed = [
        *((key, nonce, ad, flip(sealed, bit)) for bit in range(8 * len(sealed))),
        (flip(key, 0), nonce, ad, sealed),
        (key, flip(nonce, 0), ad, sealed),
        (key, nonce, flip(ad, 0), sealed),
        (key, nonce, b"", sealed),
    ]
    for inputs in changed:
        with pytest.raises(AuthenticationError):
            cipher.open(*inputs)


@pytest.mark.parametrize("number", CipherId)
def test_what_is_shorter_than_a_tag_does_not_open(number: CipherId) -> None:
    cipher = CIPHERS[number]
    for size in range(cipher.tag_bytes):
        with pytest.raises(AuthenticationError):
            cipher.open(bytes(cipher.key_bytes), bytes(cipher.nonce_bytes), b"", bytes(size))


@pytest.mark.parametrize("public", LOW_ORDER, ids=lambda public: public[:4].hex())
def test_low_order_points_are_refused(public: bytes) -> None:
    with pytest.raises(AuthenticationError):
        crypto.x25519(ALICE.static.secret, public)


@pytest.mark.parametrize("size", [0, 31, 33])
def test_public_keys_of_another_length_are_refused(size: int) -> None:
    # libsodium gets a bare pointer: a key too short would be read past its end.
    with pytest.raises(AuthenticationError):
        crypto.x25519(ALICE.static.secret, BOB.static.public.ljust(size, b"\1")[:size])
    with pytest.raises(AuthenticationError):
        crypto.x25519_public_of(BOB.public_key.ljust(size, b"\1")[:size])


@pytest.mark.parametrize(
    "bad", [bytes(32), b"\x01".ljust(32, b"\0"), b"\xff" * 32, b"\x02".ljust(32, b"\0")]
)
def test_what_is_no_ed25519_key_has_no_x25519_key(bad: bytes) -> None:
    with pytest.raises(AuthenticationError):
        crypto.x25519_public_of(bad)


def test_both_halves_of_an_identity_convert_to_one_key_pair() -> None:
    public, secret = SIGNER
    converted = crypto.x25519_secret_of(secret)
    assert crypto.x25519_public(converted) == crypto.x25519_public_of(public)


def test_a_signature_is_of_one_key_and_one_message() -> None:
    public, secret = SIGNER
    signature = crypto.ed25519_sign(secret, b"message")
    crypto.ed25519_verify(public, b"message", signature)
    for key, message, claimed in (
        (BOB.public_key, b"message", signature),
        (public, b"massage", signature),
        (public, b"message", flip(signature, 0)),
        (public, b"message", flip(signature, 511)),
        (public, b"message", b""),
    ):
        with pytest.raises(AuthenticationError):
            crypto.ed25519_verify(key, message, claimed)


def test_a_signature_of_another_length_never_verifies() -> None:
    # Signature and message are joined inside: bytes must not wander from one to the other.
    public, secret = SIGNER
    signature = crypto.ed25519_sign(secret, b"message")
    with pytest.raises(AuthenticationError):
        crypto.ed25519_verify(public, signature[-1:] + b"message", signature[:-1])
    with pytest.raises(AuthenticationError):
        crypto.ed25519_verify(public, b"essage", signature + b"m")


def test_hashes_are_blake2s() -> None:
    assert crypto.blake2s(b"abc") == hashlib.blake2s(b"abc").digest()
    # RFC 2104 with BLAKE2s, as the standard library has it: a long key is hashed first.
    for size in (0, 1, 32, 64, 65, 200):
        key = bytes(range(size))
        assert crypto.hmac_blake2s(key, b"abc") == hmac.new(key, b"abc", hashlib.blake2s).digest()
    long_key = bytes(65)
    assert crypto.hmac_blake2s(long_key, b"abc") == crypto.hmac_blake2s(
        hashlib.blake2s(long_key).digest(), b"abc"
    )


def test_argon2id_depends_on_password_and_salt() -> None:
    one = crypto.argon2id(b"password", bytes(16))
    assert len(one) == crypto.KEY_BYTES
    assert one == crypto.argon2id(b"password", bytes(16))
    assert one != crypto.argon2id(b"password", b"\x01" * 16)
