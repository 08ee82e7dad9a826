"""All fragments of all channels that this peer holds, and the one digest over their heads."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from meshnet.gossip.fragments import Fragment, Head
from meshnet.gossip.messages import pack_index_entry, place_of
from meshnet.gossip.tree import EMPTY, Tree
from meshnet.ids import ChannelId, PeerName

# Our choice: what members together can make us hold. What does not fit is refused and counted, not
# exchanged for something older: two peers at their bounds would feed each other for ever.
MAX_FRAGMENTS = 32768
MAX_CHANNELS = 256
MAX_TOTAL_BYTES = 128 * 1024 * 1024
"""As `Tree.size_bytes` counts; small entries take about six times that in memory."""

FragmentId = tuple[ChannelId, PeerName]
"""A channel and a writer."""

_NOTHING: Mapping[PeerName, Fragment] = {}


class Replica:
    """The newest fragment of every writer in every channel, known ones and others."""

    def __init__(self) -> None:
        self._channels: dict[ChannelId, dict[PeerName, Fragment]] = {}
        self._index = EMPTY
        # The index costs hashing, so it follows when it is asked for.
        self._unindexed: dict[FragmentId, Head] = {}
        self._places: dict[bytes, FragmentId] = {}
        self.fragments = 0
        self.size_bytes = 0

    def get(self, channel: ChannelId, writer: PeerName) -> Fragment | None:
        return self._channels.get(channel, _NOTHING).get(writer)

    def at_place(self, place: bytes) -> FragmentId | None:
        """The fragment that has this short name, if one is held."""
        return self._places.get(place)

    def channel(self, channel: ChannelId) -> Mapping[PeerName, Fragment]:
        """All fragments of a channel."""
        return self._channels.get(channel, _NOTHING)

    def channels(self) -> list[ChannelId]:
        return sorted(self._channels)

    def __iter__(self) -> Iterator[tuple[FragmentId, Fragment]]:
        for channel, fragments in self._channels.items():
            for writer, fragment in fragments.items():
                yield (channel, writer), fragment

    def has_room_for(
        self, channel: ChannelId, head: Head, *, coming: int = 0, coming_bytes: int = 0
    ) -> bool:
        """Whether a fragment that is not yet held, or has grown, may be.

        ``coming``: how many others are on their way, and what their parts cost so far.
        """
        known = self.get(channel, head.writer)
        before = known.head.size_bytes if known is not None else 0
        return (
            (known is not None or self.fragments + coming < MAX_FRAGMENTS)
            and (channel in self._channels or len(self._channels) < MAX_CHANNELS)
            and (
                head.size_bytes <= before
                or self.size_bytes + coming_bytes + head.size_bytes - before <= MAX_TOTAL_BYTES
            )
        )

    def put(self, channel: ChannelId, fragment: Fragment) -> Tree:
        """Hold ``fragment`` in place of the writer's last; gives that one's entries."""
        writer = fragment.head.writer
        before = self._channels.setdefault(channel, {}).get(writer)
        self._channels[channel][writer] = fragment
        self._unindexed[channel, writer] = fragment.head
        self.size_bytes += fragment.tree.size_bytes
        if before is None:
            self._places[place_of(channel, writer)] = (channel, writer)
            self.fragments += 1
            return EMPTY
        self.size_bytes -= before.tree.size_bytes
        return before.tree

    def remove(self, channel: ChannelId, writer: PeerName) -> None:
        """Let go of a fragment; nothing happens when it is not held."""
        fragment = self._channels.get(channel, {}).pop(writer, None)
        if fragment is not None:
            self.fragments -= 1
            self.size_bytes -= fragment.tree.size_bytes
            self._unindexed.pop((channel, writer), None)
            self._places.pop(place_of(channel, writer), None)
            key, _ = pack_index_entry(channel, fragment.head)
            self._index = self._index.updated([(key, None)])
            if not self._channels[channel]:
                del self._channels[channel]

    @property
    def index(self) -> Tree:
        """All heads: equal roots mean equal states."""
        if self._unindexed:
            entries = [
                pack_index_entry(channel, head) for (channel, _), head in self._unindexed.items()
            ]
            self._unindexed.clear()
            self._index = self._index.updated(entries)
        return self._index

    def digest(self, channel: ChannelId) -> bytes:
        """One digest over the heads of one channel: equal on peers that hold the same."""
        heads = self.channel(channel).values()
        return Tree.of(pack_index_entry(channel, f.head) for f in heads).digest
