"""A million datagrams that nobody may have sent: none is accepted, none raises, nothing is kept.

One live peer, with a session of each kind: with `plain` directly, with `clear` in a trusted subnet,
with `far` through `plain`; and a call to `mute` waits for its answer. Who sits on the path has
recorded all of it. Time stands still, so what changes is the datagrams' doing.

What claims to be a frame in clear comes from elsewhere or is a replay: from the trusted address
itself anybody is believed, which is what trusting a subnet means.
"""

from __future__ import annotations

import gc
import ipaddress
import random
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator

import pytest
from attrs import define

from meshnet.errors import DropReason
from meshnet.ids import Endpoint, PeerName
from meshnet.peering.broadcast import MAX_UNOPENED
from meshnet.peering.data_path import Datagram
from meshnet.peering.floods import FREE_HANDSHAKES_BURST
from meshnet.peering.pair import Pair
from meshnet.peering.sender_keys import MAX_HELD_BYTES, MAX_WANTED_SOURCES, WANTED_PER_SOURCE
from meshnet.testing import Cluster, Host, Transport
from meshnet.wire.cookies import COOKIE_REPLY_BYTES, mark
from meshnet.wire.datagram import (
    BROADCAST_HEADER,
    HEADER,
    HEADER_BYTES,
    RELAY_HEADER,
    DatagramType,
    PartType,
    pack_part,
    parse_parts,
)
from meshnet.wire.messages import MessageType
from meshnet.wire.sender_key import SenderKey, pack_sender_key, pack_want
from meshnet.wire.session import Session
from support.mutations import mutated
from support.samples import BROADCAST, ethernet, mac

BURST = 64
ROUNDS = 10
"""The first fills the tables that are bounded; over the others memory is flat."""
FLAT_BLOCKS = 500
"""Of the allocator: what lists and counters of the test itself may take."""


@define(frozen=True)
class Kind:
    """One sort of hostile datagram, and how many of it there are."""

    name: str
    count: int
    make: Callable[[], Datagram]


def pair_of(host: Host, other: Host) -> Pair:
    found = host.engine._sessions.pair(other.name)
    assert found is not None
    return found


def session_of(host: Host, other: Host) -> Session:
    current = pair_of(host, other).current
    assert current is not None
    return current


