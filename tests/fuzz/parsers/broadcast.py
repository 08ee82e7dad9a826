"""Any part about broadcasts is counted or carried; only what its source sealed is delivered, once.

A plan: parts of two neighbours, as they stand, or with what a third peer really sealed and signed
at the place where the plan says so.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator

from fuzz.plan import Plan, piece
from meshnet.errors import DropReason
from meshnet.peering.broadcast import Broadcast
from meshnet.peering.sender_keys import MAX_HELD_BYTES
from meshnet.topology.records import Description, PeerRecord
from meshnet.wire.ciphers import CipherId
from meshnet.wire.datagram import BROADCAST_HEADER, HEADER, DatagramType, PartType, pack_part
from meshnet.wire.key_life import KeyLife
from meshnet.wire.sender_key import (
    SenderKey,
    SignedKey,
    pack_sender_key,
    pack_want,
    parse_sender_key,
    sign_key,
)
from support.carrier import FakeCarrier
from support.samples import ALICE, BOB, BROADCAST, CAROL, NETWORK_ID, ethernet, identity, mac, rng

COVERS = (
    "meshnet.peering.broadcast:Broadcast.receive",
    "meshnet.peering.broadcast:Broadcast._receive_broadcast",
    "meshnet.peering.broadcast:Broadcast._open",
    "meshnet.peering.broadcast:Broadcast._take",
    "meshnet.peering.broadcast:Broadcast._pass_on_unopened",
    "meshnet.peering.broadcast:Broadcast._pass_on",
    "meshnet.peering.broadcast:Broadcast._hold",
    "meshnet.peering.broadcast:Broadcast._may_ask_of",
    "meshnet.peering.broadcast:Broadcast._receive_want",
    "meshnet.peering.broadcast:Broadcast._receive_key",
    "meshnet.wire.sender_key:parse_sender_key",
    "meshnet.wire.sender_key:parse_want",
)

_RAW, _SEALED, _KEY, _WANT, _UNKNOWN, _SLOW, _WAIT, _AGAIN = range(8)
_DAVE = identity(4)
_LIFE, _KEY_ID = 7, 5


@functools.cache
def _signed(life: int = _LIFE, cipher: CipherId = CipherId.CHACHA20_POLY1305) -> SignedKey:
    return sign_key(_DAVE, NETWORK_ID, life=life, key_id=_KEY_ID, cipher=cipher, key=b"\x05" * 32)


def check(data: bytes) -> None:
    plan = Plan(data)
    carrier = FakeCarrier(BOB.name, CAROL.name)
    description = Description("", 1376, 0, _LIFE, ())
    records = {_DAVE.name: PeerRecord(_DAVE.name, _DAVE.public_key, description, {})}
    ours = Broadcast(
        ALICE,
        NETWORK_ID,
        1,
        CipherId.AEGIS_128L,
        records=records,
        carrier=carrier,
        rng=rng("fuzz"),
        key_life=KeyLife(),
    )
    theirs = SenderKey(_signed(), 0.0, 1e9)
    sealed: set[bytes] = set()
    now, kind, body = 0.0, PartType.BROADCAST, b""
    while not plan.over:
        step = plan.number()
        came_from = BOB.name if step & 0x40 else CAROL.name
        what, left = step % 8, step >> 3 & 7
        if what == _WAIT:
            now += 10.0 * (left + 1)
            ours.handle_timer(now)
            assert len(carrier.sent) <= len(list(ours.keys.wanted_names()))
            carrier.sent.clear()
            continue
        carrier.may = what != _SLOW
        if what == _RAW:
            kind = (PartType.BROADCAST, PartType.KEY_WANT, PartType.KEY)[left % 3]
            body = plan.piece(2)
        elif what in (_SEALED, _SLOW):
            payload = plan.piece(2)
            sealed.add(payload)
            header = BROADCAST_HEADER.pack(_DAVE.name, left)
            kind, body = PartType.BROADCAST, header + theirs.seal(payload)
        elif what == _KEY:
            signed = (_signed(), _signed(6), _signed(), _signed().replaced(id=left))[left % 4]
            kind, body = PartType.KEY, pack_sender_key(signed, 60.0 * left)
        elif what == _WANT:
            kind, body = PartType.KEY_WANT, pack_want(_DAVE.name, _KEY_ID + left // 4)
        elif what == _UNKNOWN:
            number = plan.number()
            other = identity(100 + number) if number else BOB
            source = (_DAVE, ALICE, other)[left % 3].name
            counter = plan.number(8)
            datagram = HEADER.pack(DatagramType.BROADCAST, 0, 0, left // 3, counter) + bytes(32)
            kind, body = PartType.BROADCAST, BROADCAST_HEADER.pack(source, left) + datagram
        before = len(carrier.delivered)
        drop = ours.receive(kind, body, came_from, now)
        assert drop is None or isinstance(drop, DropReason)
        assert len(carrier.sent) <= 3, (
            "one part brings about no more than our neighbours and an ask"
        )
        for peer, sent, said in carrier.sent:
            assert peer in (BOB.name, CAROL.name)
            if sent is PartType.KEY:
                parse_sender_key(said)
        carrier.sent.clear()
        for source, frame in carrier.delivered[before:]:
            assert source == _DAVE.name
            assert any(frame in payload for payload in sealed)
        assert ours.keys.held_bytes <= MAX_HELD_BYTES


def _step(what: int, *, left: int = 3, of_bob: bool = True) -> bytes:
    return bytes((what | left << 3 | of_bob << 6,))


def seeds() -> Iterator[bytes]:
    frame = pack_part(PartType.FRAME, ethernet(BROADCAST, mac(1), bytes(46)))
    spoken, key = _step(_SEALED) + piece(frame, 2), _step(_KEY, left=0)
    want, again = _step(_WANT, left=0, of_bob=False), _step(_AGAIN)
    yield spoken + key + spoken
    yield spoken + again + want + want + key + spoken + again + want
    yield spoken + _step(_AGAIN, of_bob=False) + _step(_WAIT, left=0) + key
    yield spoken * 70 + key
    yield spoken + _step(_KEY, left=1) + _step(_KEY, left=3) + key
    yield spoken + _step(_KEY, left=4) + key
    yield spoken + key + _step(_WAIT, left=7) * 3 + spoken
    yield spoken + _step(_WAIT) * 12 + key
    yield key + spoken + key
    for left in (0, 1):
        yield _step(_SEALED, left=left) + piece(frame, 2) + key
        yield spoken + key + _step(_SEALED, left=left) + piece(frame, 2)
    for payload in (b"", frame[:-1], frame * 2, pack_part(PartType.PROBE, bytes(8)) + frame):
        yield spoken + key + _step(_SEALED) + piece(payload, 2)
        yield _step(_SEALED) + piece(payload, 2) + key
    yield spoken + key + _step(_SLOW) + piece(frame, 2) + spoken
    yield _step(_SLOW) + piece(frame, 2) + key
    for left in range(8):
        yield (_step(_UNKNOWN, left=left) + bytes(9)) * 2
        yield _step(_UNKNOWN, left=left, of_bob=False) + bytes(9)
    yield b"".join(_step(_UNKNOWN, left=2) + bytes((n,)) + bytes(8) for n in range(60))
    yield b"".join(_step(_UNKNOWN, left=3 * n) + bytes(9) for n in range(2)) * 4
    key_body = pack_sender_key(_signed(), 1.0)
    datagram = SenderKey(_signed(), 0.0, 1e9).seal(frame)
    header = BROADCAST_HEADER.pack(_DAVE.name, 2)
    flipped = datagram[:-1] + bytes((datagram[-1] ^ 1,))
    used_up = HEADER.pack(DatagramType.BROADCAST, 0, 0, _KEY_ID, 2**64 - 1) + datagram[16:]
    for body in (b"", header, header + datagram[:15], header + datagram[:20], header + flipped):
        yield spoken + key + _step(_RAW, left=0) + piece(body, 2)
    yield spoken + key + _step(_RAW, left=0) + piece(header + used_up, 2)
    yield _step(_RAW, left=0) + piece(header + b"\4" + datagram[1:], 2)
    forged = key_body[:-5] + bytes((key_body[-5] ^ 1,)) + key_body[-4:]
    for body in (key_body, key_body[:-1], key_body + b"\0", forged, b""):
        yield spoken + _step(_RAW, left=2) + piece(body, 2) + key
    yield _step(_UNKNOWN, left=2) + bytes(9) + _step(_RAW, left=2) + piece(key_body, 2)
    for body in (pack_want(_DAVE.name, _KEY_ID), b"", bytes(21)):
        yield spoken + _step(_RAW, left=1, of_bob=False) + piece(body, 2) + key
