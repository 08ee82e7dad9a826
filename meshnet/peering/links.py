"""The links of one peer: their protocols, and which one to keep when a pair has two."""

from __future__ import annotations

from attrs import define

from meshnet.ids import Endpoint, PeerName
from meshnet.values import Value
from meshnet.wire.link import LinkAuthenticated, LinkProtocol

LinkId = int


@define(eq=False, repr=False)
class Link:
    """One TCP connection, by the number its driver gave it."""

    id: LinkId
    protocol: LinkProtocol
    remote: Endpoint
    outbound: bool
    target_id: int | None
    authenticated: LinkAuthenticated | None = None
    heard_at: float = 0.0
    ping: tuple[bytes, float] | None = None
    """(token, sent when) of the last ping, as long as it is not answered."""
    suspected_at: float | None = None
    """Since when we wait for a sign that the other end still has this link."""

    @property
    def peer(self) -> PeerName | None:
        return self.authenticated.peer if self.authenticated is not None else None

    def rank(self, our_name: PeerName) -> tuple[bool, int]:
        """What decides between two links of one pair; the same at both ends.

        First those dialled by the lesser name, then the dialler's later dial: whoever dials again
        has lost the earlier.
        """
        assert self.authenticated is not None, "only authenticated links are ranked"
        if self.outbound:
            return our_name < self.authenticated.peer, self.protocol.serial
        return self.authenticated.peer < our_name, self.authenticated.serial


def surplus(our_name: PeerName, old: Link, new: Link) -> Link:
    """Of two authenticated links to one peer, the one to close.

    A process that has restarted cannot hold the old link; otherwise `Link.rank` decides.
    """
    assert old.authenticated is not None, "only authenticated links are compared"
    assert new.authenticated is not None, "only authenticated links are compared"
    if old.authenticated.life != new.authenticated.life:
        return old
    return old if old.rank(our_name) < new.rank(our_name) else new


class LinkOutput(Value):
    """What the driver has to do for one link: send ``data``, then close it if ``close``."""

    link: LinkId
    data: bytes
    close: bool
