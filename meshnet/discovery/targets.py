"""The machine that decides which addresses to dial: those we were told of, and those we heard of.

A *target* is one address given by a user, or one peer heard of with all its addresses, tried in
turn. A target whose peer is linked, by whichever link, rests. What a user gave is always wanted; of
a peer heard of `discovery.neighbours` says how it stands (`Standing`).
"""

from __future__ import annotations

import enum
import ipaddress
import math
from collections.abc import Iterable, Iterator
from collections.abc import Set as AbstractSet

from attrs import define, field

from meshnet.discovery.backoff import (
    FULL_DELAY_S,
    REFUSED_DELAY_S,
    ceiling_s,
    delay_s,
    fraction,
    no_room_delay_s,
)
from meshnet.discovery.gone import GoneQueue, gone_ceiling_s
from meshnet.ids import Endpoint, PeerName, join_host_port
from meshnet.ports import Rng
from meshnet.timers import Timers

# Our choice: the peer with the greater name lets the other dial first, so that two peers that hear
# of each other at once do not make two links and drop one.
YIELD_S = 0.5
# A link that lived this long was a success; what ends sooner counts as one more failure.
SETTLED_S = 5.0
# A peer that is reached through others is dialled as any other first: it may just have started.
HASTY_TRIES = 6
# How soon a target is looked at again whose peer another target is dialling.
BUSY_S = 0.25
# Dials under way at once: a member that announces thousands of addresses where nobody answers must
# not use up this host's descriptors.
MAX_DIALS = 64
# Of those, to peers that nobody reaches: what is wanted has to have its turn beside them.
MAX_GONE_DIALS = MAX_DIALS // 2
# With so many links, or dials that may give them, there is no haste to be linked to who is reached
# through others. So many of these at once then, and one each `EASY_INTERVAL_S`: where dozens of
# hosts start in a moment each would dial all others before it knows that these are too many.
HASTY_LINKS = 8
MAX_EASY_DIALS = 2
EASY_INTERVAL_S = 0.25
# Our choice: who is heard of for the first time is mostly reached by whoever told of it. Routes
# say so within a moment, and then whether a link to it is wanted at all.
NEWS_S = 0.1
# Where many start at once it takes longer, as who tells of its links again and again is made to
# wait (`peering.own_state`). Whoever has a link has no haste to be linked to somebody in vain.
LINKED_NEWS_S = 3.0
# A name that means ourselves is often one of a list that is the same on every host.
OURSELVES_DELAY_S = 300.0


class TargetState(enum.Enum):
    WAITING = "retrying"
    CONNECTING = "connecting"
    LINKED = "established"
    FAILED = "failed"
    """Refused for a reason that a person must mend; still looked at now and then."""
    RESTING = "resting"
    """Reached through others, which is enough: not dialled."""


class Standing(enum.Enum):
    """How a peer heard of stands to us, as far as links go."""

    WANTED = enum.auto()
    """It is reachable, and we want a link to it."""
    SPARE = enum.auto()
    """It is reachable, and others have links to it: we need none."""
    GONE = enum.auto()
    """Nobody we reach has a link to it."""


class Trouble(enum.Enum):
    """Why a target is not linked, as far as its last try or its last link shows."""

    DIAL_FAILED = enum.auto()
    """No TCP connection could be made."""
    REFUSED = enum.auto()
    """There was a connection, but no link came of it: one end refused, or the handshake broke."""
    LINK_LOST = enum.auto()
    CONN_LIMIT = enum.auto()
    """We have as many links as we may; nobody was dialled."""
    NO_ROOM = enum.auto()
    """The other end has as many links as it may."""
    OURSELVES = enum.auto()
    """The address is our own."""
    UNNEEDED = enum.auto()
    """None: the peer is reached through others, and we have links enough."""


UNNEEDED_TEXT = "no link is needed: others have links to it, and we to others (--degree)"


