"""What an idle engine asks of its host: to be woken seldom, however many peers it has."""

from __future__ import annotations

import pytest

from meshnet.peering.keepalive import KEEPALIVE_S
from meshnet.testing import Cluster

PEERS = 8
SPAN_S = 30


def test_probes_and_pings_of_many_peers_share_their_wakes(monkeypatch: pytest.MonkeyPatch) -> None:
    cluster = Cluster(seed=5)
    first, *others = [cluster.add(f"host-{number}") for number in range(PEERS + 1)]
    # Not at once, else whatever they do comes at one time.
    for other in others:
        other.connect(first)
        cluster.run_for(0.37)
    cluster.run_until(cluster.meshed, within_s=10)
    cluster.run_for(10)
    woken: set[float] = set()
    handle_timer = first.engine.handle_timer

    def counted(now: float) -> None:
        woken.add(now)
        handle_timer(now)

    monkeypatch.setattr(first.engine, "handle_timer", counted)
    probes = first.engine.counters.datagrams_sent
    cluster.run_for(SPAN_S)
    # Each peer was asked, or asked us and was answered.
    assert first.engine.counters.datagrams_sent - probes >= PEERS * SPAN_S // KEEPALIVE_S
    # Once a second, and a few times for what is not periodic; each by itself would be 48.
    assert SPAN_S // KEEPALIVE_S <= len(woken) <= SPAN_S + 5
