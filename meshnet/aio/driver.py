"""The one loop between an `Engine` and the world: sockets, the frame port, and time.

Each callback is the engine's contract in small: one input, then `drain`. The two data-path
callbacks take bursts, so the loop's overhead is paid once per burst. Time is `aio.clock`'s:
uvloop's own has a resolution of 1 ms, too coarse for round trips, and stands still while the
machine sleeps.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
from collections.abc import Callable, Collection
from typing import cast

from meshnet.aio import clock
from meshnet.aio.journal import JournalWriter
from meshnet.aio.resolver import ResolveError, Resolver
from meshnet.aio.sockets import UdpSocket
from meshnet.engine import Dial, Engine
from meshnet.errors import DropReason, MeshError, TapError
from meshnet.events import Event
from meshnet.ids import Endpoint
from meshnet.peering.links import LinkId
from meshnet.ports import FramePort, JournalPort

# Our choice. A burst is bounded so that control traffic gets its turn: 64 datagrams are about
# 1 ms of work.
_BURST = 64
_DIAL_TIMEOUT_S = 3.0
# The loop's timers stand still while the machine sleeps. So soon after it has woken up we look.
LOOK_INTERVAL_S = 1.0
# So much of one link is worked through in a turn: a millisecond or two, if it is small messages.
LINK_SLICE_BYTES = 4096
# A peer that stops reading must not make us keep everything it was to be told.
MAX_LINK_BACKLOG_BYTES = 8 * 1024 * 1024
# What has ended may still deliver what it was given for so long. Who keeps a connection open
# without reading would otherwise have us keep all of it for ever, link after link.
CLOSE_TIMEOUT_S = 5.0
# Connections that have not shown who they are, on top of the links that `conn_limit` allows; more
# are turned away at once.
MAX_STRANGERS = 512

_log = logging.getLogger("meshnet")


class Driver:
    """Runs one engine on the running asyncio loop, from `start` to `stop`."""

    def __init__(
        self,
        engine: Engine,
        listener: socket.socket,
        udp: UdpSocket,
        frame_port: FramePort | None,
        journal: JournalPort | None,
        on_event: Callable[[Event], None],
    ) -> None:
        self._engine = engine
        self._listener = listener
        self._udp = udp
        self._frame_port = frame_port
        self._journal = JournalWriter(journal, engine, self.drain) if journal is not None else None
        self._on_event = on_event
        self._loop = asyncio.get_running_loop()
        self._links: dict[LinkId, _LinkTransport] = {}
        self._next_link_id = 1
        self._dials: dict[asyncio.Task[None], int] = {}
        """With the target of each."""
        self._resolver = Resolver()
        self.failure: asyncio.Future[MeshError] = self._loop.create_future()
        """Done when the mesh cannot go on, with the reason."""
        self._server: asyncio.Server | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at: float | None = None
        self._draining: asyncio.Handle | None = None
        self._no_links = asyncio.Event()

    async def start(self) -> None:
        # In two steps: who is cancelled in the second has the server in hand, to take it back. A
        # loop that goes on watching a closed socket is deaf to the next one of that number.
        self._server = await self._loop.create_server(
            lambda: _LinkTransport(self, None), sock=self._listener, start_serving=False
        )
        try:
            await self._server.start_serving()
            self._loop.add_reader(self._udp.fileno(), self._udp_readable)
            if self._frame_port is not None:
                self._loop.add_reader(self._frame_port.fileno(), self._frames_readable)
        except BaseException:
            self._server.close()
            self._loop.remove_reader(self._udp.fileno())
            for link in list(self._links.values()):
                link.abort()
            raise
        self.drain()

    async def stop(self) -> None:
        """Say goodbye to all peers and close every socket; the frame port stays the caller's.

        Not to be cancelled: then links and the journal may be left as they are.
        """
        try:
            if self._journal is not None:
                # First what we wrote, then what others did: one at a time is being written. While
                # links stand, so that what is kept is told, too.
                for _ in range(2):
                    self._engine.save(clock.now())
                    self.drain()
                    await self._journal.idle()
        finally:
            await self._close()

    async def _close(self) -> None:
        if self._server is not None:
            self._server.close()
        self._engine.stop(clock.now())
        self.drain()
        for dial in self._dials:
            dial.cancel()
        if self._timer is not None:
            self._timer.cancel()
        self._loop.remove_reader(self._udp.fileno())
        if self._frame_port is not None:
            self._loop.remove_reader(self._frame_port.fileno())
        try:
            await asyncio.gather(*self._dials, return_exceptions=True)
            await self._until_links_closed()
            if self._journal is not None:
                await self._journal.close()
        finally:
            if self._draining is not None:
                self._draining.cancel()
            self._udp.close()
        # A loop gives timers and readers back on its next turn; whoever makes mesh after mesh
        # without ever waiting would otherwise keep those of all.
        await asyncio.sleep(0)

    def drain(self) -> None:
        """Carry out everything the engine wants done; call it after every input."""
        engine = self._engine
        if self._draining is not None:
            self._draining.cancel()
            self._draining = None
        for output in engine.links_to_send():
            link = self._links.get(output.link)
            if link is not None:
                link.send(output.data, close=output.close)
                engine.counters.link_bytes_sent += len(output.data)
        for dial in engine.dials_to_make():
            task = self._loop.create_task(self._dial(dial))
            self._dials[task] = dial.target_id
            task.add_done_callback(self._dials.pop)
        self._flush_data()
        if self._journal is not None:
            self._journal.write(engine.records_to_write())
        while (event := engine.next_event()) is not None:
            self._on_event(event)
        self._schedule(engine.next_deadline())

    def _drain_soon(self) -> None:
        """Drain when all links that can be read have been: once for what many have brought."""
        if self._draining is None:
            self._draining = self._loop.call_soon(self.drain)

    def _flush_data(self) -> None:
        engine = self._engine
        if datagrams := engine.datagrams_to_send():
            failed = self._udp.send(datagrams)
            if failed:
                engine.counters.drops[DropReason.UNDERLAY_SEND_FAILED] += failed
        if (frames := engine.frames_to_deliver()) and self._frame_port is not None:
            refused = self._frame_port.write_frames(frames)
            if refused:
                engine.counters.drops[DropReason.TAP_WRITE_FAILED] += refused

    def _udp_readable(self) -> None:
        self._engine.receive_datagrams(self._udp.receive(_BURST), clock.now())
        self.drain()

    def _frames_readable(self) -> None:
        assert self._frame_port is not None, "the reader is only added with a port"
        try:
            frames = self._frame_port.read_frames(_BURST)
        except TapError as error:
            self._loop.remove_reader(self._frame_port.fileno())
            if not self.failure.done():
                self.failure.set_result(error)
            return
        self._engine.receive_frames(frames, clock.now())
        # Frames change nothing but what is to be sent: no links, dials or deadlines. Events
        # (a storm, a loop, an address in use twice) can wait for the next drain.
        self._flush_data()

    def _schedule(self, deadline: float | None) -> None:
        if deadline == self._timer_at:
            return
        if self._timer is not None:
            self._timer.cancel()
        self._timer_at = deadline
        self._timer = None
        if deadline is not None:
            wait_s = min(max(0.0, deadline - clock.now()), LOOK_INTERVAL_S)
            self._timer = self._loop.call_later(wait_s, self._timer_due)

    def _timer_due(self) -> None:
        deadline, self._timer_at = self._timer_at, None
        if deadline is not None and clock.now() < deadline:
            self._schedule(deadline)
            return
        self._engine.handle_timer(clock.now())
        self.drain()

    async def _dial(self, dial: Dial) -> None:
        """Make one connection; `_LinkTransport` reports success, we report failure."""
        link = _LinkTransport(self, dial.target_id)
        try:
            endpoints = await self._resolver.resolve(dial.host, dial.port)
            # A name's addresses take turns from try to try, so one that is dead costs one try.
            endpoint = endpoints[dial.turn % len(endpoints)]
            async with asyncio.timeout(_DIAL_TIMEOUT_S):
                await self._loop.create_connection(lambda: link, endpoint.host, endpoint.port)
            return
        except asyncio.CancelledError:
            link.abort_as("the dial was called off")
            raise
        except TimeoutError:
            reason = "no answer to the TCP connection"
        except ResolveError as error:
            reason = str(error)
        except OSError as error:
            # The loop's own text repeats the address; the system's says what happened.
            reason = os.strerror(error.errno) if error.errno else str(error)
        if link.is_made:
            # On a busy host the time may be over between `connection_made` and our next turn.
            # uvloop closes the connection then without a word, and writing to it raises.
            link.abort_as(reason)
        else:
            self.dial_failed(dial.target_id, reason)

    def path_changed(self, vanished: Collection[str]) -> None:
        """The way to others may be another now. ``vanished`` addresses of this host are gone.

        The kernel tells nobody that a connection from such an address is dead; it would find out
        after a quarter of an hour. Dials under way may come from there too.
        """
        if vanished:
            for link in list(self._links.values()):
                if link.local_host in vanished:
                    link.abort_as("the local address is gone")
            for task, target_id in list(self._dials.items()):
                task.cancel()
                self._engine.dial_failed(target_id, "the host's address has changed", clock.now())
        self._engine.path_changed(clock.now())
        self.drain()

    # What the transports report.

    def dial_failed(self, target_id: int, reason: str) -> None:
        self._engine.dial_failed(target_id, reason, clock.now())
        self.drain()

    def link_made(self, link: _LinkTransport, remote: Endpoint, target_id: int | None) -> LinkId:
        link_id, self._next_link_id = self._next_link_id, self._next_link_id + 1
        self._links[link_id] = link
        self._engine.link_opened(link_id, remote, target_id, clock.now())
        self.drain()
        return link_id

    @property
    def is_crowded(self) -> bool:
        return len(self._links) >= self._engine.config.conn_limit + MAX_STRANGERS

    def link_writable(self, link_id: LinkId, writable: bool) -> None:
        self._engine.link_writable(link_id, writable, clock.now())
        if writable:
            self.drain()

    def link_data(self, link_id: LinkId, data: bytes) -> None:
        self._engine.counters.link_bytes_received += len(data)
        self._engine.receive_link_bytes(link_id, data, clock.now())
        self._drain_soon()

    def link_gone(self, link_id: LinkId, reason: str) -> None:
        if self._links.pop(link_id, None) is not None:
            self._engine.link_ended(link_id, reason, clock.now())
            self.drain()
            if not self._links:
                self._no_links.set()

    async def _until_links_closed(self, timeout_s: float = 1.0) -> None:
        """Give goodbyes a moment to leave, then cut what has not."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                while self._links:
                    self._no_links.clear()
                    await self._no_links.wait()
        for link in list(self._links.values()):
            link.abort()


