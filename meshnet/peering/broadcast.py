"""Frames for all, in a mesh of more peers than one has sessions with (wire.md section 5.9).

The source seals a frame once, by its sender key; from then on it goes from neighbour to neighbour
inside their sessions, unopened: along the tree of ways to its source where that is known, else to
all neighbours but the one it came from. Each peer takes it once, by its counter, so neither a loop
nor a second way brings a frame twice, whatever the trees of different peers look like meanwhile.

A peer that lacks the key passes on all the same, and asks those for it who brought the datagram.
What cannot be opened is told from a repeat by all of its bytes: who made up a counter cannot shut
out the true datagram with it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Protocol

from meshnet.errors import AuthenticationError, DropReason
from meshnet.ids import PeerName
from meshnet.peering.buckets import TokenBuckets
from meshnet.peering.data_path import Counters
from meshnet.peering.sender_keys import MAX_ASKERS, MAX_CARRIERS, KeyName, SenderKeys
from meshnet.ports import Rng
from meshnet.timers import Timers
from meshnet.topology.records import PeerRecord
from meshnet.topology.routes import MAX_HOPS
from meshnet.wire.ciphers import CipherId
from meshnet.wire.crypto import blake2s
from meshnet.wire.cursor import MalformedError
from meshnet.wire.datagram import (
    BROADCAST_HEADER,
    HEADER,
    HEADER_BYTES,
    DatagramType,
    PartType,
    pack_part,
    parse_parts,
)
from meshnet.wire.identity import Identity
from meshnet.wire.key_life import KeyLife
from meshnet.wire.sender_key import (
    SenderKey,
    pack_sender_key,
    pack_want,
    parse_sender_key,
    parse_want,
    sign_key,
)

# Our choice. A key comes within a round trip for each hop to who has it; then others are asked.
FIRST_ASK_AGAIN_S = 0.2
LAST_ASK_AGAIN_S = 1.0
MAX_ASKS = 8
# Keys that one neighbour's datagrams may make us ask for, and that it may ask us for: with a
# thousand peers that all begin to speak at once each neighbour brings hundreds. Each answer costs
# its reader the check of a signature.
ASKS_PER_S = 100.0
ASKS_BURST = 1000.0
# What we pass on without a key for each neighbour: nobody between us and it has looked inside.
UNOPENED_PER_S = 500.0
UNOPENED_BURST = 1000.0
# Datagrams that were passed on unopened and are known again.
MAX_UNOPENED = 4096
SWEEP_INTERVAL_S = 60.0

TreeChildren = Callable[[PeerName, float], Collection[PeerName] | None]
"""To whom what a source has sent to all is passed on now; None while that is not known."""


class Carrier(Protocol):
    """What carries parts and takes frames: the `DataPath`."""

    counters: Counters
    neighbours: Collection[PeerName]

    def has_session(self, peer: PeerName) -> bool:
        """Whether parts can be sent to ``peer``."""

    def send_part(
        self, peer: PeerName, part: bytes, now: float, *, wants_answer: bool = True
    ) -> bool:
        """Send a packed part in the session with ``peer``; False when there is none."""

    def may_pass_on(self, came_from: PeerName, size_bytes: int, now: float) -> bool:
        """Whether that much may be passed on for a neighbour now."""

    def may_flood(self, side: PeerName | None, copies: int, size_bytes: int, now: float) -> bool:
        """Whether that much may be flooded for a side now."""

    def deliver(self, frame: bytes, source: PeerName, now: float) -> None:
        """A frame for all, of ``source``, for the local side."""


class Broadcast:
    """What one peer says to all, hears from all, and passes on."""

    def __init__(
        self,
        identity: Identity,
        network_id: bytes,
        life: int,
        cipher: CipherId,
        *,
        records: Mapping[PeerName, PeerRecord],
        carrier: Carrier,
        rng: Rng,
        key_life: KeyLife,
    ) -> None:
        self.tree_children: TreeChildren | None = None
        """Set by who knows the tree of each source."""
        self._identity = identity
        self._our_name = identity.name
        self._network_id = network_id
        self._life = life
        self._cipher = cipher
        self._records = records
        self._carrier = carrier
        self._rng = rng
        self._key_life = key_life
        self._own: SenderKey | None = None
        self._keys = SenderKeys()
        self._unopened: dict[bytes, None] = {}
        self._unopened_rate: TokenBuckets[PeerName] = TokenBuckets(UNOPENED_PER_S, UNOPENED_BURST)
        self._ask_rate: TokenBuckets[PeerName] = TokenBuckets(ASKS_PER_S, ASKS_BURST)
        self._answer_rate: TokenBuckets[PeerName] = TokenBuckets(ASKS_PER_S, ASKS_BURST)
        self._timers: Timers[KeyName | None] = Timers()

    @property
    def keys(self) -> SenderKeys:
        """What is held, to be read only."""
        return self._keys

    def children(self, source: PeerName, came_from: PeerName | None, now: float) -> list[PeerName]:
        """To whom a frame of ``source`` goes from here.

        To all neighbours also when one of the tree cannot be reached now: others reach those
        behind it.
        """
        has_session = self._carrier.has_session
        tree = self.tree_children(source, now) if self.tree_children is not None else None
        if tree is None or not all(map(has_session, tree)):
            tree = self._carrier.neighbours
        return [peer for peer in tree if peer not in (came_from, source) and has_session(peer)]

    def send(self, frame: bytes, now: float) -> DropReason | None:
        """A frame from the local side, to all. Why was it not sent?"""
        children = self.children(self._our_name, None, now)
        if not children:
            return DropReason.NO_SESSION
        if not self._carrier.may_flood(None, len(children), len(frame), now):
            return DropReason.STORM
        datagram = self._own_key(now).seal(pack_part(PartType.FRAME, frame))
        self._send_to(children, self._our_name, MAX_HOPS, datagram, now)
        counters = self._carrier.counters
        counters.frames_sent += 1
        counters.frame_bytes_sent += len(frame)
        counters.broadcasts_sent += 1
        return None

    def receive(
        self, kind: PartType, body: bytes, came_from: PeerName, now: float
    ) -> DropReason | None:
        """A part of ours that ``came_from``'s session brought; what was wrong with it."""
        try:
            if kind is PartType.BROADCAST:
                return self._receive_broadcast(body, came_from, now)
            if kind is PartType.KEY_WANT:
                return self._receive_want(parse_want(body), came_from, now)
            return self._receive_key(body, came_from, now)
        except MalformedError:
            return DropReason.MALFORMED_PART

    def handle_timer(self, now: float) -> None:
        for name in self._timers.pop_due(now):
            if name is not None:
                self._ask(name, now)
                continue
            self._keys.expire(now)
            if len(self._keys):
                self._timers.set(None, now + SWEEP_INTERVAL_S)

    def next_deadline(self) -> float | None:
        return self._timers.next_deadline()

    # Datagrams.

    def _receive_broadcast(self, body: bytes, came_from: PeerName, now: float) -> DropReason | None:
        datagram = body[BROADCAST_HEADER.size :]
        if len(datagram) < HEADER_BYTES or datagram[0] != DatagramType.BROADCAST:
            raise MalformedError("no broadcast datagram")
        source_bytes, left = BROADCAST_HEADER.unpack_from(body)
        source = PeerName(source_bytes)
        _type, _flags, _reserved, key_id, counter = HEADER.unpack_from(datagram)
        key = self._keys.get((source, key_id))
        if source == self._our_name or (key is not None and key.window.has_seen(counter)):
            self._carrier.counters.broadcasts_repeated += 1
            return None
        if key is None:
            return self._pass_on_unopened((source, key_id), left, datagram, came_from, now)
        payload = self._open(key, counter, datagram, now)
        if isinstance(payload, DropReason):
            return payload
        drop = self._pass_on(source, left, datagram, came_from, now)
        return self._take(source, payload, now) or drop

    def _open(
        self, key: SenderKey, counter: int, datagram: bytes, now: float
    ) -> bytes | DropReason:
        if now >= key.expires_at or counter >= key.cipher.max_datagrams:
            return DropReason.EXPIRED_KEY
        try:
            payload = key.open(datagram)
        except AuthenticationError:
            return DropReason.BAD_TAG
        # Only now: a counter that somebody made up must not move the window.
        if not key.window.accept(counter):
            return DropReason.REPLAYED
        # What a source may flood it is charged for before others are made to carry it on.
        if not self._carrier.may_flood(key.signed.source, 1, len(payload), now):
            return DropReason.STORM
        return payload

    def _take(self, source: PeerName, payload: bytes, now: float) -> DropReason | None:
        try:
            parts = parse_parts(payload)
        except MalformedError:
            return DropReason.MALFORMED_PART
        for part_type, body in parts:
            # Nothing else is for all: who answered a PROBE here would answer as one of thousands.
            if part_type == PartType.FRAME:
                self._carrier.deliver(body, source, now)
        return None

    def _pass_on_unopened(
        self, name: KeyName, left: int, datagram: bytes, came_from: PeerName, now: float
    ) -> DropReason | None:
        digest = blake2s(name[0] + datagram)
        if digest in self._unopened:
            self._carrier.counters.broadcasts_repeated += 1
            self._may_ask_of(name, came_from)
            return None
        if not self._unopened_rate.take(came_from, 1.0, now):
            return DropReason.RELAY_RATE
        if len(self._unopened) >= MAX_UNOPENED:
            del self._unopened[next(iter(self._unopened))]
        self._unopened[digest] = None
        drop = self._pass_on(name[0], left, datagram, came_from, now)
        return self._hold(name, datagram, came_from, now) or drop

    def _pass_on(
        self, source: PeerName, left: int, datagram: bytes, came_from: PeerName, now: float
    ) -> DropReason | None:
        children = self.children(source, came_from, now)
        if not children:
            return None
        if left == 0:
            return DropReason.HOP_LIMIT
        if not self._carrier.may_pass_on(came_from, len(children) * len(datagram), now):
            return DropReason.RELAY_RATE
        self._send_to(children, source, left - 1, datagram, now)
        self._carrier.counters.broadcasts_passed_on += 1
        return None

    def _send_to(
        self, peers: Collection[PeerName], source: PeerName, left: int, datagram: bytes, now: float
    ) -> None:
        part = pack_part(PartType.BROADCAST, BROADCAST_HEADER.pack(source, left) + datagram)
        for peer in peers:
            self._carrier.send_part(peer, part, now)

    # Keys.

    def _own_key(self, now: float) -> SenderKey:
        """The key we seal by: another one when it is old, or has sealed half of what it may."""
        key = self._own
        if key is not None:
            fresh = now < key.made_at + self._key_life.rekey_after_s
            if fresh and key.counter < key.cipher.max_datagrams // 2:
                return key
        signed = sign_key(
            self._identity,
            self._network_id,
            life=self._life,
            key_id=int.from_bytes(self._rng(4), "big"),
            cipher=self._cipher,
            key=self._rng(32),
        )
        self._own = key = SenderKey(signed, now, now + self._key_life.reject_after_s)
        self._add(key, now)
        return key

    def _add(self, key: SenderKey, now: float) -> None:
        self._keys.add(key)
        self._timers.set_if_unset(None, now + SWEEP_INTERVAL_S)

    def _hold(
        self, name: KeyName, datagram: bytes, came_from: PeerName, now: float
    ) -> DropReason | None:
        wanted = self._keys.wanted(name)
        if wanted is None:
            if not self._ask_rate.take(came_from, 1.0, now):
                return DropReason.KEY_RATE
            wanted = self._keys.want(name)
        if wanted is None or not self._keys.hold(wanted, datagram):
            return DropReason.NO_SENDER_KEY
        self._may_ask_of(name, came_from)
        if wanted.tries == 0:
            self._ask(name, now)
        return None

    def _may_ask_of(self, name: KeyName, carrier: PeerName) -> None:
        wanted = self._keys.wanted(name)
        if wanted is None or carrier in wanted.carriers or len(wanted.carriers) >= MAX_CARRIERS:
            return
        wanted.carriers.append(carrier)

    def _ask(self, name: KeyName, now: float) -> None:
        wanted = self._keys.wanted(name)
        if wanted is None:
            return
        if wanted.tries >= MAX_ASKS or not wanted.carriers:
            self._give_up(name)
            return
        carrier = wanted.carriers[wanted.tries % len(wanted.carriers)]
        self._carrier.send_part(carrier, pack_part(PartType.KEY_WANT, pack_want(*name)), now)
        wait_s = min(FIRST_ASK_AGAIN_S * 2.0**wanted.tries, LAST_ASK_AGAIN_S)
        wanted.tries += 1
        self._timers.set(name, now + wait_s)

    def _give_up(self, name: KeyName) -> None:
        self._timers.cancel(name)
        wanted = self._keys.stop_waiting(name)
        if wanted is not None:
            self._carrier.counters.drops[DropReason.NO_SENDER_KEY] += len(wanted.held)

    def _receive_want(self, name: KeyName, asker: PeerName, now: float) -> DropReason | None:
        if not self._answer_rate.take(asker, 1.0, now):
            return DropReason.KEY_RATE
        key, wanted = self._keys.get(name), self._keys.wanted(name)
        if key is not None:
            self._give(key, asker, now)
        elif wanted is not None and asker not in wanted.askers and len(wanted.askers) < MAX_ASKERS:
            wanted.askers.append(asker)
        return None

    def _give(self, key: SenderKey, peer: PeerName, now: float) -> None:
        """To who has a session with us, and so is a member."""
        if now < key.expires_at:
            body = pack_sender_key(key.signed, now - key.made_at)
            self._carrier.send_part(peer, pack_part(PartType.KEY, body), now)

    def _receive_key(self, body: bytes, carrier: PeerName, now: float) -> DropReason | None:
        signed, age_s = parse_sender_key(body)
        name = (signed.source, signed.id)
        wanted = self._keys.wanted(name)
        if wanted is None or carrier not in wanted.carriers:
            return None  # Another answer to what was asked twice: it means nothing.
        record = self._records.get(signed.source)
        if record is None:
            return None  # Its record is on its way, or it is nobody's: we ask again for a while.
        expires_at = now - age_s + self._key_life.reject_after_s
        if now >= expires_at:
            return DropReason.EXPIRED_KEY
        if signed.life != record.life:
            return DropReason.BAD_SENDER_KEY  # Of a life that is over, or not heard of yet.
        try:
            signed.check(record.public_key, self._network_id)
        except AuthenticationError:
            # Nobody can have us check one signature after the other.
            wanted.carriers.remove(carrier)
            return DropReason.BAD_SENDER_KEY
        self._timers.cancel(name)
        self._keys.stop_waiting(name)
        key = SenderKey(signed, now - age_s, expires_at)
        self._add(key, now)
        for asker in wanted.askers:
            self._give(key, asker, now)
        for datagram in wanted.held:
            self._open_held(key, datagram, now)
        return None

    def _open_held(self, key: SenderKey, datagram: bytes, now: float) -> None:
        """What was passed on already, unopened."""
        opened = self._open(key, HEADER.unpack_from(datagram)[4], datagram, now)
        source = key.signed.source
        drop = opened if isinstance(opened, DropReason) else self._take(source, opened, now)
        if drop is not None:
            self._carrier.counters.drops[drop] += 1
