"""What lives on is not looked at again and again, and what dies young is freed."""

from __future__ import annotations

import asyncio
import gc
import weakref
from collections.abc import Iterator

import pytest

from meshnet.node import collector
from meshnet.node.collector import THRESHOLDS, collect_if_small, frozen_state


class Cycle:
    """Nothing refers to it but itself."""

    def __init__(self) -> None:
        self.itself = self


@pytest.fixture
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    made = asyncio.new_event_loop()
    yield made
    made.close()


def test_large_state_is_never_looked_at_as_a_whole(loop: asyncio.AbstractEventLoop) -> None:
    full: list[int] = []

    def watch(phase: str, info: dict[str, int]) -> None:
        if phase == "start" and info["generation"] == 2:
            full.append(1)

    before = gc.get_threshold()
    with frozen_state(loop):
        gc.callbacks.append(watch)
        state = [[number] for number in range(300_000)]
        assert gc.get_freeze_count() > 250_000
        assert gc.get_count()[2] < 10
        gc.callbacks.remove(watch)
    assert len(state) == 300_000
    assert not full
    assert gc.get_threshold() == before
    assert gc.get_freeze_count() == 0


def test_cycles_that_die_young_are_freed(loop: asyncio.AbstractEventLoop) -> None:
    with frozen_state(loop):
        dead = [weakref.ref(Cycle()) for _ in range(50_000)]
        assert sum(ref() is not None for ref in dead) <= 2 * THRESHOLDS[0] * THRESHOLDS[1]


def test_cycles_that_die_late_are_freed_while_that_takes_no_time(
    loop: asyncio.AbstractEventLoop, monkeypatch: pytest.MonkeyPatch
) -> None:
    with frozen_state(loop):
        old = Cycle()
        ref = weakref.ref(old)
        gc.freeze()
        del old
        monkeypatch.setattr(collector, "MAX_OBJECTS", 0)
        assert not collect_if_small()
        assert ref() is not None
        monkeypatch.setattr(collector, "MAX_OBJECTS", 10**9)
        assert collect_if_small()
        assert ref() is None
