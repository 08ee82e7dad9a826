"""The machine that decides which addresses to dial: those we were told of, and those we heard of.

A *target* is one address given by a user, or one peer heard of with all its addresses, tried in
turn. A target whose peer is linked, by whichever link, rests.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Iterator

from attrs import define, field

from meshnet.discovery.backoff import REFUSED_DELAY_S, delay_s
from meshnet.ids import Endpoint, PeerName, join_host_port
from meshnet.ports import Rng

# Our choice: the peer with the greater name lets the other dial first, so that two peers that hear
# of each other at once do not make two links and drop one.
YIELD_S = 0.5


class TargetState(enum.Enum):
    WAITING = "retrying"
    CONNECTING = "connecting"
    LINKED = "established"
    FAILED = "failed"
    """Refused for a reason that a person must mend; still looked at now and then."""


@define(eq=False)
class Target:
    """One thing to dial. ``peer`` is who answers there, once known."""

    id: int
    addresses: tuple[tuple[str, int], ...]
    configured: bool
    peer: PeerName | None = None
    state: TargetState = TargetState.WAITING
    reason: str = ""
    failures: int = 0
    next_try: float = 0.0
    is_self: bool = False
    _turn: int = field(default=0, repr=False)

    @property
    def address(self) -> tuple[str, int]:
        """(host, port) whose turn it is."""
        return self.addresses[self._turn % len(self.addresses)]

    def __str__(self) -> str:
        return join_host_port(*self.address)

    def next_address(self) -> None:
        self._turn += 1


class Targets:
    """All targets of one peer. Time is given; randomness is the ``rng`` of the constructor."""

    def __init__(self, our_name: PeerName, rng: Rng) -> None:
        self._our_name = our_name
        self._rng = rng
        self._targets: dict[int, Target] = {}
        self._by_peer: dict[PeerName, Target] = {}
        self._linked: set[PeerName] = set()
        self._next_id = 1

    def __iter__(self) -> Iterator[Target]:
        return iter(self._targets.values())

    def get(self, target_id: int) -> Target | None:
        return self._targets.get(target_id)

    def add_configured(self, host: str, port: int, now: float) -> Target:
        """An address given by a user; giving it again retries it at once."""
        for target in self._targets.values():
            if target.configured and target.address == (host, port):
                target.next_try, target.failures = now, 0
                return target
        return self._add(Target(self._next_id, ((host, port),), configured=True, next_try=now))

    def set_discovered(self, peer: PeerName, endpoints: Iterable[Endpoint], now: float) -> None:
        """The addresses ``peer`` announces, replacing those it announced before."""
        addresses = tuple((endpoint.host, endpoint.port) for endpoint in endpoints)
        known = self._by_peer.get(peer)
        if known is not None:
            if known.addresses != addresses:
                if not addresses:
                    del self._targets[known.id], self._by_peer[peer]
                    return
                known.addresses = addresses
                known.next_try = min(known.next_try, now)
        elif addresses:
            wait_s = YIELD_S if self._our_name > peer else 0.0
            target = Target(
                self._next_id, addresses, configured=False, peer=peer, next_try=now + wait_s
            )
            self._by_peer[peer] = self._add(target)
            if peer in self._linked:
                target.state = TargetState.LINKED

    def due(self, now: float) -> list[Target]:
        """The targets to dial now; each becomes CONNECTING until `failed` or `linked`."""
        busy = {t.peer for t in self._targets.values() if t.state is TargetState.CONNECTING}
        chosen: list[Target] = []
        for target in self._targets.values():
            if not self._wants_dial(target) or target.next_try > now:
                continue
            if target.peer is not None and target.peer in busy:
                continue
            busy.add(target.peer)
            target.state = TargetState.CONNECTING
            chosen.append(target)
        return chosen

    def next_deadline(self) -> float | None:
        connecting = {t.peer for t in self._targets.values() if t.state is TargetState.CONNECTING}
        return min(
            (
                target.next_try
                for target in self._targets.values()
                if self._wants_dial(target)
                and (target.peer is None or target.peer not in connecting)
            ),
            default=None,
        )

    def failed(self, target_id: int | None, reason: str, now: float, *, refused: bool) -> None:
        """A dial came to nothing. ``refused``: by the other end, for a lasting reason."""
        target = self._targets.get(target_id) if target_id is not None else None
        if target is None or target.state is not TargetState.CONNECTING:
            return
        target.failures += 1
        target.reason = reason
        target.next_address()
        target.state = TargetState.FAILED if refused else TargetState.WAITING
        wait_s = (
            REFUSED_DELAY_S if refused else delay_s(target.failures, len(self._targets), self._rng)
        )
        target.next_try = now + wait_s

    def is_ourselves(self, target_id: int | None, reason: str, now: float) -> None:
        """The address dialled is our own.

        One a user gave is shown as failed and never dialled again. Of a peer's list only that
        address is left out: hosts may well share one (a container bridge's, say).
        """
        target = self._targets.get(target_id) if target_id is not None else None
        if target is None:
            return
        if target.configured:
            target.is_self, target.state, target.reason = True, TargetState.FAILED, reason
        else:
            self._drop_address(target, now)

    def linked(self, peer: PeerName, target_id: int | None, now: float) -> None:
        """A link to ``peer`` is up; ``target_id`` names the target that was dialled, if any."""
        self._linked.add(peer)
        dialled = self._targets.get(target_id) if target_id is not None else None
        if dialled is not None and dialled.peer != peer:
            if dialled.configured:
                dialled.peer = peer
            else:
                self._drop_address(dialled, now)
        for target in self._targets.values():
            if target.peer == peer:
                target.state, target.reason, target.failures = TargetState.LINKED, "", 0

    def unlinked(self, peer: PeerName, reason: str, now: float) -> None:
        """The last link to ``peer`` has ended."""
        self._linked.discard(peer)
        for target in self._targets.values():
            if target.peer == peer and target.state is TargetState.LINKED:
                target.state, target.reason, target.failures = TargetState.WAITING, reason, 1
                target.next_try = now + delay_s(1, len(self._targets), self._rng)

    def _drop_address(self, target: Target, now: float) -> None:
        """Somebody else answers at the address just dialled; go on with the others, if any."""
        wrong = target.address
        target.addresses = tuple(address for address in target.addresses if address != wrong)
        target.state, target.next_try = TargetState.WAITING, now
        if not target.addresses:
            del self._targets[target.id]
            if target.peer is not None:
                del self._by_peer[target.peer]

    def _wants_dial(self, target: Target) -> bool:
        return not target.is_self and target.state in (TargetState.WAITING, TargetState.FAILED)

    def _add(self, target: Target) -> Target:
        self._targets[target.id] = target
        self._next_id += 1
        return target
