"""An identity signs for one purpose at a time, hides its secrets, and cannot be claimed."""

from __future__ import annotations

import pytest

from meshnet.errors import AuthenticationError
from meshnet.ids import PeerName
from meshnet.wire import crypto
from meshnet.wire.identity import (
    Identity,
    name_of_static,
    psk_of_open_network,
    psk_of_password,
    verify,
)
from support.samples import ALICE, BOB


def test_a_seed_gives_one_identity() -> None:
    again = Identity.of_seed((1).to_bytes(32, "big"))
    assert again == ALICE
    assert again.name == PeerName.of(again.public_key)
    assert crypto.x25519_public(again.static.secret) == again.static.public


def test_no_secret_is_in_the_repr() -> None:
    text = repr(ALICE)
    assert str(ALICE.name) in text
    seed = (1).to_bytes(32, "big")
    for secret in (ALICE.static.secret, seed, crypto.ed25519_keypair(seed)[1]):
        assert secret.hex() not in text
        assert repr(secret) not in text


def test_a_signature_is_valid_for_its_context_only() -> None:
    signature = ALICE.sign(b"context", b"message")
    verify(ALICE.public_key, b"context", b"message", signature)
    for context, message in (
        (b"contex", b"tmessage"),
        (b"contextm", b"essage"),
        (b"", b"contextmessage"),
        (b"context", b""),
    ):
        with pytest.raises(AuthenticationError):
            verify(ALICE.public_key, context, message, signature)


def test_the_name_comes_from_the_key_that_the_handshake_proved() -> None:
    assert name_of_static(ALICE.public_key, ALICE.static.public) == ALICE.name
    with pytest.raises(AuthenticationError, match="does not fit"):
        name_of_static(ALICE.public_key, BOB.static.public)
    with pytest.raises(AuthenticationError):
        name_of_static(bytes(32), BOB.static.public)


def test_a_psk_belongs_to_one_password_and_one_network() -> None:
    psks = {
        psk_of_password("secret", "one"),
        psk_of_password("secret", "two"),
        psk_of_password("Secret", "one"),
        psk_of_open_network("one"),
        psk_of_open_network("two"),
    }
    assert len(psks) == 5
    assert {len(psk) for psk in psks} == {32}