class _LinkTransport(asyncio.Protocol):
    """One TCP connection of the driver's. ``target_id`` is None for an accepted one."""

    def __init__(self, driver: Driver, target_id: int | None) -> None:
        self._driver = driver
        self._target_id = target_id
        self._link_id: LinkId | None = None
        self._transport: asyncio.Transport | None = None
        self._cut: asyncio.TimerHandle | None = None
        self._unread = bytearray()
        self._turn: asyncio.Handle | None = None
        self.local_host = ""
        """The address of this host that the connection is bound to."""

    @property
    def is_made(self) -> bool:
        """Whether the engine knows of it."""
        return self._link_id is not None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # A cast, not a check: uvloop's transports are not registered as asyncio.Transport.
        self._transport = transport = cast(asyncio.Transport, transport)
        peername = transport.get_extra_info("peername")
        sockname = transport.get_extra_info("sockname")
        if not peername or not sockname or (self._target_id is None and self._driver.is_crowded):
            transport.abort()
            if self._target_id is not None:
                self._driver.dial_failed(self._target_id, "the connection was reset at once")
            return
        remote = Endpoint.of(peername[0].partition("%")[0], peername[1])
        self.local_host = Endpoint.of(sockname[0].partition("%")[0], sockname[1]).host
        self._link_id = self._driver.link_made(self, remote, self._target_id)

    def data_received(self, data: bytes) -> None:
        self._unread += data
        if self._turn is None:
            self._read_on()

    def _read_on(self) -> None:
        """Work through some of what came; the rest after frames and others had their turn."""
        assert self._transport is not None, "nothing is received before the connection is made"
        self._turn = None
        piece = bytes(self._unread[:LINK_SLICE_BYTES])
        del self._unread[:LINK_SLICE_BYTES]
        if self._link_id is not None and piece:
            self._driver.link_data(self._link_id, piece)
        if self._transport.is_closing():
            return  # What is left is read by `connection_lost`.
        if self._unread:
            self._transport.pause_reading()
            self._turn = asyncio.get_running_loop().call_soon(self._read_on)
        else:
            self._transport.resume_reading()

    def pause_writing(self) -> None:
        if self._link_id is not None:
            self._driver.link_writable(self._link_id, False)

    def resume_writing(self) -> None:
        if self._link_id is not None:
            self._driver.link_writable(self._link_id, True)

    def connection_lost(self, exc: Exception | None) -> None:
        for handle in (self._cut, self._turn):
            if handle is not None:
                handle.cancel()
        if self._link_id is not None:
            # A goodbye may be in it.
            self._driver.link_data(self._link_id, bytes(self._unread))
            reason = getattr(exc, "strerror", None) or "the other end closed the connection"
            self._driver.link_gone(self._link_id, reason)

    def send(self, data: bytes, *, close: bool) -> None:
        assert self._transport is not None, "the driver knows us since connection_made"
        if self._transport.is_closing():
            return
        if data:
            self._transport.write(data)
        if close:
            self._transport.close()
            self._cut = asyncio.get_running_loop().call_later(CLOSE_TIMEOUT_S, self.abort)
        elif self._transport.get_write_buffer_size() > MAX_LINK_BACKLOG_BYTES:
            _log.warning("link cut: the peer does not read", extra={"link": self._link_id})
            self._transport.abort()

    def abort_as(self, reason: str) -> None:
        """End the connection at once, for a reason of our own."""
        link_id, self._link_id = self._link_id, None
        self.abort()
        if link_id is not None:
            self._driver.link_gone(link_id, reason)

    def abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()
