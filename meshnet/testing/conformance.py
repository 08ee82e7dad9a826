"""What every implementation of a seam must do, ours and yours: run these against it.

Each check raises AssertionError with the promise that was broken.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import select
from collections.abc import Awaitable, Callable, Iterator

from meshnet.errors import LocalProtocolError
from meshnet.ports import MAX_JOURNAL_RECORD_BYTES, FramePort, JournalPort, StatePort

_READABLE_WITHIN_S = 5.0
_BROADCAST = b"\xff" * 6 + b"\x02\x00\x00\x00\x00\x01" + b"\x88\xb5"


async def check_frame_port(
    port: FramePort,
    host_sends: Callable[[bytes], None],
    host_receives: Callable[[], Awaitable[bytes]],
) -> None:
    """A `FramePort`, and the host's side of it. The port is closed at the end.

    Frames the host sends of its own accord (a device that is up does) are told apart by ethertype.
    """
    sent = [_BROADCAST + bytes((number,)) * 50 for number in range(8)]

    for frame in sent:
        host_sends(frame)
    seen: list[bytes] = []
    while len(seen) < len(sent):
        assert _readable(port), "the descriptor polls readable while frames wait"
        burst = port.read_frames(3)
        assert 1 <= len(burst) <= 3, "a burst has at least one frame when one waits, never too many"
        seen += [frame for frame in burst if frame[12:14] == _BROADCAST[12:14]]
    assert seen == sent, "frames come whole, unchanged and in order"

    bursts = iter(lambda: port.read_frames(64), [])
    assert len(list(itertools.islice(bursts, 1000))) < 1000, "an empty list when none waits"

    assert port.write_frames(sent) == 0, "the host takes a small burst whole"
    for frame in sent:
        async with asyncio.timeout(_READABLE_WITHIN_S):
            while (got := await host_receives())[12:14] != _BROADCAST[12:14]:
                pass
        assert got == frame, "the host sees frames whole, unchanged and in order"

    assert port.name, "the port has a name for people"
    port.close()
    port.close()


def check_state_port(open_state: Callable[[], StatePort]) -> None:
    """A `StatePort`: ``open_state`` is called once per life, after the one before was closed."""
    lives: list[tuple[bytes, int, int]] = []
    kept: tuple[str, ...] = ()
    gone: dict[str, float] = {}
    for life in range(3):
        state = open_state()
        lives.append((state.identity_seed, state.incarnation, state.generation))
        assert state.targets == kept, "the targets that were kept last survive"
        kept = tuple(f"host-{number}:6783" for number in range(life + 1))
        state.keep_targets(kept)
        assert state.targets == kept, "targets are kept at once"
        assert state.absent_s == gone, "absences that were kept last survive"
        gone = {"0f" * 16: 1.5 * life}
        state.keep_absent_s(gone)
        assert state.absent_s == gone, "absences are kept at once"
        journal = state.journal
        state.close()
        state.close()
        with _refused("closing a state closes its journal"):
            journal.records()
    seeds, incarnations, generations = zip(*lives, strict=True)
    assert len(seeds[0]) == 32, "a seed has 32 bytes"
    assert len(set(seeds)) == 1, "the identity survives"
    assert len(set(incarnations)) == 1, "the incarnation is the disk's, not the process's"
    assert list(generations) == sorted(set(generations)), "each life's generation is greater"


def check_journal_port(open_journal: Callable[[], JournalPort]) -> None:
    """A `JournalPort`: ``open_journal`` is called once per life, after the one before was closed.

    The first life finds nothing.
    """
    journal = open_journal()
    assert journal.records() == [], "a new journal is empty"
    assert journal.recovered_bytes == 0, "nothing was cut short yet"
    sequences = [journal.sequence]
    size_bytes = journal.size_bytes
    expected: list[bytes] = []

    def lives_on() -> None:
        nonlocal journal
        assert journal.records() == expected, "records come back whole and in order"
        before = journal.sequence, journal.size_bytes
        journal.close()
        journal.close()
        journal = open_journal()
        assert journal.records() == expected, "what was acknowledged survives"
        assert (journal.sequence, journal.size_bytes) == before, "a restart changes nothing"

    for group in ([b"one"], [b"two", b"", bytes(range(256))], [b"", b""], [b"two"]):
        journal.append(group)
        expected += group
        sequences.append(journal.sequence)
        assert journal.size_bytes > size_bytes, "what is added takes room"
        size_bytes = journal.size_bytes
        lives_on()

    journal.append([])
    assert journal.sequence == sequences[-1], "nothing added is nothing done"
    with _refused("a record that is too long is refused"):
        journal.append([b"fits", bytes(MAX_JOURNAL_RECORD_BYTES + 1)])
    with _refused("a record that is too long is refused in a snapshot"):
        journal.compact([bytes(MAX_JOURNAL_RECORD_BYTES + 1)])
    lives_on()

    for kept in ([b"kept", b"too"], [], [b"again"]):
        journal.compact(kept)
        sequences.append(journal.sequence)
        expected = list(kept)
        lives_on()
        journal.append([b"after"])
        sequences.append(journal.sequence)
        expected.append(b"after")
        lives_on()
    assert sequences == sorted(set(sequences)), "each append and compaction has a greater number"

    wanted = [journal.wants_compaction]
    while not wanted[-1] and journal.size_bytes < 2**24:
        journal.append([bytes(2**16)] * 4)
        wanted.append(journal.wants_compaction)
    assert len(wanted) > 1, "a small journal need not be compacted"
    assert wanted[-1], "a journal that grows wants to be compacted some day"
    journal.compact([])
    assert not journal.wants_compaction, "a compacted journal is small"
    expected = []
    lives_on()

    journal.close()
    for call in (journal.records, lambda: journal.append([b""]), lambda: journal.compact([])):
        with _refused("a closed journal refuses"):
            call()


@contextlib.contextmanager
def _refused(promise: str) -> Iterator[None]:
    try:
        yield
    except LocalProtocolError:
        return
    raise AssertionError(promise)


def _readable(port: FramePort) -> bool:
    readable, _, _ = select.select([port.fileno()], [], [], _READABLE_WITHIN_S)
    return bool(readable)
