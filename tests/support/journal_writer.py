"""A process that keeps writing its state until it is killed, and what it told the world by then.

Run with a state directory, a number of rounds and a seed. Each round is one life: a child opens the
state, appends and compacts, and says by a pipe what was acknowledged; then SIGKILL at a random
instant. What the next life must find is checked here, in a process that never wrote.

A record is a number, one more than the last. A compaction leaves the last one only.
"""

from __future__ import annotations

import itertools
import os
import random
import signal
import struct
import sys
import time
from pathlib import Path

from meshnet.store.state import FileState

_SAID = struct.Struct("=?QQQ")
_LONGEST_LIFE_S = 0.02
_COMPACT_EVERY = 7
_RECORD_BYTES = 40

Place = tuple[int, int, int]
"""(generation, sequence, last number)"""


def write_until_killed(directory: Path, pipe: int, chance: random.Random) -> None:
    """Tell ``pipe`` the `Place` before something is written (False) and once it is durable."""

    def say(durable: bool, ahead: int = 0) -> None:
        sequence = journal.sequence + (not durable)
        os.write(pipe, _SAID.pack(durable, state.generation, sequence, number + ahead))

    state = FileState(directory)
    journal = state.journal
    number = numbers_of(journal.records())[-1]
    say(True)
    for step in itertools.count(chance.randrange(_COMPACT_EVERY)):
        if step % _COMPACT_EVERY == 0:
            say(False)
            journal.compact([record_of(number)])
        else:
            group = range(number + 1, number + 1 + chance.randint(1, 5))
            say(False, ahead=len(group))
            journal.append([record_of(one) for one in group])
            number = group[-1]
        say(True)


def record_of(number: int) -> bytes:
    return number.to_bytes(8, "big") * (_RECORD_BYTES // 8)


def numbers_of(records: list[bytes]) -> list[int]:
    """The numbers in order, none missing, none twice; [0] when nothing was written yet."""
    numbers = [int.from_bytes(record[:8], "big") for record in records]
    assert records == [record_of(number) for number in numbers], "a record is not what was written"
    assert not numbers or numbers == list(range(numbers[0], numbers[-1] + 1)), numbers
    return numbers or [0]


def live_and_die(directory: Path, chance: random.Random) -> list[tuple[bool, Place]]:
    """What one life said before it was killed."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            write_until_killed(directory, writing, chance)
        finally:
            os._exit(1)
    os.close(writing)
    # Some die while they start, most once they write, however slow the machine is.
    said = os.read(reading, _SAID.size) if chance.random() < 0.7 else b""
    time.sleep(chance.uniform(0, _LONGEST_LIFE_S))
    os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    with os.fdopen(reading, "rb") as pipe:
        said += pipe.read()
    assert os.WIFSIGNALED(status), f"it ended by itself with {os.waitstatus_to_exitcode(status)}"
    return [(durable, (a, b, c)) for durable, a, b, c in _SAID.iter_unpack(said)]


def main(directory: Path, rounds: int, seed: int) -> None:
    chance = random.Random(seed)
    acknowledged: Place = (0, 0, 0)
    within = 0
    for _ in range(rounds):
        said = live_and_die(directory, random.Random(chance.random()))
        places = [place for _, place in said]
        assert places == sorted(places), "a number went back within a life"
        if places:
            assert places[0][0] > acknowledged[0], "the generation went back"
            acknowledged = [place for durable, place in said if durable][-1]
        under_way = said[-1][1] if said else acknowledged
        state = FileState(directory)
        found = state.generation, state.journal.sequence, numbers_of(state.journal.records())[-1]
        assert found[0] > acknowledged[0], "the generation went back"
        assert found[1:] in (acknowledged[1:], under_way[1:]), (found, acknowledged, under_way)
        state.close()
        within += under_way != acknowledged
        acknowledged = found
    print(f"{rounds} kills, {within} of them while something was written to the journal")


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
