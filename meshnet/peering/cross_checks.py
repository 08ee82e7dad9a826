"""What is seen of a peer by UDP concerns its link by TCP, too, and the other way round.

Each has its own keeper. What the one has found out, and is to be acted on by the other, is taken
here from hand to hand.
"""

from __future__ import annotations

from meshnet.ids import PeerName
from meshnet.peering.link_costs import LinkCosts
from meshnet.peering.linking import LINK_MOVED_S, LinkKeeper
from meshnet.peering.sessions import SessionKeeper

# A timer that is looked at this late: what came meanwhile may be lost, and the mesh may have moved
# on without us.
HELD_UP_S = 1.0


class CrossChecks:
    """Between the ``links`` and the ``sessions`` of one peer."""

    def __init__(self, links: LinkKeeper, sessions: SessionKeeper, link_costs: LinkCosts) -> None:
        self._links = links
        self._sessions = sessions
        self._link_costs = link_costs

    def take_up(self, now: float) -> bool:
        """Act on what sessions have shown. Whether a link is to be announced at another cost."""
        self._mind_silence(now)
        moved, self._sessions.moved = self._sessions.moved, []
        for peer in moved:
            # It is heard from elsewhere, so it may have lost its link with its address: has it?
            self._suspect_link(peer, now)
        if not self._sessions.measured:
            return False
        # What datagrams have met on their way says what a link costs.
        samples, self._sessions.measured = self._sessions.measured, []
        linked = (sample for sample in samples if sample[0] in self._links.by_peer)
        return self._link_costs.take_up(linked, now, by_udp=True)

    def _mind_silence(self, now: float) -> None:
        """Who does not answer by UDP is asked by its link, and gone if it does not answer either.

        A host that loses power sends no RST: else TCP would wait for a quarter of an hour.
        """
        suspected, self._sessions.suspected = self._sessions.suspected, []
        silent, self._sessions.silent = self._sessions.silent, []
        for peer in suspected:
            self._links.suspect(peer, now)
        for peer in silent:
            self._links.end_if_silent(peer, now)

    def path_changed(self, now: float) -> None:
        """Our way to everybody may be another: who lives answers, and sees where we are now."""
        self._sessions.path_changed(now)
        for peer in sorted(self._links.by_peer):
            self._suspect_link(peer, now)

    def were_held_up(self, now: float) -> bool:
        """Whether this turn comes so late that the machine slept, or we were stopped."""
        deadlines = (self._links.next_deadline(), self._sessions.next_deadline())
        return any(deadline is not None and now - deadline > HELD_UP_S for deadline in deadlines)

    def link_idles(self, peer: PeerName, now: float) -> None:
        """Where no datagram measures the way to ``peer``, its link does."""
        if not self._is_direct(peer):
            self._links.ping(peer, now)

    def link_ponged(self, peer: PeerName, rtt_s: float, now: float) -> bool:
        """What it has measured. Whether the link is to be announced at another cost."""
        sample = (peer, rtt_s)
        return not self._is_direct(peer) and self._link_costs.take_up([sample], now, by_udp=False)

    def _is_direct(self, peer: PeerName) -> bool:
        pair = self._sessions.pair(peer)
        return pair is not None and pair.path == "direct"

    def _suspect_link(self, peer: PeerName, now: float) -> None:
        """The way to ``peer`` is another now: what still lives answers within two round trips."""
        pair = self._sessions.pair(peer)
        rtt_s = pair.rtt_s if pair is not None and pair.rtt_s is not None else 0.0
        self._links.suspect(peer, now, wait_s=LINK_MOVED_S + 2 * rtt_s)
