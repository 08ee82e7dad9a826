"""Stands where the data path is, for what carries frames for all."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection

from meshnet.ids import PeerName
from meshnet.peering.data_path import Counters
from meshnet.peering.sender_keys import KeyName
from meshnet.wire.datagram import PartType, parse_parts
from meshnet.wire.sender_key import parse_want


class FakeCarrier:
    """Has a session with each neighbour, and keeps what is sent and delivered."""

    def __init__(self, *neighbours: PeerName) -> None:
        self.counters = Counters()
        self.neighbours: Collection[PeerName] = neighbours
        self.sent: list[tuple[PeerName, PartType, bytes]] = []
        self.delivered: list[tuple[PeerName, bytes]] = []
        self.may = True
        """Whether rates allow anything."""

    def has_session(self, peer: PeerName) -> bool:
        return peer in self.neighbours

    def send_part(
        self, peer: PeerName, part: bytes, now: float, *, wants_answer: bool = True
    ) -> bool:
        [(kind, body)] = parse_parts(part)
        self.sent.append((peer, PartType(kind), body))
        return peer in self.neighbours

    def may_pass_on(self, came_from: PeerName, size_bytes: int, now: float) -> bool:
        return self.may

    def may_flood(self, side: PeerName | None, copies: int, size_bytes: int, now: float) -> bool:
        return self.may

    def deliver(self, frame: bytes, source: PeerName, now: float) -> None:
        self.delivered.append((source, frame))

    def took(self, kind: PartType) -> list[tuple[PeerName, bytes]]:
        """What was sent of one kind since the last time."""
        taken = [(peer, body) for peer, sent, body in self.sent if sent is kind]
        self.sent = [row for row in self.sent if row[1] is not kind]
        return taken

    def asked(self) -> Counter[tuple[PeerName, KeyName]]:
        """Whom we have asked for which key since the last time."""
        return Counter((peer, parse_want(body)) for peer, body in self.took(PartType.KEY_WANT))
