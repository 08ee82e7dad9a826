"""When a pair's next probe is due.

While there is traffic both ends measure the path. An idle pair takes turns, so that one probe and
its answer are the sign of life for both ends, and keep open what stands between them: who was asked
last asks next, and the other one steps in when that does not come.
"""

from __future__ import annotations

from meshnet.peering.pair import Pair
from meshnet.timers import on_the_second
from meshnet.wire.session import Session

PROBE_INTERVAL_S = 5.0
# How much a path loses is known soon only if it is looked at more often.
LOSSY_INTERVAL_S = 1.0
# Design section 6; and a mapping in a NAT lives for 25 s at least.
KEEPALIVE_S = 10.0
# The lesser name steps in first: if both once asked at the same moment they would do so for ever.
STEP_IN_S = 2.0
STEP_IN_LATER_S = 3.0
# More datagrams since the last look are traffic; our own probes are not counted, and answers to a
# burst of theirs are fewer.
IDLE_DATAGRAMS = 16


def has_traffic(pair: Pair, session: Session) -> bool:
    """Whether more than keepalives was sent since this was last asked."""
    before, pair.looked_at_counter = pair.looked_at_counter, session.send_counter
    return session.send_counter - before > IDLE_DATAGRAMS


def keepalive_at(pair: Pair, session: Session, *, lesser: bool) -> float:
    """When to ask the other end of an idle pair. ``lesser``: of the two names ours is."""
    # The answer to our own probe is not far behind it.
    if session.last_received_at - pair.probed_at >= STEP_IN_S:
        return on_the_second(session.last_received_at + KEEPALIVE_S)
    step_in_s = STEP_IN_S if lesser else STEP_IN_LATER_S
    return on_the_second(pair.probed_at + KEEPALIVE_S + step_in_s)
