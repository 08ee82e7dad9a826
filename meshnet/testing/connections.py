"""The TCP connections of a cluster: dials, two streams each, and how they end."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from attrs import define

from meshnet.engine import Dial, Engine
from meshnet.ids import Endpoint
from meshnet.peering.links import LinkId, LinkOutput
from meshnet.testing.clock import Clock, Timer
from meshnet.testing.emulator import Network, Stream, StreamEnd, Transport
from meshnet.testing.nat import Nat
from meshnet.testing.places import Places

if TYPE_CHECKING:
    from meshnet.testing.host import Host

# As the node's driver gives up, and says so; and as Linux sends a SYN again meanwhile.
DIAL_TIMEOUT_S = 3.0
NO_ANSWER = "no answer to the TCP connection"
SYN_RETRANSMISSION_S = 1.0
# A sender is told to wait when its kernel holds this much, as asyncio does it, and how often it is
# looked whether that has gone.
SEND_BUFFER_BYTES = 65536
SEND_BUFFER_LOOK_S = 0.02


@define(eq=False)
class _End:
    """One end of a TCP connection. ``engine`` is the life of the host that holds it."""

    host: Host
    engine: Engine
    link: LinkId
    out: Stream
    """What this end says."""
    remote: Endpoint
    at: Endpoint
    """The host's address that it is bound to."""
    nat: Nat | None
    times_rebound: int
    """Of that NAT, when the connection was made: it knows none from before."""
    other: _End | None = None
    open: bool = True
    waits: bool = False
    """Whether its engine was told to write no more for now."""
    says_so: bool = False
    """Whether something was written since this was last set to false."""
    delivery: Timer | None = None
    """When something of ``out`` arrives next."""


