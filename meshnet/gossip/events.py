"""What happens in the replicated state: what `Gossip.next_event` gives."""

from __future__ import annotations

from meshnet.errors import DropReason
from meshnet.gossip.fragments import Fragment
from meshnet.gossip.tree import Tree
from meshnet.ids import ChannelId, PeerName
from meshnet.values import Value


class Changed(Value):
    """``writer``'s fragment is another one now; `Tree.changes_since` tells the difference."""

    channel: ChannelId
    writer: PeerName
    before: Tree
    now: Tree


class Ignored(Value):
    """Content that does not count. ``carrier`` brought it, and is not to blame."""

    carrier: PeerName
    reason: DropReason
    text: str


class Malformed(Value):
    """``carrier`` has sent what no peer would: it is to blame, and its link has to end."""

    carrier: PeerName
    text: str


class Contradicted(Value):
    """Two contents under one number: the writer's key is in use in two places."""

    channel: ChannelId
    writer: PeerName


class WrittenElsewhere(Value):
    """The mesh has a later fragment of ours than we do: a disk set back, or our key elsewhere."""

    channel: ChannelId
    fragment: Fragment


class Removed(Value):
    """``writer``'s fragment was let go, by the word of ``by``; these were its entries."""

    channel: ChannelId
    writer: PeerName
    by: PeerName
    before: Tree


GossipEvent = Changed | Removed | Ignored | Malformed | Contradicted | WrittenElsewhere
