"""A network that behaves badly as told: datagrams and streams, way by way, without a socket.

Sans-IO: it is asked what becomes of what is sent, and says when it arrives. Each *way* is one
direction between two hosts. Every fault can be switched by itself and at any time, and draws from a
stream of its own, so switching one leaves the others' draws as they were. The words are those of
`tc netem` where it has them.
"""

from __future__ import annotations

import enum
from collections import deque
from collections.abc import Collection, Hashable
from typing import Any, Literal, NamedTuple

from attrs import define, evolve, field, validators

from meshnet.testing.rng import SeededRng

# RFC 6298 section 5 with the least wait of Linux; its greatest is 120 s.
FIRST_RETRANSMISSION_S = 0.2
LAST_RETRANSMISSION_S = 120.0
# After so many losses in a row even an unlucky segment passes: `cut` is what stops all.
_MAX_SEGMENT_LOSSES = 8

_SHARE = [validators.ge(0.0), validators.le(1.0)]
_POSITIVE = validators.optional(validators.gt(0))


class Transport(enum.Enum):
    UDP = "udp"
    TCP = "tcp"


@define(frozen=True)
class BurstLoss:
    """Losses in bursts (Gilbert-Elliott): a good and a bad state, changed at each datagram.

    ``enter`` is the chance to go bad, ``leave`` to become good again, so a burst has 1 / ``leave``
    datagrams on average. ``loss_in`` and ``loss_out`` are the shares lost in bad and good state.
    """

    enter: float = field(validator=_SHARE)
    leave: float = field(validator=_SHARE)
    loss_in: float = field(default=1.0, validator=_SHARE)
    loss_out: float = field(default=0.0, validator=_SHARE)

    @property
    def share(self) -> float:
        """The share of datagrams lost in the long run."""
        bad = self.enter / (self.enter + self.leave) if self.enter else 0.0
        return bad * self.loss_in + (1.0 - bad) * self.loss_out


@define(frozen=True)
class Conditions:
    """What one way does to what passes; shares are 0 to 1.

    A datagram takes ``delay_s`` and up to ``jitter_s`` more, and keeps its place: it is
    ``reorder`` that lets a share of them be overtaken, by holding each back for ``reorder_s``.
    ``rate_bytes_per_s`` (None: no limit) holds for the datagrams together, which wait in a queue of
    ``queue_bytes``, its tail dropped, and for each stream by itself.

    Streams lose nothing: what would be lost comes later, as TCP sends it again. With
    ``segment_bytes`` their bytes arrive in pieces of 1 up to that many, whatever was written.
    """

    delay_s: float = field(default=0.001, validator=validators.ge(0.0))
    jitter_s: float = field(default=0.0, validator=validators.ge(0.0))
    loss: float = field(default=0.0, validator=_SHARE)
    burst_loss: BurstLoss | None = None
    duplicate: float = field(default=0.0, validator=_SHARE)
    reorder: float = field(default=0.0, validator=_SHARE)
    reorder_s: float = field(default=0.02, validator=validators.ge(0.0))
    rate_bytes_per_s: float | None = field(default=None, validator=_POSITIVE)
    queue_bytes: int = field(default=65536, validator=validators.ge(0))
    segment_bytes: int | None = field(default=None, validator=_POSITIVE)


class Fate(NamedTuple):
    """What becomes of a datagram: when it arrives, once or twice or never, and the fault's name."""

    arrivals: tuple[float, ...]
    fault: Literal["", "cut", "lost", "lost in a burst", "queue full", "duplicated", "reordered"]


