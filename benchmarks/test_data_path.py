"""A burst of full frames through the pure data path: no socket, no device, only our own cost."""

from __future__ import annotations

import os

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from meshnet.ids import Endpoint, PeerName
from meshnet.peering.data_path import Counters, DataPath
from meshnet.switch.ethernet import DEFAULT_OVERLAY_MTU, HEADER_BYTES
from meshnet.switch.switch import Switch
from meshnet.wire.ciphers import CIPHERS, CipherId
from meshnet.wire.session import Session

BURST = 64
LEFT, RIGHT = PeerName(b"L" * 16), PeerName(b"R" * 16)
LEFT_MAC, RIGHT_MAC = bytes.fromhex("020000000001"), bytes.fromhex("020000000002")
FRAME = RIGHT_MAC + LEFT_MAC + b"\x08\x00" + bytes(DEFAULT_OVERLAY_MTU)
ANNOUNCEMENT = b"\xff" * 6 + RIGHT_MAC + b"\x08\x06" + bytes(46)


def session(cipher_id: CipherId, peer: PeerName, keys: tuple[bytes, bytes]) -> Session:
    cipher = CIPHERS[cipher_id]
    send, receive = (key[: cipher.key_bytes] for key in keys)
    return Session(peer, 1, 1, cipher, send, receive, Endpoint("127.0.0.1", 1), 0.0, confirmed=True)


def data_path(own_session: Session) -> DataPath:
    us = LEFT if own_session.peer == RIGHT else RIGHT
    path = DataPath(us, Switch(DEFAULT_OVERLAY_MTU), Counters())
    path.add_session(own_session)
    path.use_session(own_session)
    return path


def pair(cipher_id: CipherId) -> tuple[DataPath, DataPath]:
    """Two data paths with a session between them, each knowing where the other's MAC is."""
    one, other = os.urandom(32), os.urandom(32)
    left = data_path(session(cipher_id, RIGHT, (one, other)))
    right = data_path(session(cipher_id, LEFT, (other, one)))
    right.receive_frames([ANNOUNCEMENT], 0.0)
    left.receive_datagrams(right.datagrams_to_send(), 0.0)
    assert left.frames_to_deliver()
    # A sender not seen before would be told of, by one frame more.
    left.receive_frames([FRAME], 0.0)
    left.datagrams_to_send()
    return left, right


@pytest.mark.parametrize("cipher_id", CIPHERS, ids=lambda number: CIPHERS[number].name)
def test_frames_to_datagrams(benchmark: BenchmarkFixture, cipher_id: CipherId) -> None:
    left, _right = pair(cipher_id)
    burst = [FRAME] * BURST

    def send() -> int:
        left.receive_frames(burst, 0.0)
        return len(left.datagrams_to_send())

    assert benchmark(send) == BURST
    benchmark.extra_info["bytes_per_round"] = BURST * len(FRAME)


@pytest.mark.parametrize("cipher_id", CIPHERS, ids=lambda number: CIPHERS[number].name)
def test_frames_to_frames(benchmark: BenchmarkFixture, cipher_id: CipherId) -> None:
    left, right = pair(cipher_id)
    burst = [FRAME] * BURST

    def carry() -> int:
        left.receive_frames(burst, 0.0)
        right.receive_datagrams(left.datagrams_to_send(), 0.0)
        return len(right.frames_to_deliver())

    assert benchmark(carry) == BURST
    benchmark.extra_info["bytes_per_round"] = BURST * len(FRAME)


@pytest.mark.parametrize("cipher_id", CIPHERS, ids=lambda number: CIPHERS[number].name)
def test_sealing_alone(benchmark: BenchmarkFixture, cipher_id: CipherId) -> None:
    """What of the above is the cipher's: the public calls, with their two allocations."""
    cipher = CIPHERS[cipher_id]
    key, nonce, header = bytes(cipher.key_bytes), bytes(cipher.nonce_bytes), bytes(16)
    payload = bytes(HEADER_BYTES + DEFAULT_OVERLAY_MTU)

    def seal() -> None:
        for _ in range(BURST):
            cipher.seal(key, nonce, header, payload)

    benchmark(seal)
    benchmark.extra_info["bytes_per_round"] = BURST * len(payload)
