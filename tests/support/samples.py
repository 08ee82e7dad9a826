"""Identities, keys, addresses and frames that tests use again and again."""

from __future__ import annotations

import random

from meshnet.ids import Endpoint, network_id
from meshnet.ports import Rng
from meshnet.wire.ciphers import CIPHERS, CipherId
from meshnet.wire.identity import Identity
from meshnet.wire.link import LinkConfig
from meshnet.wire.session import Session

NETWORK = "test"
NETWORK_ID = network_id(NETWORK)
PSK = b"\x07" * 32
OTHER_PSK = b"\x08" * 32
BROADCAST = b"\xff" * 6


def identity(number: int) -> Identity:
    """One of many identities; equal numbers give equal ones."""
    return Identity.of_seed(number.to_bytes(32, "big"))


ALICE, BOB, CAROL = identity(1), identity(2), identity(3)


def rng(seed: object) -> Rng:
    """A source of randomness that repeats."""
    return random.Random(str(seed)).randbytes


def endpoint(number: int) -> Endpoint:
    return Endpoint(f"10.0.{number // 256}.{number % 256}", 6783)


def link_config(
    who: Identity, *, psk: bytes = PSK, network: str = NETWORK, life: int = 1
) -> LinkConfig:
    return LinkConfig(who, network_id(network), (psk,), life=life)


def mac(number: int) -> bytes:
    """A unicast, locally administered address."""
    return b"\x02" + number.to_bytes(5, "big")


def ethernet(destination: bytes, source: bytes, payload: bytes = b"payload") -> bytes:
    """A frame of an experimental type (IEEE 802: 0x88b5)."""
    return destination + source + b"\x88\xb5" + payload


def session_pair(
    cipher: CipherId = CipherId.CHACHA20_POLY1305, *, first_index: int = 1
) -> tuple[Session, Session]:
    """Alice's and Bob's side of one session."""
    a_key, b_key = (bytes((n,)) * CIPHERS[cipher].key_bytes for n in (0xA, 0xB))
    a_index, b_index = first_index, first_index + 1
    a_at, b_at = endpoint(1), endpoint(2)
    chosen = CIPHERS[cipher]
    return (
        Session(BOB.name, a_index, b_index, chosen, a_key, b_key, b_at, 0.0),
        Session(ALICE.name, b_index, a_index, chosen, b_key, a_key, a_at, 0.0),
    )


def flip(data: bytes, bit: int) -> bytes:
    """``data`` with one bit changed."""
    changed = bytearray(data)
    changed[bit // 8] ^= 1 << (bit % 8)
    return bytes(changed)