class Scene:
    """The peers, what they have said to the victim, and who makes hostile datagrams of it."""

    def __init__(self) -> None:
        cluster = self.cluster = Cluster()
        theirs, ours = (ipaddress.ip_network(f"10.0.0.{n}/32") for n in (2, 1))
        self.victim = cluster.add("victim", trusted_subnets=(theirs,), discovery=False)
        self.clear = cluster.add("clear", trusted_subnets=(ours,), discovery=False)
        self.plain, self.far, self.mute = (
            cluster.add(name, discovery=False) for name in ("plain", "far", "mute")
        )
        others = (self.clear, self.plain, self.mute)  # Linked to the victim.
        cluster.cut(self.victim, self.far)
        # Its answers get lost: our call goes on waiting.
        cluster.cut(self.mute, self.victim, one_way=True, only=Transport.UDP)
        self.clear.connect(self.victim)
        for other in (self.plain, self.mute):
            self.victim.connect(other)  # So that it calls them.
        self.far.connect(self.plain)
        known = {self.clear.name, self.plain.name, self.far.name}
        cluster.run_until(lambda: self.victim.peers >= known, within_s=30.0)
        for _ in range(50):
            for number, host in enumerate((*others, self.far)):
                host.send(ethernet(BROADCAST, mac(number)))
                host.send(ethernet(mac(9), mac(number)))
            self.victim.send(ethernet(BROADCAST, mac(9)))
            cluster.run_for(0.02)
        cluster.run_for(0.5)
        waits = lambda: pair_of(self.victim, self.mute).pending is not None  # noqa: E731
        cluster.run_until(waits, within_s=60.0)
        assert session_of(self.victim, self.clear).is_clear
        assert not session_of(self.victim, self.plain).is_clear
        assert session_of(self.victim, self.far).remote == self.far.name
        self.now = cluster.now
        self.drawn = random.Random("hostile")
        self.elsewhere = [Endpoint(f"198.51.100.{number}", 6783) for number in range(1, 50)]
        self._record()

    def _record(self) -> None:
        """What was sent to the victim and has arrived; the last answer of `mute` has not."""
        hosts = {host.nickname: host for host in self.cluster.hosts}
        sent = [
            (packet.data, hosts[packet.source].address, packet.fault)
            for packet in self.cluster.trace
            if packet.to == "victim"
            and packet.transport is Transport.UDP
            and packet.at < self.now - 0.1
        ]
        self.heard = [(data, source) for data, source, fault in sent if not fault]
        self.of_kind = {
            kind: [(data, source) for data, source in self.heard if data[0] == kind]
            for kind in DatagramType
        }
        unheard = (DatagramType.COOKIE_REPLY, DatagramType.BROADCAST)
        assert all(self.of_kind[kind] for kind in DatagramType if kind not in unheard)
        self.said = [
            packet.data
            for packet in self.cluster.trace
            if packet.source == "victim" and packet.transport is Transport.UDP
        ]
        pending = pair_of(self.victim, self.mute).pending
        assert pending is not None
        self.pending = pending
        answers = [d for d, source, fault in sent if fault and d[0] == DatagramType.RESPONSE]
        self.answer = HEADER.pack(DatagramType.RESPONSE, 0, 0, pending.our_index, 0)
        self.answer += answers[-1][HEADER_BYTES:]

    # Makers. Each datagram is another one.

    def source(self) -> Endpoint:
        return self.elsewhere[int(self.drawn.random() * len(self.elsewhere))]

    def pick(self, of: list[Datagram]) -> Datagram:
        return of[int(self.drawn.random() * len(of))]

    def replayed(self) -> Datagram:
        data, source = self.pick(self.heard)
        # Another source would be where the peer has moved to, were it new.
        return data, source if self.drawn.random() < 0.5 else self.source()

    def flipped(self) -> Datagram:
        data, _ = self.pick(self.of_kind[DatagramType.DATA])
        # Of the first byte too: it is then of another type.
        bit = int(self.drawn.random() * 8 * len(data))
        changed = bytearray(data)
        changed[bit >> 3] ^= 1 << (bit & 7)
        return bytes(changed), self.source()

    def changed(self) -> Datagram:
        data, _ = self.pick(self.heard)
        while (made := mutated(data, self.said, self.drawn)) == data:
            pass
        return made, self.source()

    def new_counter(self) -> Datagram:
        """Of a session that exists, with a counter that was not used, and a tag made up."""
        data, _ = self.pick(self.of_kind[DatagramType.DATA])
        counter = self.drawn.getrandbits(64).to_bytes(8, "big")
        return data[:8] + counter + data[HEADER_BYTES:], self.source()

    def cross_session(self) -> Datagram:
        """Sealed for one session, given to another; our own, sent back to us."""
        index = self.pick(self.of_kind[DatagramType.DATA])[0][4:8]
        data = self.said[int(self.drawn.random() * len(self.said))]
        return bytes((DatagramType.DATA,)) + data[1:4] + index + data[8:], self.source()

    def unknown_session(self) -> Datagram:
        bits = self.drawn.getrandbits
        return HEADER.pack(DatagramType.DATA, 0, 0, bits(32), bits(64)) + bytes(32), self.source()

    def clear_from_elsewhere(self) -> Datagram:
        data, _ = self.pick(self.of_kind[DatagramType.CLEAR_DATA])
        counter = self.drawn.getrandbits(64).to_bytes(8, "big")
        return data[:8] + counter + data[HEADER_BYTES:], self.source()

    def clear_for_who_seals(self) -> Datagram:
        """From the right address, in clear, for a session that agreed to nothing such."""
        index = session_of(self.victim, self.plain).our_index
        counter = self.drawn.getrandbits(64)
        header = HEADER.pack(DatagramType.CLEAR_DATA, 0, 0, index, counter)
        frame = ethernet(BROADCAST, mac(3))
        return header + pack_part(PartType.FRAME, frame), self.plain.address

    def first_message_of_a_stranger(self) -> Datagram:
        """Who does not know the victim's key cannot make the mac."""
        data, _ = self.pick(self.of_kind[DatagramType.INITIATION])
        return data[:HEADER_BYTES] + self.drawn.randbytes(16) + data[32:], self.source()

    def first_message_of_who_knows_the_key(self) -> Datagram:
        header = HEADER.pack(DatagramType.INITIATION, 0, 0, self.drawn.getrandbits(32), 0)
        static = self.victim.engine.config.identity.static.public
        return mark(header, self.drawn.randbytes(115), static), self.source()

    def forged_answer(self) -> Datagram:
        """The genuine answer to the call that waits, which was lost, with bits changed."""
        at = HEADER_BYTES + int(self.drawn.random() * (len(self.answer) - HEADER_BYTES))
        changed = bytearray(self.answer)
        changed[at] ^= 1 + int(self.drawn.random() * 255)
        return bytes(changed), self.mute.address

    def forged_cookie(self) -> Datagram:
        index = self.pending.our_index
        header = HEADER.pack(DatagramType.COOKIE_REPLY, 0, 0, index, 0)
        body = self.drawn.randbytes(COOKIE_REPLY_BYTES - HEADER_BYTES)
        return header + body, self.mute.address

    def broadcast(self) -> Datagram:
        """These travel in sessions only, whatever they look like inside."""
        bits, size = self.drawn.getrandbits, int(self.drawn.random() * 200)
        header = HEADER.pack(DatagramType.BROADCAST, 0, 0, bits(32), bits(64))
        return header + self.drawn.randbytes(size), self.source()

    def noise(self) -> Datagram:
        size = int(self.drawn.random() * 64)
        return self.drawn.randbytes(size), self.source()

    def kinds(self) -> list[Kind]:
        return [
            Kind("replayed", 180_000, self.replayed),
            Kind("one bit flipped", 200_000, self.flipped),
            Kind("cut, spliced, mutated", 50_000, self.changed),
            Kind("forged tag under a new counter", 100_000, self.new_counter),
            Kind("of another session", 80_000, self.cross_session),
            Kind("of no session", 170_000, self.unknown_session),
            Kind("in clear, from elsewhere", 60_000, self.clear_from_elsewhere),
            Kind("in clear, for who seals", 50_000, self.clear_for_who_seals),
            Kind("INITIATION of a stranger", 30_000, self.first_message_of_a_stranger),
            Kind("INITIATION that knows the key", 5_000, self.first_message_of_who_knows_the_key),
            Kind("RESPONSE forged", 1_000, self.forged_answer),
            Kind("COOKIE_REPLY forged", 4_000, self.forged_cookie),
            Kind("BROADCAST outside of sessions", 10_000, self.broadcast),
            Kind("random bytes", 60_000, self.noise),
        ]

    # What must not change.

    def state(self) -> dict[PeerName, object]:
        """All that the victim holds of its sessions, the replay windows included."""
        return {pair.peer: _state_of(pair) for pair in self.victim.engine._sessions}

    def give(self, datagrams: list[Datagram]) -> list[Datagram]:
        """What the victim answers, and nothing but that."""
        engine = self.victim.engine
        engine.receive_datagrams(datagrams, self.now)
        assert not engine.frames_to_deliver()
        assert not engine.links_to_send()
        assert not engine.dials_to_make()
        assert engine.next_event() is None
        return list(engine.datagrams_to_send())


