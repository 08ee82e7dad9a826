"""The keeper of links: takes what connections bring, decides which stand, ends those that are dead.

What an authenticated link means for gossip, sessions and routes is its owner's affair (the engine,
as `LinkOwner`): it is told at once, since what follows on the same link depends on it.
"""

from __future__ import annotations

import enum
import itertools
from collections import deque
from collections.abc import Iterator, Mapping
from typing import Protocol

from meshnet.discovery.targets import Target, Targets, Trouble
from meshnet.errors import CloseCode, DropReason, RemoteProtocolError
from meshnet.events import Event, LinkEstablished, LinkLost, LinkRefused
from meshnet.ids import Endpoint, PeerName
from meshnet.peering.data_path import Counters
from meshnet.peering.floods import LinkGuard
from meshnet.peering.links import Link, LinkId, LinkOutput, surplus
from meshnet.peering.silence import LATE_S
from meshnet.ports import Rng
from meshnet.timers import Timers, on_the_second
from meshnet.wire.cursor import MalformedError
from meshnet.wire.link import (
    KEYS_EXPIRED,
    LinkAuthenticated,
    LinkClosed,
    LinkConfig,
    LinkEvent,
    LinkProtocol,
    LinkState,
    RecordReceived,
)
from meshnet.wire.messages import TOKEN_BYTES, MessageType, pack_message, parse_message

# Our choice. A handshake is three packets; who needs longer is not a peer, or cannot be one.
HANDSHAKE_TIMEOUT_S = 5.0
# Design section 6: an idle neighbour's death is known within 25 s.
LINK_SIGN_INTERVAL_S = 10.0
LINK_TIMEOUT_S = 25.0
# By then the other end has ended it, however long we were held up ourselves.
LINK_GONE_S = 2 * LINK_TIMEOUT_S
LINK_SUSPECT_S = 1.5
# The same when either end has just moved: what still lives answers.
LINK_MOVED_S = 0.6
# Design section 9: --conn-limit.
DEFAULT_CONN_LIMIT = 200

_LASTING = {
    CloseCode.OTHER_NETWORK,
    CloseCode.OTHER_VERSION,
    CloseCode.WRONG_PASSWORD,
    CloseCode.BAD_IDENTITY,
    CloseCode.SAME_IDENTITY,
}


class LinkOwner(Protocol):
    """Who is told of links."""

    def link_up(self, link: Link, *, first: bool, now: float) -> None:
        """An authenticated link stands; not the ``first`` if it takes another one's place."""

    def link_down(self, peer: PeerName, reason: str, *, goodbye: bool, now: float) -> None:
        """The link to ``peer`` is gone. ``goodbye``: so is the peer, it said."""

    def link_idles(self, peer: PeerName, now: float) -> None:
        """Time for a sign of life: to say by the link what we know does to compare it, too."""

    def link_to_give_up(self, newcomer: PeerName) -> PeerName | None:
        """Whose link goes, if anybody's, as there are as many as may be and ``newcomer`` came."""

    def link_ponged(self, peer: PeerName, rtt_s: float, now: float) -> None:
        """A ping by the link has been answered."""

    def message_received(self, link: Link, kind: MessageType, body: bytes, now: float) -> None:
        """A message other than a ping. Raises MalformedError, which ends the link."""


class _Task(enum.Enum):
    HANDSHAKE_TIMEOUT = 1
    LOOK = 2
    SUSPICION = 3


