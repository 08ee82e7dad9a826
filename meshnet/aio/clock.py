"""The engine's time: seconds that go on while the machine sleeps.

The usual monotonic clock of Linux stands still then, and a peer that has slept for an hour would
take its keys and its links for as fresh as before. Where there is no other clock it has to do.
"""

from __future__ import annotations

import time
from functools import partial

now = partial(time.clock_gettime, getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))
