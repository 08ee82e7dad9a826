"""The handshakes of one peer's data sessions: calls it makes, calls it answers (wire.md section 4).

Nothing is decided here about when to call whom, or which session is used: that is the owner's
affair (the keeper of sessions, as `CallOwner`), which is told what came of each call.
"""

from __future__ import annotations

from typing import Protocol

from meshnet.errors import AuthenticationError, DropReason
from meshnet.ids import Endpoint, PeerName, Remote
from meshnet.peering.data_path import Datagram, DataPath
from meshnet.peering.floods import HandshakeGuard
from meshnet.peering.pair import Pair
from meshnet.peering.trusted import TrustedSubnets
from meshnet.ports import Rng
from meshnet.wire.ciphers import CipherId
from meshnet.wire.cookies import COOKIE_LIFE_S, read_cookie_reply, with_proof
from meshnet.wire.datagram import HEADER, DatagramType
from meshnet.wire.handshake import CLEAR_FRAMES, initiate, read_initiation
from meshnet.wire.identity import Identity
from meshnet.wire.key_life import KeyLife
from meshnet.wire.session import Session

# Stamps of peers heard last. One that is forgotten lets an old message be answered once more, and
# that answer is of no use to who replays it.
MAX_STAMPS = 8192


class CallOwner(Protocol):
    """Who has the pairs, and is told what came of calls."""

    def may_call(self, peer: PeerName) -> bool:
        """Whether ``peer`` may call us."""

    def caller(self, static: bytes, now: float) -> Pair | None:
        """Our pair with who has this Noise key, if it may call us."""

    def call_taken(self, pair: Pair) -> None:
        """The other end has called and was answered: ``pair.unconfirmed`` is the new session."""

    def call_answered(self, pair: Pair, session: Session, now: float) -> None:
        """Our call was answered: ``session`` is ready to send."""

    def call_failed(self, pair: Pair, now: float) -> None:
        """Our call was answered in a way that is of no use: call again."""