class LinkKeeper:
    """All links of one peer. Drain `links_to_send` and `next_event` after each call."""

    def __init__(
        self,
        config: LinkConfig,
        owner: LinkOwner,
        targets: Targets,
        counters: Counters,
        *,
        limit: int,
        rng: Rng,
    ) -> None:
        self._config = config
        self._owner = owner
        self._targets = targets
        self._counters = counters
        self._limit = limit
        self._rng = rng
        self._guard = LinkGuard()
        self._links: dict[LinkId, Link] = {}
        self._by_peer: dict[PeerName, Link] = {}
        # Those that may have bytes to send; of many links few have, and every input drains them.
        self._touched: dict[LinkId, Link] = {}
        self._ended: list[LinkOutput] = []
        self._serials = itertools.count(1)
        self._timers: Timers[tuple[_Task, LinkId]] = Timers()
        self._events: deque[Event] = deque()

    def __iter__(self) -> Iterator[Link]:
        """All of them, those that are not authenticated yet too."""
        return iter(self._links.values())

    @property
    def by_peer(self) -> Mapping[PeerName, Link]:
        """The link to each peer that is linked; a live view."""
        return self._by_peer

    @property
    def is_full(self) -> bool:
        """Only authenticated links count, so strangers cannot take a peer's place."""
        return len(self._by_peer) >= self._limit

    def use_psks(self, psks: tuple[bytes, ...]) -> None:
        """Offer the first and accept all of them, in handshakes under way too."""
        self._config = self._config.replaced(psks=psks)
        for link in self._links.values():
            link.protocol.use_psks(psks)

    def opened(self, link_id: LinkId, remote: Endpoint, target_id: int | None, now: float) -> None:
        """A TCP connection stands: dialled for ``target_id``, or accepted when that is None."""
        outbound = target_id is not None
        if target_id is not None and self._targets.get(target_id) is None:
            self._ended.append(LinkOutput(link_id, b"", close=True))
            return  # Forgotten while it was being dialled.
        if not outbound and not self._guard.admits(remote, self._links.values(), now):
            self._counters.drops[DropReason.LINK_LIMIT] += 1
            self._ended.append(LinkOutput(link_id, b"", close=True))
            return
        if not outbound and (idle := self._guard.to_make_room(self._links.values())):
            self.close(idle, CloseCode.TIMEOUT, "made room for another connection", now)
        protocol = LinkProtocol(
            self._config,
            dialler=outbound,
            rng=self._rng,
            serial=next(self._serials) if outbound else 0,
        )
        link = Link(link_id, protocol, remote, outbound, target_id, heard_at=now)
        self._links[link_id] = self._touched[link_id] = link
        self._timers.set((_Task.HANDSHAKE_TIMEOUT, link_id), now + HANDSHAKE_TIMEOUT_S)

    def receive(self, link_id: LinkId, data: bytes, now: float) -> None:
        """Bytes of a link, in any cut. Bytes of a link already ended are ignored."""
        link = self._links.get(link_id)
        if link is None:
            return
        link.heard_at = now
        self._touched[link_id] = link
        failure: RemoteProtocolError | None = None
        try:
            link.protocol.receive(data, now)
        except RemoteProtocolError as error:
            failure = error
        # An event may end the link (a duplicate, a malformed record): what follows is moot then.
        while link_id in self._links and (event := link.protocol.next_event()) is not None:
            self._on_event(link, event, now)
        if failure is not None and link_id in self._links:
            self._end(link, str(failure), now, code=failure.code, by_peer=False)

    def ended(self, link_id: LinkId, reason: str, now: float) -> None:
        """The connection is gone, whoever ended it; nothing happens if we did."""
        link = self._links.get(link_id)
        if link is not None:
            self._end(link, reason, now, code=None, by_peer=False)

    def peer_of(self, link_id: LinkId) -> PeerName | None:
        """Whose link that is, if it is the one in use."""
        link = self._links.get(link_id)
        if link is None or link.peer is None or self._by_peer.get(link.peer) is not link:
            return None
        return link.peer

    def send(self, peer: PeerName, kind: MessageType, body: bytes) -> bool:
        """One message to a linked peer; False when there is no link."""
        link = self._by_peer.get(peer)
        if link is None:
            return False
        self._send(link, kind, body)
        return True

    def close(self, link: Link, code: CloseCode, reason: str, now: float) -> None:
        """End ``link``, and tell the other end why."""
        link.protocol.close(code)
        self._end(link, reason, now, code=code, by_peer=False)

    def close_all(self, code: CloseCode, reason: str, now: float) -> None:
        for link in list(self._links.values()):
            self.close(link, code, reason, now)

    def forget(self, target: Target, now: float) -> None:
        """End what was dialled for ``target`` or its peer. The other end is not told why."""
        for link in list(self._links.values()):
            is_its_link = link.outbound and link.peer is not None and link.peer == target.peer
            if is_its_link or link.target_id == target.id:
                self._end(link, "forgotten", now, code=None, by_peer=False)

    def handle_timer(self, now: float) -> None:
        for (task, link_id), due_at in self._timers.pop_due_with_deadlines(now):
            if (link := self._links.get(link_id)) is not None:
                self._look_at(link, task, now, held_up=now - due_at > LATE_S)

    def next_deadline(self) -> float | None:
        return self._timers.next_deadline()

    def links_to_send(self) -> list[LinkOutput]:
        """Bytes to write, in order; an output with ``close`` is the last of its link."""
        outputs, self._ended = self._ended, []
        for link in self._touched.values():
            if data := link.protocol.data_to_send():
                outputs.append(LinkOutput(link.id, data, close=False))
        self._touched.clear()
        return outputs

    def next_event(self) -> Event | None:
        return self._events.popleft() if self._events else None

    def _on_event(self, link: Link, event: LinkEvent, now: float) -> None:
        if isinstance(event, LinkAuthenticated):
            self._authenticated(link, event, now)
        elif isinstance(event, RecordReceived):
            self._receive_record(link, event.plaintext, now)
        elif isinstance(event, LinkClosed):
            self._end(link, event.text, now, code=event.code, by_peer=True)

    def _receive_record(self, link: Link, plaintext: bytes, now: float) -> None:
        try:
            kind, body = parse_message(plaintext)
            if kind is MessageType.PING:
                self._send(link, MessageType.PONG, body)
            elif kind is MessageType.PONG:
                self._receive_pong(link, body, now)
            elif kind is not None:
                self._owner.message_received(link, kind, body, now)
        except MalformedError as error:
            self.close(link, CloseCode.PROTOCOL_ERROR, str(error), now)

    def _receive_pong(self, link: Link, token: bytes, now: float) -> None:
        if link.ping is not None and link.ping[0] == token and link.peer is not None:
            (_, sent_at), link.ping = link.ping, None
            self._owner.link_ponged(link.peer, now - sent_at, now)

    def _authenticated(self, link: Link, who: LinkAuthenticated, now: float) -> None:
        link.authenticated = who
        self._timers.cancel((_Task.HANDSHAKE_TIMEOUT, link.id))
        known = self._by_peer.get(who.peer)
        if known is None and self.is_full and not self._made_room(who.peer, now):
            self._turn_away(link, now)
            return
        self._targets.linked(who.peer, link.target_id, now)
        if known is not None and surplus(self._config.identity.name, known, link) is link:
            # Whoever dials again may have lost the link we hold: it must show that it lives.
            self._suspect(known, now)
            self.close(link, CloseCode.DUPLICATE_LINK, CloseCode.DUPLICATE_LINK.text, now)
            return
        self._by_peer[who.peer] = link
        if known is not None:
            self.close(known, CloseCode.DUPLICATE_LINK, CloseCode.DUPLICATE_LINK.text, now)
        else:
            self._events.append(LinkEstablished(who.peer, link.remote, link.outbound))
        self._look_again_by(link, on_the_second(now + LINK_SIGN_INTERVAL_S))
        self._owner.link_up(link, first=known is None, now=now)

    def _made_room(self, newcomer: PeerName, now: float) -> bool:
        peer = self._owner.link_to_give_up(newcomer)
        if peer is None:
            return False
        code = CloseCode.TOO_MANY_LINKS
        self.close(self._by_peer[peer], code, "made room for a link that is needed more", now)
        return True

    def _turn_away(self, link: Link, now: float) -> None:
        code, full = CloseCode.TOO_MANY_LINKS, Trouble.CONN_LIMIT
        self._targets.failed(link.target_id, code.text, now, refused=False, trouble=full)
        self._events.append(LinkRefused(link.remote, link.outbound, code.text, code, False))
        self.close(link, code, code.text, now)

    def _look_at(self, link: Link, task: _Task, now: float, *, held_up: bool) -> None:
        code = CloseCode.TIMEOUT
        self._touched[link.id] = link
        if task is _Task.HANDSHAKE_TIMEOUT:
            self.close(link, code, "the handshake was not finished in time", now)
        elif task is _Task.SUSPICION:
            suspected_at, link.suspected_at = link.suspected_at, None
            if suspected_at is None or link.heard_at > suspected_at:
                return
            if held_up and now < link.heard_at + LINK_GONE_S:
                # As in `peering.silence`: what it has said meanwhile may wait to be read.
                self._suspect(link, now)
            else:
                self.close(link, code, "the peer has lost this link", now)
        elif now >= link.heard_at + (LINK_GONE_S if held_up else LINK_TIMEOUT_S):
            self.close(link, code, f"nothing heard for {LINK_TIMEOUT_S:.0f} s", now)
        elif not link.protocol.keep_fresh(now):
            self._end(link, KEYS_EXPIRED, now, code=None, by_peer=False)
        elif now >= link.heard_at + LINK_TIMEOUT_S:
            # We were held up, so there may be something to be read.
            self._suspect(link, now)
            self._look_again_by(link, now + LINK_SUSPECT_S)
        else:
            if link.peer is not None:
                self._owner.link_idles(link.peer, now)
            sign_at = on_the_second(now + LINK_SIGN_INTERVAL_S)
            self._look_again_by(link, min(sign_at, link.heard_at + LINK_TIMEOUT_S))

    def ping(self, peer: PeerName, now: float) -> None:
        """Measure the round trip by the link to ``peer``; the owner is told when it is over."""
        if (link := self._by_peer.get(peer)) is not None:
            self._ping(link, now)

    def _ping(self, link: Link, now: float) -> None:
        link.ping = (self._rng(TOKEN_BYTES), now)
        self._send(link, MessageType.PING, link.ping[0])

    def _look_again_by(self, link: Link, deadline: float) -> None:
        """Look at ``link`` again, at the latest when its keys want to be renewed."""
        keys_at = link.protocol.next_deadline()
        self._timers.set((_Task.LOOK, link.id), min(deadline, keys_at))

    def suspect(self, peer: PeerName, now: float, *, wait_s: float = LINK_SUSPECT_S) -> None:
        """``peer`` is silent by UDP, or elsewhere: does its link still live?"""
        if (link := self._by_peer.get(peer)) is not None:
            self._suspect(link, now, wait_s)

    def end_if_silent(self, peer: PeerName, now: float) -> None:
        """``peer`` is lost by UDP. If its link has not answered `suspect` either, it is gone."""
        link = self._by_peer.get(peer)
        if link is None or link.suspected_at is None or link.heard_at > link.suspected_at:
            return
        silent_s = now - link.heard_at
        self.close(link, CloseCode.TIMEOUT, f"nothing heard for {silent_s:.1f} s", now)

    def _suspect(self, link: Link, now: float, wait_s: float = LINK_SUSPECT_S) -> None:
        """End ``link`` unless it is heard soon."""
        key, deadline = (_Task.SUSPICION, link.id), now + wait_s
        if link.suspected_at is None or link.heard_at > link.suspected_at:
            link.suspected_at = now
            self._ping(link, now)
            # Beside the turn of `LOOK`, which may renew the keys before that.
            self._timers.set(key, deadline)
        elif deadline < (self._timers.deadline_of(key) or deadline):
            self._timers.set(key, deadline)

    def _end(
        self, link: Link, reason: str, now: float, *, code: CloseCode | None, by_peer: bool
    ) -> None:
        """The one way a link ends. ``code``: as closed by us, or by the other end (``by_peer``)."""
        del self._links[link.id]
        self._touched.pop(link.id, None)
        for task in _Task:
            self._timers.cancel((task, link.id))
        self._ended.append(LinkOutput(link.id, link.protocol.data_to_send(), close=True))
        peer = link.peer
        if peer is not None and self._by_peer.get(peer) is link:
            del self._by_peer[peer]
            refused = by_peer and code is CloseCode.TOO_MANY_LINKS
            trouble = Trouble.NO_ROOM if refused else Trouble.LINK_LOST
            self._targets.unlinked(peer, reason, now, trouble=trouble)
            self._events.append(LinkLost(peer, reason))
            goodbye = by_peer and code is CloseCode.SHUTDOWN
            self._owner.link_down(peer, reason, goodbye=goodbye, now=now)
        elif peer is None:
            self._never_stood(link, reason, now, code=code, by_peer=by_peer)

    def _never_stood(
        self, link: Link, reason: str, now: float, *, code: CloseCode | None, by_peer: bool
    ) -> None:
        # What the other end says in clear, anyone could have said: it may delay a target, but
        # only what we saw ourselves may end one.
        if code is CloseCode.SELF and not by_peer:
            self._targets.is_ourselves(link.target_id, reason, now)
        else:
            refused, trouble = code in _LASTING, Trouble.REFUSED
            self._targets.failed(link.target_id, reason, now, refused=refused, trouble=trouble)
        self._events.append(LinkRefused(link.remote, link.outbound, reason, code, by_peer))

    def _send(self, link: Link, kind: MessageType, body: bytes) -> None:
        if link.protocol.state is LinkState.ESTABLISHED:
            link.protocol.send_record(pack_message(kind, body))
            self._touched[link.id] = link
