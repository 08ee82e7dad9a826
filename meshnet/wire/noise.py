"""The Noise handshakes XXpsk3 and IKpsk2 over X25519, ChaCha20-Poly1305 and BLAKE2s.

Written after the Noise Protocol Framework, revision 34 (names in comments are its sections);
checked against published vectors in tests/vectors/noise.json. Pure: ephemeral secrets are given by
the caller. One deliberate narrowing: pre-shared keys stand at the end of the last message, as
our two patterns need; no fallback, no other DH, cipher or hash.
"""

from __future__ import annotations

import contextlib
import enum
from collections.abc import Iterable

from attrs import define

from meshnet.errors import AuthenticationError, LocalProtocolError
from meshnet.values import Value
from meshnet.wire import crypto

DH_BYTES = 32
TAG_BYTES = crypto.CHACHA_TAG_BYTES
MAX_MESSAGE_BYTES = 65535
_MAX_NONCE = 2**64 - 1


class Pattern(Value):
    """A handshake pattern (section 7): who sends which tokens when.

    ``responder_static_known`` is the pre-message ``<- s`` of the IK family.
    """

    name: str
    messages: tuple[tuple[str, ...], ...]
    responder_static_known: bool

    @property
    def has_psk(self) -> bool:
        return any("psk" in message for message in self.messages)


XX = Pattern("XX", (("e",), ("e", "ee", "s", "es"), ("s", "se")), False)
IK = Pattern("IK", (("e", "es", "s", "ss"), ("e", "ee", "se")), True)
XX_PSK3 = Pattern("XXpsk3", (("e",), ("e", "ee", "s", "es"), ("s", "se", "psk")), False)
IK_PSK2 = Pattern("IKpsk2", (("e", "es", "s", "ss"), ("e", "ee", "se", "psk")), True)


class Role(enum.Enum):
    INITIATOR = "initiator"
    RESPONDER = "responder"


def _nonce(counter: int) -> bytes:
    """ChaChaPoly's nonce: 32 zero bits, then the counter little-endian (section 12.3)."""
    return b"\0\0\0\0" + counter.to_bytes(8, "little")


def _hkdf(chaining_key: bytes, material: bytes, outputs: int) -> list[bytes]:
    """HKDF (section 4.3): ``outputs`` keys of 32 bytes."""
    temp_key = crypto.hmac_blake2s(chaining_key, material)
    result: list[bytes] = []
    last = b""
    for number in range(1, outputs + 1):
        last = crypto.hmac_blake2s(temp_key, last + bytes((number,)))
        result.append(last)
    return result


class CipherState:
    """A key and the counter of its next nonce (section 5.1)."""

    __slots__ = ("counter", "key")

    def __init__(self, key: bytes, counter: int = 0) -> None:
        self.key = key
        self.counter = counter

    def encrypt(self, ad: bytes, plaintext: bytes) -> bytes:
        ciphertext = crypto.chacha_seal(self.key, self._next_nonce(), ad, plaintext)
        self.counter += 1
        return ciphertext

    def decrypt(self, ad: bytes, ciphertext: bytes) -> bytes:
        """Raises AuthenticationError; the counter advances only on success."""
        plaintext = crypto.chacha_open(self.key, self._next_nonce(), ad, ciphertext)
        self.counter += 1
        return plaintext

    def _next_nonce(self) -> bytes:
        if self.counter >= _MAX_NONCE:
            raise LocalProtocolError("this key's nonces are used up")
        return _nonce(self.counter)


class KeyPair(Value, secret=("secret",)):
    """An X25519 key pair (32 bytes each)."""

    secret: bytes
    public: bytes

    @classmethod
    def of(cls, secret: bytes) -> KeyPair:
        return cls(secret, crypto.x25519_public(secret))


class Split(Value, secret=("send_key", "receive_key")):
    """What a finished handshake leaves: one key per direction, seen from our side."""

    send_key: bytes
    receive_key: bytes
    handshake_hash: bytes


