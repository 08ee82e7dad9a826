"""The node's HTTP/1.1 server (h11): one request per connection, for callers that may be anybody.

What a caller can make it hold is bounded: the size of a request, how long one may take, and how
many there are at a time. When there is no room, the oldest connection is cut; a request takes a
moment, so that is one that hangs. No number of such callers keeps a quick one from its answer.
"""

from __future__ import annotations

import asyncio
import json
import logging
import socket
from collections.abc import Awaitable, Callable, Mapping
from http import HTTPStatus
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import parse_qs, urlsplit

if TYPE_CHECKING:
    import h11

_MAX_HEADER_BYTES = 16 * 1024
_MAX_BODY_BYTES = 64 * 1024
_MAX_FIELDS = 1000
MAX_CONNECTIONS = 32
_TIMEOUT_S = 10.0
_READ_BYTES = _MAX_HEADER_BYTES

TEXT = "text/plain; charset=utf-8"
JSON = "application/json"

_log = logging.getLogger("meshnet")


class Request(NamedTuple):
    """``query`` has the last value of each key, ``values`` all of them."""

    method: str
    path: str
    values: Mapping[str, list[str]]
    accept: str

    @property
    def query(self) -> dict[str, str]:
        return {key: values[-1] for key, values in self.values.items()}


class Answer(NamedTuple):
    """What a caller is told."""

    body: bytes
    content_type: str = TEXT
    status: HTTPStatus = HTTPStatus.OK


class Refused(Exception):
    """A request that cannot be served; told to the caller with its status."""

    def __init__(self, status: HTTPStatus, text: str) -> None:
        super().__init__(text)
        self.status = status


Routes = Mapping[tuple[str, str], Callable[[Request], Awaitable[Answer]]]
"""(method, path) -> what answers it, or raises `Refused`. GET routes answer HEAD as well."""


def as_json(value: object, status: HTTPStatus = HTTPStatus.OK) -> Answer:
    return Answer(json.dumps(value).encode(), JSON, status)


class HttpServer:
    """Serves ``routes`` on one socket, from `start` to `stop`."""

    def __init__(
        self,
        routes: Routes,
        *,
        admits: Callable[[socket.socket], bool] = lambda _connection: True,
        timeout_s: float = _TIMEOUT_S,
    ) -> None:
        """``admits`` is asked of each connection; ``timeout_s`` is for a whole request."""
        self._routes = routes
        self._admits = admits
        self._timeout_s = timeout_s
        self._server: asyncio.Server | None = None
        self._connections: dict[asyncio.Task[None], None] = {}

    async def start(self, bound: socket.socket) -> None:
        """Serve on a socket that is bound; from now on it is ours to close."""
        if bound.family == socket.AF_UNIX:
            self._server = await asyncio.start_unix_server(self._accept, sock=bound)
        else:
            self._server = await asyncio.start_server(self._accept, sock=bound)

    async def stop(self) -> None:
        """Close the socket and every connection."""
        if self._server is None:
            return
        self._server.close()
        for connection in self._connections:
            connection.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None, "asyncio runs this in a task"
        if len(self._connections) >= MAX_CONNECTIONS:
            oldest = next(iter(self._connections))
            del self._connections[oldest]
            oldest.cancel()
        self._connections[task] = None
        try:
            if self._admits(writer.get_extra_info("socket")):
                async with asyncio.timeout(self._timeout_s):
                    await self._serve(reader, writer)
                    writer.close()
                    await writer.wait_closed()
        except (TimeoutError, OSError):
            pass  # A caller that hangs, or leaves.
        except Exception:
            _log.exception("request failed")
        finally:
            self._connections.pop(task, None)
            # Whoever does not read its answer must not make us keep it.
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        import h11  # Not at start: a node may never be asked anything.

        connection = h11.Connection(h11.SERVER, max_incomplete_event_size=_MAX_HEADER_BYTES)
        request: h11.Request | None = None
        try:
            request = await _read_request(connection, reader)
            if request is None:
                return
            answer = await self._answer(request)
        except h11.RemoteProtocolError as error:
            answer = _refusal(HTTPStatus(error.error_status_hint), str(error))
        except Refused as refused:
            answer = _refusal(refused.status, str(refused))
        if connection.our_state not in (h11.IDLE, h11.SEND_RESPONSE):
            return
        headers = [
            ("Content-Type", answer.content_type),
            ("Content-Length", str(len(answer.body))),
            ("Cache-Control", "no-store"),
            ("Connection", "close"),
        ]
        reason = answer.status.phrase.encode()
        response = h11.Response(status_code=answer.status, headers=headers, reason=reason)
        out = connection.send(response) or b""
        if request is None or request.method != b"HEAD":
            out += (connection.send(h11.Data(data=answer.body)) or b"") + (
                connection.send(h11.EndOfMessage()) or b""
            )
        writer.write(out)
        await writer.drain()

    async def _answer(self, request: h11.Request) -> Answer:
        method = request.method.decode("ascii", "replace")
        try:
            url = urlsplit(request.target.decode("ascii", "replace"))
            values = parse_qs(url.query, max_num_fields=_MAX_FIELDS)
        except ValueError as error:
            raise Refused(HTTPStatus.BAD_REQUEST, str(error)) from None
        handler = self._routes.get(("GET" if method == "HEAD" else method, url.path))
        if handler is None:
            if any(path == url.path for _, path in self._routes):
                raise Refused(HTTPStatus.METHOD_NOT_ALLOWED, f"{url.path} has no {method}")
            raise Refused(HTTPStatus.NOT_FOUND, f"no {url.path} in this version")
        accept = b",".join(value for name, value in request.headers if name == b"accept")
        asked = Request(method, url.path, values, accept.decode("ascii", "replace"))
        return await handler(asked)


async def _read_request(
    connection: h11.Connection, reader: asyncio.StreamReader
) -> h11.Request | None:
    """A whole request; None when the caller leaves before. Raises Refused, RemoteProtocolError."""
    import h11

    request: h11.Request | None = None
    size = 0
    while True:
        event = connection.next_event()
        if event is h11.NEED_DATA:
            connection.receive_data(await reader.read(_READ_BYTES))
        elif isinstance(event, h11.Request):
            request = event
        elif isinstance(event, h11.Data):
            # Nothing that is asked for needs a body: it is read and left.
            size += len(event.data)
            if size > _MAX_BODY_BYTES:
                raise Refused(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "the body is too long")
        elif isinstance(event, h11.EndOfMessage):
            return request
        else:
            return None


def _refusal(status: HTTPStatus, text: str) -> Answer:
    return as_json({"error": text}, status)
