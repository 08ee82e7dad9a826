"""The machine that decides which addresses to dial: those we were told of, and those we heard of.

A *target* is one address given by a user, or one peer heard of with all its addresses, tried in
turn. A target whose peer is linked, by whichever link, rests.
"""

from __future__ import annotations

import enum
import ipaddress
from collections.abc import Iterable, Iterator
from collections.abc import Set as AbstractSet

from attrs import define, field

from meshnet.discovery.backoff import REFUSED_DELAY_S, ceiling_s, delay_s
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
# A name that means ourselves is often one of a list that is the same on every host.
OURSELVES_DELAY_S = 300.0


class TargetState(enum.Enum):
    WAITING = "retrying"
    CONNECTING = "connecting"
    LINKED = "established"
    FAILED = "failed"
    """Refused for a reason that a person must mend; still looked at now and then."""


class Trouble(enum.Enum):
    """Why a target is not linked, as far as its last try or its last link shows."""

    DIAL_FAILED = enum.auto()
    """No TCP connection could be made."""
    REFUSED = enum.auto()
    """There was a connection, but no link came of it: one end refused, or the handshake broke."""
    LINK_LOST = enum.auto()
    CONN_LIMIT = enum.auto()
    """We have as many links as we may; nobody was dialled."""
    OURSELVES = enum.auto()
    """The address is our own."""


