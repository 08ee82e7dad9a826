"""What this peer writes: its own record, the updates of its channels, and, where the mesh has later
fragments of ours than we do, others above those.

Such a later fragment is what a disk that was set back has forgotten, or what a twin with our key
wrote. The two look alike at first; the former ends with our answer, the latter never does.
"""

from __future__ import annotations

import enum
import math
from collections import Counter, deque
from collections.abc import Collection, MutableMapping

from meshnet.events import IdentityConflict
from meshnet.gossip.channels import Channels
from meshnet.gossip.events import WrittenElsewhere
from meshnet.gossip.exchange import Gossip
from meshnet.gossip.fragments import Fragment
from meshnet.gossip.tree import Tree
from meshnet.ids import ChannelId, Endpoint, PeerName
from meshnet.peering.link_costs import LinkCosts
from meshnet.timers import Timers
from meshnet.topology.records import TOPOLOGY, Description, PeerRecord, record_entries

# A lost link is told this much later: one signature for many changes at once. With
# engine.ROUTES_DELAY_S, design section 6 allows 200 ms together.
PUBLISH_DELAY_S = 0.05
# So is a new one, if there was nothing for a while. Where many hosts start at once each has a new
# link every few milliseconds and all peers look at each of its records: so with each record the
# next one waits longer (as link-state routing does, RFC 8405). Who is linked needs no record to be
# reached by us, and the first few connect it to all others.
PUBLISH_DELAY_GROWTH = 4.0
MAX_PUBLISH_DELAY_S = 2.0
CALM_S = 3.0
# A cost is an average over many seconds: for its sake alone nothing is told sooner after what was
# told last. What is measured while a host has too much to do must not give all hosts more to do.
COST_INTERVAL_S = 10.0
# Somebody else who writes with our key would make us answer each other without end: the first two
# answers are at once, as a disk that was set back needs, then each takes twice as long as the last.
HASTY_REWRITES = 2
MAX_REWRITE_DELAY_S = 64.0
# Updates of a channel made this close together are signed, written and told as one.
FLUSH_DELAY_S = 0.002


class _Task(enum.Enum):
    PUBLISH = 1
    REWRITE = 2
    FLUSH = 3


class OwnState:
    """Our part of what the mesh shares. Puts our record among ``records``, which it shares."""

    def __init__(
        self,
        name: PeerName,
        public_key: bytes,
        description: Description,
        linked: Collection[PeerName],
        link_costs: LinkCosts,
        records: MutableMapping[PeerName, PeerRecord],
        gossip: Gossip,
        channels: Channels,
    ) -> None:
        self.times_outdone: Counter[ChannelId] = Counter()
        """How often somebody had a later fragment of ours than we, by channel."""
        self._name = name
        self._public_key = public_key
        self._description = description
        self._linked = linked
        self._link_costs = link_costs
        self._records = records
        self._gossip = gossip
        self._channels = channels
        self._written_elsewhere: dict[ChannelId, Fragment] = {}
        self._stopping = False
        self._was_linked = False
        self._delay_s = PUBLISH_DELAY_S
        self._published_at = -math.inf
        self._timers: Timers[_Task] = Timers()
        self._events: deque[IdentityConflict] = deque()
        self._publish()

    @property
    def endpoints(self) -> tuple[Endpoint, ...]:
        """The addresses we announce."""
        return self._description.endpoints

    def set_endpoints(self, endpoints: tuple[Endpoint, ...]) -> None:
        """Announce other addresses from now on."""
        self._description = self._description.replaced(endpoints=endpoints)
        self._publish()

    def link_up(self) -> None:
        """A link stands, by which our record goes next.

        Who says that it has no links has stopped: others would drop their sessions with us. In a
        life that has just begun they have none.
        """
        if self._was_linked and not self._records[self._name].links:
            self._publish()

    def link_lost(self, now: float) -> None:
        """Others shall soon not go that way any more."""
        self._publish_by(now + PUBLISH_DELAY_S)

    def link_won(self, now: float) -> None:
        """Tell soon whom else we are linked to; later, the more has been told just now."""
        if now >= self._published_at + CALM_S:
            self._delay_s = PUBLISH_DELAY_S
        self._publish_by(now + self._delay_s)

    def costs_changed(self, now: float) -> None:
        """Tell soon what our links cost, unless something has been told just now."""
        self._publish_by(max(now + PUBLISH_DELAY_S, self._published_at + COST_INTERVAL_S))

    def flush_soon(self, now: float) -> None:
        """Have what was updated signed and told, with what else is updated meanwhile."""
        self._timers.set_if_unset(_Task.FLUSH, now + FLUSH_DELAY_S)

    def stop(self) -> None:
        """Take leave: those that we reach without a link learn of it by a record without links."""
        self._stopping = True
        self._publish()

    def written_elsewhere(self, event: WrittenElsewhere, now: float) -> None:
        """Somebody has a later fragment of ours than we do: go on above it."""
        waits = event.channel in self._written_elsewhere
        self._written_elsewhere[event.channel] = event.fragment
        if not waits:  # However many bring us the question, it is one.
            self._hesitate_to_take_back(event.channel, now)

    def handle_timer(self, now: float) -> None:
        for task in self._timers.pop_due(now):
            if task is _Task.PUBLISH:
                self._published_at = now
                self._delay_s = min(self._delay_s * PUBLISH_DELAY_GROWTH, MAX_PUBLISH_DELAY_S)
                self._publish()
            elif task is _Task.REWRITE:
                self._take_back(now)
            else:
                self._channels.flush()

    def next_deadline(self) -> float | None:
        return self._timers.next_deadline()

    def next_event(self) -> IdentityConflict | None:
        return self._events.popleft() if self._events else None

    def _publish_by(self, deadline: float) -> None:
        at = self._timers.deadline_of(_Task.PUBLISH)
        if at is None or at > deadline:
            self._timers.set(_Task.PUBLISH, deadline)

    def _publish(self, *, again: bool = False) -> None:
        """Write our record, if it says anything new, or ``again``."""
        self._timers.cancel(_Task.PUBLISH)
        linked = () if self._stopping else self._linked
        costs = {peer: self._link_costs.of(peer) for peer in linked}
        record = PeerRecord(self._name, self._public_key, self._description, costs)
        if record != self._records.get(self._name) or again:
            self._records[self._name] = record
            self._was_linked = self._was_linked or bool(costs)
            tree = Tree.of(record_entries(self._description, costs).items())
            self._gossip.publish(TOPOLOGY, self._gossip.sign(TOPOLOGY, tree))

    def _hesitate_to_take_back(self, channel: ChannelId, now: float) -> None:
        self.times_outdone[channel] += 1
        too_many = self.times_outdone[channel] - HASTY_REWRITES
        if too_many <= 0:
            self._take_back(now)
        elif not self._timers.is_set(_Task.REWRITE):
            # Our disk was set back once; that it is again and again is not that.
            self._events.append(IdentityConflict(self._name))
            delay_s = min(2.0 ** min(too_many, 16), MAX_REWRITE_DELAY_S)
            self._timers.set(_Task.REWRITE, now + delay_s)

    def _take_back(self, now: float) -> None:
        elsewhere, self._written_elsewhere = self._written_elsewhere, {}
        for channel, fragment in elsewhere.items():
            if channel == TOPOLOGY:
                self._publish(again=True)
            else:
                self._channels.take_back(channel, fragment)
                self.flush_soon(now)
