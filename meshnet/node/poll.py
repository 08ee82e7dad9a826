"""Asking the kernel again and again how things stand on the host."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TypeVar

T = TypeVar("T")

# Our choice: one or two netlink requests each time, well under a millisecond.
POLL_S = 2.0

_log = logging.getLogger("meshnet")


async def poll(
    read: Callable[[], T],
    interval_s: float = POLL_S,
    *,
    pause: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> AsyncIterator[T]:
    """What ``read`` gives, at once and then every ``interval_s``, without end.

    ``pause`` waits so long, or until there is reason to look again.

    When it raises OSError nothing is given, and the log says so once until it succeeds again: that
    no descriptor is free, as strangers hold all there are, passes, and must not end a node.
    """
    failing = False
    while True:
        try:
            value = read()
        except OSError as error:
            if not failing:
                reason = error.strerror or str(error)
                _log.warning("the host's addresses cannot be listed", extra={"reason": reason})
            failing = True
        else:
            failing = False
            yield value
        await pause(interval_s)
