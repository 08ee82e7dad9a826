"""Sender keys: by one of them a source seals what is for all, once (wire.md section 5.9).

What is sealed goes from peer to peer unopened; the key goes inside sessions, under the source's
signature, so whoever hands it on cannot give another one. All who have it can open what the source
seals, and could seal in its name as well: it keeps out strangers, not members (SECURITY.md).
"""

from __future__ import annotations

import math
import struct

from attrs import define, field

from meshnet.errors import AuthenticationError
from meshnet.ids import PEER_NAME_BYTES, PeerName
from meshnet.values import Value
from meshnet.wire.ciphers import CIPHERS, Cipher, CipherId
from meshnet.wire.crypto import KEY_BYTES, SIGNATURE_BYTES
from meshnet.wire.cursor import Cursor, MalformedError
from meshnet.wire.datagram import HEADER, HEADER_BYTES, DatagramType
from meshnet.wire.identity import Identity, verify
from meshnet.wire.replay import ReplayWindow

# From wire.md section 5.9.
SENDER_KEY_BYTES = PEER_NAME_BYTES + 8 + 4 + 1 + KEY_BYTES + SIGNATURE_BYTES + 4
WANT_BYTES = PEER_NAME_BYTES + 4
MAX_AGE_MS = 2**32 - 1

_CONTEXT = b"sender key"
_WANT = struct.Struct(">16sI")


class SignedKey(Value, secret=("key",)):
    """A sender key as its source signed it. ``life`` is that of the source (u64)."""

    source: PeerName
    life: int
    id: int
    cipher_id: int
    key: bytes
    signature: bytes

    def check(self, public_key: bytes, network_id: bytes) -> None:
        """Raises AuthenticationError unless the source, with ``public_key``, made it for us."""
        message = _signed(network_id, self.source, self.life, self.id, self.cipher_id, self.key)
        verify(public_key, _CONTEXT, message, self.signature)
        if self.cipher_id not in CIPHERS:
            raise AuthenticationError(f"cipher {self.cipher_id} is unknown")


def sign_key(
    identity: Identity, network_id: bytes, *, life: int, key_id: int, cipher: CipherId, key: bytes
) -> SignedKey:
    """A sender key of ours: ``key`` (32 bytes) must be fresh."""
    message = _signed(network_id, identity.name, life, key_id, cipher, key)
    signature = identity.sign(_CONTEXT, message)
    return SignedKey(identity.name, life, key_id, int(cipher), key, signature)


def pack_sender_key(signed: SignedKey, age_s: float) -> bytes:
    """The body of a KEY part. ``age_s``: how long ago the source made it, as far as we know."""
    age_ms = min(math.ceil(age_s * 1000), MAX_AGE_MS)
    unsigned = _fields(signed.source, signed.life, signed.id, signed.cipher_id, signed.key)
    return unsigned + signed.signature + age_ms.to_bytes(4, "big")


def parse_sender_key(body: bytes) -> tuple[SignedKey, float]:
    """(the key, which is not checked yet, its age in seconds). Raises MalformedError."""
    cursor = Cursor(body)
    source = PeerName(cursor.read_bytes(PEER_NAME_BYTES))
    life, key_id, cipher_id = cursor.read_u64(), cursor.read_u32(), cursor.read_u8()
    key, signature = cursor.read_bytes(KEY_BYTES), cursor.read_bytes(SIGNATURE_BYTES)
    age_s = cursor.read_u32() / 1000
    cursor.finish()
    return SignedKey(source, life, key_id, cipher_id, key, signature), age_s


def pack_want(source: PeerName, key_id: int) -> bytes:
    """The body of a KEY_WANT part."""
    return _WANT.pack(source, key_id)


def parse_want(body: bytes) -> tuple[PeerName, int]:
    """(whose key, which one). Raises MalformedError."""
    if len(body) != WANT_BYTES:
        raise MalformedError(f"request for a key of {len(body)} bytes")
    source, key_id = _WANT.unpack(body)
    return PeerName(source), key_id


@define(eq=False, repr=False)
class SenderKey:
    """A checked key in use: its source seals by it, everybody else opens."""

    signed: SignedKey
    made_at: float
    expires_at: float
    counter: int = 0
    """Of the next datagram; rises only, and the key is never stored, so none is used twice."""
    window: ReplayWindow = field(factory=ReplayWindow)
    cipher: Cipher = field(init=False)
    _key: bytes = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.cipher = CIPHERS[CipherId(self.signed.cipher_id)]
        # Each key is used by one cipher only: the signature binds it.
        self._key = self.signed.key[: self.cipher.key_bytes]

    def seal(self, parts: bytes) -> bytes:
        """A whole BROADCAST datagram."""
        header = HEADER.pack(DatagramType.BROADCAST, 0, 0, self.signed.id, self.counter)
        self.counter += 1
        nonce, ad = header[-self.cipher.nonce_bytes :], self.signed.source + header
        return header + self.cipher.seal(self._key, nonce, ad, parts)

    def open(self, datagram: bytes) -> bytes:
        """The parts. Raises AuthenticationError; the window decides about repeats besides."""
        if len(datagram) < HEADER_BYTES + self.cipher.tag_bytes:
            raise AuthenticationError("shorter than header and tag")
        header = datagram[:HEADER_BYTES]
        nonce, ad = header[-self.cipher.nonce_bytes :], self.signed.source + header
        return self.cipher.open(self._key, nonce, ad, datagram[HEADER_BYTES:])


def _fields(source: PeerName, life: int, key_id: int, cipher_id: int, key: bytes) -> bytes:
    numbers = life.to_bytes(8, "big") + key_id.to_bytes(4, "big") + bytes((cipher_id,))
    return source + numbers + key


def _signed(
    network_id: bytes, source: PeerName, life: int, key_id: int, cipher_id: int, key: bytes
) -> bytes:
    return network_id + _fields(source, life, key_id, cipher_id, key)
