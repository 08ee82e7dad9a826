"""The log: what strangers can cause at will does not fill a disk, and says what was left out."""

from __future__ import annotations

import logging

import pytest

from meshnet.aio.event_log import EventLog
from meshnet.events import LinkRefused
from meshnet.ids import Endpoint


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


def test_what_we_dialled_ourselves_is_always_logged(caplog: pytest.LogCaptureFixture) -> None:
    log = EventLog(lambda: 0.0)
    with caplog.at_level(logging.INFO):
        for _ in range(100):
            log.write(refused(outbound=True))
    assert len(caplog.records) == 100
