"""The seams: what the pure parts and the drivers ask of the world, as Protocol classes.

Each seam has an in-memory twin in `meshnet.testing`. Buffer rule for all of them: a buffer that
is handed over is only valid until the next call on the object that handed it over; who wants to
keep it copies it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
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
        must rise for ever (stamps, sequences) starts from it. So one object is for one start."""
        ...

    @property
    def targets(self) -> tuple[str, ...]:
        """The addresses (``HOST:PORT``) that were kept last; none at first."""
        ...

    def keep_targets(self, targets: Sequence[str]) -> None:
        """Keep these addresses in place of those before, durably. Raises StateError."""
        ...

    @property
    def absent_s(self) -> Mapping[str, float]:
        """How long peers, by their names as text, had been gone when it was kept last; none at
        first."""
        ...

    def keep_absent_s(self, absent_s: Mapping[str, float]) -> None:
        """Keep these in place of those before, durably. Raises StateError."""
        ...

    @property
    def journal(self) -> JournalPort:
        """What the peer wrote down in its lives before, and where it goes on writing.

        Asking for it the first time may block. Raises StateError when it cannot be read.
        """
        ...

    def close(self) -> None:
        """Give the lock back, and close the journal. Closing twice is allowed."""
        ...


MAX_JOURNAL_RECORD_BYTES = 2**24
"""Our choice: four thousand pages; who has more to say at once says it in parts."""


class JournalPort(Protocol):
    """Records that survive a crash; what they mean is the owner's affair.

    One call at a time, from any thread. All but the properties may block on the disk, so a driver
    calls them in a thread. A record has at most `MAX_JOURNAL_RECORD_BYTES`, else LocalProtocolError
    is raised, as it is by every call after `close`.
    """

    @property
    def sequence(self) -> int:
        """Number of the last append or compaction: each has the next one, for ever."""
        ...

    @property
    def recovered_bytes(self) -> int:
        """Bytes of an append that a crash cut short, removed when the journal was opened."""
        ...

    @property
    def size_bytes(self) -> int:
        """What it takes on disk, the snapshot included."""
        ...

    @property
    def wants_compaction(self) -> bool:
        """True when the owner should call `compact` before long."""
        ...

    def records(self) -> list[bytes]:
        """All records that count, in order: those of the last `compact`, then those appended."""
        ...

    def append(self, records: Sequence[bytes]) -> None:
        """Add records; they are durable when this returns, and only then may be acknowledged.

        They are found again all together: after a crash in the middle of it all or none. Raises
        StateError with one line; then none was added, and what is there stays. Where the disk
        refused the sync itself, nothing more is taken until a `compact` succeeds or the peer is
        restarted, and a restart may find the records of that append.
        """
        ...

    def compact(self, records: Sequence[bytes]) -> None:
        """Replace all that is there by ``records``, durably: after a crash it is the one or the
        other. Raises StateError with one line; then it is the one or the other too.
        """
        ...

    def close(self) -> None:
        """Closing twice is allowed."""
        ...