class Way:
    """One direction between two hosts."""

    __slots__ = ("_arrived", "_bad", "_draws", "_free_at", "_rng", "conditions", "cut")

    def __init__(self, conditions: Conditions, rng: SeededRng) -> None:
        self.conditions = conditions
        self.cut: frozenset[Transport] = frozenset()
        """What does not pass at all; nobody is told."""
        self._rng = rng
        self._draws: dict[str, SeededRng] = {}
        self._bad = False
        # When the queue is empty again, and when the last one that kept its place arrives.
        self._free_at = 0.0
        self._arrived = 0.0

    def send_datagram(self, size_bytes: int, now: float) -> Fate:
        """A datagram sets out; whether the way is still open when it arrives is asked then."""
        conditions = self.conditions
        if Transport.UDP in self.cut:
            return Fate((), "cut")
        if conditions.loss and self._chance("loss", conditions.loss):
            return Fate((), "lost")
        if conditions.burst_loss is not None and self._lost_in_burst(conditions.burst_loss):
            return Fate((), "lost in a burst")
        leaves = now
        if conditions.rate_bytes_per_s is not None:
            starts = max(now, self._free_at)
            waiting_bytes = (starts - now) * conditions.rate_bytes_per_s
            if waiting_bytes + size_bytes > conditions.queue_bytes:
                return Fate((), "queue full")
            self._free_at = leaves = starts + size_bytes / conditions.rate_bytes_per_s
        arrives = leaves + self.delay()
        if conditions.reorder and self._chance("reorder", conditions.reorder):
            return Fate((arrives + conditions.reorder_s,), "reordered")
        self._arrived = arrives = max(arrives, self._arrived)
        if conditions.duplicate and self._chance("duplicate", conditions.duplicate):
            return Fate((arrives, arrives), "duplicated")
        return Fate((arrives,), "")

    def delay(self) -> float:
        """How long one packet takes from end to end now, the queue left out."""
        conditions = self.conditions
        if not conditions.jitter_s:
            return conditions.delay_s
        return conditions.delay_s + self._draw("jitter").random() * conditions.jitter_s

    def segment_delay(self) -> float:
        """As `delay`, of a segment that is sent again until it is not lost."""
        conditions, delay_s = self.conditions, self.delay()
        wait_s = FIRST_RETRANSMISSION_S
        for _ in range(_MAX_SEGMENT_LOSSES):
            lost = conditions.loss and self._chance("segment loss", conditions.loss)
            # At its mean share: a burst is over before TCP sends again.
            if not lost and conditions.burst_loss is not None:
                lost = self._chance("segment burst", conditions.burst_loss.share)
            if not lost:
                break
            delay_s += wait_s
            wait_s *= 2
        return delay_s

    def pieces(self, data: bytes) -> list[bytes]:
        """``data`` of a stream as it comes out of the receiver's socket, read by read."""
        most = self.conditions.segment_bytes
        if most is None:
            return [data]
        draw, pieces, at = self._draw("pieces").draw, [], 0
        while at < len(data):
            size = draw.randint(1, int(most))
            pieces.append(data[at : at + size])
            at += size
        return pieces

    def _lost_in_burst(self, burst: BurstLoss) -> bool:
        self._bad = (
            not self._chance("burst", burst.leave)
            if self._bad
            else self._chance("burst", burst.enter)
        )
        return self._chance("burst loss", burst.loss_in if self._bad else burst.loss_out)

    def _chance(self, fault: str, share: float) -> bool:
        return self._draw(fault).random() < share

    def _draw(self, fault: str) -> SeededRng:
        if fault not in self._draws:
            self._draws[fault] = self._rng.stream(fault)
        return self._draws[fault]


class StreamEnd(enum.Enum):
    """What a stream carries besides bytes."""

    OPENED = "opened"
    """The connection stands: always first."""
    CLOSED = "closed by the other end"
    RESET = "connection reset"


