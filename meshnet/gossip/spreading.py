"""To whom news is passed on at once, and to whom it is only announced (wire.md section 6.3).

The idea is Plumtree's (Leitão, Pereira, Rodrigues: Epidemic Broadcast Trees, SRDS 2007): a change
goes in full along few links, by the others a few bytes say later that it is there, and who has not
got it by then asks for it, and from then on gets all from there. Links by which everything came
twice are dropped from the few. Unlike there some more links than a tree needs are kept, so that
most failures delay nothing: the tree of one writer is not that of another, and a mesh in which many
write at once would cut it in many places and mend it for ever.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from meshnet.gossip.messages import Feed, Have, place_of
from meshnet.gossip.neighbour import Neighbour
from meshnet.gossip.replica import FragmentId, Replica
from meshnet.ids import PeerName

# Our choice. So many links at least by which a peer is told at once: with so many each a random
# graph is connected with few hops, and stays so when some are gone. See docs/decisions/0027.
LEAST_EAGER = 6
# When what is not told at once is announced: of the two ends of a link one is the first, as it has
# the lesser name, and saves the other the trouble.
FIRST_ANNOUNCED_S = 0.2
LAST_ANNOUNCED_S = 0.5
# How long what was announced may take to come from elsewhere.
CLAIM_PATIENCE_S = 0.3
MAX_CLAIMS = 1024
"""Of one neighbour that have not been looked at, or that it has not been asked for, as it does not
read what we say. What does not fit is found by comparing."""


class Spreading:
    """The decisions, for all neighbours of one peer. Shares ``neighbours`` with `Gossip`."""

    def __init__(
        self, our_name: PeerName, replica: Replica, neighbours: Mapping[PeerName, Neighbour]
    ) -> None:
        self._replica = replica
        self._neighbours = neighbours
        self._announced_after_s = (
            FIRST_ANNOUNCED_S + (LAST_ANNOUNCED_S - FIRST_ANNOUNCED_S) * our_name[0] / 255
        )
        self._announce_at: float | None = None
        self._look_at: float | None = None

    def pass_on(self, neighbour: Neighbour, key: FragmentId, now: float) -> None:
        """There is news of another's fragment."""
        if neighbour.eager:
            neighbour.due[key] = None
            return
        neighbour.unannounced[key] = None
        if self._announce_at is None:
            self._announce_at = now + self._announced_after_s

    def told_twice(self, neighbour: Neighbour, writer: PeerName) -> None:
        """It told us in full what we had already."""
        # A neighbour of the writer's is told by that, too: that says nothing about other links.
        if writer in self._neighbours or not neighbour.eager:
            return
        if sum(other.eager for other in self._neighbours.values()) > LEAST_EAGER:
            neighbour.eager = False
            neighbour.feed_due = True

    def receive_have(self, neighbour: Neighbour, have: Have, now: float) -> None:
        """It has these, and has told us nothing of them."""
        for place, sequence in have.fragments:
            key = self._replica.at_place(place)
            held = self._replica.get(*key) if key is not None else None
            if key is not None and held is not None and held.head.sequence >= sequence:
                if held.head.sequence == sequence:
                    neighbour.unannounced.pop(key, None)
                    neighbour.to_announce.pop(key, None)
            elif len(neighbour.claims) + len(neighbour.to_want) < MAX_CLAIMS:
                neighbour.claims.setdefault(place, (sequence, now))
                if self._look_at is None:
                    self._look_at = now + CLAIM_PATIENCE_S

    def receive_feed(self, neighbour: Neighbour, feed: Feed) -> None:
        """It wants to be told at once from now on, and of these now; or of nothing any more."""
        neighbour.eager = feed.eager
        for place in feed.places:
            key = self._replica.at_place(place)
            if key is not None:
                neighbour.due[key] = None

    def handle_timer(self, now: float, coming: Iterable[FragmentId]) -> bool:
        """Whether there may be something to send. ``coming``: what is being fetched."""
        stirred = False
        if self._announce_at is not None and now >= self._announce_at:
            self._announce_at = None
            for neighbour in self._neighbours.values():
                neighbour.to_announce.update(neighbour.unannounced)
                neighbour.unannounced.clear()
            stirred = True
        if self._look_at is not None and now >= self._look_at:
            self._look_at = None
            self._ask_for_missing(now, {place_of(*key) for key in coming})
            stirred = True
        return stirred

    def next_deadline(self) -> float | None:
        deadlines = (self._announce_at, self._look_at)
        return min((at for at in deadlines if at is not None), default=None)

    def _ask_for_missing(self, now: float, asked: set[bytes]) -> None:
        """Have one of those who have it tell us; the others when that comes to nothing."""
        for neighbour in self._neighbours.values():
            for place, (sequence, since) in list(neighbour.claims.items()):
                key = self._replica.at_place(place)
                held = self._replica.get(*key) if key is not None else None
                if held is not None and held.head.sequence >= sequence:
                    del neighbour.claims[place]
                elif now >= since + CLAIM_PATIENCE_S and place not in asked:
                    del neighbour.claims[place]
                    asked.add(place)
                    neighbour.eager = neighbour.feed_due = True
                    neighbour.to_want.append(place)
            if neighbour.claims:
                self._look_at = now + CLAIM_PATIENCE_S
