"""Is the other end still there? Asked when something was sent and nothing came back.

Traffic drives it, so a death is seen within a second of the first packet that meets it, and an idle
pair costs nothing but its keepalives: one of these is something sent, too. Any sealed datagram is
an answer. Only after a burst of probes, each of which would have done, is a session lost.

A node that was held up itself has heard nobody for that long. So who comes late to look takes no
silence for granted and asks anew, as in Lifeguard (arXiv 1707.00788): one overloaded host must not
make the whole mesh look dead.
"""

from __future__ import annotations

import enum
from collections.abc import Iterator, Mapping

from meshnet.ids import Endpoint, PeerName
from meshnet.peering.pair import Pair
from meshnet.timers import Timers

# Design section 6: silent for so long, then a burst of probes, and lost within a second of the
# first packet that was not answered. Eight probes are all lost once in 10^8 bursts at 5 % loss each
# way.
SILENT_S = 0.3
PROBE_GAP_S = 0.08
SUSPECT_AT_PROBE = 2
LOST_S = 0.9
# What is far away needs longer to answer, and who was never heard is given the benefit of doubt.
SILENT_RTTS = 1.5
LOST_RTTS = 4.0
LOST_UNMEASURED_S = 3.0
# An idle pair has nothing to lose, and asks each way only every 20 s: a round trip that has become
# long since is no death.
LOST_IDLE_S = 2.5
# A relayed session goes on by another way when one on its way has died: that is seen by those who
# are linked to it, and sooner.
LOST_RELAYED_S = 2.5
# So late to look, we were held up ourselves.
LATE_S = 0.1
# Who sends us frames and hears nothing probes each `SILENT_S`. When two probes in a row are missing
# it is our way that may have changed: a NAT has forgotten us, and only we can remind it.
MISSED_S = 0.7


class Sign(enum.Enum):
    """What silence calls for."""

    PROBE = "probe"
    SUSPECT = "suspect"
    """Probe it, and since it has not answered the first one, ask by every other way as well."""
    LOST = "lost"


class SilenceWatch:
    """Those pairs of which something was sent that has not been answered yet."""

    def __init__(self) -> None:
        self._timers: Timers[PeerName] = Timers()
        self._probed: dict[PeerName, tuple[float, int]] = {}
        """Since when those have been silent that are being probed, and how often they were."""
        self._expected: Timers[PeerName] = Timers()
        """Those who ask again and again, since they send more than they hear."""

    def sent(self, pair: Pair) -> None:
        """Something was sent by the session in use, for the first time since it was heard."""
        if pair.current is not None and not self._timers.is_set(pair.peer):
            self._timers.set(pair.peer, pair.current.unanswered_since + _silent_s(pair))

    def probed(self, pair: Pair, now: float) -> None:
        """The other end has asked whether we are there, amid what it sends: it will ask again."""
        self._expected.set(pair.peer, now + MISSED_S + 3 * (pair.rtt_s or 0.0))

    def answered(self, peer: PeerName) -> None:
        """All that was sent to ``peer`` is answered."""
        self._timers.cancel(peer)
        self._probed.pop(peer, None)

    def forget(self, peer: PeerName) -> None:
        self.answered(peer)
        self._expected.cancel(peer)

    def next_deadline(self) -> float | None:
        deadlines = (self._timers.next_deadline(), self._expected.next_deadline())
        return min((deadline for deadline in deadlines if deadline is not None), default=None)

    def look(self, pairs: Mapping[PeerName, Pair], now: float) -> Iterator[tuple[Pair, Sign]]:
        """Whom to probe now, and who is lost."""
        for peer in self._expected.pop_due(now):
            pair = pairs.get(peer)
            if pair is not None and _is_quiet(pair, now):
                yield pair, Sign.PROBE
        for peer, due_at in self._timers.pop_due_with_deadlines(now):
            pair = pairs.get(peer)
            sign = self._judge(pair, due_at, now) if pair is not None else None
            if pair is not None and sign is not None:
                yield pair, sign

    def _judge(self, pair: Pair, due_at: float, now: float) -> Sign | None:
        session = pair.current
        if session is None or not session.is_unanswered:
            self._probed.pop(pair.peer, None)
            return None
        if now - due_at > LATE_S:
            session.unanswered_since = now - _silent_s(pair)
        since = session.unanswered_since
        probe_at = since + _silent_s(pair)
        if now < probe_at:
            self._probed.pop(pair.peer, None)
            self._timers.set(pair.peer, probe_at)
            return None
        lost_at = since + _lost_s(pair)
        if now >= lost_at:
            self._probed.pop(pair.peer, None)
            return Sign.LOST
        self._timers.set(pair.peer, min(now + PROBE_GAP_S, lost_at))
        known_since, probes = self._probed.get(pair.peer, (since, 0))
        probes = probes + 1 if known_since == since else 1
        self._probed[pair.peer] = since, probes
        # Who only receives answers the first: a stream that runs one way is no reason to worry.
        return Sign.SUSPECT if probes == SUSPECT_AT_PROBE else Sign.PROBE


def _is_quiet(pair: Pair, now: float) -> bool:
    session = pair.current
    return session is not None and now - session.last_received_at >= SILENT_S


def _silent_s(pair: Pair) -> float:
    return max(SILENT_S, SILENT_RTTS * (pair.rtt_s or 0.0))


def _lost_s(pair: Pair) -> float:
    if pair.current is not None and type(pair.current.remote) is not Endpoint:
        least_s = LOST_RELAYED_S
    elif pair.current is not None and pair.current.unanswered_since == pair.kept_alive_at:
        least_s = LOST_IDLE_S
    else:
        least_s = LOST_S if pair.rtt_s is not None else LOST_UNMEASURED_S
    return max(least_s, LOST_RTTS * (pair.rtt_s or 0.0))
