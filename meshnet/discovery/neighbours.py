"""To whom to be linked: to everybody while that is not many, else to our neighbours on the rings.

Follows which peers are reachable, and tells `Targets` how each stands: wanted, spare, or gone.
"""

from __future__ import annotations

from collections.abc import Set as AbstractSet

from meshnet.discovery.rings import Rings, ring_count
from meshnet.discovery.targets import NEWS_S, Standing, Targets
from meshnet.ids import PeerName

# Design section 9: --degree.
DEFAULT_DEGREE = 32
# With fewer there is one ring only, which falls apart when two of its peers die.
MIN_DEGREE = 4
# Our choice. A mesh whose size goes up and down about --degree would make and close links each
# time: it has to be small for so long before everybody is wanted again.
FULL_MESH_AFTER_S = 60.0
# Who has links enough looks first whether a new neighbour remains one: who joins hears of a
# thousand peers within a second, each of whom changes its neighbours.
WANT_SETTLE_S = 0.5


class Neighbours:
    """The wishes of one peer. Equal sets of reachable peers give equal wishes at both ends."""

    def __init__(
        self, our_name: PeerName, network_id: bytes, degree: int, targets: Targets
    ) -> None:
        self.degree = degree
        """Links beyond so many are too many, unless one of the ends wants them."""
        self._our_name = our_name
        self._targets = targets
        rings = ring_count(degree)
        self.enough = 2 * rings
        """Links that nobody need give up: as many as the rings give."""
        self._needed = rings
        self._rings = Rings(network_id, rings)
        self._rings.add(our_name)
        self._reachable: frozenset[PeerName] = frozenset()
        self._beside_us: frozenset[PeerName] = frozenset()
        # Heard of a moment ago, and dialled before it is known whether anybody reaches them.
        self._unjudged: set[PeerName] = set()
        self._judge_at: float | None = None
        self._is_crowded = False
        self._small_since: float | None = None
        self._links_before = 0

    @property
    def is_crowded(self) -> bool:
        """Whether there are more peers than we want links."""
        return self._is_crowded

    def reaches(self, peer: PeerName) -> bool:
        """Whether there is a way to ``peer``."""
        return peer in self._reachable

    def wants(self, peer: PeerName) -> bool:
        """Whether we want a link to ``peer``."""
        return not self._is_crowded or self.wants_most(peer)

    def wants_most(self, peer: PeerName) -> bool:
        """Whether we would want a link to ``peer`` however many others there were."""
        return peer in self._beside_us or self._targets.is_given(peer)

    def standing_of(self, peer: PeerName) -> Standing:
        """How ``peer`` stands to us as one heard of: that a user gave its address does not count,
        as that has a target of its own."""
        if peer not in self._reachable:
            return Standing.GONE
        wanted = not self._is_crowded or peer in self._beside_us
        return Standing.WANTED if wanted else Standing.SPARE

    def standing_when_heard_of(self, peer: PeerName, now: float) -> Standing:
        """The same of one whose way may not be known yet, until `follow`."""
        heard_of = self._targets.heard_of_count
        if heard_of >= self.degree:
            self._judge(now)
        elif heard_of < self._needed:
            # Everybody reachable will be wanted, and who told of it most likely reaches it.
            self._unjudged.add(peer)
            if self._judge_at is None:
                self._judge_at = now + NEWS_S
            return Standing.WANTED
        return self.standing_of(peer)

    def follow(self, reachable: AbstractSet[PeerName], now: float) -> None:
        """These are the peers that are reachable now, ourselves not among them."""
        before, self._reachable = self._reachable, frozenset(reachable)
        came, left = self._reachable - before, before - self._reachable
        for peer in came:
            self._rings.add(peer)
        for peer in left:
            self._rings.discard(peer)
        were_beside_us = self._beside_us
        if came or left:
            self._targets.set_reachable(self._reachable)
            self._beside_us = self._rings.neighbours_of(self._our_name)
        was_crowded = self._is_crowded
        self._judge_crowd(now)
        if self._is_crowded is not was_crowded:
            changed = self._reachable | left
        else:
            changed = came | left
            if self._is_crowded:
                changed |= were_beside_us ^ self._beside_us
        links = self._targets.linked_count
        delay_s = WANT_SETTLE_S if links >= self.enough else 0.0
        for peer in sorted(changed):
            self._targets.set_standing(peer, self.standing_of(peer), now, delay_s=delay_s)
        self._mind_need(now)

    def handle_timer(self, now: float) -> None:
        if self._judge_at is not None and now >= self._judge_at:
            self._judge(now)
        if self._small_since is not None and now >= self._small_since + FULL_MESH_AFTER_S:
            self.follow(self._reachable, now)

    def next_deadline(self) -> float | None:
        small_until = None if self._small_since is None else self._small_since + FULL_MESH_AFTER_S
        deadlines = (self._judge_at, small_until)
        return min((at for at in deadlines if at is not None), default=None)

    def _judge(self, now: float) -> None:
        """Who is reached stands as such by now; of the others nobody knows."""
        for peer in sorted(self._unjudged - self._reachable):
            self._targets.set_standing(peer, Standing.GONE, now)
        self._unjudged.clear()
        self._judge_at = None

    def _judge_crowd(self, now: float) -> None:
        if len(self._reachable) > self.degree:
            self._is_crowded, self._small_since = True, None
        elif self._is_crowded and self._small_since is None:
            self._small_since = now
        elif self._small_since is not None and now >= self._small_since + FULL_MESH_AFTER_S:
            self._is_crowded, self._small_since = False, None

    def _mind_need(self, now: float) -> None:
        """Who has lost links, and has hardly one left, may be on the small side of a mesh that
        fell apart: the large side has no reason to look for it."""
        links, before = self._targets.linked_count, self._links_before
        self._links_before = links
        if links >= self._needed:
            self._targets.end_hurry()
        elif links < before or not self._reachable:
            self._targets.hurry(now)