def _state_of(pair: Pair) -> tuple[object, ...]:
    pending = pair.pending
    return (
        pair.path,
        pair.last_stamp,
        pair.never_clear,
        pair.cookie,
        dict(pair.probes),
        (pending.our_index, pending.datagram) if pending is not None else None,
        [_state_of_session(session) for session in pair.sessions],
    )


def _state_of_session(session: Session) -> tuple[object, ...]:
    windows = (session.window, session.clear_window)
    return (
        session.our_index,
        session.remote,
        session.confirmed,
        session.clear_with,
        session.last_received_at,
        session.send_counter,
        session.clear_counter,
        [(window._newest, tuple(window._bits)) for window in windows],
    )


@pytest.fixture
def scene() -> Scene:
    return Scene()


def test_of_a_million_hostile_datagrams_none_is_accepted(scene: Scene) -> None:
    counters = scene.victim.engine.counters
    kinds = scene.kinds()
    assert sum(kind.count for kind in kinds) == 1_000_000
    before, drops_before = scene.state(), Counter(counters.drops)
    frames, relayed = counters.frames_received, counters.datagrams_relayed
    answers: Counter[int] = Counter()
    seconds = {kind.name: 0.0 for kind in kinds}
    drops_by_kind: dict[str, Counter[DropReason]] = {kind.name: Counter() for kind in kinds}
    blocks = 0
    for number in range(ROUNDS):
        for kind in kinds:
            dropped, started = Counter(counters.drops), time.perf_counter()
            for size in bursts(kind.count // ROUNDS):
                for data, _ in scene.give([kind.make() for _ in range(size)]):
                    answers[data[0]] += 1
            drops_by_kind[kind.name].update(Counter(counters.drops) - dropped)
            seconds[kind.name] += time.perf_counter() - started
        if number == 0:
            gc.collect()
            blocks = sys.getallocatedblocks()
    gc.collect()
    grown = sys.getallocatedblocks() - blocks
    for kind in kinds:
        reasons = ", ".join(f"{n} {r.value}" for r, n in drops_by_kind[kind.name].most_common())
        print(f"{kind.count:7} {kind.name} ({seconds[kind.name]:.1f} s): {reasons}")
    print(f"allocated blocks after {1 - 1 / ROUNDS:.0%} of it: {grown:+}")
    # One drop each, nothing else.
    for kind in kinds:
        assert drops_by_kind[kind.name].total() == kind.count
    assert (Counter(counters.drops) - drops_before).total() == 1_000_000
    assert (counters.frames_received, counters.datagrams_relayed) == (frames, relayed)
    assert scene.state() == before
    # Cookies for who knows our key, one for each, which is all that is answered.
    assert answers == {DatagramType.COOKIE_REPLY: counters.drops[DropReason.COOKIE_REQUIRED]}
    assert grown < FLAT_BLOCKS
    # What each kind meets, so that none is stopped before the check it is aimed at.
    met = {name: set(reasons) for name, reasons in drops_by_kind.items()}
    assert DropReason.REPLAYED in met["replayed"]
    assert DropReason.BAD_TAG in met["one bit flipped"]
    assert met["forged tag under a new counter"] == {DropReason.BAD_TAG}
    assert met["of another session"] == {DropReason.BAD_TAG}
    assert met["of no session"] == {DropReason.UNKNOWN_SESSION}
    assert met["in clear, from elsewhere"] == {DropReason.UNTRUSTED}
    assert met["in clear, for who seals"] == {DropReason.UNTRUSTED}
    assert met["BROADCAST outside of sessions"] == {DropReason.UNKNOWN_TYPE}
    assert met["INITIATION of a stranger"] == {DropReason.BAD_MAC}
    assert DropReason.COOKIE_REQUIRED in met["INITIATION that knows the key"]
    assert met["RESPONSE forged"] == {DropReason.BAD_HANDSHAKE}
    assert met["COOKIE_REPLY forged"] == {DropReason.BAD_HANDSHAKE}
    assert drops_by_kind["INITIATION that knows the key"][DropReason.BAD_HANDSHAKE] <= (
        FREE_HANDSHAKES_BURST
    )


def bursts(count: int) -> Iterator[int]:
    while count:
        yield min(count, BURST)
        count -= min(count, BURST)


def test_after_all_that_genuine_datagrams_are_accepted(scene: Scene) -> None:
    for kind in scene.kinds():
        scene.give([kind.make() for _ in range(50)])
    expected = scene.victim.engine.counters.frames_received
    for host in (scene.plain, scene.clear, scene.far):
        host.send(ethernet(BROADCAST, mac(50), host.nickname.encode()))
        expected += 1
    scene.cluster.run_for(0.5)
    assert scene.victim.engine.counters.frames_received == expected


def test_a_relay_that_passes_on_hostile_datagrams_gets_none_accepted(scene: Scene) -> None:
    """The envelope is genuine, by a member that is hostile: what is in it is not."""
    engine, far, plain = scene.victim.engine, scene.far, scene.plain
    before = scene.state()
    relay = session_of(plain, scene.victim)
    to_far = session_of(scene.victim, far)
    recorded = [body[RELAY_HEADER.size :] for body in _envelopes(scene)]
    assert recorded
    drawn = scene.drawn
    count = 10_000
    dropped = Counter(engine.counters.drops)
    for number in range(count):
        inner = drawn.choice(recorded)
        if number % 4 == 1:
            inner = bytes((DatagramType.DATA,)) + mutated(inner, scene.said, drawn)[1:]
        elif number % 4 == 2:
            header = HEADER.pack(DatagramType.DATA, 0, 0, to_far.our_index, drawn.getrandbits(48))
            inner = header + drawn.randbytes(60)
        elif number % 4 == 3:
            # A datagram of the direct session, as if it had come through others.
            inner = scene.pick(scene.of_kind[DatagramType.DATA])[0]
        envelope = RELAY_HEADER.pack(far.name, scene.victim.name, 3) + inner
        sealed = relay.seal(pack_part(PartType.RELAY, envelope))
        assert scene.give([(sealed, plain.address)]) == []
    after = scene.state()
    changed = {peer for peer in before if after[peer] != before[peer]}
    assert changed == {plain.name}, "only the carrier's own session counts its datagrams"
    assert (Counter(engine.counters.drops) - dropped).total() == count


def test_a_member_that_makes_up_broadcasts_gets_none_accepted_and_no_memory(scene: Scene) -> None:
    """As a neighbour that passes on what others have said to all: it has a key of theirs, too."""
    engine, plain, drawn = scene.victim.engine, scene.plain, scene.drawn
    carrier = session_of(plain, scene.victim)
    frames, broadcast = engine.counters.frames_received, engine._broadcast
    spoken = SenderKey(plain.engine._broadcast._own_key(scene.now).signed, scene.now, scene.now + 9)
    part = pack_part(PartType.FRAME, ethernet(BROADCAST, mac(3)))
    genuine = BROADCAST_HEADER.pack(plain.name, 3) + spoken.seal(part)
    own = plain.engine._broadcast._own
    assert own is not None
    key = pack_sender_key(own.signed, 0.0)
    want = pack_want(plain.name, own.signed.id)
    for number in range(10_000):
        kind, body = (
            (PartType.BROADCAST, mutated(genuine, [genuine, key], drawn)),
            (PartType.BROADCAST, genuine[:16] + drawn.randbytes(90)),
            (PartType.BROADCAST, drawn.randbytes(17) + b"\6" + drawn.randbytes(60)),
            (PartType.KEY, mutated(key, [key, genuine], drawn)),
            (PartType.KEY_WANT, mutated(want, [want, key], drawn)),
        )[number % 5]
        if genuine[BROADCAST_HEADER.size :] in body:
            continue  # How often it may be passed on is said by each who does so.
        sealed = carrier.seal(pack_part(kind, body))
        engine.receive_datagrams([(sealed, plain.address)], scene.now)
        assert not engine.frames_to_deliver()
        engine.datagrams_to_send()
    assert engine.counters.frames_received == frames
    assert plain.name in engine.links.by_peer, "bad content closes no link"
    assert len(list(broadcast.keys.wanted_names())) <= MAX_WANTED_SOURCES * WANTED_PER_SOURCE
    assert broadcast.keys.held_bytes <= MAX_HELD_BYTES
    assert len(broadcast._unopened) <= MAX_UNOPENED


def test_handshakes_that_a_member_hands_on_by_its_link_are_judged_alike(scene: Scene) -> None:
    engine = scene.victim.engine
    link = engine.links.by_peer[scene.plain.name]
    before, dropped = scene.state(), Counter(engine.counters.drops)
    recorded = [d for d, _ in scene.heard if d[0] != DatagramType.DATA] + [scene.answer[:-1]]
    count = 3000
    for number in range(count):
        data = scene.drawn.choice(recorded)
        if number % 3:
            data = mutated(data, recorded, scene.drawn)
        sender = (scene.far, scene.plain, scene.mute)[number % 3].name
        body = RELAY_HEADER.pack(sender, scene.victim.name, 3) + (data or b"\0")
        engine.message_received(link, MessageType.RELAYED, body, scene.now)
        assert scene.give([]) == []
    assert scene.state() == before
    assert (Counter(engine.counters.drops) - dropped).total() == count


def _envelopes(scene: Scene) -> Iterator[bytes]:
    """What `plain` has passed on, opened with the keys of who passed it on."""
    sessions = {s.our_index: s for s in pair_of(scene.victim, scene.plain).sessions}
    for data, _ in scene.of_kind[DatagramType.DATA]:
        session = sessions.get(HEADER.unpack_from(data)[3])
        if session is not None:
            parts = parse_parts(session.open(data))
            yield from (body for kind, body in parts if kind == PartType.RELAY)
