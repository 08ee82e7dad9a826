"""Channels, and the signed parts that they are made of.

A *channel* is a map writer -> *fragment*. A fragment is one writer's entries under one signed
*head*: who holds head and entries can serve them to anybody, whether it knows the channel's type or
not (wire.md section 6.1). Whether a fragment counts depends on its bytes alone, never on the link
that brought it, the time, or what else is known, so all peers agree.
"""

from __future__ import annotations

import functools
import struct

from meshnet.gossip.tree import Tree
from meshnet.ids import ChannelId, PeerName
from meshnet.values import Value
from meshnet.wire.crypto import HASH_BYTES, SIGNATURE_BYTES
from meshnet.wire.cursor import Cursor, MalformedError, pack_text
from meshnet.wire.identity import Identity, verify

# From wire.md section 6.1.
MAX_CHANNEL_NAME_BYTES = 64
MAX_TYPE_NAME_BYTES = 32
MAX_SEQUENCE = 2**64 - 2
"""The type's maximum is invalid for everybody: nobody could ever write after it."""
SEQUENCES_PER_START = 2**40
"""A start's sequences are above its generation times this, and below the next one's."""
MAX_KEY_BYTES = 512
MAX_VALUE_BYTES = 17 * 1024
MAX_FRAGMENT_BYTES = 16 * 1024 * 1024
"""As `Tree.size_bytes` counts: what one writer can make everybody hold in one channel."""
_HEAD = struct.Struct(f">32sQQI{HASH_BYTES}s{SIGNATURE_BYTES}s")
HEAD_BYTES = _HEAD.size

MAX_PACKED_CHANNELS = 512
"""Remembered at a time, our choice: twice as many as a peer holds."""

_CONTEXT = b"fragment"


@functools.lru_cache(MAX_PACKED_CHANNELS)
def pack_channel(channel: ChannelId) -> bytes:
    """Remembered, since every head that is checked or told asks for it.

    Raises ValueError for what `read_channel` would not read back."""
    name = pack_text(channel.name, MAX_CHANNEL_NAME_BYTES)
    return name + pack_text(channel.type, MAX_TYPE_NAME_BYTES)


def read_channel(cursor: Cursor) -> ChannelId:
    return ChannelId(
        cursor.read_text(MAX_CHANNEL_NAME_BYTES), cursor.read_text(MAX_TYPE_NAME_BYTES)
    )


class Head(Value):
    """What a writer signs about its fragment. ``raw`` is the signed form, passed on as it came."""

    writer: PeerName
    public_key: bytes
    incarnation: int
    sequence: int
    size_bytes: int
    root: bytes
    raw: bytes

    @property
    def order(self) -> tuple[int, int, bytes, bytes]:
        """A total order over one writer's heads; the greatest wins.

        Two signatures under the same words differ in nothing but themselves, and are ordered too,
        so that everybody keeps the same one.
        """
        return (self.sequence, self.incarnation, self.root, self.raw)

    def contradicts(self, other: Head) -> bool:
        """True for another content under the same number: the writer's key is in two places."""
        numbers = (self.incarnation, self.sequence)
        return numbers == (other.incarnation, other.sequence) and self.root != other.root


class Fragment(Value):
    """A head, and entries that have its root and size."""

    head: Head
    tree: Tree


def sign_fragment(
    identity: Identity,
    network_id: bytes,
    channel: ChannelId,
    tree: Tree,
    *,
    incarnation: int,
    sequence: int,
) -> Fragment:
    """Our own fragment. ``incarnation`` and ``sequence`` are u64, the latter below its maximum."""
    body = (
        identity.public_key
        + incarnation.to_bytes(8, "big")
        + sequence.to_bytes(8, "big")
        + tree.size_bytes.to_bytes(4, "big")
        + tree.digest
    )
    raw = body + identity.sign(_CONTEXT, network_id + pack_channel(channel) + body)
    return Fragment(parse_head(raw), tree)


def parse_head(raw: bytes) -> Head:
    """What a head says, not yet verified. Raises MalformedError."""
    if len(raw) != HEAD_BYTES:
        raise MalformedError(f"head of {len(raw)} bytes")
    public_key, incarnation, sequence, size_bytes, root, _signature = _HEAD.unpack(raw)
    if sequence > MAX_SEQUENCE:
        raise MalformedError("sequence at its maximum")
    if size_bytes > MAX_FRAGMENT_BYTES:
        raise MalformedError(f"fragment of {size_bytes} bytes")
    name = PeerName.of(public_key)
    return Head(name, public_key, incarnation, sequence, size_bytes, root, raw)


def verify_head(head: Head, network_id: bytes, channel: ChannelId) -> None:
    """Raises AuthenticationError unless its writer signed it for this network and channel."""
    body, signature = head.raw[:-SIGNATURE_BYTES], head.raw[-SIGNATURE_BYTES:]
    verify(head.public_key, _CONTEXT, network_id + pack_channel(channel) + body, signature)


def fragment_of(head: Head, tree: Tree) -> Fragment | None:
    """Head and entries as one, or None when they do not fit each other."""
    if tree.digest != head.root or tree.size_bytes != head.size_bytes:
        return None
    return Fragment(head, tree)
