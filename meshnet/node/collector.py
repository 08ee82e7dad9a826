"""Garbage collection that holds up no frame.

A full collection looks at every object: with 100,000 entries held that takes up to a second, in
which nothing else runs, and nearly all it looks at is state that lives on. State is freed by its
reference counts; only cycles need the collector, and most of them die young. So what has outlived
two collections is taken out of its sight (`gc.freeze`). Cycles that die later, as of links that
have stood for long, are looked for now and then while there is little to look at; with more they
stay: docs/decisions/0027 has what that comes to.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
from collections.abc import Iterator, Mapping
from typing import Any

# Our choice. The young are looked at after so many new objects, those that outlived this after five
# times as many: two milliseconds' work. The last number keeps full collections from starting.
THRESHOLDS = (1000, 5, 1_000_000)
# While so few objects are held a full collection takes some 30 ms; once in that time is seldom.
MAX_OBJECTS = 100_000
FULL_INTERVAL_S = 600.0


@contextlib.contextmanager
def frozen_state(loop: asyncio.AbstractEventLoop) -> Iterator[None]:
    """Collect so while this is entered; afterwards as before."""
    before = gc.get_threshold()

    def collected(phase: str, info: Mapping[str, Any]) -> None:
        if phase == "stop" and info["generation"] == 1:
            gc.freeze()

    timer: asyncio.TimerHandle

    def look_again() -> None:
        nonlocal timer
        collect_if_small()
        timer = loop.call_later(FULL_INTERVAL_S, look_again)

    gc.collect()
    gc.freeze()
    gc.set_threshold(*THRESHOLDS)
    gc.callbacks.append(collected)
    timer = loop.call_later(FULL_INTERVAL_S, look_again)
    try:
        yield
    finally:
        timer.cancel()
        gc.callbacks.remove(collected)
        gc.set_threshold(*before)
        gc.unfreeze()


def collect_if_small() -> bool:
    """A full collection, if it takes no time to speak of; whether it was made."""
    if gc.get_freeze_count() > MAX_OBJECTS:
        return False
    gc.unfreeze()
    gc.collect()
    gc.freeze()
    return True
