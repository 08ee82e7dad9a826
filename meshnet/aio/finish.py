"""Waiting that a cancellation cannot cut short: for what must not be left half done."""

from __future__ import annotations

import asyncio
from typing import TypeVar

T = TypeVar("T")


async def finish(work: asyncio.Future[T]) -> T:
    """Wait until ``work`` is done. Who is cancelled meanwhile waits on, and is cancelled then."""
    cancelled: asyncio.CancelledError | None = None
    while not work.done():
        try:
            await asyncio.wait([work])
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled is not None:
        if not work.cancelled():
            work.exception()  # Nobody is left to be told.
        raise cancelled
    return work.result()
