"""The last fragments of writers that have started again: perhaps all that is left of them."""

from __future__ import annotations

from meshnet.gossip.fragments import Fragment
from meshnet.gossip.replica import FragmentId
from meshnet.ids import PeerName

# Our choice: what members can make us hold by starting over and over. The oldest go first.
MAX_SUPERSEDED = 1024
MAX_SUPERSEDED_BYTES = 32 * 1024 * 1024


class Superseded:
    """One fragment per channel and writer, within bounds of number and size."""

    def __init__(self) -> None:
        self._fragments: dict[FragmentId, Fragment] = {}
        self._size_bytes = 0

    def __len__(self) -> int:
        return len(self._fragments)

    def get(self, key: FragmentId) -> Fragment | None:
        return self._fragments.get(key)

    def of(self, writer: PeerName) -> list[FragmentId]:
        """What is held of one writer."""
        return [key for key in self._fragments if key[1] == writer]

    def hold(self, key: FragmentId, fragment: Fragment) -> None:
        """In place of an earlier one of the same writer."""
        self.let_go(key)
        self._fragments[key] = fragment
        self._size_bytes += fragment.tree.size_bytes
        while len(self._fragments) > MAX_SUPERSEDED or self._size_bytes > MAX_SUPERSEDED_BYTES:
            self.let_go(next(iter(self._fragments)))

    def let_go(self, key: FragmentId) -> None:
        """Nothing happens when it is not held."""
        fragment = self._fragments.pop(key, None)
        if fragment is not None:
            self._size_bytes -= fragment.tree.size_bytes
