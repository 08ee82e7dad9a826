"""Any datagram is a handshake message that was meant for us, or AuthenticationError; both roles.

The first byte chooses: the rest is a whole INITIATION or RESPONSE, or what is sealed in a good one.
"""

from __future__ import annotations

from collections.abc import Iterator

from fuzz.plan import Plan
from meshnet.errors import AuthenticationError
from meshnet.wire import noise
from meshnet.wire.ciphers import CIPHERS, DEFAULT_PREFERENCE
from meshnet.wire.datagram import (
    COOKIE_BYTES,
    HEADER,
    HEADER_BYTES,
    MAC_BYTES,
    DatagramType,
)
from meshnet.wire.handshake import PendingHandshake, initiate, read_initiation
from support.samples import ALICE, BOB, NETWORK_ID, OTHER_PSK, PSK, endpoint

COVERS = ("meshnet.wire.handshake",)

_INITIATION, _SEALED_INITIATION, _RESPONSE, _SEALED_RESPONSE = range(4)
_BEFORE_NOISE = HEADER_BYTES + MAC_BYTES + COOKIE_BYTES


def _call() -> PendingHandshake:
    return initiate(
        ALICE,
        NETWORK_ID,
        peer=BOB.name,
        their_static=BOB.static.public,
        our_index=7,
        stamp=1,
        ciphers=DEFAULT_PREFERENCE,
        capabilities=0,
        ephemeral_secret=b"\x0a" * 32,
        remote=endpoint(2),
        now=0.0,
    )


_PENDING = _call()


def check(data: bytes) -> None:
    plan = Plan(data)
    kind, rest = plan.number() % 4, plan.rest()
    if kind == _INITIATION:
        _read(rest, genuine=rest[_BEFORE_NOISE:] == _PENDING.datagram[_BEFORE_NOISE:])
    elif kind == _SEALED_INITIATION:
        _read(_sealed_initiation(rest), genuine=True)
    else:
        _finish(rest if kind == _RESPONSE else _sealed_response(rest))


def _read(datagram: bytes, *, genuine: bool) -> None:
    try:
        initiation = read_initiation(BOB, NETWORK_ID, datagram, b"\x0b" * 32)
    except AuthenticationError:
        return
    assert genuine
    assert initiation.static == ALICE.static.public
    try:
        response, session = initiation.answer(
            peer=ALICE.name,
            our_index=9,
            preference=DEFAULT_PREFERENCE,
            capabilities=0,
            psk=PSK,
            remote=endpoint(1),
            now=0.0,
        )
    except AuthenticationError:
        assert not set(initiation.ciphers) & set(DEFAULT_PREFERENCE)
        return
    assert session.cipher.id in initiation.ciphers
    assert session.their_index == initiation.sender_index == HEADER.unpack_from(response)[3]


def _finish(datagram: bytes) -> None:
    pending = _call()
    try:
        session = pending.finish(datagram, (OTHER_PSK, PSK), 0.0)
    except AuthenticationError:
        # The state stays usable for a genuine answer after a forged.
        session = pending.finish(
            _sealed_response(bytes(8) + bytes((DEFAULT_PREFERENCE[0],))), (PSK,), 0
        )
    assert session.cipher is CIPHERS[session.cipher.id]
    assert len(session.send_key) == len(session.receive_key) == session.cipher.key_bytes


def _sealed_initiation(payload: bytes) -> bytes:
    state = noise.HandshakeState.start(
        noise.IK_PSK2,
        noise.Role.INITIATOR,
        prologue=b"meshnet data" + NETWORK_ID,
        static=ALICE.static,
        ephemeral_secret=b"\x0a" * 32,
        remote_static=BOB.static.public,
    )
    return bytes(_BEFORE_NOISE) + state.write_message(payload[:1000])


def _sealed_response(payload: bytes) -> bytes:
    initiation = read_initiation(BOB, NETWORK_ID, _PENDING.datagram, b"\x0b" * 32)
    state = initiation._state
    state.psk = PSK
    header = HEADER.pack(DatagramType.RESPONSE, 0, 0, 7, 0)
    return header + state.write_message(payload[:1000])


def seeds() -> Iterator[bytes]:
    yield bytes((_INITIATION,)) + _PENDING.datagram
    yield bytes((_INITIATION,)) + _PENDING.datagram[:-1]
    yield bytes((_INITIATION,)) + _PENDING.datagram[:80]
    numbers = bytes(16)
    for ciphers in (b"\x02\x01\x02", b"\x01\x01", b"\x01\x63", b"\x00", b"\xff\x01", b""):
        yield bytes((_SEALED_INITIATION,)) + numbers + ciphers
    yield bytes((_SEALED_INITIATION,)) + bytes(15)
    yield bytes((_RESPONSE,)) + _sealed_response(bytes(8) + b"\x01")
    yield bytes((_RESPONSE,)) + _sealed_response(bytes(8) + b"\x01")[:-1]
    yield bytes((_RESPONSE,))
    for chosen in (b"\x01", b"\x02", b"\x63", b"", b"\x01later"):
        yield bytes((_SEALED_RESPONSE,)) + bytes(8) + chosen
