"""Removals: a member's word that a fragment, up to one signed head of its writer, shall be let go.

A removal names a head that the writer has signed itself, so it voids what the writer had said when
the remover looked, and nothing after that: who returns and writes again is heard as if it were new.
It is remembered for a while, to be told to whoever still brings what it names. It is no part of the
digest: so each peer forgets it when it likes, and equal fragments still mean equal digests
(wire.md section 6.7).
"""

from __future__ import annotations

from collections.abc import Iterator

from meshnet.gossip.fragments import HEAD_BYTES, Head, pack_channel, parse_head, read_channel
from meshnet.gossip.replica import FragmentId
from meshnet.ids import ChannelId, PeerName
from meshnet.values import Value
from meshnet.wire.crypto import SIGNATURE_BYTES
from meshnet.wire.cursor import Cursor
from meshnet.wire.identity import Identity, verify

# Our choice: what members can make us remember by removing. The oldest go first; what those named
# may then come back, as that of a peer that is gone, and is removed again when its lease ends.
MAX_REMOVALS = 4096
REMOVAL_KEPT_S = 14 * 86400.0

_CONTEXT = b"removal"
_PUBLIC_KEY_BYTES = 32


class Removal(Value):
    """Of the fragments in ``channel`` by the writer of ``head``: all up to that one."""

    channel: ChannelId
    head: Head
    remover_key: bytes
    signature: bytes

    @property
    def key(self) -> FragmentId:
        return self.channel, self.head.writer

    @property
    def by(self) -> PeerName:
        """Who says so."""
        return PeerName.of(self.remover_key)

    @property
    def is_farewell(self) -> bool:
        """The writer's own word, whatever others see of it."""
        return self.remover_key == self.head.public_key

    def covers(self, head: Head) -> bool:
        """Whether ``head``, of the same writer and channel, is let go by this."""
        return head.order <= self.head.order


def sign_removal(identity: Identity, network_id: bytes, channel: ChannelId, head: Head) -> Removal:
    """Our word that the fragment with this head, and those before it, shall be let go."""
    signature = identity.sign(_CONTEXT, _signed(network_id, channel, head))
    return Removal(channel, head, identity.public_key, signature)


def pack_removal(removal: Removal) -> bytes:
    return (
        pack_channel(removal.channel) + removal.head.raw + removal.remover_key + removal.signature
    )


def parse_removal(body: bytes) -> Removal:
    """What a removal says, not yet verified. Raises MalformedError."""
    cursor = Cursor(body)
    channel, head = read_channel(cursor), parse_head(cursor.read_bytes(HEAD_BYTES))
    remover_key = cursor.read_bytes(_PUBLIC_KEY_BYTES)
    signature = cursor.read_bytes(SIGNATURE_BYTES)
    cursor.finish()
    return Removal(channel, head, remover_key, signature)


def verify_removal(removal: Removal, network_id: bytes) -> None:
    """Raises AuthenticationError unless its remover signed it; the head is verified by itself."""
    message = _signed(network_id, removal.channel, removal.head)
    verify(removal.remover_key, _CONTEXT, message, removal.signature)


def _signed(network_id: bytes, channel: ChannelId, head: Head) -> bytes:
    return network_id + pack_channel(channel) + head.raw


class Removals:
    """The removals that are remembered: the greatest of each fragment, within bounds."""

    def __init__(self) -> None:
        self._removals: dict[FragmentId, tuple[Removal, float]] = {}

    def __len__(self) -> int:
        return len(self._removals)

    def __iter__(self) -> Iterator[Removal]:
        return (removal for removal, _ in self._removals.values())

    def get(self, key: FragmentId) -> Removal | None:
        found = self._removals.get(key)
        return found[0] if found is not None else None

    def covering(self, channel: ChannelId, head: Head) -> Removal | None:
        """What lets this head go, if anything does."""
        removal = self.get((channel, head.writer))
        return removal if removal is not None and removal.covers(head) else None

    def hold(self, removal: Removal, now: float) -> None:
        """Remember it, in place of an earlier one of the same fragment."""
        self.let_go(removal.key)
        self._removals[removal.key] = (removal, now + REMOVAL_KEPT_S)
        if len(self._removals) > MAX_REMOVALS:
            self.let_go(next(iter(self._removals)))

    def let_go(self, key: FragmentId) -> None:
        self._removals.pop(key, None)

    def expire(self, now: float) -> None:
        """Forget those that were held long enough; they stand in the order of their times."""
        while self._removals:
            key, (_, until) = next(iter(self._removals.items()))
            if now < until:
                return
            self.let_go(key)
