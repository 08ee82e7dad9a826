"""A peer made by hand, linked to one real engine, that may say whatever a test wants it to."""

from __future__ import annotations

from meshnet.engine import Dial, Engine
from meshnet.errors import DropReason
from meshnet.events import Event
from meshnet.ids import Endpoint
from meshnet.peering.config import EngineConfig
from meshnet.peering.data_path import Datagram
from meshnet.wire.ciphers import DEFAULT_PREFERENCE
from meshnet.wire.cookies import read_cookie_reply, with_proof
from meshnet.wire.datagram import HEADER, DatagramType
from meshnet.wire.handshake import PendingHandshake, initiate, read_initiation
from meshnet.wire.identity import Identity
from meshnet.wire.link import LinkState
from meshnet.wire.messages import MessageType, pack_message
from meshnet.wire.session import Session
from support.link_pair import End
from support.samples import ALICE, BOB, NETWORK, NETWORK_ID, PSK, endpoint, link_config, rng

ENGINE_AT = endpoint(1)
NOW = 100.0


def engine_of(who: Identity = ALICE, **changes: object) -> Engine:
    """An engine that nobody drives but the test; it starts at `NOW`."""
    config: dict[str, object] = {"psk": PSK, "network": NETWORK, "endpoints": (ENGINE_AT,)}
    config.update(changes)
    return Engine(EngineConfig(who, **config), rng("engine"), NOW)  # type: ignore[arg-type]


class Guest:
    """The other end of one link of ``engine``, and of its UDP socket.

    Everything the engine puts out is kept here, drained after each input; only what it says on a
    link goes to the guest `beside` us whose link that is.
    """

    def __init__(
        self, engine: Engine, who: Identity = BOB, *, at: Endpoint | None = None, link: int = 1
    ) -> None:
        self.engine, self.who, self.link = engine, who, link
        self.at = at or endpoint(2)
        self.now = NOW
        self.end = End.dialler(link_config(who, life=link), seed=link)
        self._closed = False
        self.heard = b""
        """All that the engine has sent on the link."""
        self.datagrams: list[Datagram] = []
        self.frames: list[bytes] = []
        self.events: list[Event] = []
        self.dials: list[Dial] = []
        self._guests = {link: self}

    def beside(self, who: Identity, **changes: Endpoint) -> Guest:
        """A further guest of the same engine, on the next link."""
        other = Guest(self.engine, who, link=max(self._guests) + 1, **changes)
        self._guests[other.link] = other
        other._guests = self._guests
        return other

    @property
    def drops(self) -> dict[DropReason, int]:
        return dict(self.engine.counters.drops)

    def dial(self) -> Guest:
        """Make the link, as who dials."""
        return self.meet(target_id=None)

    def answer(self, dial: Dial) -> Guest:
        """Make the link, as who was dialled."""
        self.end = End.listener(link_config(self.who, life=self.link))
        return self.meet(target_id=dial.target_id)

    def meet(self, *, target_id: int | None) -> Guest:
        self.engine.link_opened(self.link, self.at, target_id, self.now)
        self.pump()
        return self

    def closed(self) -> bool:
        """Whether the engine has closed the connection."""
        return self._closed

    def established(self) -> bool:
        return not self._closed and self.end.protocol.state is LinkState.ESTABLISHED

    def say(self, kind: MessageType | int, body: bytes) -> None:
        """Send one message on the link."""
        self.say_raw(bytes((kind,)) + body)

    def say_raw(self, record: bytes) -> None:
        self.end.protocol.send_record(record)
        self.pump()

    def give_bytes(self, data: bytes) -> None:
        """Bytes of the link that no protocol made."""
        self.engine.receive_link_bytes(self.link, data, self.now)
        self.drain()

    def give(self, datagram: bytes, source: Endpoint | None = None) -> None:
        self.engine.receive_datagrams([(datagram, source or self.at)], self.now)
        self.drain()

    def wait(self, duration_s: float) -> None:
        """Time passes, and the engine's timers with it."""
        end = self.now + duration_s
        while (deadline := self.engine.next_deadline()) is not None and deadline <= end:
            self.now = max(self.now, deadline)
            self.engine.handle_timer(self.now)
            self.drain()
        self.now = end

    def call(self, stamp: int = 1) -> PendingHandshake:
        """Our first message of a data session, not yet given to the engine."""
        engine = self.engine
        return initiate(
            self.who,
            NETWORK_ID,
            peer=engine.name,
            their_static=engine.config.identity.static.public,
            our_index=0x600D,
            stamp=stamp,
            ciphers=DEFAULT_PREFERENCE,
            capabilities=0,
            ephemeral_secret=stamp.to_bytes(32, "big"),
            remote=ENGINE_AT,
            now=self.now,
        )

    def proved(self, pending: PendingHandshake) -> bytes:
        """The same first message with the proof that the engine, when busy, asks us for."""
        self.give(pending.datagram)
        static = self.engine.config.identity.static.public
        reply = self.sent(DatagramType.COOKIE_REPLY)
        return with_proof(pending.datagram, read_cookie_reply(reply, pending.datagram, static))

    def open_session(self, stamp: int = 1) -> Session:
        """A data session with the engine, confirmed by an empty datagram."""
        pending = self.call(stamp)
        self.give(pending.datagram)
        session = pending.finish(self.sent(DatagramType.RESPONSE), (PSK,), self.now)
        self.give(session.seal(b""))
        return session

    def index_in(self, initiation: bytes) -> int:
        """The index that an initiation of the engine wants to be answered at."""
        return read_initiation(self.who, NETWORK_ID, initiation, bytes(32)).sender_index

    def sent(self, kind: DatagramType) -> bytes:
        """The last datagram of a kind that the engine sent."""
        return [data for data, _ in self.datagrams if data[0] == kind][-1]

    def pump(self) -> None:
        """Carry bytes of the link both ways until there are none."""
        self.drain()
        while (data := self.end.protocol.data_to_send()) and not self._closed:
            self.engine.receive_link_bytes(self.link, data, self.now)
            self.drain()

    def drain(self) -> None:
        for output in self.engine.links_to_send():
            guest = self._guests.get(output.link)
            if guest is not None:
                guest.heard += output.data
                guest.end.receive(output.data)
                guest._closed = guest._closed or output.close
        self.datagrams += self.engine.datagrams_to_send()
        self.frames += self.engine.frames_to_deliver()
        self.dials += self.engine.dials_to_make()
        while (event := self.engine.next_event()) is not None:
            self.events.append(event)

    def messages(self, kind: MessageType) -> list[bytes]:
        """The bodies of a kind of message that the engine sent on the link."""
        head = pack_message(kind, b"")
        return [record[1:] for record in self.end.records if record.startswith(head)]


def response_to(index: int, body: bytes) -> bytes:
    return HEADER.pack(DatagramType.RESPONSE, 0, 0, index, 0) + body