@define(eq=False, repr=False)
class Target:
    """One thing to dial. ``peer`` is who answers there, once known."""

    id: int
    addresses: tuple[tuple[str, int], ...]
    configured: bool
    peer: PeerName | None = None
    state: TargetState = TargetState.WAITING
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
        self._by_peer: dict[PeerName, Target] = {}
        # When each peer's present link came up.
        self._linked: dict[PeerName, float] = {}
        # The next try of each target that waits for one: by target id.
        self._tries: Timers[int] = Timers()
        # Reached through others meanwhile, so there is no haste.
        self._relayed: AbstractSet[PeerName] = frozenset()
        self._next_id = 1
        # Those being dialled, and some that were a moment ago.
        self._dialled: list[Target] = []

    def __iter__(self) -> Iterator[Target]:
        return iter(self._targets.values())

    def get(self, target_id: int) -> Target | None:
        return self._targets.get(target_id)

    def add_configured(self, host: str, port: int, now: float) -> Target:
        """An address given by a user; giving it again retries it at once."""
        known = self.configured_at(host, port)
        if known is not None:
            if known.state in (TargetState.WAITING, TargetState.FAILED):
                known.failures = 0
                self._tries.set(known.id, now)
            return known
        return self._add(Target(self._next_id, ((host, port),), configured=True), now)

    def configured_at(self, host: str, port: int) -> Target | None:
        """The target that a user gave as this address."""
        return next((t for t in self if t.configured and t.address == (host, port)), None)

    def forget(self, target: Target) -> None:
        """Dial ``target`` no more."""
        self._remove(target)

    def of_peer(self, peer: PeerName) -> list[Target]:
        """The targets that ask for a link to ``peer``; what a user gave has the say, so first."""
        found = [target for target in self if target.peer == peer]
        return sorted(found, key=lambda target: not target.configured)

    def next_try(self, target: Target) -> float | None:
        """When ``target`` is dialled next; None while it is linked, being dialled, or given up."""
        return self._tries.deadline_of(target.id)

    def set_discovered(self, peer: PeerName, endpoints: Iterable[Endpoint], now: float) -> None:
        """The addresses ``peer`` announces, replacing those before; none at all forgets it."""
        addresses = tuple((endpoint.host, endpoint.port) for endpoint in endpoints)
        known = self._by_peer.get(peer)
        if known is None and addresses:
            target = Target(self._next_id, addresses, configured=False, peer=peer)
            self._by_peer[peer] = target
            if peer in self._linked:
                target.state = TargetState.LINKED
            self._add(target, now + (YIELD_S if self._our_name > peer else 0.0))
        elif known is not None and not addresses:
            self._remove(known)
        elif known is not None and known.addresses != addresses:
            known.addresses = addresses
            if known.state in (TargetState.WAITING, TargetState.FAILED):
                # Soon, but a record that changes all the time must not have us dial all the time.
                soon = now + (ceiling_s(len(self._targets)) if known.failures else 0.0)
                next_try = self._tries.deadline_of(known.id)
                self._tries.set(known.id, soon if next_try is None else min(soon, next_try))

    def due(self, now: float) -> list[Target]:
        """The targets to dial now; each becomes CONNECTING until `failed` or `linked`.

        Those beyond `MAX_DIALS` under way wait for their turn.
        """
        busy = {target.peer for target in self._connecting() if target.peer is not None}
        chosen: list[Target] = []
        while not self._is_crowded and (target_id := self._tries.pop_first_due(now)) is not None:
            target = self._targets[target_id]
            if target.peer is not None and target.peer in busy:
                # Another target of the same peer is being tried; no second link meanwhile.
                self._tries.set(target_id, now + BUSY_S)
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
        return None if self._is_crowded else self._tries.next_deadline()

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
            self._tries.cancel(target.id)
        else:
            self._tries.set(target.id, now + OURSELVES_DELAY_S)

    def linked(self, peer: PeerName, target_id: int | None, now: float) -> None:
        """A link to ``peer`` is up; ``target_id`` names the target that was dialled, if any."""
        self._linked.setdefault(peer, now)
        dialled = self._targets.get(target_id) if target_id is not None else None
        if dialled is not None and dialled.peer != peer:
            if dialled.configured:
                dialled.peer = peer
            else:
                self._drop_address(dialled, now)
        for target in self._targets.values():
            if target.peer == peer:
                if target is dialled:
                    target.tried("linked")
                target.state, target.reason, target.trouble = TargetState.LINKED, "", None
                self._tries.cancel(target.id)

    def unlinked(self, peer: PeerName, reason: str, now: float, *, refused: bool = False) -> None:
        """The last link to ``peer`` has ended. ``refused``: the other end has no room for it."""
        lived_s = now - self._linked.pop(peer, now)
        for target in self._targets.values():
            if target.peer == peer and target.state is TargetState.LINKED:
                # A link that ends at once was no success: the waits go on growing.
                target.failures = 1 if lived_s >= SETTLED_S else target.failures + 1
                target.state = TargetState.FAILED if refused else TargetState.WAITING
                target.trouble = Trouble.REFUSED if refused else Trouble.LINK_LOST
                target.reason = reason
                self._try_later(target, now)

    def set_relayed(self, peers: AbstractSet[PeerName]) -> None:
        """The peers that are reached through others: they are dialled less often."""
        self._relayed = peers

    def _try_later(self, target: Target, now: float) -> None:
        no_haste = target.peer in self._relayed and target.failures > HASTY_TRIES
        if target.state is TargetState.FAILED or no_haste:
            self._tries.set(target.id, now + REFUSED_DELAY_S)
        else:
            wait_s = delay_s(target.failures, len(self._targets), self._rng)
            self._tries.set(target.id, now + wait_s)

    def _drop_address(self, target: Target, now: float) -> None:
        """Somebody else answers at the address just dialled; go on with the others, if any."""
        target.addresses = tuple(a for a in target.addresses if a != target.dialled)
        if target.addresses:
            target.state = TargetState.WAITING
            self._tries.set(target.id, now)
        else:
            self._remove(target)

    def _add(self, target: Target, first_try: float) -> Target:
        self._targets[target.id] = target
        self._next_id += 1
        if target.state is TargetState.WAITING:
            self._tries.set(target.id, first_try)
        return target

    def _remove(self, target: Target) -> None:
        del self._targets[target.id]
        self._tries.cancel(target.id)
        if target.peer is not None and self._by_peer.get(target.peer) is target:
            del self._by_peer[target.peer]


def _is_literal(host: str) -> bool:
    """True for an IP address, False for a name."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
