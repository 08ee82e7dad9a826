"""The primitives give the answers that their specifications publish (primitives.json)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from meshnet.errors import AuthenticationError
from meshnet.wire import crypto
from meshnet.wire.ciphers import CIPHERS, CipherId

Vector = dict[str, Any]

DATA: dict[str, list[Vector]] = json.loads(
    Path(__file__).with_name("primitives.json").read_text(encoding="utf-8")
)
AEADS = [
    pytest.param(CIPHERS[cipher], vector, id=vector["name"])
    for cipher, key in (
        (CipherId.CHACHA20_POLY1305, "chacha20_poly1305"),
        (CipherId.AEGIS_128L, "aegis128l"),
    )
    for vector in DATA[key]
]


def name_of(vector: Vector) -> str:
    return str(vector.get("name", vector.get("rounds")))


def unhex(vector: Vector, *fields: str) -> list[bytes]:
    return [bytes.fromhex(vector[field]) for field in fields]


@pytest.mark.parametrize(("cipher", "vector"), AEADS)
def test_the_ciphers_seal_and_open_as_published(cipher: Any, vector: Vector) -> None:
    key, nonce, ad, plaintext, sealed = unhex(vector, "key", "nonce", "ad", "plaintext", "sealed")
    assert (len(key), len(nonce)) == (cipher.key_bytes, cipher.nonce_bytes)
    assert len(sealed) == len(plaintext) + cipher.tag_bytes
    assert cipher.seal(key, nonce, ad, plaintext) == sealed
    assert cipher.open(key, nonce, ad, sealed) == plaintext


@pytest.mark.parametrize("vector", DATA["aegis128l_forged"], ids=name_of)
def test_published_forgeries_do_not_open(vector: Vector) -> None:
    with pytest.raises(AuthenticationError):
        crypto.aegis128l_open(*unhex(vector, "key", "nonce", "ad", "sealed"))


@pytest.mark.parametrize("vector", DATA["x25519"], ids=name_of)
def test_x25519_agrees_as_published(vector: Vector) -> None:
    secret, public, shared = unhex(vector, "secret", "public", "shared")
    assert crypto.x25519(secret, public) == shared
    if "own_public" in vector:
        assert crypto.x25519_public(secret) == bytes.fromhex(vector["own_public"])


@pytest.mark.parametrize("vector", DATA["x25519_iterated"], ids=name_of)
def test_x25519_fed_with_itself_gives_the_published_end(vector: Vector) -> None:
    secret = public = b"\x09".ljust(32, b"\0")
    for _ in range(vector["rounds"]):
        secret, public = crypto.x25519(secret, public), secret
    assert secret.hex() == vector["result"]


@pytest.mark.parametrize("vector", DATA["ed25519"], ids=name_of)
def test_ed25519_signs_and_verifies_as_published(vector: Vector) -> None:
    seed, public, message, signature = unhex(vector, "seed", "public", "message", "signature")
    ours, secret = crypto.ed25519_keypair(seed)
    assert ours == public
    assert crypto.ed25519_sign(secret, message) == signature
    crypto.ed25519_verify(public, message, signature)
