"""Messages from one peer to another, acknowledged: sent again until they are, delivered once.

They travel in the data session of the pair, so nobody between can read or forge them, whichever way
it takes (wire.md section 5.8). An acknowledgement says that the message waits for its reader there.
"""

from __future__ import annotations

import enum
from collections import deque
from collections.abc import Collection

from attrs import define

from meshnet.errors import DropReason, LocalProtocolError
from meshnet.events import MessageAnswered, MessageReceived
from meshnet.ids import PeerName
from meshnet.peering.data_path import DataPath
from meshnet.timers import Timers
from meshnet.wire.cursor import Cursor, MalformedError, pack_text
from meshnet.wire.datagram import PartType, pack_part
from meshnet.wire.replay import ReplayWindow

# From wire.md section 5.8.
MAX_TOPIC_BYTES = 64
MAX_PAYLOAD_BYTES = 1024
"""With headers and tags it fits one datagram on every path that IPv6 allows."""

# Our choice. The first repeat comes after what a far peer needs, then exponentially.
FIRST_REPEAT_S = 0.25
REPEAT_FACTOR = 1.6
LAST_REPEAT_S = 2.0
# Bounds what waits for one peer's answers, and what is remembered of peers long gone.
MAX_UNANSWERED = 256
MAX_SENDERS = 4096


class Answer(enum.IntEnum):
    """What became of a message at the other end."""

    DELIVERED = 0
    NOBODY_READS = 1
    """Nobody there reads this topic."""
    BUSY = 2
    """Its reader is behind; it is sent again until the sender gives up."""
    TOO_LATE = 3
    """So many later ones were delivered that nobody knows of this one: it is not delivered now."""


_REFUSALS: dict[int, str] = {
    Answer.NOBODY_READS: "nobody there reads this topic",
    Answer.TOO_LATE: "too many later messages came before it",
}


@define(eq=False, repr=False)
class _Unanswered:
    peer: PeerName
    body: bytes
    give_up_at: float
    repeats: int = 0
    said: str = "no answer"


class Unicast:
    """All messages of one peer. ``life`` is random per start (u64): numbers begin anew with it."""

    def __init__(self, our_name: PeerName, life: int, data_path: DataPath) -> None:
        self._our_name = our_name
        self._life = life
        self._data_path = data_path
        self._next_number = 1
        self._unanswered: dict[int, _Unanswered] = {}
        self._timers: Timers[int] = Timers()
        self._seen: dict[PeerName, tuple[int, ReplayWindow]] = {}
        self._events: deque[MessageReceived | MessageAnswered] = deque()
        self.readers: Collection[str] = ()
        """The topics that are read here; a live view, which the owner sets."""
        self.busy: Collection[str] = ()
        """Those of them whose readers are behind."""

    def send(
        self, peer: PeerName, topic: str, payload: bytes, *, timeout_s: float, now: float
    ) -> int:
        """Begin to send: the number that a `MessageAnswered` will bear.

        Raises ValueError for what nobody would accept, TypeError for a payload that is no bytes
        or a topic that is no text, and LocalProtocolError when too many wait or ``peer`` is this
        one.
        """
        if peer == self._our_name:
            raise LocalProtocolError("a message to this peer itself")
        if not isinstance(payload, bytes | bytearray | memoryview):
            raise TypeError(f"{payload!r} is no payload: give bytes")
        if len(payload) > MAX_PAYLOAD_BYTES:
            raise ValueError(f"message of {len(payload)} bytes: at most {MAX_PAYLOAD_BYTES}")
        if len(self._unanswered) >= MAX_UNANSWERED:
            raise LocalProtocolError(f"{MAX_UNANSWERED} messages wait for an answer already")
        packed_topic = pack_text(topic, MAX_TOPIC_BYTES)
        number, self._next_number = self._next_number, self._next_number + 1
        head = self._life.to_bytes(8, "big") + number.to_bytes(8, "big")
        self._unanswered[number] = _Unanswered(peer, head + packed_topic + payload, now + timeout_s)
        self._send(number, now)
        return number

    def give_up(self, number: int) -> None:
        """Nobody waits for the answer any more."""
        self._unanswered.pop(number, None)
        self._timers.cancel(number)

    def receive(self, peer: PeerName, kind: PartType, body: bytes, now: float) -> DropReason | None:
        """A part that ``peer``'s session brought; what was wrong with it."""
        try:
            if kind is PartType.MESSAGE:
                self._receive_message(peer, Cursor(body), now)
            else:
                self._receive_answer(peer, Cursor(body))
        except MalformedError:
            return DropReason.MALFORMED_PART
        return None

    def handle_timer(self, now: float) -> None:
        for number in self._timers.pop_due(now):
            waiting = self._unanswered[number]
            if now >= waiting.give_up_at:
                del self._unanswered[number]
                self._events.append(MessageAnswered(number, waiting.said))
            else:
                self._send(number, now)

    def next_deadline(self) -> float | None:
        return self._timers.next_deadline()

    def next_event(self) -> MessageReceived | MessageAnswered | None:
        return self._events.popleft() if self._events else None

    def _send(self, number: int, now: float) -> None:
        waiting = self._unanswered[number]
        # Without a session it is as if it had been lost: there may be one by the next time.
        self._data_path.send_part(waiting.peer, pack_part(PartType.MESSAGE, waiting.body), now)
        wait_s = min(FIRST_REPEAT_S * REPEAT_FACTOR ** min(waiting.repeats, 16), LAST_REPEAT_S)
        waiting.repeats += 1
        self._timers.set(number, min(now + wait_s, waiting.give_up_at))

    def _receive_message(self, peer: PeerName, cursor: Cursor, now: float) -> None:
        life, number = cursor.read_u64(), cursor.read_u64()
        topic, payload = cursor.read_text(MAX_TOPIC_BYTES), cursor.read_rest()
        if len(payload) > MAX_PAYLOAD_BYTES:
            raise MalformedError(f"message of {len(payload)} bytes")
        answer = Answer.DELIVERED
        if topic not in self.readers:
            answer = Answer.NOBODY_READS
        elif topic in self.busy:
            answer = Answer.BUSY
        else:
            window = self._window(peer, life)
            if window.is_past(number):
                answer = Answer.TOO_LATE
            elif window.accept(number):
                self._events.append(MessageReceived(peer, topic, payload))
        body = life.to_bytes(8, "big") + number.to_bytes(8, "big") + bytes((answer,))
        ack = pack_part(PartType.MESSAGE_ACK, body)
        self._data_path.send_part(peer, ack, now, wants_answer=False)

    def _window(self, peer: PeerName, life: int) -> ReplayWindow:
        known = self._seen.pop(peer, None)
        if known is None or known[0] != life:
            known = (life, ReplayWindow())
        if len(self._seen) >= MAX_SENDERS:
            del self._seen[next(iter(self._seen))]
        self._seen[peer] = known
        return known[1]

    def _receive_answer(self, peer: PeerName, cursor: Cursor) -> None:
        life, number, code = cursor.read_u64(), cursor.read_u64(), cursor.read_u8()
        cursor.finish()
        waiting = self._unanswered.get(number)
        if waiting is None or waiting.peer != peer or life != self._life:
            return
        if code == Answer.BUSY:
            waiting.said = "its reader is behind"
            return
        self.give_up(number)
        said = "" if code == Answer.DELIVERED else _REFUSALS.get(code, f"refused ({code})")
        self._events.append(MessageAnswered(number, said))