@define(eq=False, repr=False)
class Target:
    """One thing to dial. ``peer`` is who answers there, once known."""

    id: int
    addresses: tuple[tuple[str, int], ...]
    configured: bool
    peer: PeerName | None = None
    state: TargetState = TargetState.WAITING
    standing: Standing = Standing.WANTED
    reason: str = ""
    trouble: Trouble | None = None
    failures: int = 0
    """For the waits: those before a link count on until it has lived for `SETTLED_S`."""
    dialled: tuple[str, int] | None = None
    """The address of the try under way, or of the last one."""
    results: dict[tuple[str, int], str] = field(factory=dict)
    """What the last try of each address gave."""
    _turn: int = 0

    @property
    def address(self) -> tuple[str, int]:
        """(host, port) whose turn it is."""
        return self.addresses[self._turn % len(self.addresses)]

    @property
    def dials(self) -> int:
        """How often it was dialled."""
        return self._turn

    @property
    def failures_in_a_row(self) -> int:
        """For people: none while there is a link, whoever made it."""
        return 0 if self.state is TargetState.LINKED else self.failures

    def __str__(self) -> str:
        return join_host_port(*(self.dialled or self.address))

    def take_turn(self) -> None:
        """Dial the address whose turn it is; the next try takes the one after."""
        self.dialled = self.address
        self._turn += 1

    def tried(self, result: str) -> None:
        """What came of the address dialled; of addresses announced no more nothing is kept."""
        if self.dialled is not None:
            self.results[self.dialled] = result
        for address in self.results.keys() - set(self.addresses):
            del self.results[address]


