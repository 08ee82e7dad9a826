"""Who a peer is: one Ed25519 key pair, and the X25519 key derived from it for handshakes.

Each side's encrypted handshake payload carries its Ed25519 key; the receiver converts it, requires
equality with the Noise static key and takes the PeerName from it (wire.md section 2).
"""

from __future__ import annotations

import base64

from meshnet.errors import AuthenticationError
from meshnet.ids import PeerName
from meshnet.values import Value
from meshnet.wire import crypto
from meshnet.wire.noise import KeyPair

SEED_BYTES = 32
PSK_BYTES = 32


class Identity(Value, secret=("_secret_key",)):
    """Our own keys; ``static`` is the pair for handshakes. Secrets are left out of ``repr``."""

    name: PeerName
    public_key: bytes
    static: KeyPair
    _secret_key: bytes

    @classmethod
    def of_seed(cls, seed: bytes) -> Identity:
        """The identity of an Ed25519 seed (32 bytes)."""
        public, secret = crypto.ed25519_keypair(seed)
        return cls(PeerName.of(public), public, KeyPair.of(crypto.x25519_secret_of(secret)), secret)

    def sign(self, context: bytes, message: bytes) -> bytes:
        """A signature (64 bytes) that is valid for this kind of message only."""
        return crypto.ed25519_sign(self._secret_key, _with_context(context, message))


def verify(public_key: bytes, context: bytes, message: bytes, signature: bytes) -> None:
    """Raises AuthenticationError unless `Identity.sign` of that key made ``signature``."""
    crypto.ed25519_verify(public_key, _with_context(context, message), signature)


def name_of_static(public_key: bytes, noise_static: bytes) -> PeerName:
    """The name of the peer that proved ``noise_static``, if ``public_key`` is really its own.

    Raises AuthenticationError otherwise: somebody claims the key, and so the name, of another.
    """
    if crypto.x25519_public_of(public_key) != noise_static:
        raise AuthenticationError("the claimed Ed25519 key does not fit the Noise static key")
    return PeerName.of(public_key)


def psk_of_password(password: str, network: str) -> bytes:
    """The network's pre-shared key (32 bytes); slow on purpose. Wire.md section 2."""
    salt = crypto.blake2s(b"meshnet psk salt" + network.encode())[:16]
    return crypto.argon2id(password.encode(), salt)


def psk_of_open_network(network: str) -> bytes:
    """The psk everybody knows, of a network without a password: sealed, but open to all."""
    return crypto.blake2s(b"meshnet open network" + network.encode())


def psk_of_key_text(text: str) -> bytes:
    """The psk written as in a key file: base64 of 32 bytes. Raises ValueError."""
    try:
        psk = base64.b64decode(text.strip(), validate=True)
    except ValueError:
        raise ValueError("not a key: base64 of 32 bytes is one line of 44 characters") from None
    if len(psk) != PSK_BYTES:
        raise ValueError(f"a key has {PSK_BYTES} bytes, this one has {len(psk)}")
    return psk


def _with_context(context: bytes, message: bytes) -> bytes:
    # A length first, so that no context is a prefix of another one plus message.
    return b"meshnet" + bytes((len(context),)) + context + message
