"""The primitives, and the only module that imports PyNaCl.

Keys, tags and signatures are plain ``bytes``; what each length must be stands beside it.
Everything that fails to verify raises `AuthenticationError`, never PyNaCl's own errors.
"""

from __future__ import annotations

import functools
import hashlib

from nacl import bindings, exceptions

from meshnet.errors import AuthenticationError

KEY_BYTES = 32
CHACHA_TAG_BYTES = 16
CHACHA_NONCE_BYTES = 12
XCHACHA_NONCE_BYTES = 24
AEGIS_KEY_BYTES = 16
AEGIS_NONCE_BYTES = 16
AEGIS_TAG_BYTES = 32
SIGNATURE_BYTES = 64
HASH_BYTES = 32

_BLAKE2S_BLOCK_BYTES = 64
_INNER_PAD, _OUTER_PAD = (bytes(byte ^ pad for byte in range(256)) for pad in (0x36, 0x5C))

# Argon2id cost, fixed in wire.md section 2: libsodium's "moderate" time, 64 MiB. Changing it makes
# every password give another psk, so it would be another protocol version.
_ARGON2_OPS = 3
_ARGON2_MEMORY_BYTES = 64 * 1024 * 1024


def blake2s(data: bytes) -> bytes:
    return hashlib.blake2s(data).digest()


def blake2b(data: bytes, person: bytes) -> bytes:
    """BLAKE2b-256; ``person`` (at most 16 bytes) keeps one use's digests apart from another's."""
    return hashlib.blake2b(data, digest_size=HASH_BYTES, person=person).digest()


def keyed_blake2s_128(key: bytes, data: bytes) -> bytes:
    """A MAC of 16 bytes; ``key`` has at most 32."""
    return hashlib.blake2s(data, key=key, digest_size=16).digest()


def hmac_blake2s(key: bytes, data: bytes) -> bytes:
    """HMAC (RFC 2104), written out: `hmac.new` takes 1.7 times as long, and the handshakes of a
    pair ask for dozens."""
    if len(key) > _BLAKE2S_BLOCK_BYTES:
        key = blake2s(key)
    block = key.ljust(_BLAKE2S_BLOCK_BYTES, b"\0")
    inner = hashlib.blake2s(block.translate(_INNER_PAD) + data).digest()
    return hashlib.blake2s(block.translate(_OUTER_PAD) + inner).digest()


def x25519_public(secret: bytes) -> bytes:
    return bindings.crypto_scalarmult_base(secret)


def x25519(secret: bytes, public: bytes) -> bytes:
    """Diffie-Hellman. Raises AuthenticationError for a low-order point (all-zero result)."""
    if len(public) != KEY_BYTES:
        raise AuthenticationError("X25519 key of another length")
    try:
        return bindings.crypto_scalarmult(secret, public)
    except (exceptions.CryptoError, TypeError, ValueError) as error:
        raise AuthenticationError("degenerate X25519 key") from error


def chacha_seal(key: bytes, nonce: bytes, ad: bytes, plaintext: bytes) -> bytes:
    return bindings.crypto_aead_chacha20poly1305_ietf_encrypt(plaintext, ad, nonce, key)


def chacha_open(key: bytes, nonce: bytes, ad: bytes, ciphertext: bytes) -> bytes:
    try:
        return bindings.crypto_aead_chacha20poly1305_ietf_decrypt(ciphertext, ad, nonce, key)
    except (exceptions.CryptoError, TypeError, ValueError) as error:
        raise AuthenticationError("tag does not verify") from error


def xchacha_seal(key: bytes, nonce: bytes, ad: bytes, plaintext: bytes) -> bytes:
    """With a nonce of 24 bytes, long enough to be random."""
    return bindings.crypto_aead_xchacha20poly1305_ietf_encrypt(plaintext, ad, nonce, key)


def xchacha_open(key: bytes, nonce: bytes, ad: bytes, ciphertext: bytes) -> bytes:
    try:
        return bindings.crypto_aead_xchacha20poly1305_ietf_decrypt(ciphertext, ad, nonce, key)
    except (exceptions.CryptoError, TypeError, ValueError) as error:
        raise AuthenticationError("tag does not verify") from error


def aegis128l_seal(key: bytes, nonce: bytes, ad: bytes, plaintext: bytes) -> bytes:
    return bindings.crypto_aead_aegis128l_encrypt(plaintext, ad, nonce, key)


def aegis128l_open(key: bytes, nonce: bytes, ad: bytes, ciphertext: bytes) -> bytes:
    try:
        return bindings.crypto_aead_aegis128l_decrypt(ciphertext, ad, nonce, key)
    except (exceptions.CryptoError, TypeError, ValueError) as error:
        raise AuthenticationError("tag does not verify") from error


def ed25519_keypair(seed: bytes) -> tuple[bytes, bytes]:
    """(public key, 64-byte secret key) of a 32-byte seed."""
    return bindings.crypto_sign_seed_keypair(seed)


def ed25519_sign(secret_key: bytes, message: bytes) -> bytes:
    return bindings.crypto_sign(message, secret_key)[:SIGNATURE_BYTES]


def ed25519_verify(public_key: bytes, message: bytes, signature: bytes) -> None:
    """Raises AuthenticationError unless ``signature`` (64 bytes) is ``public_key``'s."""
    if len(signature) != SIGNATURE_BYTES or len(public_key) != KEY_BYTES:
        raise AuthenticationError("signature or key of another length")
    try:
        bindings.crypto_sign_open(signature + message, public_key)
    except (exceptions.CryptoError, TypeError, ValueError) as error:
        raise AuthenticationError("signature does not verify") from error


@functools.lru_cache(maxsize=4096)
def x25519_public_of(ed25519_public: bytes) -> bytes:
    """The X25519 public key an Ed25519 public key stands for (birational map, RFC 7748 4.1).

    Remembered: it costs as much as checking a signature, and every record of a peer asks again.

    Raises AuthenticationError when the bytes are not a point of the prime-order group.
    """
    try:
        return bindings.crypto_sign_ed25519_pk_to_curve25519(ed25519_public)
    except (exceptions.CryptoError, TypeError, ValueError) as error:
        raise AuthenticationError("not an Ed25519 public key") from error


def x25519_secret_of(ed25519_secret: bytes) -> bytes:
    return bindings.crypto_sign_ed25519_sk_to_curve25519(ed25519_secret)


def argon2id(password: bytes, salt: bytes) -> bytes:
    """Stretch a password to 32 bytes; ``salt`` is 16 bytes. Takes 0.1 to 0.3 s by design."""
    return bindings.crypto_pwhash_alg(
        KEY_BYTES,
        password,
        salt,
        _ARGON2_OPS,
        _ARGON2_MEMORY_BYTES,
        bindings.crypto_pwhash_ALG_ARGON2ID13,
    )