class Calls:
    """First messages and answers. What is to be sent is put into the two lists."""

    def __init__(
        self,
        owner: CallOwner,
        identity: Identity,
        network_id: bytes,
        psks: tuple[bytes, ...],
        *,
        ciphers: tuple[CipherId, ...],
        capabilities: int,
        first_stamp: int,
        data_path: DataPath,
        rng: Rng,
        key_life: KeyLife,
    ) -> None:
        self.psks = psks
        """The first is offered, all are accepted."""
        self.trusted = TrustedSubnets()
        self.datagrams: list[Datagram] = []
        self.relayed: list[tuple[bytes, PeerName]] = []
        """For peers that are reached through others, by links."""
        self._owner = owner
        self._identity = identity
        self._network_id = network_id
        self._ciphers = ciphers
        self._capabilities = capabilities
        self._next_stamp = first_stamp
        self._data_path = data_path
        self._rng = rng
        self._key_life = key_life
        self._guard = HandshakeGuard(identity.static.public, rng)
        # Stamps outlive the pair: a peer that was away must not have its old messages answered.
        self._last_stamps: dict[PeerName, int] = {}
        self._pending: dict[int, Pair] = {}

    def last_stamp(self, peer: PeerName) -> int:
        """The greatest stamp that was taken from ``peer``; -1 before the first."""
        return self._last_stamps.get(peer, -1)

    def make(self, pair: Pair, remote: Remote, now: float) -> None:
        """Call ``pair``'s other end at ``remote``. There must be no call that waits."""
        stamp, self._next_stamp = self._next_stamp, self._next_stamp + 1
        offer_clear = remote in self.trusted and not pair.never_clear
        try:
            pair.pending = initiate(
                self._identity,
                self._network_id,
                peer=pair.peer,
                their_static=pair.static,
                our_index=self._free_index(),
                stamp=stamp,
                ciphers=self._ciphers,
                capabilities=self._capabilities | (CLEAR_FRAMES if offer_clear else 0),
                ephemeral_secret=self._rng(32),
                remote=remote,
                now=now,
                key_life=self._key_life,
            )
        except AuthenticationError as error:
            pair.reason = str(error)
            return
        self._data_path.counters.handshakes_started += 1
        self._pending[pair.pending.our_index] = pair
        datagram = pair.pending.datagram
        if pair.cookie is not None:
            cookie, way, received_at = pair.cookie
            if way == remote and now - received_at < COOKIE_LIFE_S:
                datagram = with_proof(datagram, cookie)
        self._send(datagram, remote)

    def drop(self, pair: Pair, *, overdue: bool = True) -> None:
        """A call that was not answered: remember why for whoever asks."""
        if pair.pending is None:
            return
        self._pending.pop(pair.pending.our_index, None)
        if overdue:
            pair.called(pair.pending.remote, "no answer")
        if type(pair.pending.remote) is Endpoint:
            pair.reason = f"no answer from {pair.pending.remote} by UDP"
        else:
            pair.reason = "no answer through other peers"
        pair.pending = None

    def receive(self, datagram: bytes, source: Remote, now: float) -> DropReason | None:
        """A handshake datagram. What was wrong with it?"""
        kind = HEADER.unpack_from(datagram)[0]
        if kind == DatagramType.INITIATION:
            return self._receive_initiation(datagram, source, now)
        if kind == DatagramType.RESPONSE:
            return self._receive_response(datagram, source, now)
        if kind == DatagramType.COOKIE_REPLY:
            return self._receive_cookie_reply(datagram, now)
        return DropReason.UNKNOWN_TYPE

    def _receive_initiation(self, datagram: bytes, source: Remote, now: float) -> DropReason | None:
        if isinstance(source, PeerName) and not self._owner.may_call(source):
            return DropReason.UNKNOWN_PEER
        drop, reply = self._guard.judge(datagram, source, now)
        if reply is not None:
            self._send(reply, source)
        if drop is not None:
            return drop
        try:
            initiation = read_initiation(self._identity, self._network_id, datagram, self._rng(32))
        except AuthenticationError:
            return DropReason.BAD_HANDSHAKE
        pair = self._owner.caller(initiation.static, now)
        if pair is None:
            return DropReason.UNKNOWN_PEER
        if isinstance(source, PeerName) and source != pair.peer:
            return DropReason.BAD_HANDSHAKE  # It would be answered to somebody else.
        if initiation.stamp <= pair.last_stamp:
            return DropReason.OLD_STAMP
        pair.last_stamp = initiation.stamp
        self._keep_stamp(pair.peer, initiation.stamp)
        # Only as an answer to their offer, and by our own judgement of where they are.
        clear = bool(initiation.capabilities & CLEAR_FRAMES) and source in self.trusted
        try:
            response, session = initiation.answer(
                peer=pair.peer,
                our_index=self._free_index(),
                preference=self._ciphers,
                capabilities=self._capabilities | (CLEAR_FRAMES if clear else 0),
                psk=self.psks[0],
                remote=source,
                now=now,
                key_life=self._key_life,
            )
        except AuthenticationError as error:
            pair.reason = str(error)
            return DropReason.BAD_HANDSHAKE
        if clear and isinstance(source, Endpoint):
            session.clear_with = source
        # One unconfirmed session per peer, the newest: repeating first messages gains nothing.
        if pair.unconfirmed is not None:
            self._data_path.remove_session(pair.unconfirmed)
        pair.unconfirmed = session
        self._data_path.add_session(session)
        self._owner.call_taken(pair)
        self._send(response, source)
        self._data_path.counters.handshakes_answered += 1
        return None

    def _keep_stamp(self, peer: PeerName, stamp: int) -> None:
        self._last_stamps.pop(peer, None)
        if len(self._last_stamps) >= MAX_STAMPS:
            del self._last_stamps[next(iter(self._last_stamps))]
        self._last_stamps[peer] = stamp

    def _receive_cookie_reply(self, datagram: bytes, now: float) -> DropReason | None:
        """The other end is busy and wants our address proved: say the same again, with proof."""
        pair = self._pending.get(HEADER.unpack_from(datagram)[3])
        if pair is None or pair.pending is None:
            return DropReason.UNKNOWN_SESSION
        pending = pair.pending
        try:
            cookie = read_cookie_reply(datagram, pending.datagram, pair.static)
        except AuthenticationError:
            return DropReason.BAD_HANDSHAKE
        known, pair.cookie = pair.cookie, (cookie, pending.remote, now)
        if known is None or known[0] != cookie:
            # Once for each cookie, or a recorded reply would make us send for ever.
            self._send(with_proof(pending.datagram, cookie), pending.remote)
        return None

    def _receive_response(self, datagram: bytes, source: Remote, now: float) -> DropReason | None:
        pair = self._pending.get(HEADER.unpack_from(datagram)[3])
        if pair is None or pair.pending is None:
            return DropReason.UNKNOWN_SESSION
        try:
            session = pair.pending.finish(datagram, self.psks, now)
        except AuthenticationError:
            # Forged, or made with a psk that is not ours: the two cannot be told apart (IKpsk2).
            return DropReason.BAD_HANDSHAKE
        agreed = pair.pending.capabilities & CLEAR_FRAMES
        del self._pending[pair.pending.our_index]
        pair.pending = None
        if agreed and (source != session.remote or source not in self.trusted):
            # They would send in clear from an address that we did not judge, and then seal
            # everything; or from one that we have ceased to trust since we called.
            pair.never_clear = pair.never_clear or source != session.remote
            self._owner.call_failed(pair, now)
            return None
        if agreed and isinstance(source, Endpoint):
            session.clear_with = source
        # The answer is authenticated, so where it came from is where the peer is.
        if isinstance(source, Endpoint) and isinstance(session.remote, Endpoint):
            session.remote = source
        session.confirmed = True
        self._data_path.add_session(session)
        self._owner.call_answered(pair, session, now)
        return None

    def _send(self, datagram: bytes, remote: Remote) -> None:
        if isinstance(remote, Endpoint):
            self.datagrams.append((datagram, remote))
        else:
            self.relayed.append((datagram, remote))

    def _free_index(self) -> int:
        """A random index no session of ours has: guessing one is then no use to an attacker."""
        while True:
            index = int.from_bytes(self._rng(4), "big")
            if index not in self._pending and not self._data_path.knows_index(index):
                return index
