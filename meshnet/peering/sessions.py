"""Keeps one data session with every linked peer: sets it up, measures it, renews it, mends it.

The end that dialled the link initiates, since it knows an address that answers; the other one steps
in when that comes to nothing. Addresses are tried in turn. Keys are renewed by another handshake
while the old ones go on being used (wire.md section 4.1); the peer with the lesser name begins.
"""

from __future__ import annotations

import enum
from collections import deque
from collections.abc import Iterable, Iterator

from meshnet.errors import DropReason
from meshnet.events import (
    Event,
    ProbeAnswered,
    SessionEstablished,
    SessionLost,
    SessionMoved,
    SessionRenewed,
    SessionRested,
)
from meshnet.ids import Endpoint, PeerName, Remote
from meshnet.peering.calls import Calls
from meshnet.peering.data_path import Datagram, DataPath
from meshnet.peering.keepalive import (
    LOSSY_INTERVAL_S,
    PROBE_INTERVAL_S,
    has_traffic,
    keepalive_at,
)
from meshnet.peering.link_costs import LinkCosts, Sample
from meshnet.peering.members import Member, Members
from meshnet.peering.pair import Pair, Probe
from meshnet.peering.silence import SILENT_S, Sign, SilenceWatch
from meshnet.peering.trusted import TrustedSubnets
from meshnet.ports import Rng
from meshnet.timers import Timers, on_the_second
from meshnet.wire.ciphers import CipherId
from meshnet.wire.identity import Identity
from meshnet.wire.key_life import DEFAULT_KEY_LIFE, KeyLife
from meshnet.wire.session import Session

# Our choice. A lost first message must not cost the healing time; after that, WireGuard's 5 s.
FIRST_RETRY_S = 0.3
LAST_RETRY_S = 5.0
STEP_IN_S = 1.5
# So often a linked peer is called directly before it is called through others.
PATIENT_CALLS = 3
# First messages made at once, some milliseconds' work; frames have their turn before the next. The
# peers that a neighbour gives us a way to come all together.
CALLS_AT_ONCE = 8
# How long frames may still flow when the link has broken but the peer may well be alive.
GRACE_S = 10.0
# After the loss of a link: how long the direct path has to show that it is still good.
DOUBT_S = 0.7
# A relayed pair looks for a direct path soon, and then now and then.
FIRST_DIRECT_S = 1.0
DIRECT_INTERVAL_S = 20.0
PROBE_TIMEOUT_S = 2.0
# What a move sets off happens at most this often for a pair: a member can send from anywhere at
# will. The address itself is followed with every datagram.
MOVES_APART_S = 0.5
# As often is a peer called back that was given up and is heard: it may hear us as little as before.
CALLS_BACK_APART_S = 1.0
# Bounds what a peer that never answers can make us remember of pings.
MAX_PROBES_IN_FLIGHT = 64
# Sessions still received by beside the one in use: two when both ends renew at once, and one more
# for a relayed one that lost against a direct one.
MAX_FORMER = 3
_RTT_GAIN = 0.25
# Sessions on demand. A peer that does not answer is called so often, within 14 s, until somebody
# wants it again; what came to nothing is forgotten; and whether a session is used after all is
# looked at as often as it is probed.
MAX_CALLS_ON_DEMAND = 6
TIDY_S = 15.0
IDLE_LOOK_S = 5.0
MAX_WAITING_PINGS = 16


class _Task(enum.Enum):
    INITIATE = 1
    PROBE = 2
    END_OF_GRACE = 3
    TRY_DIRECT = 4
    REKEY = 5
    EXPIRE = 6
    TIDY = 7


_CALLS = (_Task.INITIATE, _Task.TRY_DIRECT, _Task.REKEY)


