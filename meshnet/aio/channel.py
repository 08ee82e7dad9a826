"""`Channel`: replicated state in your own program.

names = mesh.channel("names", LwwMap)
await names.update(LwwMap.put, "www", b"10.32.0.5")
names.value.get("www")
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable
from typing import Any, Concatenate, Generic, ParamSpec
from weakref import WeakSet

from meshnet.aio import clock
from meshnet.crdt.dots import Origin
from meshnet.engine import Engine
from meshnet.errors import LocalProtocolError, StateError
from meshnet.events import ChannelChanged, UpdatesKept, UpdatesLost
from meshnet.gossip.channels import LatticeT, OpenChannel

P = ParamSpec("P")

# Our choice: who is further behind than this reads the value anew instead.
MAX_CHANGES_BEHIND = 65536


class Channel(Generic[LatticeT]):
    """One channel of a running `Mesh`, made by `Mesh.channel`."""

    def __init__(
        self, engine: Engine, opened: OpenChannel[LatticeT], drain: Callable[[], None]
    ) -> None:
        self._engine: Engine | None = engine
        self._opened = opened
        self._drain = drain
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()
        # Who reads no further drops its stream, and it is gone from here.
        self._streams: WeakSet[_Stream] = WeakSet()

    @property
    def name(self) -> str:
        return self._opened.id.name

    @property
    def value(self) -> LatticeT:
        """What all peers have written, as far as we know. Read it; change it by `update` only."""
        return self._opened.value

    @property
    def is_behind(self) -> bool:
        """True while `value` does not yet hold all that has arrived (a large channel at first)."""
        return self._opened.is_behind

    async def update(
        self,
        mutator: Callable[Concatenate[LatticeT, Origin, P], LatticeT],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> None:
        """Change the channel by one of its type's mutators: ``update(LwwMap.put, key, value)``.

        It counts here at once. When this returns it is on disk, where the mesh has a state, and
        told to the neighbours. Raises StateError when the disk refuses; it is undone then, with
        all updates that were waiting. Raises what the mutator raises, and LocalProtocolError
        after the mesh has ended.
        """
        if self._engine is None:
            raise LocalProtocolError(f"channel {self.name!r}: its mesh has ended")
        delta = mutator(self._opened.value, self._engine.channels.origin, *args, **kwargs)
        ticket = self._engine.update(self._opened, delta, clock.now())
        kept: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        if ticket > self._opened.kept:
            self._waiting.append((ticket, kept))
        else:
            kept.set_result(None)
        self._drain()
        await kept

    def changes(self) -> AsyncIterator[Any]:
        """What users see change from this call on, as values of the type's change class.

        Raises LocalProtocolError for a reader that falls `MAX_CHANGES_BEHIND` changes behind: read
        the value anew. Ends with the mesh.
        """
        stream = _Stream()
        if self._engine is None:
            stream.end()
        else:
            self._streams.add(stream)
        return stream

    def receive(self, event: ChannelChanged | UpdatesKept | UpdatesLost) -> None:
        """For `Mesh`: what the engine says of this channel."""
        if isinstance(event, ChannelChanged):
            for stream in list(self._streams):
                stream.add(event.changes)
        elif isinstance(event, UpdatesKept):
            while self._waiting and self._waiting[0][0] <= event.ticket:
                _, kept = self._waiting.popleft()
                if not kept.done():
                    kept.set_result(None)
        elif isinstance(event, UpdatesLost):
            self._fail(StateError(event.reason))

    def end(self) -> None:
        """For `Mesh`: it has ended."""
        self._engine = None
        self._fail(LocalProtocolError(f"channel {self.name!r}: the mesh ended before it was kept"))
        for stream in list(self._streams):
            stream.end()

    def _fail(self, error: Exception) -> None:
        while self._waiting:
            _, kept = self._waiting.popleft()
            if not kept.done():
                kept.set_exception(error)


class _Stream(AsyncIterator[Any]):
    """One reader's changes."""

    def __init__(self) -> None:
        self._changes: deque[Any] = deque()
        self._arrived = asyncio.Event()
        self._ended = self._too_slow = False

    def add(self, changes: tuple[Any, ...]) -> None:
        if not self._too_slow:
            self._changes.extend(changes)
        if len(self._changes) > MAX_CHANGES_BEHIND:
            self._changes.clear()
            self._too_slow = True
        self._arrived.set()

    def end(self) -> None:
        self._ended = True
        self._arrived.set()

    async def __anext__(self) -> Any:
        while not self._changes:
            if self._too_slow:
                raise LocalProtocolError("this reader fell too far behind: read the value anew")
            if self._ended:
                raise StopAsyncIteration
            self._arrived.clear()
            await self._arrived.wait()
        return self._changes.popleft()
