"""What a first message must show before any key exchange is done for it (wire.md section 4.2).

Two cheap marks stand before the Noise message of an INITIATION. The *mac* shows that its sender
knows whom it calls: strangers who scan do not know our key. The *proof* shows that the sender
receives what is sent to its source address: it is made with a cookie that we sent there. A cookie
is a function of the address and of a secret of ours, so we remember nobody.
"""

from __future__ import annotations

import hmac

from meshnet.errors import AuthenticationError
from meshnet.ids import Endpoint
from meshnet.ports import Rng
from meshnet.wire import crypto
from meshnet.wire.datagram import COOKIE_BYTES, HEADER, HEADER_BYTES, MAC_BYTES, DatagramType

# From wire.md section 4.2.
COOKIE_LIFE_S = 120.0

_NONCE_BYTES = crypto.XCHACHA_NONCE_BYTES
_MAC_END = HEADER_BYTES + MAC_BYTES
_MARKS_END = _MAC_END + COOKIE_BYTES
COOKIE_REPLY_BYTES = HEADER_BYTES + _NONCE_BYTES + COOKIE_BYTES + crypto.CHACHA_TAG_BYTES


def mark(header: bytes, noise_message: bytes, their_static: bytes) -> bytes:
    """A whole INITIATION for the owner of ``their_static``, without a proof."""
    mac = _mac_of(_mac_key(their_static), header, noise_message)
    return header + mac + bytes(COOKIE_BYTES) + noise_message


def with_proof(initiation: bytes, cookie: bytes) -> bytes:
    """The same INITIATION, made with ``cookie``."""
    return initiation[:_MAC_END] + _proof_of(cookie, initiation) + initiation[_MARKS_END:]


def read_cookie_reply(reply: bytes, initiation: bytes, their_static: bytes) -> bytes:
    """The cookie in a COOKIE_REPLY to ``initiation``.

    Raises AuthenticationError unless it was made by who has seen ``initiation``.
    """
    if len(reply) != COOKIE_REPLY_BYTES:
        raise AuthenticationError("COOKIE_REPLY of another length")
    nonce, sealed = reply[HEADER_BYTES:][:_NONCE_BYTES], reply[HEADER_BYTES + _NONCE_BYTES :]
    mac = initiation[HEADER_BYTES:_MAC_END]
    return crypto.xchacha_open(_cookie_key(their_static), nonce, mac, sealed)


def write_cookie_reply(initiation: bytes, cookie: bytes, nonce: bytes, our_static: bytes) -> bytes:
    """The answer to ``initiation``: shorter than it, and of use to nobody who has not seen it."""
    index = HEADER.unpack_from(initiation)[3]
    mac = initiation[HEADER_BYTES:_MAC_END]
    sealed = crypto.xchacha_seal(_cookie_key(our_static), nonce, mac, cookie)
    return HEADER.pack(DatagramType.COOKIE_REPLY, 0, 0, index, 0) + nonce + sealed


class CookieJar:
    """The responder's side: judges marks and bakes cookies. Its memory is one secret."""

    def __init__(self, our_static: bytes, rng: Rng) -> None:
        self._static = our_static
        self._rng = rng
        self._mac_key = _mac_key(our_static)
        self._secret = b""
        self._made_at = float("-inf")

    def is_marked(self, initiation: bytes) -> bool:
        """Whether the sender of a datagram, of header and marks at least, knows our key."""
        mac = _mac_of(self._mac_key, initiation[:HEADER_BYTES], initiation[_MARKS_END:])
        return hmac.compare_digest(mac, initiation[HEADER_BYTES:_MAC_END])

    def is_proved(self, initiation: bytes, source: Endpoint, now: float) -> bool:
        """Whether the sender has received, at ``source``, a cookie of ours that is still good."""
        proof = initiation[_MAC_END:_MARKS_END]
        if not any(proof):
            return False
        return hmac.compare_digest(proof, _proof_of(self._cookie_of(source, now), initiation))

    def reply(self, initiation: bytes, source: Endpoint, now: float) -> bytes:
        """A COOKIE_REPLY for whoever receives at ``source``."""
        cookie = self._cookie_of(source, now)
        return write_cookie_reply(initiation, cookie, self._rng(_NONCE_BYTES), self._static)

    def _cookie_of(self, source: Endpoint, now: float) -> bytes:
        if now - self._made_at >= COOKIE_LIFE_S:
            self._secret, self._made_at = self._rng(crypto.KEY_BYTES), now
        return crypto.keyed_blake2s_128(self._secret, str(source).encode())


def _mac_key(static: bytes) -> bytes:
    return crypto.blake2s(b"meshnet mac" + static)


def _cookie_key(static: bytes) -> bytes:
    return crypto.blake2s(b"meshnet cookie" + static)


def _mac_of(key: bytes, header: bytes, noise_message: bytes) -> bytes:
    return crypto.keyed_blake2s_128(key, header + noise_message)


def _proof_of(cookie: bytes, initiation: bytes) -> bytes:
    data = initiation[:_MAC_END] + initiation[_MARKS_END:]
    return crypto.keyed_blake2s_128(cookie, data)
