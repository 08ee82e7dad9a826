"""Meshes that update a channel until they are killed, and what the next life must find.

Run as a program: each life is a process of its own that says through a pipe what was acknowledged
to it. What the next one finds is checked there, before it goes on.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import random
import signal
import sys
import time
from pathlib import Path

from meshnet import Mesh, MeshConfig
from meshnet.crdt import OrSet
from meshnet.store.state import FileState

CHANNEL = "kills"
_LONGEST_START_S = 0.1
_LONGEST_LIFE_S = 0.4
_AT_ONCE = 3


async def write_until_killed(directory: Path, pipe: int, acknowledged: set[str]) -> None:
    """Say each element when it is acknowledged; first `ready`, once what there was is found."""
    state = FileState(directory)
    config = MeshConfig(listen="127.0.0.1:0", psk=bytes(32))
    async with Mesh(config, state=state) as mesh:
        channel = mesh.channel(CHANNEL, OrSet)
        while channel.is_behind:
            await asyncio.sleep(0)
        missing = acknowledged - set(channel.value)
        assert not missing, f"acknowledged, and lost: {sorted(missing)}"
        fragment = mesh._running.gossip.replica.get(channel._opened.id, mesh.name)
        sequence = fragment.head.sequence if fragment is not None else 0
        os.write(pipe, f"ready {sequence}\n".encode())

        async def add(element: str) -> None:
            await channel.update(OrSet.add, element)
            os.write(pipe, f"added {element}\n".encode())

        for number in itertools.count():
            life = state.generation
            await asyncio.gather(*(add(f"{life}/{number}/{one}") for one in range(_AT_ONCE)))


def live_and_die(
    directory: Path, acknowledged: set[str], lives_s: float, *, from_birth: bool
) -> list[tuple[str, str]]:
    """What one life said before it was killed, ``lives_s`` after it was born, or was ready."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            asyncio.run(write_until_killed(directory, writing, acknowledged))
        finally:
            os._exit(1)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        first = b"" if from_birth else pipe.readline()
        time.sleep(lives_s)
        os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        said = first + pipe.read()
    assert os.WIFSIGNALED(status), f"it ended by itself with {os.waitstatus_to_exitcode(status)}"
    lines = said.decode().splitlines()
    return [(what, text) for what, _, text in (line.partition(" ") for line in lines)]


def main(directory: Path, duration_s: float, seed: int) -> None:
    chance = random.Random(seed)
    acknowledged: set[str] = set()
    sequence, kills = 0, 0
    until = time.monotonic() + duration_s
    while time.monotonic() < until:
        from_birth = chance.random() < 0.3
        lives_s = chance.uniform(0, _LONGEST_START_S if from_birth else _LONGEST_LIFE_S)
        said = live_and_die(directory, acknowledged, lives_s, from_birth=from_birth)
        for what, text in said:
            if what == "added":
                acknowledged.add(text)
            else:
                assert int(text) >= sequence, "the sequence went back"
                sequence = int(text)
        kills += 1
    print(kills, len(acknowledged))


if __name__ == "__main__":
    main(Path(sys.argv[1]), float(sys.argv[2]), int(sys.argv[3]))
