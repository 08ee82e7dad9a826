"""Any datagram, and any parts that a member seals, are carried or counted; nothing is raised.

A plan: datagrams as they stand, or what one of two members seals or says in clear; one of them is
reached through others, and one is trusted.
"""

from __future__ import annotations

from collections.abc import Iterator

from fuzz.plan import Plan, piece
from meshnet.peering.broadcast import Broadcast
from meshnet.peering.data_path import Counters, DataPath
from meshnet.switch.switch import Switch
from meshnet.wire.ciphers import CipherId
from meshnet.wire.datagram import (
    BROADCAST_HEADER,
    HEADER,
    RELAY_HEADER,
    DatagramType,
    PartType,
    pack_part,
)
from meshnet.wire.key_life import KeyLife
from support.samples import (
    ALICE,
    BOB,
    BROADCAST,
    CAROL,
    NETWORK_ID,
    endpoint,
    ethernet,
    mac,
    rng,
    session_pair,
)

COVERS = (
    "meshnet.peering.data_path:DataPath.receive_datagrams",
    "meshnet.peering.data_path:DataPath._receive_data",
    "meshnet.peering.data_path:DataPath._receive_clear",
    "meshnet.peering.data_path:DataPath._receive_payload",
    "meshnet.peering.data_path:DataPath._receive_relayed",
    "meshnet.peering.data_path:DataPath._receive_frame",
)

_RAW, _SEAL, _CLEAR, _RELAY, _AGAIN, _WAIT = range(6)
_NEAR, _FAR = 0, 1
_LATER_S = 1000.0
_MTU = 1280
_MOST_BYTES = 9000


def check(data: bytes) -> None:
    plan = Plan(data)
    counters = Counters()
    path = DataPath(ALICE.name, Switch(_MTU), counters)
    ours, near = session_pair()
    path.add_session(ours)
    path.use_session(ours)
    ours.clear_with = endpoint(2)
    ours_far, far = session_pair(CipherId.AEGIS_128L, first_index=8)
    ours_far.peer, ours_far.remote = CAROL.name, CAROL.name
    ours_far.given_up = True
    path.add_session(ours_far)
    path.use_session(ours_far)
    path.neighbours = (BOB.name,)
    path.broadcast = Broadcast(
        ALICE,
        NETWORK_ID,
        1,
        CipherId.AEGIS_128L,
        records={},
        carrier=path,
        rng=rng("fuzz"),
        key_life=KeyLife(),
    )
    path.next_hops = {CAROL.name: BOB.name}
    last, now, given = b"", 0.0, 0
    while not plan.over:
        step = plan.number()
        kind, source = step % 6, endpoint(2 + step // 128)
        sender = (near, far)[step // 64 % 2]
        if kind == _WAIT:
            now += _LATER_S
            continue
        body = plan.piece(2)[:_MOST_BYTES]
        if kind == _RAW:
            last = body
        elif kind == _SEAL:
            last = sender.seal(body)
        elif kind == _CLEAR:
            last = sender.write_clear(body)
        elif kind == _RELAY:
            # What the far peer seals comes in an envelope of the near one's.
            header = RELAY_HEADER.pack(CAROL.name, ALICE.name, 1)
            last = near.seal(pack_part(PartType.RELAY, header + far.seal(body)))
        before, taken = counters.drops.total(), _taken(path, counters)
        others = path.receive_datagrams([(last, source)], now)
        given += 1
        assert counters.datagrams_received == given
        for datagram, at in others:
            assert (datagram, at) == (last, source)
            assert len(datagram) >= HEADER.size
            assert datagram[0] not in (DatagramType.DATA, DatagramType.CLEAR_DATA)
        if kind == _RAW and not others and last[:1] != bytes((DatagramType.CLEAR_DATA,)):
            assert counters.drops.total() == before + 1
            assert _taken(path, counters) == taken
        for frame in path.frames_to_deliver():
            assert 14 <= len(frame) <= path.switch.max_frame_bytes
        path.datagrams_to_send()
        path.next_event()


def _taken(path: DataPath, counters: Counters) -> tuple[int, ...]:
    lists = (len(path.confirmed), len(path.probe_acks), len(path.messages))
    return (counters.frames_received, counters.datagrams_relayed, *lists)


def seeds() -> Iterator[bytes]:
    frame = pack_part(PartType.FRAME, ethernet(BROADCAST, mac(1), bytes(46)))
    inner = HEADER.pack(DatagramType.DATA, 0, 0, 8, 9) + bytes(32)
    envelopes = [
        RELAY_HEADER.pack(source, to, hops) + said
        for source, to in ((CAROL.name, ALICE.name), (BOB.name, CAROL.name), (BOB.name, BOB.name))
        for hops in (0, 1)
        for said in (inner, b"", bytes(20))
    ]
    datagram = HEADER.pack(DatagramType.BROADCAST, 0, 0, 8, 9) + bytes(32)
    broadcast = BROADCAST_HEADER.pack(CAROL.name, 2) + datagram
    bodies = [
        b"",
        frame,
        frame * 3,
        pack_part(PartType.FRAME, b"runt"),
        pack_part(PartType.FRAME, bytes(1500)),
        pack_part(PartType.FRAME, ethernet(mac(2), b"\xff" * 6)),
        *(pack_part(PartType.PROBE, bytes(size)) for size in (7, 8)),
        *(pack_part(PartType.PROBE_ACK, bytes(size)) for size in (8, 9)),
        *(pack_part(kind, bytes(30)) for kind in (PartType.KEY, PartType.BROADCAST)),
        pack_part(PartType.BROADCAST, broadcast),
        pack_part(PartType.KEY_WANT, bytes(20)),
        *(pack_part(kind, bytes(30)) for kind in (PartType.MESSAGE, PartType.MESSAGE_ACK)),
        *(pack_part(PartType.RELAY, envelope) for envelope in envelopes),
        b"\x63\0\0" + frame,
        pack_part(PartType.PROBE, bytes(8)) * 2,
        frame[:-1],
        frame + b"\1",
    ]
    for body in bodies:
        for kind in (_SEAL, _CLEAR, _RELAY):
            yield bytes((kind,)) + piece(body, 2)
        # 66 and 68 are the same of the far peer, 132 on from elsewhere.
        yield bytes((67,)) + piece(body, 2)
    for again in (_SEAL, _CLEAR):
        yield bytes((again,)) + piece(frame, 2) + bytes((_AGAIN, 0, 0))
        yield bytes((_WAIT, again)) + piece(frame, 2)
    probe = pack_part(PartType.PROBE, bytes(8))
    yield bytes((_SEAL,)) + piece(frame, 2) + bytes((_SEAL,)) + piece(probe, 2)
    yield bytes((134,)) + piece(frame, 2)
    flood = b"".join(bytes((_SEAL,)) + piece(frame * 80, 2) for _ in range(40))
    yield flood
    whole = HEADER.pack(DatagramType.DATA, 0, 0, 1, 0) + bytes(32)
    for raw in (
        b"",
        whole[:15],
        whole[:16],
        whole,
        b"\x01" + whole[1:],
        b"\x05" + whole[1:],
        inner,
    ):
        yield bytes((_RAW,)) + piece(raw, 2)
    for kind in (DatagramType.DATA, DatagramType.CLEAR_DATA):
        unknown = HEADER.pack(kind, 0, 0, 77, 0) + bytes(32)
        yield bytes((_RAW,)) + piece(unknown, 2)
