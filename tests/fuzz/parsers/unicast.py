"""Any part of a member is a message read once, the answer to one that waits, or MALFORMED_PART.

A plan: parts, each of one of two members; the topic `slow` has a reader that is behind.
"""

from __future__ import annotations

from collections.abc import Iterator

from fuzz.plan import Plan, piece
from meshnet.errors import DropReason
from meshnet.events import MessageAnswered, MessageReceived
from meshnet.ids import PeerName
from meshnet.peering.data_path import Counters, DataPath
from meshnet.peering.unicast import MAX_PAYLOAD_BYTES, MAX_TOPIC_BYTES, Answer, Unicast
from meshnet.switch.switch import Switch
from meshnet.wire.cursor import is_clean, pack_text
from meshnet.wire.datagram import PartType
from support.samples import ALICE, BOB, CAROL

COVERS = (
    "meshnet.peering.unicast:Unicast.receive",
    "meshnet.peering.unicast:Unicast._receive_message",
    "meshnet.peering.unicast:Unicast._receive_answer",
    "meshnet.peering.unicast:Unicast._window",
)

_LIFE = 7
_ANSWER, _OF_CAROL = 1, 2


def check(data: bytes) -> None:
    plan = Plan(data)
    unicast = Unicast(ALICE.name, _LIFE, DataPath(ALICE.name, Switch(1280), Counters()))
    unicast.readers, unicast.busy = ("quick", "slow"), ("slow",)
    waiting = {unicast.send(BOB.name, "topic", b"", timeout_s=5.0, now=0.0) for _ in range(2)}
    read: set[tuple[PeerName, bytes]] = set()
    while not plan.over:
        form = plan.number()
        peer = CAROL.name if form & _OF_CAROL else BOB.name
        kind = PartType.MESSAGE_ACK if form & _ANSWER else PartType.MESSAGE
        body = plan.piece(2)
        drop = unicast.receive(peer, kind, body, 0.0)
        event = unicast.next_event()
        if drop is not None:
            assert drop is DropReason.MALFORMED_PART
            assert event is None
        elif isinstance(event, MessageReceived):
            assert kind is PartType.MESSAGE
            assert (event.peer, event.topic) == (peer, "quick")
            assert len(event.payload) <= MAX_PAYLOAD_BYTES
            once = (peer, body[:16])
            # A member that begins another life begins its numbers anew.
            assert once not in read or len({key[1][:8] for key in read if key[0] == peer}) > 1
            read.add(once)
        elif isinstance(event, MessageAnswered):
            assert (kind, peer) == (PartType.MESSAGE_ACK, BOB.name)
            waiting.remove(event.number)
            assert is_clean(event.reason)
        assert unicast.next_event() is None


def _message(topic: str, payload: bytes = b"said", number: int = 1, life: int = 9) -> bytes:
    head = life.to_bytes(8, "big") + number.to_bytes(8, "big")
    return head + pack_text(topic, MAX_TOPIC_BYTES) + payload


def _answer(code: int, number: int = 1, life: int = _LIFE) -> bytes:
    return life.to_bytes(8, "big") + number.to_bytes(8, "big") + bytes((code,))


def seeds() -> Iterator[bytes]:
    for body in (
        _message("quick"),
        _message("quick", number=2**64 - 1),
        _message("quick", bytes(MAX_PAYLOAD_BYTES)),
        _message("quick", bytes(MAX_PAYLOAD_BYTES + 1)),
        _message("slow"),
        _message("nobody's"),
        _message("quick")[:16] + b"\x41" + bytes(65),
        _message("quick")[:15],
        b"",
    ):
        for form in (0, _OF_CAROL):
            yield bytes((form,)) + piece(body, 2)
        yield (b"\0" + piece(body, 2)) * 2
    for life in (9, 10, 9):
        yield b"".join(b"\0" + piece(_message("quick", life=n), 2) for n in (life, 10, 9))
    for code in (*Answer, 99):
        said = bytes((_ANSWER,)) + piece(_answer(code), 2)
        yield said * 2
        yield bytes((_ANSWER | _OF_CAROL,)) + piece(_answer(code), 2)
    for body in (_answer(0, number=3), _answer(0, life=8), _answer(0)[:-1], _answer(0) + b"\0"):
        yield bytes((_ANSWER,)) + piece(body, 2)