class Stream:
    """One direction of a TCP connection: everything arrives once and in order, or not yet.

    While its way is cut it stalls and tries again, less and less often, as TCP does. A connection
    whose other direction is cut still carries this one: its acknowledgements are not emulated.
    """

    __slots__ = ("_free_at", "_retry_at", "_retry_s", "_waiting", "way")

    def __init__(self, way: Way) -> None:
        self.way = way
        self._waiting: deque[tuple[float, bytes | StreamEnd]] = deque()
        self._free_at = 0.0
        self._retry_at = 0.0
        self._retry_s = FIRST_RETRANSMISSION_S

    def write(self, item: bytes | StreamEnd, now: float) -> None:
        """Bytes, or the end, set out after all that was written before."""
        leaves = now
        rate = self.way.conditions.rate_bytes_per_s
        if rate is not None and isinstance(item, bytes):
            self._free_at = leaves = max(now, self._free_at) + len(item) / rate
        arrives = leaves + self.way.segment_delay()
        if self._waiting:
            arrives = max(arrives, self._waiting[-1][0])
        self._waiting.append((arrives, item))

    def backlog_bytes(self, now: float) -> float:
        """What the sender's kernel still holds, as its way takes only so much each second."""
        rate = self.way.conditions.rate_bytes_per_s
        return max(0.0, self._free_at - now) * rate if rate is not None else 0.0

    def next_deadline(self) -> float | None:
        """When `read` may have something; None when nothing is on its way."""
        return max(self._waiting[0][0], self._retry_at) if self._waiting else None

    def read(self, now: float, *, reachable: bool = True) -> list[bytes | StreamEnd]:
        """What has arrived by ``now``. ``reachable``: the other machine is there at all."""
        if not self._waiting or self._waiting[0][0] > now or self._retry_at > now:
            return []
        if Transport.TCP in self.way.cut or not reachable:
            self._retry_at = now + self._retry_s
            self._retry_s = min(self._retry_s * 2, LAST_RETRANSMISSION_S)
            return []
        self._retry_at, self._retry_s = 0.0, FIRST_RETRANSMISSION_S
        arrived: list[bytes | StreamEnd] = []
        run = bytearray()
        cut_anew = self.way.conditions.segment_bytes is not None
        while self._waiting and self._waiting[0][0] <= now:
            item = self._waiting.popleft()[1]
            if cut_anew and isinstance(item, bytes):
                run += item
                continue
            arrived += self.way.pieces(bytes(run))
            run.clear()
            arrived.append(item)
        arrived += self.way.pieces(bytes(run))
        return [item for item in arrived if item != b""]


class Network:
    """All ways between hosts; a host is whatever names it. Ways are open and equal at first."""

    def __init__(self, rng: SeededRng, conditions: Conditions | None = None) -> None:
        self._rng = rng
        self._first = self._everywhere = conditions if conditions is not None else Conditions()
        self._ways: dict[tuple[Hashable, Hashable], Way] = {}
        # Ways are made when they are first gone: of a thousand hosts' million most never are.
        self._sides: list[frozenset[Hashable]] = []
        self._changes: dict[tuple[Hashable, Hashable], dict[str, Any]] = {}

    def way(self, source: Hashable, to: Hashable) -> Way:
        """The way from ``source`` to ``to``."""
        key = (source, to)
        way = self._ways.get(key)
        if way is None:
            # By their text: what hosts are named by has one in every process, a hash has not.
            rng = self._rng.stream(str(source), str(to))
            way = self._ways[key] = Way(self._everywhere, rng)
            if any((source in side) != (to in side) for side in self._sides):
                way.cut = frozenset(Transport)
        return way

    def impair_all(self, **changes: Any) -> None:
        """Change conditions (the fields of `Conditions`) everywhere, but not where `impair` did."""
        self._everywhere = evolve(self._everywhere, **changes)
        for key, way in self._ways.items():
            way.conditions = evolve(self._everywhere, **self._changes.get(key, {}))

    def restore_all(self) -> None:
        """Undo what `impair_all` did; what `impair` did to single ways stays."""
        self._everywhere = self._first
        self.impair_all()

    def impair(self, source: Hashable, to: Hashable, **changes: Any) -> None:
        """Change conditions of one way."""
        kept = self._changes.setdefault((source, to), {})
        way = self.way(source, to)
        way.conditions = evolve(self._everywhere, **{**kept, **changes})
        kept.update(changes)

    def restore(self, source: Hashable, to: Hashable) -> None:
        """Undo what `impair` did to one way."""
        self._changes.pop((source, to), None)
        self.way(source, to).conditions = self._everywhere

    def cut(self, source: Hashable, to: Hashable, *, only: Transport | None = None) -> None:
        """Nothing passes that way any more (``only``: no datagrams, or no streams)."""
        way = self.way(source, to)
        way.cut |= frozenset(Transport) if only is None else {only}

    def partition(self, side: Collection[Hashable]) -> None:
        """Nothing passes between those on ``side`` and all others, new ones included."""
        inside = frozenset(side)
        self._sides.append(inside)
        for (source, to), way in self._ways.items():
            if (source in inside) != (to in inside):
                way.cut = frozenset(Transport)

    def mend(self, source: Hashable, to: Hashable) -> None:
        """Undo `cut` of one way."""
        self.way(source, to).cut = frozenset()

    def mend_all(self) -> None:
        """Undo `cut` and `partition` everywhere."""
        self._sides.clear()
        for way in self._ways.values():
            way.cut = frozenset()

    def clear(self) -> None:
        """As it was at first: no cut, no change."""
        self.mend_all()
        self._changes.clear()
        self.restore_all()
