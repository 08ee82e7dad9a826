"""How often a peer that lives is taken for dead: 20 peers, 5 % loss each way, in simulated time.

    python benchmarks/false_alarms.py model --days 7       the judge alone, pair by pair
    python benchmarks/false_alarms.py mesh --hours 4       whole engines on an emulated network

The model asks the real `SilenceWatch` about every pair, and lets nothing count as an answer but
what was asked for, so it has more false alarms than a mesh. Design section 12 allows one a day.
"""

from __future__ import annotations

import argparse
import math
import time
from functools import partial

from meshnet.events import SessionLost
from meshnet.ids import Endpoint, PeerName
from meshnet.peering.keepalive import PROBE_INTERVAL_S
from meshnet.peering.pair import Pair
from meshnet.peering.silence import Sign, SilenceWatch
from meshnet.testing import Cluster, SeededRng
from meshnet.wire.ciphers import CIPHERS, DEFAULT_PREFERENCE
from meshnet.wire.session import Session

PEER = PeerName(bytes(16))
DAY_S = 86400.0
RTT_S = 0.02
STREAM_INTERVAL_S = 0.1


class Model:
    """One end of a pair, which goes from one unanswered packet to the next."""

    def __init__(self, loss: float, seed: int) -> None:
        self._draw = SeededRng(seed, "model").draw
        self._unanswered = 1.0 - (1.0 - loss) ** 2
        """The share of probes of which something is lost on the way there or back."""
        self.alarms = 0
        self.bursts = 0
        cipher = CIPHERS[DEFAULT_PREFERENCE[0]]
        self._session = Session(PEER, 1, 1, cipher, b"", b"", Endpoint("192.0.2.1", 1), 0.0)
        self._pair = Pair(PEER, b"", 0, current=self._session, rtt_s=RTT_S)
        self._pairs = {PEER: self._pair}
        self._watch = SilenceWatch()

    def idle(self, for_s: float) -> None:
        """Keepalives only, of which those that are answered at once are skipped."""
        keepalives = 0
        while True:
            skipped = math.log(1.0 - self._draw.random()) / math.log(1.0 - self._unanswered)
            keepalives += int(skipped) + 1
            if keepalives * PROBE_INTERVAL_S > for_s:
                return
            self._burst(keepalives * PROBE_INTERVAL_S)

    def stream(self, for_s: float) -> None:
        """Frames one way, which nobody answers: the next silence begins with the next frame."""
        now = 0.0
        while now < for_s:
            now = self._burst(now) + 0.01

    def _burst(self, now: float) -> float:
        """From something that nobody answered to the next answer, or to the loss of the peer."""
        session, watch = self._session, self._watch
        session.unanswered_since, session.last_received_at = now, now - 1.0
        watch.sent(self._pair)
        self.bursts += 1
        answer_at = math.inf
        while True:
            deadline = watch.next_deadline()
            assert deadline is not None, "who waits for an answer is watched"
            if answer_at <= deadline:
                session.last_received_at = answer_at
                watch.answered(PEER)
                return answer_at
            now = deadline
            for _, sign in watch.look(self._pairs, now):
                if sign is Sign.LOST:
                    self.alarms += 1
                    watch.forget(PEER)
                    return now
                if self._draw.random() >= self._unanswered:
                    answer_at = min(answer_at, now + RTT_S)


def model(peers: int, loss: float, days: float, seed: int) -> None:
    idle, busy = Model(loss, seed), Model(loss, seed + 1)
    for _ in range(peers * (peers - 1)):
        idle.idle(days * DAY_S)
    for _ in range(peers):
        busy.stream(days * DAY_S)
    for name, of in (("idle, all pairs", idle), (f"{peers} streams one way", busy)):
        said = f"{of.alarms} false alarms in {days:g} days, {of.bursts} unanswered packets"
        print(f"model: {name}: {said}", flush=True)


def mesh(peers: int, loss: float, hours: float, seed: int, *, busy: bool) -> None:
    cluster = Cluster(seed=seed, delay_s=RTT_S / 2, keep_packets=0)
    hosts = cluster.add_many(peers)
    for host in hosts[1:]:
        host.connect(hosts[0])
    cluster.run_until(cluster.meshed, within_s=60.0, every_s=0.1)
    cluster.run_for(5.0)
    cluster.impair(loss=loss)
    macs = [bytes((2, 0, 0, 0, 0, number)) for number in range(peers)]
    for number, host in enumerate(hosts):
        host.send(b"\xff" * 6 + macs[number] + b"\x88\xb5" + bytes(46))
        cluster.run_for(0.1)
    for host in hosts:
        host.events.clear()

    def send(number: int) -> None:
        to = (number + 1) % peers
        hosts[number].send(macs[to] + macs[number] + b"\x88\xb5" + bytes(46))
        cluster.clock.call_after(STREAM_INTERVAL_S, partial(send, number))

    if busy:
        for number in range(peers):
            send(number)
    alarms = 0
    for hour in range(1, math.ceil(hours) + 1):
        cluster.run_for(min(1.0, hours - hour + 1) * 3600.0)
        for host in hosts:
            alarms += len(host.events_of(SessionLost))
            host.events.clear()
            host.frames.clear()
        what = "each with a stream to the next" if busy else "idle"
        print(
            f"mesh of {peers}, {what}: {alarms} false alarms in {min(hour, hours):g} h", flush=True
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=("model", "mesh"))
    parser.add_argument("--peers", type=int, default=20)
    parser.add_argument("--loss", type=float, default=0.05)
    parser.add_argument("--days", type=float, default=7.0)
    parser.add_argument("--hours", type=float, default=4.0)
    parser.add_argument("--busy", action="store_true", help="mesh: with traffic")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    began = time.monotonic()
    if options.what == "model":
        model(options.peers, options.loss, options.days, options.seed)
    else:
        mesh(options.peers, options.loss, options.hours, options.seed, busy=options.busy)
    print(f"in {time.monotonic() - began:.0f} s", flush=True)


if __name__ == "__main__":
    main()
