"""The log: what strangers can cause at will does not fill a disk, and says what was left out."""

from __future__ import annotations

import logging

import pytest

from meshnet.aio.event_log import EventLog
from meshnet.events import (
    AddressConflict,
    Event,
    FloodLimited,
    IdentityConflict,
    LinkRefused,
    LoopSuspected,
    MtuDiffered,
    PeerDiscovered,
)
from meshnet.ids import Endpoint, PeerName


def refused(*, outbound: bool) -> LinkRefused:
    return LinkRefused(Endpoint("192.0.2.9", 5), outbound, "not a meshnet peer", None, False)


def test_refused_strangers_are_logged_seldom_and_counted(
    caplog: pytest.LogCaptureFixture,
) -> None:
    now = 0.0
    log = EventLog(lambda: now)
    with caplog.at_level(logging.INFO):
        for _ in range(500):
            log.write(refused(outbound=False))
        burst = len(caplog.records)
        assert 0 < burst < 50
        now = 60.0
        log.write(refused(outbound=False))
    assert len(caplog.records) == burst + 1
    assert vars(caplog.records[-1])["suppressed"] == 500 - burst


def test_strangers_cannot_hide_what_is_wrong_by_being_refused(
    caplog: pytest.LogCaptureFixture,
) -> None:
    log = EventLog(lambda: 0.0)
    for _ in range(500):
        log.write(refused(outbound=False))
    log.write(IdentityConflict(PEER))
    assert caplog.records[-1].getMessage() == "one identity on two hosts"
    assert "suppressed" not in vars(caplog.records[-1])


def test_what_we_dialled_ourselves_is_always_logged(caplog: pytest.LogCaptureFixture) -> None:
    log = EventLog(lambda: 0.0)
    with caplog.at_level(logging.INFO):
        for _ in range(100):
            log.write(refused(outbound=True))
    assert len(caplog.records) == 100


PEER = PeerName(bytes(range(16)))


def test_a_peer_that_was_kept_is_not_logged_as_discovered(
    caplog: pytest.LogCaptureFixture,
) -> None:
    log = EventLog(lambda: 0.0)
    with caplog.at_level(logging.INFO):
        log.write(PeerDiscovered(PEER, "b", remembered=True))
        log.write(PeerDiscovered(PEER, "b"))
    said = [record.getMessage() for record in caplog.records]
    assert said == ["peer known from before", "peer discovered"]


ONE, OTHER = "02:00:00:00:00:01", "02:00:00:00:00:02"


@pytest.mark.parametrize(
    ("event", "message", "fields"),
    [
        (
            AddressConflict(
                "10.32.0.1", (("02:00:00:00:00:01", PEER), ("02:00:00:00:00:02", None))
            ),
            "address conflict",
            {
                "address": "10.32.0.1",
                "mac": ONE,
                "side": "00010203",
                "other_mac": OTHER,
                "other_side": "local",
            },
        ),
        (FloodLimited(PEER), "too much broadcast", {"side": "00010203"}),
        (FloodLimited(None), "too much broadcast", {"side": "local"}),
        (
            MtuDiffered(PEER, 1376, 1400),
            "overlay MTU differs",
            {
                "peer": "00010203",
                "reason": "1376 here, 1400 there; give both ends the same --mtu",
            },
        ),
        (LoopSuspected(ONE), "loop suspected", {"mac": ONE}),
    ],
    ids=["conflict", "peer's storm", "our storm", "MTU", "loop"],
)
def test_what_is_wrong_on_the_overlay_is_a_warning(
    caplog: pytest.LogCaptureFixture, event: Event, message: str, fields: dict[str, str]
) -> None:
    log = EventLog(lambda: 0.0)
    log.write(event)
    [line] = caplog.records
    assert (line.levelname, line.getMessage()) == ("WARNING", message)
    assert fields.items() <= vars(line).items()
    for _ in range(500):
        log.write(event)
    assert len(caplog.records) < 50
