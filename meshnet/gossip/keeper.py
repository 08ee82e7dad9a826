"""What of the replicated state is written down: the disk as one more neighbour.

For each fragment we remember the version that is on disk; what is written is the delta to the
newest one, in the form in which a neighbour would get it. Reading the records back in order gives
the fragments again.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from meshnet.errors import AuthenticationError, StateError
from meshnet.gossip.fragments import ChannelId, Fragment, fragment_of, verify_head
from meshnet.gossip.messages import full_delta, parse_delta
from meshnet.gossip.replica import FragmentId
from meshnet.gossip.tree import EMPTY
from meshnet.wire.cursor import MalformedError


class Keeper:
    """Turns fragments into records, and records into fragments."""

    def __init__(self) -> None:
        self._kept: dict[FragmentId, Fragment] = {}

    def record_of(self, channel: ChannelId, fragment: Fragment) -> bytes:
        """What to write, so that ``fragment`` is what is kept. Take it as written from now on."""
        key = (channel, fragment.head.writer)
        known = self._kept.get(key)
        self._kept[key] = fragment
        return full_delta(channel, fragment, known.tree if known is not None else EMPTY)

    def not_written(self, channel: ChannelId, before: Fragment) -> None:
        """The last record of this fragment did not reach the disk, which has ``before``."""
        self._kept[channel, before.head.writer] = before

    def keeps(self, channel: ChannelId, fragment: Fragment) -> bool:
        """True when exactly this is on disk."""
        return self._kept.get((channel, fragment.head.writer)) is fragment

    def snapshot(self) -> list[bytes]:
        """All that is kept, each fragment as one record."""
        return [
            full_delta(channel, fragment, EMPTY) for (channel, _), fragment in self._kept.items()
        ]

    def load(
        self, records: Iterable[bytes], network_id: bytes
    ) -> Iterator[tuple[ChannelId, Fragment]]:
        """The fragments that these records make. Raises StateError: no version of ours wrote that.

        A head that is not for this network is left out: the network's name was changed since.
        """
        for record in records:
            try:
                delta = parse_delta(record)
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
                del self._kept[channel, writer]
            else:
                yield channel, fragment
