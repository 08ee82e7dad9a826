"""Fragments made by hand, peer records above all, to say what the code refuses to write."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping, Sequence

from meshnet.gossip.fragments import HEAD_BYTES, Head, pack_channel, parse_head
from meshnet.gossip.messages import parse_delta
from meshnet.gossip.tree import EMPTY, Tree
from meshnet.ids import ChannelId, PeerName
from meshnet.topology.records import PeerRecord, read_record
from meshnet.wire.identity import Identity
from support.samples import NETWORK_ID

TOPOLOGY = ChannelId("topology", "peer-record")
UNKNOWN = ChannelId("a later version's", "unheard-of")


def endpoint_bytes(address: str, port: int = 6783) -> bytes:
    parsed = ipaddress.ip_address(address)
    return bytes((parsed.version,)) + parsed.packed + port.to_bytes(2, "big")


def description(
    *, nickname: bytes = b"", endpoints: Sequence[bytes] = (), trailing: bytes = b""
) -> bytes:
    """What a peer with overlay MTU 1376 says of itself in its life 7 (wire.md section 6.4)."""
    return (
        b"\x01"
        + bytes((len(nickname),))
        + nickname
        + (1376).to_bytes(2, "big")
        + bytes(4)
        + (7).to_bytes(8, "big")
        + bytes((len(endpoints),))
        + b"".join(endpoints)
        + trailing
    )


def entries_of(
    *, endpoints: Sequence[bytes] = (), links: Iterable[PeerName] = (), trailing: bytes = b""
) -> dict[bytes, bytes]:
    """The entries of a peer record."""
    said = description(endpoints=endpoints, trailing=trailing)
    return {b"\0": said} | {b"\1" + peer: b"" for peer in links}


def head_body(
    who: Identity,
    tree: Tree,
    *,
    sequence: int,
    incarnation: int = 1,
    size_bytes: int | None = None,
) -> bytes:
    """A head without its signature (wire.md section 6.1)."""
    size = tree.size_bytes if size_bytes is None else size_bytes
    numbers = incarnation.to_bytes(8, "big") + sequence.to_bytes(8, "big")
    return who.public_key + numbers + size.to_bytes(4, "big") + tree.digest


def signed(
    who: Identity, body: bytes, channel: ChannelId = TOPOLOGY, network: bytes = NETWORK_ID
) -> bytes:
    name, kind = channel.name.encode(), channel.type.encode()
    packed = bytes((len(name),)) + name + bytes((len(kind),)) + kind
    return body + who.sign(b"fragment", network + packed + body)


def announcement(head: bytes, channel: ChannelId = TOPOLOGY) -> bytes:
    """The body of a DELTA that says a head and nothing more."""
    return pack_channel(channel) + head + b"\0"


def delta(head: bytes, entries: Mapping[bytes, bytes], channel: ChannelId = TOPOLOGY) -> bytes:
    """The body of a DELTA that tells a whole fragment (wire.md section 6.3)."""
    told = b"".join(
        len(key).to_bytes(2, "big") + key + b"\1" + len(value).to_bytes(2, "big") + value
        for key, value in entries.items()
    )
    return pack_channel(channel) + head + b"\1" + bytes(32) + told


def fragment(
    who: Identity,
    entries: Mapping[bytes, bytes],
    *,
    sequence: int,
    incarnation: int = 1,
    channel: ChannelId = TOPOLOGY,
) -> bytes:
    """The body of a DELTA that tells a whole fragment of ``who``."""
    body = head_body(who, Tree.of(entries.items()), sequence=sequence, incarnation=incarnation)
    return delta(signed(who, body, channel), entries, channel)


def record(
    who: Identity,
    *,
    sequence: int,
    endpoints: Sequence[bytes] = (),
    links: Iterable[PeerName] = (),
    trailing: bytes = b"",
) -> bytes:
    """The body of a DELTA that tells the peer record of ``who``."""
    entries = entries_of(endpoints=endpoints, links=links, trailing=trailing)
    return fragment(who, entries, sequence=sequence)


def head_of(body: bytes, channel: ChannelId = TOPOLOGY) -> Head:
    """The head in the body of a DELTA."""
    start = len(pack_channel(channel))
    return parse_head(body[start : start + HEAD_BYTES])


def told_of(
    bodies: Iterable[bytes], writer: PeerName, channel: ChannelId = TOPOLOGY
) -> list[tuple[Head, Tree]]:
    """What DELTAs told of one writer's fragment, oldest first; each must build on an earlier."""
    told: list[tuple[Head, Tree]] = []
    trees = {EMPTY.digest: EMPTY}
    for body in bodies:
        said = parse_delta(body)
        if (said.channel, said.head.writer) == (channel, writer) and said.base is not None:
            tree = trees[said.base].updated(said.changes)
            assert tree.digest == said.head.root
            trees[tree.digest] = tree
            told.append((said.head, tree))
    return told


def record_in(head: Head, tree: Tree) -> PeerRecord:
    return read_record(head.writer, head.public_key, dict(tree))
