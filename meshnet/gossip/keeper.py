"""What of the replicated state is written down: the disk as one more neighbour.

For each fragment we remember the version that is on disk; what is written is the delta to the
newest one, in the form in which a neighbour would get it. Reading the records back in order gives
the fragments again.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from meshnet.errors import AuthenticationError, StateError
from meshnet.gossip.fragments import Fragment, fragment_of, verify_head
from meshnet.gossip.messages import pack_delta, parse_delta
from meshnet.gossip.replica import FragmentId
from meshnet.gossip.tree import EMPTY
from meshnet.ids import ChannelId, PeerName
from meshnet.ports import MAX_JOURNAL_RECORD_BYTES
from meshnet.wire.cursor import MalformedError


class Keeper:
    """Turns fragments into records, and records into fragments."""

    def __init__(self) -> None:
        self._kept: dict[FragmentId, Fragment] = {}
        self._before: dict[FragmentId, Fragment | None] = {}

    def get(self, channel: ChannelId, writer: PeerName) -> Fragment | None:
        """The version that is on disk, or on its way there."""
        return self._kept.get((channel, writer))

    def record_of(self, channel: ChannelId, fragment: Fragment) -> bytes:
        """What to write, so that ``fragment`` is kept. The next builds on it; or see `undo`."""
        key = (channel, fragment.head.writer)
        known = self._kept.get(key)
        self._before.setdefault(key, known)
        self._kept[key] = fragment
        base = known.tree if known is not None else EMPTY
        record = pack_delta(channel, fragment, base, limit_bytes=None)
        if len(record) > MAX_JOURNAL_RECORD_BYTES:
            # One large fragment in place of another: to tell what is gone, too, takes both.
            record = pack_delta(channel, fragment, EMPTY, limit_bytes=None)
        return record

    def done(self) -> None:
        """All records so far have reached the disk."""
        self._before.clear()

    def undo(self) -> None:
        """The records since `done` have not reached the disk, which has what it had."""
        for key, fragment in self._before.items():
            if fragment is None:
                del self._kept[key]
            else:
                self._kept[key] = fragment
        self._before.clear()

    def snapshot(self) -> list[bytes]:
        """All that is kept, each fragment as one record."""
        return [
            pack_delta(channel, fragment, EMPTY, limit_bytes=None)
            for (channel, _), fragment in self._kept.items()
        ]

    def load(
        self, records: Iterable[bytes], network_id: bytes, our_name: PeerName
    ) -> Iterator[tuple[ChannelId, Fragment]]:
        """The fragments that these records make.

        Raises StateError for what no version of ours wrote, and for what we wrote in another
        network: it would be overwritten here. What others wrote there is left out.
        """
        for record in records:
            try:
                delta = parse_delta(record, limit=None)
            except MalformedError as error:
                raise StateError(
                    f"the journal holds a record that cannot be read: {error}"
                ) from None
            key = (delta.channel, delta.head.writer)
            known = self._kept.get(key)
            base = known.tree if known is not None and delta.base == known.tree.digest else EMPTY
            fragment = fragment_of(delta.head, base.updated(delta.changes))
            if fragment is None:
                raise StateError("the journal holds a record that does not fit those before it")
            self._kept[key] = fragment
        for (channel, writer), fragment in list(self._kept.items()):
            try:
                verify_head(fragment.head, network_id, channel)
            except AuthenticationError:
                if writer == our_name:
                    raise StateError(
                        f"the state directory holds channel {channel.name!r} of another network; "
                        "choose another with --state-dir, or name that network with --network"
                    ) from None
                del self._kept[channel, writer]
            else:
                yield channel, fragment
