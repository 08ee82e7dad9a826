"""Every event is counted, or named as one that is counted elsewhere."""

from __future__ import annotations

from typing import get_args

from meshnet.errors import CloseCode
from meshnet.events import (
    ChannelChanged,
    ContentIgnored,
    Event,
    LinkLost,
    LinkRefused,
    MessageAnswered,
    MessageReceived,
    MtuDiffered,
    ProbeAnswered,
    SessionMoved,
    UpdatesKept,
    UpdatesLost,
)
from meshnet.peering.event_counts import _COUNTED, EventCounts
from support.samples import ALICE, endpoint

ELSEWHERE = {
    MtuDiffered,
    LinkRefused,
    ProbeAnswered,
    SessionMoved,
    ContentIgnored,
    MessageReceived,
    MessageAnswered,
    ChannelChanged,
    UpdatesKept,
    UpdatesLost,
}


def test_every_kind_of_event_is_counted_or_stands_elsewhere() -> None:
    assert set(_COUNTED) | ELSEWHERE == set(get_args(Event))


def test_counters_start_at_zero_and_rise_by_one() -> None:
    counts = EventCounts()
    assert set(counts.counters.values()) == {0}
    counts.count(LinkLost(ALICE.name, "why"))
    assert counts.counters["links_lost"] == 1
    assert sum(counts.counters.values()) == 1


def test_refusals_are_counted_by_code_and_by_who_refused() -> None:
    counts = EventCounts()
    for by_peer in (True, True, False):
        counts.count(LinkRefused(endpoint(1), True, "why", CloseCode.TIMEOUT, by_peer))
    counts.count(LinkRefused(endpoint(1), True, "why", None, False))
    assert counts.refused == {
        (CloseCode.TIMEOUT, "them"): 2,
        (CloseCode.TIMEOUT, "us"): 1,
        (None, "us"): 1,
    }
