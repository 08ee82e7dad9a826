"""What of the replicated state is written down: the disk as one more neighbour.

For each fragment we remember the version that is on disk; what is written is the delta to the
newest one, in the form in which a neighbour would get it; a fragment that was let go is written as
its head alone. Reading the records back in order gives the fragments again.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice

from meshnet.errors import AuthenticationError, StateError
from meshnet.gossip.fragments import Fragment, fragment_of, verify_head
from meshnet.gossip.messages import pack_announcement, pack_delta, parse_delta, pieces_of_delta
from meshnet.gossip.replica import FragmentId
from meshnet.gossip.tree import EMPTY, Tree
from meshnet.ids import ChannelId, PeerName
from meshnet.ports import MAX_JOURNAL_RECORD_BYTES
from meshnet.wire.cursor import MalformedError


class _Packing:
    """A record on its way: ``fragment``, on top of ``base``."""

    def __init__(self, channel: ChannelId, fragment: Fragment, base: Tree) -> None:
        self.fragment = fragment
        self.base = base
        self.record: bytes | None = None
        self._pieces = pieces_of_delta(channel, fragment, base)
        self._packed: list[bytes] = []

    def go_on(self, limit: int) -> int:
        """Pack up to ``limit`` changes; how many there were."""
        piece = list(islice(self._pieces, limit))
        # Joined bit by bit, too: a hundred thousand pieces at once would take a while.
        self._packed.append(b"".join(piece))
        if len(piece) < limit:
            self.record = b"".join(self._packed)
        return len(piece)


class Keeper:
    """Turns fragments into records, and records into fragments."""

    def __init__(self) -> None:
        self._kept: dict[FragmentId, Fragment] = {}
        self._before: dict[FragmentId, Fragment | None] = {}
        self._packing: dict[FragmentId, _Packing] = {}

    def get(self, channel: ChannelId, writer: PeerName) -> Fragment | None:
        """The version that is on disk, or on its way there."""
        return self._kept.get((channel, writer))

    def record_of(self, channel: ChannelId, fragment: Fragment) -> bytes:
        """What to write, so that ``fragment`` is kept. The next builds on it; or see `undo`."""
        key = (channel, fragment.head.writer)
        prepared = self.prepared(*key)
        packing = self._packing.pop(key, None)
        record = packing.record if packing is not None and prepared is fragment else None
        known = self._kept.get(key)
        self._before.setdefault(key, known)
        self._kept[key] = fragment
        base = known.tree if known is not None else EMPTY
        if record is None:
            record = pack_delta(channel, fragment, base, limit_bytes=None)
        if len(record) > MAX_JOURNAL_RECORD_BYTES:
            # One large fragment in place of another: to tell what is gone, too, takes both.
            record = pack_delta(channel, fragment, EMPTY, limit_bytes=None)
        return record

    def prepare(self, channel: ChannelId, fragment: Fragment, limit: int) -> int:
        """Pack up to ``limit`` changes of a fragment; how many there were.

        Fewer than ``limit``: what was begun with is `prepared`. A fragment that changes meanwhile
        is packed as it was, or one that always changes would never be.
        """
        key = (channel, fragment.head.writer)
        known = self._kept.get(key)
        base = known.tree if known is not None else EMPTY
        packing = self._packing.get(key)
        if packing is None or packing.base is not base:
            packing = self._packing[key] = _Packing(channel, fragment, base)
        return packing.go_on(limit) if packing.record is None else 0

    def prepared(self, channel: ChannelId, writer: PeerName) -> Fragment | None:
        """The version of which `record_of` has no work left, if there is one."""
        packing, known = self._packing.get((channel, writer)), self._kept.get((channel, writer))
        base = known.tree if known is not None else EMPTY
        ready = packing is not None and packing.record is not None and packing.base is base
        return packing.fragment if packing is not None and ready else None

    def record_of_removal(self, channel: ChannelId, writer: PeerName) -> bytes | None:
        """What to write, so that a fragment is kept no more; None: it is not kept."""
        key = (channel, writer)
        self._packing.pop(key, None)
        known = self._kept.pop(key, None)
        if known is None:
            return None
        self._before.setdefault(key, known)
        return pack_announcement(channel, known.head)

    def done(self) -> None:
        """All records so far have reached the disk."""
        self._before.clear()

    def undo(self) -> None:
        """The records since `done` have not reached the disk, which has what it had."""
        for key, fragment in self._before.items():
            if fragment is None:
                self._kept.pop(key, None)
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
            if delta.base is None:
                self._kept.pop(key, None)
                continue
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