@define(eq=False, repr=False)
class HandshakeState:
    """One side of one handshake (sections 5.2 and 5.3).

    Messages are written and read in turn; `split` is available after the last. After an
    AuthenticationError the state is spent: work on a `copy` where another try must be possible.
    """

    pattern: Pattern
    role: Role
    static: KeyPair
    ephemeral_secret: bytes
    remote_static: bytes | None
    _chaining_key: bytes
    _hash: bytes
    psk: bytes | None = None
    _cipher: CipherState | None = None
    _remote_ephemeral: bytes | None = None
    _turn: int = 0

    @classmethod
    def start(
        cls,
        pattern: Pattern,
        role: Role,
        *,
        prologue: bytes,
        static: KeyPair,
        ephemeral_secret: bytes,
        remote_static: bytes | None = None,
        psk: bytes | None = None,
    ) -> HandshakeState:
        """All keys are 32 bytes; ``ephemeral_secret`` must be fresh and never used again.

        ``psk`` may be set later, on the state or on a copy, until the message that mixes it in.
        """
        name = f"Noise_{pattern.name}_25519_ChaChaPoly_BLAKE2s".encode()
        # Section 5.2, InitializeSymmetric: a short name is padded, a long one hashed.
        digest = name.ljust(crypto.HASH_BYTES, b"\0")
        if len(name) > crypto.HASH_BYTES:
            digest = crypto.blake2s(name)
        state = cls(pattern, role, static, ephemeral_secret, remote_static, digest, digest)
        state.psk = psk
        state._mix_hash(prologue)
        if pattern.responder_static_known:
            if role is Role.RESPONDER:
                state._mix_hash(static.public)
            elif remote_static is not None:
                state._mix_hash(remote_static)
            else:
                raise LocalProtocolError("IK needs the responder's static key")
        return state

    @property
    def finished(self) -> bool:
        return self._turn == len(self.pattern.messages)

    @property
    def on_last_message(self) -> bool:
        return self._turn == len(self.pattern.messages) - 1

    @property
    def our_turn(self) -> bool:
        """True when the next message is ours to write."""
        return not self.finished and (self._turn % 2 == 0) == (self.role is Role.INITIATOR)

    def copy(self) -> HandshakeState:
        """An independent state, to try a key on without spoiling this one."""
        cipher = self._cipher
        return HandshakeState(
            self.pattern,
            self.role,
            self.static,
            self.ephemeral_secret,
            self.remote_static,
            self._chaining_key,
            self._hash,
            self.psk,
            CipherState(cipher.key, cipher.counter) if cipher is not None else None,
            self._remote_ephemeral,
            self._turn,
        )

    def write_message(self, payload: bytes) -> bytes:
        if not self.our_turn:
            raise LocalProtocolError("it is not our turn in the handshake")
        message = b""
        for token in self.pattern.messages[self._turn]:
            if token == "e":
                public = crypto.x25519_public(self.ephemeral_secret)
                self._mix_ephemeral(public)
                message += public
            elif token == "s":
                message += self._encrypt_and_hash(self.static.public)
            else:
                self._mix_token(token)
        message += self._encrypt_and_hash(payload)
        if len(message) > MAX_MESSAGE_BYTES:
            raise LocalProtocolError("handshake payload too long")
        self._turn += 1
        return message

    def read_message(self, message: bytes) -> bytes:
        """The payload. Raises AuthenticationError when the message is not what it must be."""
        return self._read_payload(self._read_keys(message))

    def read_with_any(self, psks: Iterable[bytes], message: bytes) -> tuple[HandshakeState, bytes]:
        """Read a message that may mix in a psk: (the state after the psk that fits, the payload).

        This state is left as it was. The key exchange is done once, so that a forged message costs
        little more with many psks than with one. Raises AuthenticationError when no psk fits.
        """
        exchanged = self.copy()
        sealed = exchanged._read_keys(message)
        for psk in psks:
            tried = exchanged.copy()
            tried.psk = psk
            with contextlib.suppress(AuthenticationError):
                return tried, tried._read_payload(sealed)
        raise AuthenticationError("the message does not verify with any psk")

    def _read_keys(self, message: bytes) -> bytes:
        """All that comes before the psk, which is a message's last token: the sealed payload."""
        if self.finished or self.our_turn:
            raise LocalProtocolError("it is not the other side's turn in the handshake")
        for token in self.pattern.messages[self._turn]:
            if token == "e":
                self._remote_ephemeral, message = _cut(message, DH_BYTES)
                self._mix_ephemeral(self._remote_ephemeral)
            elif token == "s":
                size = DH_BYTES + (TAG_BYTES if self._cipher is not None else 0)
                sealed, message = _cut(message, size)
                self.remote_static = self._decrypt_and_hash(sealed)
            elif token != "psk":
                self._mix_token(token)
        return message

    def _read_payload(self, sealed: bytes) -> bytes:
        if "psk" in self.pattern.messages[self._turn]:
            self._mix_token("psk")
        payload = self._decrypt_and_hash(sealed)
        self._turn += 1
        return payload

    def split(self) -> Split:
        if not self.finished:
            raise LocalProtocolError("the handshake is not finished")
        first, second = _hkdf(self._chaining_key, b"", 2)
        if self.role is Role.RESPONDER:
            first, second = second, first
        return Split(first, second, self._hash)

    def _mix_hash(self, data: bytes) -> None:
        self._hash = crypto.blake2s(self._hash + data)

    def _mix_key(self, material: bytes) -> None:
        self._chaining_key, key = _hkdf(self._chaining_key, material, 2)
        self._cipher = CipherState(key)

    def _mix_ephemeral(self, public: bytes) -> None:
        self._mix_hash(public)
        if self.pattern.has_psk:
            # Section 9.2: with a psk, "e" also mixes the key, or nonces could repeat.
            self._mix_key(public)

    def _mix_token(self, token: str) -> None:
        if token == "psk":
            if self.psk is None:
                raise LocalProtocolError("this pattern needs a psk")
            self._chaining_key, temp_hash, key = _hkdf(self._chaining_key, self.psk, 3)
            self._mix_hash(temp_hash)
            self._cipher = CipherState(key)
            return
        # "es" is the initiator's ephemeral with the responder's static; "se" the reverse.
        ours, theirs = token[0], token[1]
        if self.role is Role.RESPONDER:
            ours, theirs = theirs, ours
        secret = self.ephemeral_secret if ours == "e" else self.static.secret
        public = self._remote_ephemeral if theirs == "e" else self.remote_static
        if public is None:
            raise LocalProtocolError(f"token {token} before its key is known")
        self._mix_key(crypto.x25519(secret, public))

    def _encrypt_and_hash(self, plaintext: bytes) -> bytes:
        ciphertext = self._cipher.encrypt(self._hash, plaintext) if self._cipher else plaintext
        self._mix_hash(ciphertext)
        return ciphertext

    def _decrypt_and_hash(self, ciphertext: bytes) -> bytes:
        plaintext = self._cipher.decrypt(self._hash, ciphertext) if self._cipher else ciphertext
        self._mix_hash(ciphertext)
        return plaintext


def _cut(message: bytes, size: int) -> tuple[bytes, bytes]:
    if len(message) < size:
        raise AuthenticationError("handshake message too short")
    return message[:size], message[size:]
