"""The data ciphers, and the one place that decides which of them a session uses.

AEGIS-128L is several times faster where the CPU has AES instructions and hopeless where it has
not, so each end ranks the ciphers by a short measurement of its own and the pair takes the one
that suits its slower end best.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Sequence

from meshnet.values import Value
from meshnet.wire import crypto

# RFC 9001 section 6.6: ChaCha20-Poly1305 keeps what it seals secret for more than the 2^62 packets
# that a QUIC connection can have.
CHACHA20_POLY1305_MAX_DATAGRAMS = 2**62
# draft-irtf-cfrg-aegis-aead, security considerations: 2^48 messages under one key even with random
# nonces. Ours are counters, which cannot collide, so this is on the safe side.
AEGIS_128L_MAX_DATAGRAMS = 2**48


class CipherId(enum.IntEnum):
    """Numbers on the wire (wire.md section 5.2)."""

    CHACHA20_POLY1305 = 1
    AEGIS_128L = 2


class Cipher(Value):
    """How to seal with one cipher. ``nonce_bytes`` are the last ones of the outer header.

    ``max_datagrams`` is how many one key may seal; a session is renewed at half of them.
    """

    id: CipherId
    name: str
    key_bytes: int
    nonce_bytes: int
    tag_bytes: int
    max_datagrams: int
    seal: Callable[[bytes, bytes, bytes, bytes], bytes]
    open: Callable[[bytes, bytes, bytes, bytes], bytes]


CIPHERS = {
    CipherId.CHACHA20_POLY1305: Cipher(
        CipherId.CHACHA20_POLY1305,
        "ChaCha20-Poly1305",
        crypto.KEY_BYTES,
        crypto.CHACHA_NONCE_BYTES,
        crypto.CHACHA_TAG_BYTES,
        CHACHA20_POLY1305_MAX_DATAGRAMS,
        crypto.chacha_seal,
        crypto.chacha_open,
    ),
    CipherId.AEGIS_128L: Cipher(
        CipherId.AEGIS_128L,
        "AEGIS-128L",
        crypto.AEGIS_KEY_BYTES,
        crypto.AEGIS_NONCE_BYTES,
        crypto.AEGIS_TAG_BYTES,
        AEGIS_128L_MAX_DATAGRAMS,
        crypto.aegis128l_seal,
        crypto.aegis128l_open,
    ),
}

DEFAULT_PREFERENCE = (CipherId.AEGIS_128L, CipherId.CHACHA20_POLY1305)
LARGEST_TAG_BYTES = max(cipher.tag_bytes for cipher in CIPHERS.values())


def choose(theirs: Sequence[int], ours: Sequence[CipherId]) -> CipherId | None:
    """The common cipher whose worse rank of the two is best; ties go to the responder (``ours``).

    Both lists are in order of preference. None when nothing is common; numbers of ``theirs`` that
    we do not know are a newer peer's and count only as ranks.
    """
    ranks = {number: rank for rank, number in reversed(list(enumerate(theirs)))}
    common = [(max(rank, ranks[c]), rank, c) for rank, c in enumerate(ours) if c in ranks]
    return min(common)[2] if common else None


def rank_by_speed(
    clock: Callable[[], float], *, payload_bytes: int = 1400, rounds: int = 40
) -> tuple[CipherId, ...]:
    """Order the ciphers by measured sealing speed on this machine; under 2 ms together.

    The best of several small runs counts: a machine that is busy now is not a slow cipher.
    """
    payload = bytes(payload_bytes)
    header = bytes(16)

    def best_s(cipher: Cipher) -> float:
        key, nonce = bytes(cipher.key_bytes), bytes(cipher.nonce_bytes)
        best = float("inf")
        for _ in range(4):
            start = clock()
            for _ in range(rounds // 4):
                cipher.seal(key, nonce, header, payload)
            best = min(best, clock() - start)
        return best

    return tuple(sorted(CIPHERS, key=lambda number: best_s(CIPHERS[number])))
