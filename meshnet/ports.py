"""The seams: what the pure parts and the drivers ask of the world, as Protocol classes.

Each seam has an in-memory twin in `meshnet.testing`. Buffer rule for all of them: a buffer that
is handed over is only valid until the next call on the object that handed it over; who wants to
keep it copies it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Protocol

Rng = Callable[[int], bytes]
"""A source of randomness: ``rng(n)`` gives ``n`` bytes. ``os.urandom`` outside tests."""


class FramePort(Protocol):
    """Where Ethernet frames come from and go to: a TAP device, or its twin.

    Frames have no frame check sequence and no virtio-net header.
    """

    @property
    def name(self) -> str:
        """The name users know it by (the interface)."""
        ...

    def fileno(self) -> int:
        """A descriptor that polls readable while frames wait."""
        ...

    def read_frames(self, limit: int) -> list[bytes]:
        """Up to ``limit`` waiting frames; an empty list when none waits. Never blocks.

        Raises TapError when the device is gone for good; the reader then stops asking.
        """
        ...

    def write_frames(self, frames: Iterable[bytes]) -> int:
        """Hand frames to the host; returns how many it did not take. Never blocks."""
        ...

    def close(self) -> None:
        """Give the device back. Closing twice is allowed."""
        ...


class StatePort(Protocol):
    """What survives a restart of a peer."""

    @property
    def identity_seed(self) -> bytes:
        """The Ed25519 seed (32 bytes), made on first use."""
        ...

    @property
    def incarnation(self) -> int:
        """Random number (u64) of this life of the disk state."""
        ...

    @property
    def generation(self) -> int:
        """How often a peer was started on this state, made durable before it is given: all that
        must rise for ever (stamps, sequences) starts from it."""
        ...

    def close(self) -> None:
        """Give the lock back. Closing twice is allowed."""
        ...
