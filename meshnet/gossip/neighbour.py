"""One neighbour, as the exchange of fragments sees it."""

from __future__ import annotations

from collections import deque

from attrs import define, field

from meshnet.gossip.fragments import Fragment
from meshnet.gossip.messages import TreeId, Want
from meshnet.gossip.replica import FragmentId
from meshnet.gossip.tree import Path
from meshnet.gossip.unread import UnreadNodes
from meshnet.ids import PeerName

# Our choice. So many fragments are fetched from one neighbour at once: what a thousand need is some
# round trips then, not a thousand.
MAX_FETCHES = 64


@define(eq=False, repr=False)
class Neighbour:
    """What a neighbour was told last, and what it and we still have to say or to ask."""

    peer: PeerName
    writable: bool = True
    served: int = 0
    """The number of our last message to it, so that neighbours take turns."""
    digest_due: bool = True
    digest: bytes = b""
    """Of all that it has, as it said last."""
    may_wait: bool = False
    """Whether to compare with it may wait while there is news, which then comes by other ways."""
    told: dict[FragmentId, Fragment] = field(factory=dict)
    under_way: set[FragmentId] = field(factory=set)
    """What of that it was told by us, and has not told us since."""
    due: dict[FragmentId, None] = field(factory=dict)
    """What it has to be told, in order."""
    requests: deque[Want] = field(factory=deque)
    walk: dict[Path, None] = field(factory=dict)
    """The nodes of its index that we still have to look at."""
    walk_asked: bool = False
    to_ask: dict[FragmentId, None] = field(factory=dict)
    asked: set[FragmentId] = field(factory=set)
    unread: dict[TreeId, UnreadNodes] = field(factory=dict)
    """What it has answered, and is still to be looked at; nothing of that is asked meanwhile."""
    to_remind: dict[FragmentId, None] = field(factory=dict)
    """What it wrote before its last start and may have forgotten."""
    removed: dict[FragmentId, None] = field(factory=dict)
    """The removals that it has to be told."""
    eager: bool = True
    """Whether news is told to it at once, and by it to us (`Spreading`)."""
    feed_due: bool = False
    """It has to be told whether it is ``eager``."""
    to_want: list[bytes] = field(factory=list)
    """The places of what it has announced and shall tell, with that."""
    unannounced: dict[FragmentId, None] = field(factory=dict)
    """What it has not been told, as it may soon have it from others."""
    to_announce: dict[FragmentId, None] = field(factory=dict)
    claims: dict[bytes, tuple[int, float]] = field(factory=dict)
    """What it has announced and we have not: place -> (sequence, since when)."""

    @property
    def has_work(self) -> bool:
        return bool(
            self.digest_due
            or self.due
            or self.to_remind
            or self.removed
            or self.requests
            or self.unread
            or self.feed_due
            or self.to_announce
            or (self.walk and not self.walk_asked)
            or (self.to_ask and self.may_ask)
        )

    @property
    def may_ask(self) -> bool:
        """Whether another fragment may be fetched from it."""
        return len(self.asked) + len(self.unread) < MAX_FETCHES

    def knows(self, key: FragmentId, fragment: Fragment) -> None:
        """It has told us that it has this version, so we need not tell it."""
        self.told[key] = fragment
        self.under_way.discard(key)
        self.due.pop(key, None)
        self.unannounced.pop(key, None)
        self.to_announce.pop(key, None)

    def forget(self, key: FragmentId) -> None:
        """That fragment is let go: nothing of it is to be told."""
        self.told.pop(key, None)
        self.under_way.discard(key)
        self.due.pop(key, None)
        self.unannounced.pop(key, None)
        self.to_announce.pop(key, None)

    def start_walk(self) -> None:
        """Look through its index, unless that is being done."""
        if not self.walk and not self.walk_asked:
            self.walk[""] = None


def pop_first(ordered: dict[FragmentId, None]) -> FragmentId:
    """Takes out what has waited longest."""
    key = next(iter(ordered))
    del ordered[key]
    return key
