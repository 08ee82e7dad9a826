"""Names to addresses, without ever holding anybody up.

The system's look-up blocks and cannot be cancelled. On a loop's own pool of threads a few names
that nobody answers for would stop all others, and the program from ending; so each look-up has a
thread of its own that nobody waits for, and no name is asked for twice at a time.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading

from meshnet.ids import Endpoint

_TIMEOUT_S = 5.0


class ResolveError(OSError):
    """The name has no address, or nobody says so in time. The text is for people."""


class Resolver:
    """Look-ups for one driver, on the running loop."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._asked: dict[str, asyncio.Future[list[str]]] = {}

    async def resolve(self, host: str, port: int) -> list[Endpoint]:
        """All addresses of ``host``, in the system's order. Raises ResolveError."""
        with contextlib.suppress(ValueError):
            return [Endpoint.of(host, port)]
        answer = self._asked.get(host)
        if answer is None:
            answer = self._asked[host] = self._loop.create_future()
            threading.Thread(target=self._look_up, args=(host, answer), daemon=True).start()
        try:
            async with asyncio.timeout(_TIMEOUT_S):
                addresses = await asyncio.shield(answer)
        except TimeoutError:
            raise ResolveError(f"no answer to the look-up of {host}") from None
        return [Endpoint.of(address, port) for address in addresses]

    def _look_up(self, host: str, answer: asyncio.Future[list[str]]) -> None:
        """In a thread of its own; reports to the loop, if there still is one."""
        addresses: list[str] = []
        problem = "the name has no address"
        try:
            infos = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
            addresses = list(dict.fromkeys(str(info[4][0]).partition("%")[0] for info in infos))
        except OSError as error:
            problem = error.strerror or str(error)
        except UnicodeError:
            problem = "not a host name"
        with contextlib.suppress(RuntimeError):  # The loop is closed: nobody wants to know.
            self._loop.call_soon_threadsafe(self._answered, host, answer, addresses, problem)

    def _answered(
        self, host: str, answer: asyncio.Future[list[str]], addresses: list[str], problem: str
    ) -> None:
        del self._asked[host]
        if addresses:
            answer.set_result(addresses)
        else:
            answer.set_exception(ResolveError(f"{host}: {problem}"))
            answer.exception()  # Whoever asked may have given up: that is no error of theirs.
