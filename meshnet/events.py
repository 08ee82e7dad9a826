"""What an engine tells its driver has happened: past tense, values only."""

from __future__ import annotations

from typing import Any

from meshnet.errors import CloseCode, DropReason
from meshnet.ids import ChannelId, Endpoint, PeerName, Remote
from meshnet.values import Value


class LinkEstablished(Value):
    """An authenticated link to ``peer`` is up."""

    peer: PeerName
    remote: Endpoint
    outbound: bool


class LinkLost(Value):
    """The link to ``peer`` has ended; it is dialled again."""

    peer: PeerName
    reason: str


class LinkRefused(Value):
    """A link ended before it was established: by us or, where ``by_peer``, by the other end.

    The other end's word is unauthenticated: anyone on the path could have said it.
    """

    remote: Endpoint
    outbound: bool
    reason: str
    code: CloseCode | None
    by_peer: bool


class DialFailed(Value):
    """No connection could be made to an address (``host:port``), ``failures`` times in a row."""

    address: str
    reason: str
    failures: int


class PeerDiscovered(Value):
    """A record of a peer not known before has arrived.

    ``remembered``: nobody has told us of it in this life, our journal had kept it.
    """

    peer: PeerName
    nickname: str
    remembered: bool = False


class PeerRemoved(Value):
    """What ``peer`` had written in ``channel`` is forgotten, by the word of ``by``.

    Its record where that is ``topology``: ``by`` waited for the end of its lease, or a person there
    removed it; where it is ``peer``'s own word, it has left for good.
    """

    peer: PeerName
    nickname: str
    channel: ChannelId
    by: PeerName


class ContentIgnored(Value):
    """Replicated content that does not count: of ``source``, or brought by it."""

    source: PeerName
    reason: DropReason
    text: str


class IdentityConflict(Value):
    """Two hosts write with the key of ``peer``: was its state directory copied?"""

    peer: PeerName


class MtuDiffered(Value):
    """``peer`` says that its overlay MTU is another than ours: large frames to it are lost."""

    peer: PeerName
    our_overlay_mtu: int
    their_overlay_mtu: int


class SessionEstablished(Value):
    """Frames to and from ``peer`` flow, sealed with ``cipher``, to ``remote``."""

    peer: PeerName
    remote: Remote
    cipher: str


class SessionRenewed(Value):
    """The keys with ``peer`` were renewed, without a break."""

    peer: PeerName
    cipher: str


class SessionMoved(Value):
    """``peer`` is heard from another address, ``remote``, and is sent to there from now on."""

    peer: PeerName
    remote: Remote


class SessionLost(Value):
    """The data session with ``peer`` is gone."""

    peer: PeerName
    reason: str


class SessionRested(Value):
    """The data session with ``peer`` was not used and has ended: frames set up another."""

    peer: PeerName


class ProbeAnswered(Value):
    """A probe through the data session came back after ``rtt_s`` seconds."""

    peer: PeerName
    probe_id: int
    rtt_s: float


class MessageReceived(Value):
    """``peer`` sent a message on a topic that is read here."""

    peer: PeerName
    topic: str
    payload: bytes


class MessageAnswered(Value):
    """What became of a message of ours: delivered, or ``reason`` says why not."""

    number: int
    reason: str


class ChannelChanged(Value):
    """What users see of a channel has changed: values of the type's own change classes."""

    channel: ChannelId
    changes: tuple[Any, ...]


class UpdatesKept(Value):
    """All updates of a channel up to this ticket are on disk, and told to others."""

    channel: ChannelId
    ticket: int


class UpdatesLost(Value):
    """The updates of a channel after the last that was kept were undone: the disk refused them."""

    channel: ChannelId
    reason: str


class AddressConflict(Value):
    """Two MAC addresses claim one overlay ``address``; each with the peer it is behind.

    None instead of a peer: on our side. Hosts that reach one of the two do not reach the other.
    """

    address: str
    claims: tuple[tuple[str, PeerName | None], tuple[str, PeerName | None]]


class FloodLimited(Value):
    """More is broadcast from ``peer`` (None: on our side) than is carried; told once a minute."""

    peer: PeerName | None


class LoopSuspected(Value):
    """``mac`` keeps changing sides: two hosts' bridges are joined by something else than us."""

    mac: str


Event = (
    LinkEstablished
    | LinkLost
    | LinkRefused
    | DialFailed
    | PeerDiscovered
    | PeerRemoved
    | ContentIgnored
    | IdentityConflict
    | MtuDiffered
    | SessionEstablished
    | SessionRenewed
    | SessionMoved
    | SessionLost
    | SessionRested
    | ProbeAnswered
    | MessageReceived
    | MessageAnswered
    | ChannelChanged
    | UpdatesKept
    | UpdatesLost
    | AddressConflict
    | FloodLimited
    | LoopSuspected
)
