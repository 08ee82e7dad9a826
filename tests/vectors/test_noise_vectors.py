"""Every published Noise vector is reproduced byte for byte, in both roles (noise.json)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from meshnet.wire import noise
from meshnet.wire.noise import (
    IK,
    IK_PSK2,
    XX,
    XX_PSK3,
    CipherState,
    HandshakeState,
    KeyPair,
    Role,
    Split,
)

Vector = dict[str, Any]

PATTERNS = {
    f"Noise_{pattern.name}_25519_ChaChaPoly_BLAKE2s": pattern
    for pattern in (XX, IK, XX_PSK3, IK_PSK2)
}
VECTORS: list[Vector] = json.loads(
    Path(__file__).with_name("noise.json").read_text(encoding="utf-8")
)["vectors"]


def name_of(vector: Vector) -> str:
    return f"{vector['protocol_name'].split('_')[1]}-{vector['from']}"


def start(vector: Vector, role: Role) -> HandshakeState:
    side = "init" if role is Role.INITIATOR else "resp"
    psks = vector.get(f"{side}_psks", [])
    remote = vector.get(f"{side}_remote_static")
    return HandshakeState.start(
        PATTERNS[vector["protocol_name"]],
        role,
        prologue=bytes.fromhex(vector[f"{side}_prologue"]),
        static=KeyPair.of(bytes.fromhex(vector[f"{side}_static"])),
        ephemeral_secret=bytes.fromhex(vector[f"{side}_ephemeral"]),
        remote_static=bytes.fromhex(remote) if remote else None,
        psk=bytes.fromhex(psks[0]) if psks else None,
    )


def messages(vector: Vector) -> list[tuple[bytes, bytes]]:
    return [
        (bytes.fromhex(message["payload"]), bytes.fromhex(message["ciphertext"]))
        for message in vector["messages"]
    ]


def finish(vector: Vector, role: Role) -> Split:
    """One side alone plays its part against the recorded messages of the other."""
    state = start(vector, role)
    for payload, ciphertext in messages(vector)[: len(state.pattern.messages)]:
        if state.our_turn:
            assert state.write_message(payload) == ciphertext
        else:
            assert state.read_message(ciphertext) == payload
    return state.split()


def test_all_patterns_we_know_have_a_vector() -> None:
    assert {vector["protocol_name"] for vector in VECTORS} == set(PATTERNS)


@pytest.mark.parametrize("role", Role)
@pytest.mark.parametrize("vector", VECTORS, ids=name_of)
def test_handshake_messages_are_reproduced(vector: Vector, role: Role) -> None:
    split = finish(vector, role)
    if "handshake_hash" in vector:
        assert split.handshake_hash.hex() == vector["handshake_hash"]


@pytest.mark.parametrize("vector", VECTORS, ids=name_of)
def test_both_roles_end_with_the_same_keys(vector: Vector) -> None:
    ours, theirs = finish(vector, Role.INITIATOR), finish(vector, Role.RESPONDER)
    assert (ours.send_key, ours.receive_key) == (theirs.receive_key, theirs.send_key)
    assert ours.handshake_hash == theirs.handshake_hash
    assert ours.send_key != ours.receive_key


@pytest.mark.parametrize("vector", VECTORS, ids=name_of)
def test_transport_messages_are_reproduced(vector: Vector) -> None:
    split = finish(vector, Role.INITIATOR)
    handshake_messages = len(PATTERNS[vector["protocol_name"]].messages)
    transport = messages(vector)[handshake_messages:]
    assert transport
    ends = {
        "initiator": (CipherState(split.send_key), CipherState(split.send_key)),
        "responder": (CipherState(split.receive_key), CipherState(split.receive_key)),
    }
    for number, (payload, ciphertext) in enumerate(transport, start=handshake_messages):
        sealing, opening = ends["responder" if number % 2 else "initiator"]
        assert sealing.encrypt(b"", payload) == ciphertext
        assert opening.decrypt(b"", ciphertext) == payload


@pytest.mark.parametrize("vector", VECTORS, ids=name_of)
def test_a_copied_state_gives_the_same_message_and_leaves_the_first_alone(vector: Vector) -> None:
    state = start(vector, Role.INITIATOR)
    payload, ciphertext = messages(vector)[0]
    assert state.copy().write_message(payload) == ciphertext
    assert state.write_message(payload) == ciphertext
    assert len(ciphertext) >= noise.DH_BYTES