class Targets:
    """All targets of one peer. Time is given; randomness is the ``rng`` of the constructor."""

    def __init__(self, our_name: PeerName, rng: Rng) -> None:
        self._our_name = our_name
        self._rng = rng
        self._targets: dict[int, Target] = {}
        # All three find a target without looking through thousands.
        self._by_peer: dict[PeerName, Target] = {}
        self._given: dict[tuple[str, int], Target] = {}
        self._given_of_peer: dict[PeerName, dict[int, Target]] = {}
        # When each peer's present link came up.
        self._linked: dict[PeerName, float] = {}
        # The next try of each target that waits for one, by target id; here, or among those gone.
        self._tries: Timers[int] = Timers()
        self._gone = GoneQueue()
        # Whose time has come, but not yet their turn, as there is no haste with them: since when.
        self._in_line: dict[int, float] = {}
        self._easy_at = -math.inf
        # Reached somehow meanwhile, so there is no haste.
        self._reachable: AbstractSet[PeerName] = frozenset()
        self._next_id = 1
        # Those being dialled, and some that were a moment ago.
        self._dialled: list[Target] = []

    def __iter__(self) -> Iterator[Target]:
        return iter(self._targets.values())

    def get(self, target_id: int) -> Target | None:
        return self._targets.get(target_id)

    @property
    def heard_of_count(self) -> int:
        """How many peers were heard of."""
        return len(self._by_peer)

    @property
    def linked_count(self) -> int:
        """How many peers are linked."""
        return len(self._linked)

    def add_configured(self, host: str, port: int, now: float) -> Target:
        """An address given by a user; giving it again retries it at once."""
        known = self.configured_at(host, port)
        if known is not None:
            if known.state in (TargetState.WAITING, TargetState.FAILED):
                known.failures = 0
                self._cancel(known)
                self._tries.set(known.id, now)
            return known
        target = self._given[host, port] = Target(self._next_id, ((host, port),), configured=True)
        return self._add(target, now, now)

    def configured_at(self, host: str, port: int) -> Target | None:
        """The target that a user gave as this address."""
        return self._given.get((host, port))

    def is_given(self, peer: PeerName) -> bool:
        """Whether ``peer`` answers at an address that a user gave."""
        return peer in self._given_of_peer

    def forget(self, target: Target) -> None:
        """Dial ``target`` no more."""
        self._remove(target)

    def of_peer(self, peer: PeerName) -> list[Target]:
        """The targets that ask for a link to ``peer``; what a user gave has the say, so first."""
        found = list(self._given_of_peer.get(peer, {}).values())
        heard_of = self._by_peer.get(peer)
        return found if heard_of is None else [*found, heard_of]

    def next_try(self, target: Target) -> float | None:
        """When ``target`` is dialled next, at the latest if nobody reaches it.

        None while it is linked, being dialled, not needed, or given up.
        """
        at = self._tries.deadline_of(target.id)
        at = self._in_line.get(target.id) if at is None else at
        return self._gone.deadline_of(target.id) if at is None else at

    def set_discovered(
        self,
        peer: PeerName,
        endpoints: Iterable[Endpoint],
        now: float,
        *,
        standing: Standing = Standing.WANTED,
    ) -> None:
        """The addresses ``peer`` announces, replacing those before; none at all forgets it.

        ``standing`` counts for who was not known; for others `set_standing` does.
        """
        addresses = tuple((endpoint.host, endpoint.port) for endpoint in endpoints)
        known = self._by_peer.get(peer)
        if known is None and addresses:
            target = Target(
                self._next_id, addresses, configured=False, peer=peer, standing=standing
            )
            self._by_peer[peer] = target
            if peer in self._linked:
                target.state = TargetState.LINKED
            news_s = self._news_s if standing is Standing.GONE else 0.0
            self._add(target, now + news_s + self._yield_s(peer), now)
        elif known is not None and not addresses:
            self._remove(known)
        elif known is not None and known.addresses != addresses:
            known.addresses = addresses
            next_try = self.next_try(known)
            if next_try is not None:
                # Soon, but a record that changes all the time must not have us dial all the time.
                soon = now + (self._ceiling_s(known) if known.failures else 0.0)
                self._try_at(known, min(soon, next_try), now)

    def set_standing(
        self, peer: PeerName, standing: Standing, now: float, *, delay_s: float = 0.0
    ) -> None:
        """``peer``, if it was heard of, now stands like this; one wanted is dialled ``delay_s``
        later if it still is."""
        target = self._by_peer.get(peer)
        if target is None or target.standing is standing:
            return
        next_try, target.standing = self.next_try(target), standing
        if target.state in (TargetState.LINKED, TargetState.CONNECTING):
            return  # What comes of that decides with the rest.
        if standing is Standing.WANTED:
            if target.state is TargetState.RESTING:
                self._begin_anew(target)
            # Who comes and goes all the time must not have us dial all the time.
            wait_s = self._wait_s(target) if target.failures else self._yield_s(peer)
            next_try = now + delay_s + wait_s
        elif standing is Standing.GONE and target.state is TargetState.RESTING:
            self._begin_anew(target)
            # Others have lost it; that those who had a link to it dial it first is enough.
            next_try = now + self._ceiling_s(target) * (0.5 + fraction(self._rng))
        elif standing is Standing.GONE and not target.dials:
            next_try = now + self._news_s + self._yield_s(peer)
        self._try_at(target, next_try or now, now)

    def hurry(self, now: float) -> None:
        """We have hardly a link left: dial those gone one after the other for a while."""
        self._gone.hurry(now)

    def end_hurry(self) -> None:
        """We have links again."""
        self._gone.end_hurry()

    def retry_waiting(self, now: float) -> None:
        """Our way to everybody may be another: try at once who waits, the likeliest first."""
        waiting = [target for target in self if target.state is TargetState.WAITING]
        waiting.sort(
            key=lambda target: (
                not target.configured,
                target.standing is Standing.GONE,
                target.failures,
            )
        )
        for target in waiting[:MAX_DIALS]:
            target.failures = 0
            self._try_at(target, now, now)

    def due(self, now: float) -> list[Target]:
        """The targets to dial now; each becomes CONNECTING until `failed` or `linked`.

        Those beyond `MAX_DIALS` under way wait for their turn; so do those that are reached through
        others beyond `MAX_EASY_DIALS`, while we have links enough.
        """
        busy = {target.peer for target in self._connecting() if target.peer is not None}
        chosen: list[Target] = []
        while not self._is_crowded and (target_id := self._pop_due(now)) is not None:
            target = self._targets[target_id]
            if target.peer is not None and target.peer in busy:
                # Another target of the same peer is being tried; no second link meanwhile.
                self._try_at(target, now + BUSY_S, now)
                continue
            if target.peer is not None:
                busy.add(target.peer)
            target.state = TargetState.CONNECTING
            target.take_turn()
            self._dialled.append(target)
            chosen.append(target)
        return chosen

    def next_deadline(self) -> float | None:
        """When `due` has something to give; None while as many are being dialled as may be."""
        if self._is_crowded:
            return None
        deadlines = [self._tries.next_deadline()]
        if not self._is_crowded_by_gone:
            deadlines.append(self._gone.next_deadline())
        if self._in_line and (at := self._next_easy()) is not None:
            deadlines.append(at)
        return min((at for at in deadlines if at is not None), default=None)

    def _pop_due(self, now: float) -> int | None:
        if self._in_line and (at := self._next_easy()) is not None and now >= at:
            return self._pop_in_line(now)
        while (target_id := self._tries.pop_first_due(now)) is not None:
            if self._targets[target_id].peer not in self._reachable or self._is_in_haste:
                return target_id
            self._in_line[target_id] = now
            if (at := self._next_easy()) is not None and now >= at:
                return self._pop_in_line(now)
        return None if self._is_crowded_by_gone else self._gone.pop(now)

    def _pop_in_line(self, now: float) -> int:
        self._easy_at = now + EASY_INTERVAL_S
        target_id = next(iter(self._in_line))
        del self._in_line[target_id]
        return target_id

    @property
    def _is_in_haste(self) -> bool:
        """Whether any link is welcome."""
        return len(self._linked) + len(self._connecting()) < HASTY_LINKS

    def _next_easy(self) -> float | None:
        """When one is dialled that there is no haste with; None: when one of those is done."""
        if self._is_in_haste:
            return -math.inf
        easy = sum(target.peer in self._reachable for target in self._connecting())
        return self._easy_at if easy < MAX_EASY_DIALS else None

    @property
    def _is_crowded_by_gone(self) -> bool:
        if len(self._dialled) < MAX_GONE_DIALS:
            return False
        gone = sum(target.standing is Standing.GONE for target in self._connecting())
        return gone >= MAX_GONE_DIALS

    @property
    def _is_crowded(self) -> bool:
        return len(self._dialled) >= MAX_DIALS and len(self._connecting()) >= MAX_DIALS

    def _connecting(self) -> list[Target]:
        # Not found among all targets: there may be many thousands, and each news of a peer asks.
        self._dialled = [
            target
            for target in self._dialled
            if target.state is TargetState.CONNECTING and self._targets.get(target.id) is target
        ]
        return self._dialled

    def failed(
        self,
        target_id: int | None,
        reason: str,
        now: float,
        *,
        refused: bool,
        trouble: Trouble = Trouble.DIAL_FAILED,
    ) -> None:
        """A dial came to nothing. ``refused``: by the other end, for a lasting reason."""
        target = self._targets.get(target_id) if target_id is not None else None
        if target is None or target.state is not TargetState.CONNECTING:
            return
        target.failures += 1
        target.reason, target.trouble = reason, trouble
        if trouble is not Trouble.CONN_LIMIT:
            target.tried(reason)
        target.state = TargetState.FAILED if refused else TargetState.WAITING
        self._try_later(target, now)

    def is_ourselves(self, target_id: int | None, reason: str, now: float) -> None:
        """The address dialled is our own.

        One a user gave is shown as failed, and never dialled again unless it is a name, which may
        come to mean another host. Of a peer's list only that address is left out: hosts may well
        share one (a container bridge's, say).
        """
        target = self._targets.get(target_id) if target_id is not None else None
        if target is None:
            return
        if not target.configured:
            self._drop_address(target, now)
            return
        self.failed(target_id, reason, now, refused=True, trouble=Trouble.OURSELVES)
        if _is_literal(target.address[0]):
            self._cancel(target)
        else:
            self._tries.set(target.id, now + OURSELVES_DELAY_S)

    def linked(self, peer: PeerName, target_id: int | None, now: float) -> None:
        """A link to ``peer`` is up; ``target_id`` names the target that was dialled, if any."""
        self._linked.setdefault(peer, now)
        dialled = self._targets.get(target_id) if target_id is not None else None
        if dialled is not None and dialled.peer != peer:
            if dialled.configured:
                self._drop_from_given(dialled)
                dialled.peer = peer
                self._given_of_peer.setdefault(peer, {})[dialled.id] = dialled
            else:
                self._drop_address(dialled, now)
        for target in self.of_peer(peer):
            if target is dialled:
                target.tried("linked")
            target.state, target.reason, target.trouble = TargetState.LINKED, "", None
            self._cancel(target)

    def unlinked(
        self, peer: PeerName, reason: str, now: float, *, trouble: Trouble = Trouble.LINK_LOST
    ) -> None:
        """The last link to ``peer`` has ended. ``trouble``: lost, or the other end has no room."""
        lived_s = now - self._linked.pop(peer, now)
        for target in self.of_peer(peer):
            if target.state is TargetState.LINKED:
                # A link that ends at once was no success: the waits go on growing.
                target.failures = 1 if lived_s >= SETTLED_S else target.failures + 1
                refused = trouble is Trouble.NO_ROOM
                target.state = TargetState.FAILED if refused else TargetState.WAITING
                target.reason, target.trouble = reason, trouble
                self._try_later(target, now)

    def set_reachable(self, peers: AbstractSet[PeerName]) -> None:
        """The peers that are reached, if only through others: they are dialled less often."""
        self._reachable = peers

    def _try_later(self, target: Target, now: float) -> None:
        self._try_at(target, now + self._wait_s(target), now)

    def _wait_s(self, target: Target) -> float:
        if target.trouble is Trouble.CONN_LIMIT:
            return FULL_DELAY_S
        if target.trouble is Trouble.NO_ROOM:
            return no_room_delay_s(target.failures, self._rng)
        no_haste = target.peer in self._reachable and target.failures > HASTY_TRIES
        if target.state is TargetState.FAILED or no_haste:
            return REFUSED_DELAY_S
        return delay_s(target.failures, self._ceiling_s(target), self._rng)

    def _ceiling_s(self, target: Target) -> float:
        if target.standing is Standing.GONE:
            return gone_ceiling_s(len(self._gone) + 1)
        return ceiling_s(len(self._tries))

    @property
    def _news_s(self) -> float:
        return LINKED_NEWS_S if self._linked else NEWS_S

    def _yield_s(self, peer: PeerName) -> float:
        return YIELD_S if self._our_name > peer else 0.0

    def _try_at(self, target: Target, at: float, now: float) -> None:
        """Have ``target``, which is not linked, dialled ``at`` that time, if at all."""
        self._cancel(target)
        if target.standing is Standing.WANTED:
            self._tries.set(target.id, at)
        elif target.standing is Standing.GONE:
            self._gone.set(target.id, at, now)
        else:
            target.state = TargetState.RESTING
            target.reason, target.trouble = UNNEEDED_TEXT, Trouble.UNNEEDED

    def _begin_anew(self, target: Target) -> None:
        target.state, target.reason, target.trouble = TargetState.WAITING, "", None
        target.failures = 0

    def _cancel(self, target: Target) -> None:
        self._tries.cancel(target.id)
        self._in_line.pop(target.id, None)
        self._gone.cancel(target.id)

    def _drop_address(self, target: Target, now: float) -> None:
        """Somebody else answers at the address just dialled; go on with the others, if any."""
        target.addresses = tuple(a for a in target.addresses if a != target.dialled)
        if target.addresses:
            target.state = TargetState.WAITING
            self._try_at(target, now, now)
        else:
            self._remove(target)

    def _add(self, target: Target, first_try: float, now: float) -> Target:
        self._targets[target.id] = target
        self._next_id += 1
        if target.state is TargetState.WAITING:
            self._try_at(target, first_try, now)
        return target

    def _remove(self, target: Target) -> None:
        del self._targets[target.id]
        self._cancel(target)
        if target.configured:
            del self._given[target.address]
            self._drop_from_given(target)
        elif target.peer is not None:
            del self._by_peer[target.peer]

    def _drop_from_given(self, target: Target) -> None:
        """It is no longer known to lead to its peer."""
        if target.peer is not None:
            given = self._given_of_peer[target.peer]
            del given[target.id]
            if not given:
                del self._given_of_peer[target.peer]


def _is_literal(host: str) -> bool:
    """True for an IP address, False for a name."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
