"""One peer of a join, as a process: it does what is written to it, and says how long it was busy.

Each line of stdin is a command, each line of stdout an answer, as JSON. What the loop did in one go
is measured in CPU seconds of its own thread: other processes of the machine do not count.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
import time
from asyncio import events
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

from meshnet import Mesh, MeshConfig
from meshnet import engine as engine_module
from meshnet.crdt import LwwMap, Origin
from meshnet.ids import PeerName
from meshnet.node.collector import frozen_state
from meshnet.store.state import FileState

CHANNEL = "joined"
PING_INTERVAL_S = 0.01
# What came is written down so often, for a join to meet it.
KEEP_INTERVAL_S = 1.0
LONG_S = 0.002


class Turns:
    """What every callback of the loop costs."""

    def __init__(self) -> None:
        self.long: list[tuple[float, str]] = []
        self.longest_s = 0.0
        self.count = 0

    def watch(self) -> None:
        run: Callable[[Any], None] = events.Handle._run
        turns = self

        def measured(self: events.Handle) -> None:
            start = time.thread_time()
            run(self)
            turns.add(time.thread_time() - start, self)

        events.Handle._run = measured  # type: ignore[method-assign]

    def add(self, spent_s: float, handle: events.Handle) -> None:
        self.count += 1
        self.longest_s = max(self.longest_s, spent_s)
        if spent_s > LONG_S:
            self.long.append((spent_s, repr(handle)))

    def take(self) -> dict[str, Any]:
        """Since it was last asked."""
        which = [f"{1000 * spent_s:.1f} ms {what}" for spent_s, what in sorted(self.long)[-10:]]
        answer = {
            "longest_s": self.longest_s,
            "over_2_ms": len(self.long),
            "over_4_ms": sum(spent_s > 2 * LONG_S for spent_s, _ in self.long),
            "count": self.count,
            "which": which,
        }
        self.long, self.longest_s, self.count = [], 0.0, 0
        return answer


class Pings:
    """A probe every 10 ms over the data session with a peer, and when it was answered."""

    def __init__(self, mesh: Mesh, peer: PeerName) -> None:
        self._mesh = mesh
        self._peer = peer
        self._answered: list[float] = []
        self._under_way: set[asyncio.Task[None]] = set()
        self._sender = asyncio.ensure_future(self._send())

    async def _send(self) -> None:
        while True:
            task = asyncio.ensure_future(self._ping())
            self._under_way.add(task)
            task.add_done_callback(self._under_way.discard)
            await asyncio.sleep(PING_INTERVAL_S)

    async def _ping(self) -> None:
        if await self._mesh.ping(self._peer) is not None:
            self._answered.append(time.monotonic())

    def take(self) -> dict[str, Any]:
        """The answers since it was last asked, and the longest time without one."""
        answered, self._answered = self._answered, self._answered[-1:]
        gaps = [after - before for before, after in pairwise(answered)]
        return {"answers": len(answered), "gap_s": max(gaps, default=float("inf"))}

    def stop(self) -> None:
        self._sender.cancel()


def put_many(value: LwwMap, origin: Origin, count: int) -> LwwMap:
    delta = LwwMap()
    for number in range(count):
        delta.apply(value.put(origin, f"record {number}", number.to_bytes(10, "big")))
    return delta


async def serve(directory: Path) -> None:
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    config = MeshConfig(listen="127.0.0.1:0", psk=bytes(32), discovery=False)
    turns = Turns()
    pings: Pings | None = None
    with frozen_state(loop), contextlib.closing(FileState(directory)) as state:
        async with Mesh(config, state=state) as mesh:
            channel = mesh.channel(CHANNEL, LwwMap)
            turns.watch()
            while line := await reader.readline():
                command, *words = line.decode().split()
                answer: Any = None
                if command == "who":
                    answer = {"name": str(mesh.name), "address": mesh.address}
                elif command == "write":
                    await channel.update(put_many, int(words[0]))
                elif command == "connect":
                    mesh.connect(words[0])
                elif command == "ping":
                    peer = PeerName.parse(words[0])
                    while await mesh.ping(peer) is None:
                        await asyncio.sleep(0.05)
                    pings = Pings(mesh, peer)
                elif command == "pings":
                    assert pings is not None, "first ping somebody"
                    answer = pings.take()
                elif command == "has":
                    answer = len(channel.value._writes)
                elif command == "turns":
                    answer = turns.take()
                sys.stdout.write(json.dumps(answer) + "\n")
                sys.stdout.flush()
            if pings is not None:
                pings.stop()


if __name__ == "__main__":
    engine_module.KEEP_INTERVAL_S = KEEP_INTERVAL_S
    asyncio.run(serve(Path(sys.argv[1])))
