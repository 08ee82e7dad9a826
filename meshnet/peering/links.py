"""The links of one peer: their protocols, and which one to keep when a pair has two."""

from __future__ import annotations

from attrs import define

from meshnet.ids import Endpoint, PeerName
from meshnet.wire.link import LinkAuthenticated, LinkProtocol

LinkId = int


@define(eq=False)
class Link:
    """One TCP connection, by the number its driver gave it."""

    id: LinkId
    protocol: LinkProtocol
    remote: Endpoint
    outbound: bool
    target_id: int | None
    authenticated: LinkAuthenticated | None = None
    heard_at: float = 0.0

    @property
    def peer(self) -> PeerName | None:
        return self.authenticated.peer if self.authenticated is not None else None

    def dialler(self, our_name: PeerName) -> PeerName | None:
        """Who of the two made the connection."""
        return our_name if self.outbound else self.peer


def surplus(our_name: PeerName, old: Link, new: Link) -> Link:
    """Of two authenticated links to one peer, the one to close.

    Both ends come to the same answer: a process that has restarted cannot hold the old link; of two
    made at the same time the one dialled by the lesser name stays; of two dialled by the same
    end the newer one, since whoever dials again has lost the older.
    """
    if old.authenticated is not None and new.authenticated is not None:
        if old.authenticated.life != new.authenticated.life:
            return old
        lesser = min(our_name, new.authenticated.peer)
        if old.dialler(our_name) == lesser and new.dialler(our_name) != lesser:
            return new
    return old


@define(frozen=True)
class LinkOutput:
    """What the driver has to do for one link: send ``data``, then close it if ``close``."""

    link: LinkId
    data: bytes
    close: bool
