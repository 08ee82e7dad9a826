"""Messages between peers in your own program: acknowledged, and read by topic.

await mesh.send(peer, "greetings", b"hello")

async with mesh.read("greetings") as messages:
    async for message in messages:
        print(message.peer, message.payload)
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from types import TracebackType
from typing import Self

from meshnet.errors import ConfigError, DeliveryError, LocalProtocolError
from meshnet.events import MessageAnswered, MessageReceived
from meshnet.peering.unicast import Unicast

# Our choice: a reader that is further behind makes senders wait.
MAX_UNREAD = 1024


class Reader:
    """Reads one topic, from entering until leaving; other peers are told when nobody does."""

    def __init__(self, topic: str, post: PostOffice) -> None:
        self.topic = topic
        self._post = post
        self._unread: deque[MessageReceived] = deque()
        self._arrived = asyncio.Event()
        self._ended = False

    async def __aenter__(self) -> Self:
        self._post.begin(self)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._post.finish(self)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> MessageReceived:
        """Messages as they come, each once; ends with the mesh."""
        while not self._unread:
            if self._ended:
                raise StopAsyncIteration
            self._arrived.clear()
            await self._arrived.wait()
        message = self._unread.popleft()
        self._post.caught_up(self)
        return message

    @property
    def is_behind(self) -> bool:
        return len(self._unread) >= MAX_UNREAD

    def add(self, message: MessageReceived) -> None:
        self._unread.append(message)
        self._arrived.set()

    def end(self) -> None:
        self._ended = True
        self._arrived.set()


class PostOffice:
    """The readers and senders of one running mesh."""

    def __init__(self, unicast: Unicast) -> None:
        self._readers: dict[str, Reader] = {}
        self._busy: set[str] = set()
        self._waiting: dict[int, asyncio.Future[None]] = {}
        self._unicast = unicast
        self._ended = False
        unicast.readers = self._readers.keys()
        unicast.busy = self._busy

    def begin(self, reader: Reader) -> None:
        if self._ended:
            raise LocalProtocolError(f"topic {reader.topic!r}: its mesh has ended")
        if reader.topic in self._readers:
            raise ConfigError(f"topic {reader.topic!r} has a reader already")
        self._readers[reader.topic] = reader

    def finish(self, reader: Reader) -> None:
        if self._readers.get(reader.topic) is reader:
            del self._readers[reader.topic]
            self._busy.discard(reader.topic)
        reader.end()

    def caught_up(self, reader: Reader) -> None:
        if not reader.is_behind:
            self._busy.discard(reader.topic)

    async def answer(self, number: int, drain: Callable[[], None]) -> None:
        """Wait for what becomes of a message. Raises DeliveryError."""
        waiting: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting[number] = waiting
        try:
            drain()
            await waiting
        finally:
            del self._waiting[number]
            self._unicast.give_up(number)

    def receive(self, event: MessageReceived | MessageAnswered) -> None:
        if isinstance(event, MessageReceived):
            reader = self._readers.get(event.topic)
            if reader is not None:
                reader.add(event)
                if reader.is_behind:
                    self._busy.add(event.topic)
            return
        waiting = self._waiting.get(event.number)
        if waiting is None or waiting.done():
            return
        if event.reason:
            waiting.set_exception(DeliveryError(f"not delivered: {event.reason}"))
        else:
            waiting.set_result(None)

    def end(self) -> None:
        """The mesh has ended."""
        self._ended = True
        for reader in list(self._readers.values()):
            self.finish(reader)
        for waiting in self._waiting.values():
            if not waiting.done():
                waiting.set_exception(DeliveryError("not delivered: the mesh ended"))