class Connections:
    """All of them. ``places`` knows who is where, ``on_write`` sees what hosts write."""

    def __init__(
        self,
        clock: Clock,
        network: Network,
        places: Places,
        on_write: Callable[[Host, Host, bytes], None],
    ) -> None:
        self._clock = clock
        self._network = network
        self._places = places
        self._on_write = on_write
        self._ends: dict[LinkId, _End] = {}
        self._next_link = 1

    def dial(self, host: Host, dial: Dial) -> None:
        """A host wants a connection; its engine is told how that went."""
        to, engine = Endpoint(dial.host, dial.port), host.engine
        source = self._places.leave(host, to, Transport.TCP)
        target = self._places.find(host, to, source, Transport.TCP)
        address = target.address if target is not None else to
        there = self._network.way(host.address, address)
        back = self._network.way(address, host.address)
        gives_up_at = self._clock.now + DIAL_TIMEOUT_S

        def fail(reason: str) -> None:
            host.when_running(lambda: tell(reason))

        def tell(reason: str) -> None:
            if host.runs(engine):
                engine.dial_failed(dial.target_id, reason, self._clock.now)
                host.drain()

        def knock() -> None:
            """A SYN arrives, or is lost on one of the two ways."""
            silent = not (self._places.says_no(to) if target is None else target.reachable)
            if silent or Transport.TCP in there.cut | back.cut:
                again_at = self._clock.now + SYN_RETRANSMISSION_S
                if again_at < gives_up_at:
                    self._clock.call_at(again_at, knock)
                else:
                    self._clock.call_at(gives_up_at, lambda: fail(NO_ANSWER))
            elif target is None or not target.up:
                self._clock.call_after(back.delay(), lambda: fail("connection refused"))
            else:
                callee = target
                self._clock.call_after(back.delay(), lambda: connect(callee))

        def connect(callee: Host) -> None:
            host.when_running(lambda: stand(callee))

        def stand(callee: Host) -> None:
            if host.runs(engine):
                self._connect(host, callee, dial, to, source)

        self._clock.call_after(there.delay(), knock)

    def write(self, host: Host, output: LinkOutput) -> None:
        """A host says something on a connection of its, or closes it."""
        end = self._ends.get(output.link)
        if end is None or not end.open:
            return
        if output.data and end.other is not None:
            self._on_write(host, end.other.host, output.data)
            end.says_so = True
            self._write(end, output.data)
            self._let_wait(end)
        if output.close:
            end.open = False
            host.sent_on_wire.ended()
            self._write(end, StreamEnd.CLOSED)

    def _let_wait(self, end: _End) -> None:
        """Tell the engine when the connection takes no more, and when it does again."""
        if not end.waits and end.out.backlog_bytes(self._clock.now) > SEND_BUFFER_BYTES:
            end.waits = True
            end.engine.link_writable(end.link, False, self._clock.now)
            self._clock.call_after(SEND_BUFFER_LOOK_S, lambda: self._look_again(end))

    def _look_again(self, end: _End) -> None:
        if not (end.open and end.host.runs(end.engine)):
            return
        if end.out.backlog_bytes(self._clock.now) > SEND_BUFFER_BYTES:
            self._clock.call_after(SEND_BUFFER_LOOK_S, lambda: self._look_again(end))
            return

        def go_on() -> None:
            if end.open and end.host.runs(end.engine):
                end.waits = False
                end.engine.link_writable(end.link, True, self._clock.now)
                end.host.drain()

        end.host.when_running(go_on)

    def host_died(self, host: Host, *, silent: bool) -> None:
        """Its kernel resets what the process held, unless it died too."""
        for end in list(self._ends.values()):
            if end.host is host and end.open:
                end.open = False
                if not silent:
                    self._write(end, StreamEnd.RESET)

    def reset(self, one: Host, other: Host) -> None:
        """Every connection between the two breaks, at both ends."""
        for end in list(self._ends.values()):
            if end.host is one and end.other is not None and end.other.host is other:
                for broken in (end, end.other):
                    self._end(broken, StreamEnd.RESET.value)

    def end_vanished(self, host: Host) -> None:
        """The host has learnt that an address of its is gone, and what is bound to it with it."""
        for end in list(self._ends.values()):
            if end.host is host and end.at != host.address:
                self._end(end, "the local address is gone")

    def forget_way(self, host: Host) -> None:
        """What ``host`` has open is passed by no NAT any more."""
        for end in self._ends.values():
            if end.host is host:
                end.times_rebound = -1

    def _connect(
        self, host: Host, callee: Host, dial: Dial, to: Endpoint, source: Endpoint
    ) -> None:
        """The SYN was answered: the dialler's end stands, the other's with the next packet."""
        from_port = Endpoint(source.host, 40000 + self._next_link % 20000)
        ours = self._open_end(host, callee, to)
        theirs = self._open_end(callee, host, from_port)
        ours.other, theirs.other = theirs, ours
        host.sent_on_wire.dialled()
        callee.sent_on_wire.accepted()
        self._write(ours, StreamEnd.OPENED)
        host.engine.link_opened(ours.link, to, dial.target_id, self._clock.now)
        host.drain()

    def _open_end(self, host: Host, other: Host, remote: Endpoint) -> _End:
        way = self._network.way(host.address, other.address)
        nat = self._places.nat_of(host)
        rebound = nat.times_rebound if nat is not None else 0
        end = _End(
            host, host.engine, self._next_link, Stream(way), remote, host.address, nat, rebound
        )
        self._next_link += 1
        self._ends[end.link] = end
        return end

    def _write(self, end: _End, item: bytes | StreamEnd) -> None:
        end.out.write(item, self._clock.now)
        self._schedule(end)

    def _schedule(self, end: _End) -> None:
        """One timer for each stream: when its next bytes arrive."""
        deadline = end.out.next_deadline()
        if deadline is not None and end.delivery is None:
            end.delivery = self._clock.call_at(deadline, lambda: self._deliver(end))

    def _deliver(self, end: _End) -> None:
        end.delivery = None
        other = end.other
        assert other is not None, "both ends are made together"
        if self._is_unknown(end) and not self._is_lost(other) and other.host.reachable:
            # It gets through, from an address that the other end has no connection with.
            end.host.when_running(partial(self._end, end, StreamEnd.RESET.value))
            return
        passes = other.host.reachable and not (self._is_lost(end) or self._is_lost(other))
        for item in end.out.read(self._clock.now, reachable=passes):
            other.host.when_running(partial(self._arrive, other, item))
        self._schedule(end)
        if end.out.next_deadline() is None and not end.open:
            self._ends.pop(end.link, None)

    def _is_unknown(self, end: _End) -> bool:
        """Whether what ``end`` says comes out of the NAT as somebody else's."""
        return end.at == end.host.address and not self._is_known_to_nat(end)

    def _is_lost(self, end: _End) -> bool:
        """Whether nothing gets to ``end`` any more: its address is gone, or known to no NAT."""
        return end.at != end.host.address or not self._is_known_to_nat(end)

    def _is_known_to_nat(self, end: _End) -> bool:
        rebound = end.nat.times_rebound if end.nat is not None else 0
        return end.times_rebound == rebound

    def _arrive(self, end: _End, item: bytes | StreamEnd) -> None:
        """Something of the other end's comes to ``end``."""
        host = end.host
        if item is StreamEnd.CLOSED or item is StreamEnd.RESET:
            self._end(end, item.value)
        elif not host.runs(end.engine):
            # The process that held this connection is gone: its kernel says so.
            self._write(end, StreamEnd.RESET)
        elif end.open:
            if isinstance(item, bytes):
                end.says_so = False
                end.engine.receive_link_bytes(end.link, item, self._clock.now)
                host.drain()
                if not end.says_so:
                    host.sent_on_wire.acknowledged(len(item))
            else:
                end.engine.link_opened(end.link, end.remote, None, self._clock.now)
                host.drain()

    def _end(self, end: _End, reason: str) -> None:
        """``end`` is told that its connection is over."""
        if end.open and end.host.runs(end.engine):
            end.open = False
            end.engine.link_ended(end.link, reason, self._clock.now)
            end.host.drain()
        end.open = False
        if end.out.next_deadline() is None:
            self._ends.pop(end.link, None)