class SessionKeeper:
    """All pairs of one peer. Emits events; sends by the `DataPath` and `datagrams_to_send`."""

    def __init__(
        self,
        identity: Identity,
        network_id: bytes,
        psks: tuple[bytes, ...],
        *,
        ciphers: tuple[CipherId, ...],
        capabilities: int,
        first_stamp: int,
        data_path: DataPath,
        members: Members,
        link_costs: LinkCosts,
        rng: Rng,
        key_life: KeyLife = DEFAULT_KEY_LIFE,
    ) -> None:
        self._members = members
        self._link_costs = link_costs
        self._our_name = identity.name
        self._data_path = data_path
        self._rng = rng
        self._key_life = key_life
        self._calls = Calls(
            self,
            identity,
            network_id,
            psks,
            ciphers=ciphers,
            capabilities=capabilities,
            first_stamp=first_stamp,
            data_path=data_path,
            rng=rng,
            key_life=key_life,
        )
        self._pairs: dict[PeerName, Pair] = {}
        self._by_static: dict[bytes, Pair] = {}
        self._timers: Timers[tuple[_Task, PeerName]] = Timers()
        self._silence = SilenceWatch()
        self.suspected: list[PeerName] = []
        """Peers that have fallen silent; for the engine to drain, as ``silent`` is."""
        self.silent: list[PeerName] = []
        """Those of them that are lost."""
        self.moved: list[PeerName] = []
        """Peers that are heard from elsewhere, or again; the engine drains this, too."""
        self.measured: list[Sample] = []
        """What came of regular probes by direct paths; for the engine to drain as well."""
        self._next_probe_id = 1
        self._events: deque[Event] = deque()

    def use_psks(self, psks: tuple[bytes, ...]) -> None:
        """Offer the first and accept all of them from the next handshake on."""
        self._calls.psks = psks

    def use_trusted(self, trusted: TrustedSubnets, now: float) -> None:
        """Agree to frames in clear within these subnets. What is no longer trusted ends at once."""
        self._calls.trusted = trusted
        for pair in self._pairs.values():
            current = pair.current
            if current is not None and current.is_clear != (current.remote in trusted):
                self._timers.set((_Task.REKEY, pair.peer), now)
            for session in pair.sessions:
                if session.clear_with is not None and session.clear_with not in trusted:
                    session.clear_with = None
                    if session is pair.unconfirmed:
                        # The other end is about to send in clear by it, and to no avail.
                        self._data_path.remove_session(session)
                        pair.unconfirmed = None
                        self._timers.set((_Task.INITIATE, pair.peer), now)

    def __iter__(self) -> Iterator[Pair]:
        return iter(self._pairs.values())

    def pair(self, peer: PeerName) -> Pair | None:
        return self._pairs.get(peer)

    def peer_reachable(
        self,
        peer: PeerName,
        static: bytes,
        life: int,
        *,
        direct: Iterable[Endpoint],
        relay: bool,
        lead: bool,
        now: float,
    ) -> None:
        """``peer`` is linked or, with ``relay``, can be reached through others; or that changed.

        ``direct`` are its addresses, best first. ``lead``: we initiate at once; else we give the
        other end time to.
        """
        pair = self._pairs.get(peer)
        if pair is not None and pair.life != life:
            self._drop(pair, "the peer has restarted")
            pair = None
            if relay and self.on_demand and peer not in self._data_path.held:
                return
        created = pair is None
        if pair is None:
            pair = self._add_pair(Member(peer, static, life, ()))
        if self._timers.is_set((_Task.END_OF_GRACE, peer)):
            self._timers.cancel((_Task.END_OF_GRACE, peer))
            pair.reason = ""
        lost_link = relay and not pair.relay
        pair.relay = relay
        self._set_direct(pair, direct, now)
        if lost_link and pair.current is not None and pair.path == "direct":
            # The link is gone, but is the direct path? Ask, and only then go through others.
            pair.doubted_at = now
            self._probe(pair, pair.current, now)
            self._timers.set((_Task.INITIATE, peer), now + DOUBT_S)
        elif created or lost_link or (pair.current is None and self._is_due(pair)):
            # Through others first, since that is known to work; then we look for a direct path.
            pair.attempts = 0
            self._timers.set((_Task.INITIATE, peer), now if lead else now + STEP_IN_S)
        elif not relay and pair.path == "relay":
            self._timers.set((_Task.TRY_DIRECT, peer), now if lead else now + STEP_IN_S)

    def _is_due(self, pair: Pair) -> bool:
        """Whether a pair without a session is to get one though nobody asks for it."""
        return not pair.relay or (pair.at_rest and not self.on_demand)

    def _add_pair(self, member: Member) -> Pair:
        peer, static, life, direct = member
        pair = Pair(peer, static, life, direct, last_stamp=self._calls.last_stamp(peer))
        pair.reason = "setting up the data session"
        self._pairs[peer] = self._by_static[static] = pair
        return pair

    def _add_on_demand(self, member: Member, now: float) -> Pair:
        """One that we have no link to, and that has called us, or is to be called."""
        pair = self._add_pair(member)
        pair.relay = True
        self._timers.set((_Task.TIDY, pair.peer), now + TIDY_S)
        return pair

    @property
    def on_demand(self) -> bool:
        """Whether peers that are not linked get a session only when frames flow."""
        return self._data_path.on_demand

    def want(self, peer: PeerName, now: float) -> Pair | None:
        """Have a session with ``peer`` set up, if there is none. None: there is no way to it."""
        pair = self._pairs.get(peer)
        if pair is None:
            member = self._members.by_name(peer) if self.on_demand else None
            if member is None:
                return None
            pair = self._add_on_demand(member, now)
        if pair.current is None and not self._timers.is_set((_Task.INITIATE, peer)):
            pair.attempts = 0
            # Has it just called us? Then the answer to our answer comes first.
            wait_s = FIRST_RETRY_S if pair.unconfirmed is not None else 0.0
            self._timers.set((_Task.INITIATE, peer), now + wait_s)
        pair.at_rest = False
        return pair

    def set_up_wanted(self, now: float) -> None:
        """Call those to whom the data path has something to send."""
        wanted, self._data_path.wanted = self._data_path.wanted, {}
        for peer in wanted:
            if self.want(peer, now) is None:
                self._data_path.send_held_to_all(peer, now)

    def set_direct(self, peer: PeerName, direct: Iterable[Endpoint], now: float) -> None:
        """The addresses at which ``peer`` may be reached, best first."""
        pair = self._pairs.get(peer)
        if pair is not None:
            self._set_direct(pair, direct, now)

    def _set_direct(self, pair: Pair, direct: Iterable[Endpoint], now: float) -> None:
        former, pair.direct = pair.direct, tuple(dict.fromkeys(direct))
        if pair.path == "relay" and set(former) != set(pair.direct):
            # It may be within reach there. Not before the last look was over, or a member that
            # announces addresses without end would have us call them all.
            key, soon = (_Task.TRY_DIRECT, pair.peer), now + FIRST_DIRECT_S
            if soon < (self._timers.deadline_of(key) or soon):
                self._timers.set(key, soon)

    def path_changed(self, now: float) -> None:
        """Our own way to everybody may be another now: ask all, which shows them where we are."""
        for pair in self._pairs.values():
            if pair.current is None:
                # Of those on demand only who is being called: the others nobody wants now.
                if not self._on_demand(pair) or self._timers.is_set((_Task.INITIATE, pair.peer)):
                    pair.attempts = 0
                    self._timers.set((_Task.INITIATE, pair.peer), now)
                continue
            self._probe(pair, pair.current, now)
            if pair.path == "relay":
                self._timers.set((_Task.TRY_DIRECT, pair.peer), now)

    def peer_unreachable(self, peer: PeerName, *, gone: bool, reason: str, now: float) -> None:
        """No link, and no way through others. ``gone``: it said goodbye, so its session ends."""
        pair = self._pairs.get(peer)
        if pair is None:
            return
        if gone or pair.current is None:
            self._drop(pair, reason)
        elif not self._timers.is_set((_Task.END_OF_GRACE, peer)):
            self._timers.set((_Task.END_OF_GRACE, peer), now + GRACE_S)
            pair.reason = f"{reason}; the session is kept for {GRACE_S:.0f} s"

    def receive_datagram(self, datagram: bytes, source: Remote, now: float) -> DropReason | None:
        """A handshake datagram. What was wrong with it?"""
        return self._calls.receive(datagram, source, now)

    def drain_data_path(self, now: float) -> None:
        """Take up what datagrams have just shown: confirmed sessions, answered probes."""
        for session in self._data_path.confirmed:
            pair = self._pairs.get(session.peer)
            if pair is not None and pair.unconfirmed is session:
                pair.unconfirmed = None
                self._promote(pair, session, now)
        self._data_path.confirmed.clear()
        for session, probe_id in self._data_path.probe_acks:
            pair = self._pairs.get(session.peer)
            if pair is not None:
                self._probe_answered(pair, probe_id, now)
                if pair.current is session and not session.is_unanswered:
                    # An idle node is woken by keepalives only, not to find that all is well.
                    self._silence.answered(pair.peer)
        self._data_path.probe_acks.clear()
        for session in self._data_path.probed:
            pair = self._pairs.get(session.peer)
            if pair is not None and pair.current is not None:
                self._silence.probed(pair, now)
        self._data_path.probed.clear()
        for session in self._data_path.moved:
            if (pair := self._pairs.get(session.peer)) is not None:
                self._follow_move(pair, session, now)
        self._data_path.moved.clear()
        for session in self._data_path.heard_again:
            if (pair := self._pairs.get(session.peer)) is not None:
                self._call_back(pair, session, now)
        self._data_path.heard_again.clear()

    def _follow_move(self, pair: Pair, session: Session, now: float) -> None:
        """``pair``'s peer has shown by ``session`` that it is elsewhere: it is, by whichever keys.

        The two ends may send by different ones, when both have set up a session at once.
        """
        for other in pair.sessions:
            if isinstance(other.remote, Endpoint):
                other.remote = session.remote
        if pair.current is None and isinstance(session.remote, Endpoint):
            pair.heard_from = session.remote
        if now - pair.moved_at >= MOVES_APART_S:
            pair.moved_at = now
            self.moved.append(pair.peer)
            self._events.append(SessionMoved(pair.peer, session.remote))

    def _call_back(self, pair: Pair, session: Session, now: float) -> None:
        """A peer that was given up is heard: it woke up, or is elsewhere. Call it there at once."""
        if pair.current is None and now - pair.called_back_at >= CALLS_BACK_APART_S:
            pair.called_back_at = now
            pair.attempts = 0
            self._calls.drop(pair)
            self._timers.set((_Task.INITIATE, pair.peer), now + FIRST_RETRY_S)
            self._calls.make(pair, session.remote, now)

    def _watch_silence(self) -> None:
        """Take up what was sent and wants an answer."""
        for session in self._data_path.unanswered:
            pair = self._pairs.get(session.peer)
            if pair is not None and pair.current is session:
                self._silence.sent(pair)
        self._data_path.unanswered.clear()

    def ping(self, peer: PeerName, now: float) -> int | None:
        """Probe ``peer`` for a user; `ProbeAnswered` has the id. None: no session to be had."""
        pair = self.want(peer, now) if self.on_demand else self._pairs.get(peer)
        if pair is None or (pair.current is None and not self.on_demand):
            return None
        if pair.current is not None:
            return self._probe(pair, pair.current, now, for_user=True)
        probe_id, self._next_probe_id = self._next_probe_id, self._next_probe_id + 1
        del pair.waiting_pings[: -MAX_WAITING_PINGS + 1]
        pair.waiting_pings.append(probe_id)
        return probe_id

    def doubt(self, peer: PeerName, now: float) -> None:
        """Ask ``peer`` for a sign of life, unless it has just given one."""
        pair = self._pairs.get(peer)
        session = pair.current if pair is not None else None
        if pair is None or session is None or now - session.last_received_at <= SILENT_S:
            return
        pair.kept_alive_at = float("-inf")  # Somebody has a reason to ask.
        self._probe(pair, session, now)

    def handle_timer(self, now: float) -> None:
        if self._data_path.wanted:
            self.set_up_wanted(now)
        calls = 0
        # No more than there are now: what is due again at once has its turn after the frames'.
        for _ in range(len(self._timers)):
            if calls == CALLS_AT_ONCE or (due := self._timers.pop_first_due(now)) is None:
                break
            task, peer = due
            calls += task in _CALLS
            pair = self._pairs.get(peer)
            if pair is None:
                continue
            if task is _Task.INITIATE:
                self._initiate(pair, now)
            elif task is _Task.PROBE:
                self._probe_turn(pair, now)
            elif task is _Task.TRY_DIRECT:
                self._try_direct(pair, now)
            elif task is _Task.REKEY:
                self._rekey(pair, now)
            elif task is _Task.EXPIRE:
                self._expire(pair, now)
            elif task is _Task.TIDY:
                self._forget_if_done(pair)
            else:
                self._drop(pair, "the link was not restored in time")
        for pair, sign in self._silence.look(self._pairs, now):
            self._mind_silence(pair, sign, now)

    def _mind_silence(self, pair: Pair, sign: Sign, now: float) -> None:
        assert pair.current is not None, "who has no session cannot fall silent"
        if sign is Sign.LOST:
            self.silent.append(pair.peer)
            self._give_up(pair, pair.current, now)
            return
        if sign is Sign.SUSPECT:
            self.suspected.append(pair.peer)
        self._probe(pair, pair.current, now)

    def next_deadline(self) -> float | None:
        deadlines = (self._timers.next_deadline(), self._silence.next_deadline())
        return min((deadline for deadline in deadlines if deadline is not None), default=None)

    def datagrams_to_send(self) -> list[Datagram]:
        """Handshake datagrams for the UDP socket."""
        if self._data_path.unanswered:
            self._watch_silence()
        datagrams, self._calls.datagrams = self._calls.datagrams, []
        return datagrams

    def relayed_to_send(self) -> list[tuple[bytes, PeerName]]:
        """Handshake datagrams for peers that are reached through others, by links."""
        relayed, self._calls.relayed = self._calls.relayed, []
        return relayed

    def next_event(self) -> Event | None:
        return self._events.popleft() if self._events else None

    def _initiate(self, pair: Pair, now: float) -> None:
        doubted_at, pair.doubted_at = pair.doubted_at, None
        if doubted_at is not None and pair.current is not None:
            if pair.current.last_received_at >= doubted_at:
                return
            pair.attempts = 0
        self._calls.drop(pair)
        if self._on_demand(pair) and pair.attempts >= MAX_CALLS_ON_DEMAND:
            pair.at_rest = True
            self._forget_if_done(pair)
            return
        self._timers.set((_Task.INITIATE, pair.peer), now + _wait_s(pair.attempts))
        ways = pair.candidates
        if not pair.relay and pair.attempts >= PATIENT_CALLS and self._has_way_round(pair.peer):
            # Linked, but UDP does not pass between us: others may reach it.
            ways = (*ways, pair.peer)
        if not ways:
            pair.reason = "the peer announces no address; waiting for it to call"
            return
        remote = ways[pair.turn % len(ways)]
        pair.turn += 1
        pair.attempts += 1
        self._calls.make(pair, remote, now)

    def _has_way_round(self, peer: PeerName) -> bool:
        return self._data_path.next_hops.get(peer, peer) != peer

    def _try_direct(self, pair: Pair, now: float) -> None:
        """While frames go through others: is there a direct path by now?"""
        if pair.path != "relay":
            return
        self._timers.set((_Task.TRY_DIRECT, pair.peer), now + DIRECT_INTERVAL_S)
        self._calls.drop(pair)
        if pair.direct:
            self._calls.make(pair, pair.direct[pair.turn % len(pair.direct)], now)
            pair.turn += 1
        else:
            pair.reason = "relayed: the peer announces no address"

    def _rekey(self, pair: Pair, now: float) -> None:
        """Renew the keys in use: along the way that works, and if that fails by any other."""
        session = pair.current
        if session is None:
            return
        if self._on_demand(pair) and not any(each.was_used for each in pair.sessions):
            self._let_rest(pair, session, now)
            return
        self._calls.drop(pair)
        self._timers.set((_Task.REKEY, pair.peer), now + _wait_s(pair.attempts))
        ways = tuple(dict.fromkeys((session.remote, *pair.candidates)))
        remote = ways[pair.attempts % len(ways)]
        pair.attempts += 1
        self._calls.make(pair, remote, now)

    def _on_demand(self, pair: Pair) -> bool:
        return pair.relay and self.on_demand

    def _let_rest(self, pair: Pair, session: Session, now: float) -> None:
        """Nobody uses it, so it ends with its keys. We send by it for less long than the other end
        receives by it: what comes too late for it finds no session, and has another set up."""
        rest_at = session.created_at + self._key_life.rest_after_s
        if now < rest_at:
            self._timers.set((_Task.REKEY, pair.peer), min(now + IDLE_LOOK_S, rest_at))
            return
        self._calls.drop(pair)
        pair.current, pair.at_rest = None, True
        self._keep_former(pair, session)
        self._data_path.stop_using(session)
        self._silence.forget(pair.peer)
        for task in (_Task.PROBE, _Task.TRY_DIRECT):
            self._timers.cancel((task, pair.peer))
        self._events.append(SessionRested(pair.peer))

    def _forget_if_done(self, pair: Pair) -> None:
        """A pair that is there on demand, and that nobody demands any more."""
        is_busy = pair.pending is not None or self._timers.is_set((_Task.INITIATE, pair.peer))
        if self._on_demand(pair) and not pair.sessions and not is_busy:
            self._forget(pair)

    def _expire(self, pair: Pair, now: float) -> None:
        """Forget the keys that are too old. If one was in use, nothing could be renewed."""
        for session in pair.sessions:
            if session.expires_at <= now:
                self._data_path.remove_session(session)
        pair.former = [session for session in pair.former if session.expires_at > now]
        if pair.unconfirmed is not None and pair.unconfirmed.expires_at <= now:
            pair.unconfirmed = None
        if pair.current is not None and pair.current.expires_at <= now:
            self._calls.drop(pair)
            unanswered = f" ({pair.reason})" if pair.reason else ""
            pair.reason = f"the keys expired before they could be renewed{unanswered}"
            pair.current = None
            pair.attempts = 0
            self._timers.cancel((_Task.REKEY, pair.peer))
            self._events.append(SessionLost(pair.peer, pair.reason))
            self._timers.set((_Task.INITIATE, pair.peer), now)
        self._watch_expiry(pair)
        self._forget_if_done(pair)

    def _watch_expiry(self, pair: Pair) -> None:
        expiries = [session.expires_at for session in pair.sessions]
        if expiries:
            self._timers.set((_Task.EXPIRE, pair.peer), min(expiries))
        else:
            self._timers.cancel((_Task.EXPIRE, pair.peer))

    # What our calls tell.

    def may_call(self, peer: PeerName) -> bool:
        return peer in self._pairs or (self.on_demand and self._members.by_name(peer) is not None)

    def caller(self, static: bytes, now: float) -> Pair | None:
        pair = self._by_static.get(static)
        if pair is not None or not self.on_demand:
            return pair
        member = self._members.by_static(static)
        return self._add_on_demand(member, now) if member is not None else None

    def call_taken(self, pair: Pair) -> None:
        self._watch_expiry(pair)

    def call_answered(self, pair: Pair, session: Session, now: float) -> None:
        self._promote(pair, session, now)

    def call_failed(self, pair: Pair, now: float) -> None:
        self._timers.set((_Task.INITIATE, pair.peer), now)

    def _promote(self, pair: Pair, session: Session, now: float) -> None:
        """Send by ``session`` from now on; those before are still received by.

        When both ends initiate at once they may each prefer another one of the two sessions: as
        both hold both, frames flow either way.
        """
        if pair.path == "direct" and type(session.remote) is not Endpoint and _is_fresh(pair, now):
            # Both ends called at once, one of them through others: the direct session stays.
            self._keep_former(pair, session)
            self._watch_expiry(pair)
            return
        replaced, pair.current = pair.current, session
        # What was sent by the former since the last look counts on.
        unseen = replaced.send_counter - pair.looked_at_counter if replaced is not None else 0
        pair.looked_at_counter = session.send_counter - unseen
        if replaced is not None:
            self._keep_former(pair, replaced)
        self._watch_expiry(pair)
        self._data_path.use_session(session)
        pair.attempts = 0
        pair.at_rest = False
        # Reached by their call: ours is no longer needed, and may never be answered.
        self._calls.drop(pair, overdue=False)
        pair.called(session.remote, "answered")
        pair.reason = ""
        self._timers.cancel((_Task.INITIATE, pair.peer))
        if pair.path == "relay":
            self._timers.set((_Task.TRY_DIRECT, pair.peer), now + FIRST_DIRECT_S)
        self._timers.set((_Task.REKEY, pair.peer), self._rekey_at(pair, session))
        if replaced is not None and type(replaced.remote) is type(session.remote):
            self._events.append(SessionRenewed(pair.peer, session.cipher_name))
        else:
            self._events.append(SessionEstablished(pair.peer, session.remote, session.cipher_name))
        # The first datagram by the new keys: it confirms them to the other end.
        self._probe(pair, session, now)
        if not self._timers.is_set((_Task.PROBE, pair.peer)):
            # Else keys were renewed, and the path is looked at as before.
            self._timers.set((_Task.PROBE, pair.peer), on_the_second(now + PROBE_INTERVAL_S))
        self._data_path.send_held(session, now)
        for probe_id in pair.waiting_pings:
            self._probe(pair, session, now, for_user=True, probe_id=probe_id)
        pair.waiting_pings.clear()

    def _keep_former(self, pair: Pair, session: Session) -> None:
        pair.former.append(session)
        while len(pair.former) > MAX_FORMER:
            self._data_path.remove_session(pair.former.pop(0))

    def _rekey_at(self, pair: Pair, session: Session) -> float:
        """The lesser name renews, the other steps in; pairs made together not at one moment."""
        life = self._key_life
        lead = self._our_name < pair.peer
        after_s = life.rekey_after_s if lead else life.step_in_after_s
        return session.created_at + after_s + life.spread_s * self._rng(1)[0] / 256

    def _probe(
        self,
        pair: Pair,
        session: Session,
        now: float,
        *,
        for_user: bool = False,
        is_sample: bool = False,
        probe_id: int | None = None,
    ) -> int:
        if probe_id is None:
            probe_id, self._next_probe_id = self._next_probe_id, self._next_probe_id + 1
        if len(pair.probes) >= MAX_PROBES_IN_FLIGHT:
            del pair.probes[next(iter(pair.probes))]
        pair.probes[probe_id] = Probe(now, for_user, is_sample)
        pair.probed_at = now
        pair.looked_at_counter += 1  # It is no traffic.
        self._data_path.send_probe(session, probe_id, now)
        return probe_id

    def _probe_turn(self, pair: Pair, now: float) -> None:
        probes = pair.probes.items()
        for probe_id in [i for i, probe in probes if now - probe.sent_at > PROBE_TIMEOUT_S]:
            self._came_of(pair, pair.probes.pop(probe_id), None)
        if pair.current is None:
            return
        moved = pair.current.clear_with is not None and not pair.current.is_clear
        if (pair.current.half_spent or moved) and pair.pending is None:
            self._timers.set((_Task.REKEY, pair.peer), now)
        self._timers.set((_Task.PROBE, pair.peer), self._look_at(pair, pair.current, now))

    def _look_at(self, pair: Pair, session: Session, now: float) -> float:
        """Probe the path in use if it is time to. When is the next time?"""
        lesser = self._our_name < pair.peer
        has_use = has_traffic(pair, session) or not self._link_costs.is_settled(pair.peer)
        if has_use or pair.is_lossy:
            self._probe(pair, session, now, is_sample=True)
            interval_s = LOSSY_INTERVAL_S if pair.is_lossy else PROBE_INTERVAL_S
            return on_the_second(now + interval_s)
        if now >= keepalive_at(pair, session, lesser=lesser):
            pair.kept_alive_at = now
            self._probe(pair, session, now, is_sample=True)
        return keepalive_at(pair, session, lesser=lesser)

    def _came_of(self, pair: Pair, probe: Probe, rtt_s: float | None) -> None:
        """It was answered so long after it was sent, or never."""
        pair.outcomes.append(rtt_s is not None)
        if probe.is_sample and pair.path == "direct":
            self.measured.append((pair.peer, rtt_s))

    def _give_up(self, pair: Pair, session: Session, now: float) -> None:
        """Nothing comes back: stop sending by ``session``, say so, and call anew.

        It is still received by, as what ails may ail in one direction only.
        """
        silent_s = now - session.unanswered_since
        pair.reason = f"nothing was heard for {silent_s:.1f} s, nor was any probe answered"
        pair.outcomes.extend(False for _ in pair.probes)
        pair.probes.clear()
        pair.current = None
        session.given_up = True
        if isinstance(session.remote, Endpoint):
            pair.heard_from = session.remote
        self._keep_former(pair, session)
        self._data_path.stop_using(session)
        self._events.append(SessionLost(pair.peer, pair.reason))
        self._timers.set((_Task.INITIATE, pair.peer), now)

    def _probe_answered(self, pair: Pair, probe_id: int, now: float) -> None:
        probe = pair.probes.pop(probe_id, None)
        if probe is None:
            return
        rtt_s = now - probe.sent_at
        pair.rtt_s = rtt_s if pair.rtt_s is None else pair.rtt_s + _RTT_GAIN * (rtt_s - pair.rtt_s)
        self._came_of(pair, probe, rtt_s)
        if probe.for_user:
            self._events.append(ProbeAnswered(pair.peer, probe_id, rtt_s))

    def _drop(self, pair: Pair, reason: str) -> None:
        self._forget(pair)
        self._data_path.switch.forget_peer(pair.peer)
        if pair.current is not None:
            self._events.append(SessionLost(pair.peer, reason))

    def _forget(self, pair: Pair) -> None:
        for session in pair.sessions:
            self._data_path.remove_session(session)
        self._calls.drop(pair, overdue=False)
        for task in _Task:
            self._timers.cancel((task, pair.peer))
        self._silence.forget(pair.peer)
        del self._pairs[pair.peer]
        if self._by_static.get(pair.static) is pair:
            del self._by_static[pair.static]


def _wait_s(attempts: int) -> float:
    """How long a first message has to be answered."""
    # The exponent is bounded for the sake of the arithmetic: tries go on for days.
    return min(FIRST_RETRY_S * float(2 ** min(attempts, 8)), LAST_RETRY_S)


def _is_fresh(pair: Pair, now: float) -> bool:
    """Whether the session in use was set up or heard a moment ago."""
    session = pair.current
    return session is not None and now - max(session.created_at, session.last_received_at) < DOUBT_S
