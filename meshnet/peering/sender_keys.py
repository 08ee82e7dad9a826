"""The sender keys that one peer holds, and those that it waits for, with what they are to open.

All of it is bounded for each source and in all. A key that is wanted is asked for of those who
passed on what it seals: they have it, or have asked for it themselves.
"""

from __future__ import annotations

from collections.abc import Iterator

from attrs import define, field

from meshnet.ids import PeerName
from meshnet.wire.sender_key import SenderKey

# Our choice. A source has two keys when it renews them; one more for what was late.
KEYS_PER_SOURCE = 3
MAX_SOURCES = 2048
# A member can name keys that nobody has: those of one source take this much room, and no more
# sources than this are waited for.
WANTED_PER_SOURCE = 4
MAX_WANTED_SOURCES = 512
# Who may be asked for one key, and who waits for our answer.
MAX_CARRIERS = 8
MAX_ASKERS = 64
# What waits for its key: some frames of each source, 4 MiB in all.
HELD_PER_KEY = 64
MAX_HELD_BYTES = 4 * 1024 * 1024

KeyName = tuple[PeerName, int]
"""(source, number of the key)."""


@define(eq=False, repr=False)
class Wanted:
    """A key that we do not have yet. ``carriers`` passed on what it seals, so they are asked."""

    carriers: list[PeerName] = field(factory=list)
    askers: list[PeerName] = field(factory=list)
    """Peers that have asked us for it."""
    held: list[bytes] = field(factory=list)
    """Datagrams, as they came."""
    tries: int = 0


class SenderKeys:
    """Two bounded tables: keys by source, and wanted keys by source."""

    def __init__(self) -> None:
        self._keys: dict[PeerName, dict[int, SenderKey]] = {}
        self._wanted: dict[PeerName, dict[int, Wanted]] = {}
        self._held_bytes = 0

    def __len__(self) -> int:
        """How many keys are held."""
        return sum(map(len, self._keys.values()))

    @property
    def held_bytes(self) -> int:
        """The size of all datagrams that wait for a key."""
        return self._held_bytes

    def get(self, name: KeyName) -> SenderKey | None:
        source, key_id = name
        keys = self._keys.get(source)
        return keys.get(key_id) if keys is not None else None

    def add(self, key: SenderKey) -> None:
        """Hold ``key``. The oldest of its source, or the source without a new one for longest,
        makes room."""
        source = key.signed.source
        keys = self._keys.pop(source, {})
        keys[key.signed.id] = key
        if len(keys) > KEYS_PER_SOURCE:
            del keys[next(iter(keys))]
        if len(self._keys) >= MAX_SOURCES:
            del self._keys[next(iter(self._keys))]
        self._keys[source] = keys

    def expire(self, now: float) -> None:
        """Forget the keys that are too old."""
        for source, keys in list(self._keys.items()):
            fresh = {key_id: key for key_id, key in keys.items() if now < key.expires_at}
            if fresh:
                self._keys[source] = fresh
            else:
                del self._keys[source]

    def wanted(self, name: KeyName) -> Wanted | None:
        source, key_id = name
        wanted = self._wanted.get(source)
        return wanted.get(key_id) if wanted is not None else None

    def want(self, name: KeyName) -> Wanted | None:
        """Begin to wait for a key; None when there is no room for that."""
        source, key_id = name
        if source not in self._wanted and len(self._wanted) >= MAX_WANTED_SOURCES:
            return None
        wanted = self._wanted.setdefault(source, {})
        if len(wanted) >= WANTED_PER_SOURCE:
            return None
        return wanted.setdefault(key_id, Wanted())

    def hold(self, wanted: Wanted, datagram: bytes) -> bool:
        """Keep ``datagram`` until its key is there; False when there is no room."""
        fits = self._held_bytes + len(datagram) <= MAX_HELD_BYTES
        if len(wanted.held) >= HELD_PER_KEY or not fits:
            return False
        wanted.held.append(datagram)
        self._held_bytes += len(datagram)
        return True

    def stop_waiting(self, name: KeyName) -> Wanted | None:
        """The key is there, or will not come: take what waited for it."""
        source, key_id = name
        of_source = self._wanted.get(source, {})
        wanted = of_source.pop(key_id, None)
        if wanted is not None:
            self._held_bytes -= sum(map(len, wanted.held))
            if not of_source:
                del self._wanted[source]
        return wanted

    def wanted_names(self) -> Iterator[KeyName]:
        """All keys that are waited for."""
        for source, wanted in self._wanted.items():
            for key_id in wanted:
                yield source, key_id
