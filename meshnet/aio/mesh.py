"""`Mesh`: one peer in your own program.

async with Mesh(MeshConfig(nickname="a", peers=["host-b"]), port) as mesh:
    await mesh.wait_connected()
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Collection, Iterable
from ipaddress import IPv4Address, IPv6Address
from types import TracebackType
from typing import Any, NoReturn, Self
from weakref import WeakKeyDictionary

from attrs import evolve

from meshnet.aio import clock
from meshnet.aio.channel import Channel
from meshnet.aio.config import MeshConfig, parse_advertise, parse_peer
from meshnet.aio.driver import Driver
from meshnet.aio.event_log import EventLog
from meshnet.aio.finish import finish
from meshnet.aio.journal import read_journal
from meshnet.aio.kept_absences import KeptAbsences
from meshnet.aio.kept_targets import KeptTargets
from meshnet.aio.messages import PostOffice, Reader
from meshnet.aio.sockets import listen
from meshnet.crdt.base import Lattice
from meshnet.engine import Engine
from meshnet.errors import ConfigError, LocalProtocolError
from meshnet.events import (
    ChannelChanged,
    Event,
    MessageAnswered,
    MessageReceived,
    ProbeAnswered,
    UpdatesKept,
    UpdatesLost,
)
from meshnet.gossip.channels import LatticeT
from meshnet.ids import ChannelId, Endpoint, PeerName, join_host_port
from meshnet.peering.config import EngineConfig
from meshnet.peering.event_counts import EventCounts
from meshnet.ports import FramePort, StatePort
from meshnet.report import Explanation, RefusalReport, Report, TargetReport
from meshnet.version import __version__
from meshnet.wire.ciphers import rank_by_speed
from meshnet.wire.identity import SEED_BYTES, Identity, psk_of_open_network, psk_of_password
from meshnet.wire.key_life import KeyLife

# What holds from start to end.
_FIXED = (
    "nickname",
    "network",
    "listen",
    "mtu",
    "discovery",
    "ciphers",
    "rekey_after_s",
    "conn_limit",
    "degree",
    "peer_lease_s",
)
_log = logging.getLogger("meshnet")
# As libraries do: who runs a mesh in a program decides what becomes of its log.
_log.addHandler(logging.NullHandler())

# The start of each state that a mesh was made of: numbers that must rise for ever begin with it.
_last_start: WeakKeyDictionary[StatePort, int] = WeakKeyDictionary()

_NOT_STARTED = "the mesh is not started, or has ended; use `async with Mesh(...)`"


class Mesh:
    """One peer: listens, keeps links and data sessions, carries frames to and from ``port``.

    Without ``state`` the identity is new each time and nothing is written. ``port`` and ``state``
    stay the caller's to close; a state is opened anew for each start. Use it as an async context
    manager; entering raises ListenError when the address cannot be had, LocalProtocolError when it
    is started already, or another was on the same state.
    """

    def __init__(
        self,
        config: MeshConfig | None = None,
        port: FramePort | None = None,
        state: StatePort | None = None,
    ) -> None:
        self.config = config if config is not None else MeshConfig()
        if state is not None and not hasattr(state, "identity_seed"):
            raise ConfigError(f"{state!r} is no state; give FileState(DIRECTORY)")
        if port is not None and not hasattr(port, "read_frames"):
            raise ConfigError(f"{port!r} is no frame port; state is the third argument")
        self._port = port
        self._state = state
        self._kept_targets: KeptTargets | None = None
        self._kept_absences: KeptAbsences | None = None
        self._engine: Engine | None = None
        self._driver: Driver | None = None
        self._listen = ("", 0)
        self._interface = ""
        self._own_addresses: tuple[IPv4Address | IPv6Address, ...] = ()
        self._changed = asyncio.Event()
        self._log = EventLog(clock.now)
        self._counts = EventCounts()
        self._pings: dict[int, asyncio.Future[float | None]] = {}
        self._channels: dict[ChannelId, Channel[Any]] = {}
        self._post: PostOffice | None = None
        # So that a reload computes only what is new: (password, network) -> psk. In memory only.
        self._derived: dict[tuple[str, str], bytes] = {}

    async def __aenter__(self) -> Self:
        if self._driver is not None:
            raise LocalProtocolError("the mesh is started already; make another Mesh for another")
        config, state = self.config, self._state
        if state is not None and _last_start.get(state) == state.generation:
            raise LocalProtocolError(
                "a mesh was started on this state already; close it, and open it anew for another"
            )
        listener, udp = listen(*config.listen_address())
        try:
            psks = await self._psks(config)
            self._listen = listener.getsockname()[:2]
            engine_config = EngineConfig(
                identity=Identity.of_seed(
                    self._state.identity_seed if self._state else os.urandom(SEED_BYTES)
                ),
                psk=psks[0],
                other_psks=psks[1:],
                network=config.network,
                nickname=config.nickname,
                incarnation=self._state.incarnation if self._state else _random_u64(),
                generation=self._state.generation if self._state else 0,
                life=_random_u64(),
                endpoints=self._advertised(),
                overlay_mtu=config.mtu,
                ciphers=config.ciphers or rank_by_speed(time.perf_counter),
                discovery=config.discovery,
                durable=self._state is not None,
                key_life=KeyLife(config.rekey_after_s),
                conn_limit=config.conn_limit,
                degree=config.degree,
                peer_lease_s=config.peer_lease_s,
                absent_s=self._absent_s(),
                trusted_subnets=config.subnets(),
            )
            journal, kept = await read_journal(self._state)
            self._engine = Engine(engine_config, os.urandom, clock.now())
            self._post = PostOffice(self._engine.unicast)
            self._engine.load(kept, clock.now())
            for peer in config.peers:
                self._engine.connect(*parse_peer(peer), clock.now())
            unusable = self._connect_kept(self._engine)
            self._driver = Driver(self._engine, listener, udp, self._port, journal, self._on_event)
            if state is not None:
                _last_start[state] = state.generation
            await self._driver.start()
        except BaseException:
            self._driver = self._engine = None
            listener.close()
            udp.close()
            raise
        if state is not None:
            # Only now: it writes beside us, and who fails to start gives the state back at once.
            self._kept_absences = KeptAbsences(state, self._engine)
            self._kept_targets = KeptTargets(state)
            for target in unusable:
                self._kept_targets.drop(target)
        return self

    def _absent_s(self) -> dict[PeerName, float]:
        kept = self._state.absent_s if self._state is not None else {}
        return {PeerName.parse(name): gone_s for name, gone_s in kept.items()}

    def _connect_kept(self, engine: Engine) -> list[str]:
        """Dial what earlier lives were given; those that are no addresses, as others once kept."""
        unusable = []
        for target in self._state.targets if self._state else ():
            try:
                engine.connect(*parse_peer(target), clock.now())
            except ConfigError as error:
                _log.warning("kept target dropped", extra={"reason": str(error)})
                unusable.append(target)
        return unusable

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Say goodbye and close all. A cancellation waits for that: a second, and for the disk."""
        driver = self._driver
        if driver is None:
            return
        try:
            await finish(asyncio.ensure_future(self._stop(driver)))
        finally:
            self._driver = self._engine = None
            self._end(driver)

    async def _stop(self, driver: Driver) -> None:
        try:
            await driver.stop()
        finally:
            if self._kept_absences is not None:
                await self._kept_absences.stop()
            await self.targets_kept()

    def _end(self, driver: Driver) -> None:
        """Tell all who wait for something of this mesh that nothing comes any more."""
        if not driver.failure.done():
            driver.failure.set_result(LocalProtocolError(_NOT_STARTED))
        self._changed.set()
        if self._post is not None:
            self._post.end()
        for channel in self._channels.values():
            channel.end()
        self._channels.clear()
        for waiter in self._pings.values():
            if not waiter.done():
                waiter.set_result(None)

    @property
    def name(self) -> PeerName:
        return self._running.name

    @property
    def address(self) -> str:
        """``HOST:PORT`` listened on; usable as another mesh's peer when the host is specific."""
        _ = self._running
        return join_host_port(*self._listen)

    @property
    def is_ready(self) -> bool:
        """Started, not ended, and the frame port is there."""
        return self._driver is not None and not self._driver.failure.done()

    def connect(self, peer: str) -> None:
        """Keep a link to whoever answers at ``HOST[:PORT]``, with a state in later lives too.

        Raises ConfigError.
        """
        address = parse_peer(peer)
        self._running.connect(*address, clock.now())
        self._keep_target(address, keep=True)
        self._drain()

    def channel(self, name: str, kind: type[LatticeT]) -> Channel[LatticeT]:
        """Replicated state shared by all peers that open a channel of this name and type.

        ``kind``: a class of `meshnet.crdt`, or a `Lattice` of your own. Needs no TAP and no root.
        Raises ConfigError for a name that cannot be one, of the channel or of the type.
        """
        if not (isinstance(kind, type) and issubclass(kind, Lattice)):
            raise ConfigError(f"{kind!r} is no replicated type; see meshnet.crdt")
        if not hasattr(kind, "name"):
            raise ConfigError(f"{kind.__name__} has no name; give the class an attribute `name`")
        engine = self._running
        opened = engine.open_channel(name, kind, clock.now())
        known = self._channels.get(opened.id)
        if known is None:
            known = self._channels[opened.id] = Channel(engine, opened, self._drain)
            self._drain()
        return known

    def forget(self, peer: str) -> bool:
        """Undo `connect`; a link that nothing else asks for ends. False: it was not given.

        Raises ConfigError when ``peer`` is no address.
        """
        address = parse_peer(peer)
        known = self._running.forget(*address, clock.now())
        self._keep_target(address, keep=False)
        self._drain()
        return known

    def _keep_target(self, address: tuple[str, int], *, keep: bool) -> None:
        """For the next life, but for what the configuration names: that has the say there."""
        if self._kept_targets is None:
            return
        target = join_host_port(*address)
        if not keep:
            self._kept_targets.drop(target)
        elif address not in map(parse_peer, self.config.peers):
            self._kept_targets.keep(target)

    async def targets_kept(self) -> None:
        """Wait until what `connect` and `forget` changed is on disk, or the log says why not."""
        if self._kept_targets is not None:
            await self._kept_targets.idle()

    async def send(
        self, peer: PeerName, topic: str, payload: bytes, *, timeout_s: float = 5.0
    ) -> None:
        """Send up to 1024 bytes to who reads ``topic`` at ``peer``; it is there when this returns.

        Delivered once, sealed for ``peer`` whichever way it goes, and sent again until it is
        acknowledged. Raises DeliveryError when that fails: it may have been delivered all the same
        if only the answers were lost. Raises ValueError for what is too long.
        """
        _check_peer_name(peer)
        engine, now = self._running, clock.now()
        number = engine.unicast.send(peer, topic, payload, timeout_s=timeout_s, now=now)
        await self._post_office.answer(number, self._drain)

    def read(self, topic: str) -> Reader:
        """Messages that other peers send on ``topic``: an async context manager to iterate over.

        Entering raises ConfigError when the topic has a reader already.
        """
        _ = self._running
        return Reader(topic, self._post_office)

    def set_advertised(self, endpoints: tuple[Endpoint, ...]) -> None:
        """Announce these addresses of ours from now on."""
        self._running.set_endpoints(endpoints)
        self._drain()

    @property
    def underlay_hosts(self) -> set[str]:
        """The hosts that links and datagrams go to now."""
        return self._running.underlay_hosts()

    def path_changed(self, *, vanished: Collection[str] = ()) -> None:
        """Say that the way to other peers may be another now, so that they learn of it at once.

        A node says so when an address or a route of its host changes. ``vanished``: addresses that
        the host has no more; connections from there are dead, though nobody has noticed yet.
        """
        _ = self._running
        assert self._driver is not None, "what runs is driven"
        self._driver.path_changed(vanished)

    def set_own_addresses(
        self,
        mac: bytes,
        addresses: Iterable[IPv4Address | IPv6Address],
        *,
        router: bool = False,
        interface: str = "",
    ) -> None:
        """The host's own overlay addresses, all at ``mac``: announced to its neighbours.

        ``interface``: the device that has them, for the report. ``router``: it forwards IPv6.
        Who else claims one of the addresses is told of as `AddressConflict`.
        """
        own = tuple(addresses)
        self._running.set_own_addresses(mac, own, router=router, now=clock.now())
        self._interface, self._own_addresses = interface, own
        self._drain()

    async def reload(self, config: MeshConfig) -> list[str]:
        """Take up changed settings; the names of those that differ but cannot change now.

        Changed at once: ``password``, ``psk``, ``also_accept``, ``advertise``, ``trusted_subnets``
        and ``peers``; peers left out are forgotten, as by `forget`. Other links and sessions go on.
        """
        old = self.config
        fixed = [name for name in _FIXED if getattr(config, name) != getattr(old, name)]
        config = evolve(config, **{name: getattr(old, name) for name in _FIXED})
        psks = await self._psks(config)
        engine = self._running
        engine.set_psks(psks)
        if config.trusted_subnets != old.trusted_subnets:
            engine.set_trusted_subnets(config.subnets(), clock.now())
        given, wanted = ([parse_peer(peer) for peer in each.peers] for each in (old, config))
        for address in wanted:
            if address not in given:
                engine.connect(*address, clock.now())
        for address in given:
            if address not in wanted:
                engine.forget(*address, clock.now())
                self._keep_target(address, keep=False)
        self.config = config
        if config.advertise != old.advertise:
            engine.set_endpoints(self._advertised())
        self._drain()
        return fixed

    def connected_peers(self) -> list[PeerName]:
        """The peers that frames reach now."""
        return self._running.reachable_peers()

    async def wait_connected(self, peers: int = 1, *, timeout_s: float = 10.0) -> None:
        """Wait until frames flow to at least ``peers`` peers. Raises TimeoutError with reasons.

        Raises LocalProtocolError when the mesh is ended meanwhile.
        """
        try:
            async with asyncio.timeout(timeout_s):
                while len(self.connected_peers()) < peers:
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            rows = self._running.reports.connections()
            reasons = [f"{row['address']}: {row['reason']}" for row in rows if row["reason"]]
            raise TimeoutError(
                f"{len(self.connected_peers())} of {peers} peers after {timeout_s} s"
                + "".join(f"; {reason}" for reason in reasons)
            ) from None

    async def wait_failed(self) -> NoReturn:
        """Wait until the mesh cannot go on. Raises TapError: the frame port is gone.

        Raises LocalProtocolError when the mesh is ended meanwhile.
        """
        if self._driver is None:
            raise LocalProtocolError(_NOT_STARTED)
        raise await asyncio.shield(self._driver.failure)

    def find_peers(self, text: str, *, gone: bool = False) -> list[PeerName]:
        """Peers by name, by the first 8 digits or more of it, or by nickname.

        Of several the connected ones, if there are any; with ``gone`` those that are gone.
        """
        return self._running.find_peers(text, gone=gone)

    def remove_peer(self, peer: PeerName, *, data: bool = False) -> int:
        """Have the whole mesh forget a peer that is gone; how many entries were let go.

        Its record goes; with ``data`` all that it has written in channels, too. Who comes back is
        as new. Raises LocalProtocolError for a peer that is not gone, ConfigError for what is no
        PeerName.
        """
        _check_peer_name(peer)
        entries = self._running.remove_peer(peer, time.monotonic(), data=data)
        self._drain()
        return entries

    def leave(self) -> None:
        """Say goodbye for good: nobody shall remember this peer as one that is gone.

        Then end the mesh, and throw its state away. What it wrote in channels stays with others.
        """
        self._running.leave(time.monotonic())
        self._drain()

    async def ping(self, peer: PeerName, *, timeout_s: float = 1.0) -> float | None:
        """Round trip through the data session in seconds; None: no session, or no answer.

        Raises ConfigError for what is no PeerName.
        """
        _check_peer_name(peer)
        probe_id = self._running.ping(peer, clock.now())
        if probe_id is None:
            return None
        waiter: asyncio.Future[float | None] = asyncio.get_running_loop().create_future()
        self._pings[probe_id] = waiter
        self._drain()
        try:
            async with asyncio.timeout(timeout_s):
                return await waiter
        except TimeoutError:
            return None
        finally:
            del self._pings[probe_id]

    def targets(self) -> list[TargetReport]:
        """Everything that is dialled: addresses given, and peers heard of."""
        return self._running.reports.targets(clock.now())

    def explain(self, peer: PeerName) -> Explanation:
        """Why ``peer`` is connected as it is, or is not.

        Raises ConfigError for what is no PeerName.
        """
        _check_peer_name(peer)
        return self._running.reports.explain(peer, clock.now())

    def explain_address(self, address: str) -> Explanation | None:
        """The same of whoever is dialled at ``HOST[:PORT]``; None when nobody is.

        Raises ConfigError when that is no address.
        """
        return self._running.reports.explain_address(*parse_peer(address), clock.now())

    def report(self) -> Report:
        """Everything this peer says of itself, as `meshnet report` prints it."""
        engine = self._running
        connections = engine.reports.connections()
        counters = engine.counters
        return {
            "ready": self.is_ready,
            "name": str(engine.name),
            "nickname": self.config.nickname,
            "network": self.config.network,
            "version": __version__,
            "open": self.config.is_open,
            "secrets": sum(secret is not None for secret in self.config.secrets),
            "listen": self.address,
            "addresses": [str(endpoint) for endpoint in engine.own_state.endpoints],
            "tap": self._port.name if self._port is not None else "",
            "interface": self._interface,
            "overlay_addresses": [str(address) for address in self._own_addresses],
            "mtu": self.config.mtu,
            "peers": engine.reports.peers(time.monotonic()),
            "connections": connections,
            "routes": engine.reports.route_list(),
            "channels": engine.reports.channels(),
            "control": {
                "counters": {
                    **self._counts.counters,
                    "handshakes_started": counters.handshakes_started,
                    "handshakes_answered": counters.handshakes_answered,
                    "link_bytes_sent": counters.link_bytes_sent,
                    "link_bytes_received": counters.link_bytes_received,
                },
                "links_refused": self._refusals(),
            },
            "data_path": {
                "offloads": {},
                "counters": {
                    "frames_sent": counters.frames_sent,
                    "frames_received": counters.frames_received,
                    "frames_held": counters.frames_held,
                    "frame_bytes_sent": counters.frame_bytes_sent,
                    "frame_bytes_received": counters.frame_bytes_received,
                    "datagrams_sent": counters.datagrams_sent,
                    "datagrams_received": counters.datagrams_received,
                    "datagrams_relayed": counters.datagrams_relayed,
                    "broadcasts_sent": counters.broadcasts_sent,
                    "broadcasts_passed_on": counters.broadcasts_passed_on,
                    "broadcasts_repeated": counters.broadcasts_repeated,
                    "mac_moves": engine.data_path.switch.moves,
                },
                "drops": {reason.value: count for reason, count in counters.drops.items()},
            },
        }

    def _refusals(self) -> list[RefusalReport]:
        return [
            {"code": code.name.lower() if code is not None else "none", "by": by, "count": count}
            for (code, by), count in self._counts.refused.items()
        ]

    @property
    def _post_office(self) -> PostOffice:
        if self._post is None:
            raise LocalProtocolError(_NOT_STARTED)
        return self._post

    @property
    def _running(self) -> Engine:
        if self._engine is None:
            raise LocalProtocolError(_NOT_STARTED)
        return self._engine

    def _drain(self) -> None:
        if self._driver is not None:
            self._driver.drain()

    async def _psks(self, config: MeshConfig) -> tuple[bytes, ...]:
        """All psks, the offered one first."""
        psks: list[bytes] = []
        derived: dict[tuple[str, str], bytes] = {}
        for secret in config.secrets:
            if secret is None:
                psks.append(psk_of_open_network(config.network))
            elif isinstance(secret, bytes):
                psks.append(secret)
            else:
                key = (secret, config.network)
                psk = self._derived.get(key)
                if psk is None:
                    # Slow on purpose (Argon2id): not on the loop, which may carry another mesh.
                    # One after the other: each takes 64 MiB for that moment.
                    psk = await asyncio.to_thread(psk_of_password, *key)
                derived[key] = psk
                psks.append(psk)
        self._derived = derived
        return tuple(psks)

    def _advertised(self) -> tuple[Endpoint, ...]:
        host, port = self._listen
        if self.config.advertise:
            return tuple(parse_advertise(text, port) for text in self.config.advertise)
        return () if host in ("::", "0.0.0.0") else (Endpoint.of(host, port),)

    def _on_event(self, event: Event) -> None:
        if isinstance(event, ChannelChanged | UpdatesKept | UpdatesLost):
            channel = self._channels.get(event.channel)
            if channel is not None:
                channel.receive(event)
            return
        if isinstance(event, MessageReceived | MessageAnswered):
            self._post_office.receive(event)
            return
        self._changed.set()
        self._counts.count(event)
        if isinstance(event, ProbeAnswered):
            waiter = self._pings.get(event.probe_id)
            if waiter is not None and not waiter.done():
                waiter.set_result(event.rtt_s)
        else:
            self._log.write(event)


def _random_u64() -> int:
    return int.from_bytes(os.urandom(8), "big")


def _check_peer_name(peer: object) -> None:
    """A nickname, or a name's digits, would find nobody and say nothing. Raises ConfigError."""
    if not isinstance(peer, PeerName):
        raise ConfigError(f"{peer!r} is no PeerName; `find_peers` gives those of a nickname")
