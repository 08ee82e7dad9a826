"""The local API: HTTP/1.1 with JSON over a unix socket (h11), for this host's users only.

The socket is 0660 and the kernel's word on who called (SO_PEERCRED) is checked as well: root, the
node's own user, or a member of the socket's group by primary group.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
import stat
import struct
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import h11

from meshnet.aio.mesh import Mesh
from meshnet.errors import ConfigError, ListenError
from meshnet.report import Pong, Reloaded

_MAX_BODY_BYTES = 64 * 1024
_REQUEST_TIMEOUT_S = 10.0
_READ_BYTES = 65536
_MAX_PING_TIMEOUT_S = 5.0
_CREDENTIALS = struct.Struct("=iII")

Query = dict[str, str]


class ApiRefused(Exception):
    """A request that cannot be served; told to the caller with its status."""

    def __init__(self, status: HTTPStatus, text: str) -> None:
        super().__init__(text)
        self.status = status


class ApiServer:
    """Serves one mesh on a unix socket, from `start` to `stop`."""

    def __init__(self, mesh: Mesh, path: Path, reload: Callable[[], Awaitable[list[str]]]) -> None:
        self._mesh = mesh
        self._reload_settings = reload
        self._path = path
        self._server: asyncio.Server | None = None
        self._made_parent = False
        self._connections: set[asyncio.Task[None]] = set()
        self._handlers: dict[tuple[str, str], Callable[[Query], Awaitable[object]]] = {
            ("GET", "/v1/report"): self._report,
            ("POST", "/v1/ping"): self._ping,
            ("POST", "/v1/reload"): self._reload,
        }

    async def start(self) -> None:
        """Raises ListenError with one line that says what to do."""
        self._made_parent = not self._path.parent.exists()
        bound = bind_unix(self._path)
        self._server = await asyncio.start_unix_server(self._accept, sock=bound)

    async def stop(self) -> None:
        """Close every connection and remove the socket."""
        if self._server is None:
            return
        self._server.close()
        for connection in self._connections:
            connection.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)
        self._path.unlink(missing_ok=True)
        if self._made_parent:
            with contextlib.suppress(OSError):
                self._path.parent.rmdir()  # Another node may use it by now.

    async def _report(self, _query: Query) -> object:
        return self._mesh.report()

    async def _ping(self, query: Query) -> object:
        wanted = query.get("peer", "")
        found = self._mesh.find_peers(wanted)
        if not found:
            known = f"no other peer {wanted!r}; `meshnet peers` lists them"
            raise ApiRefused(HTTPStatus.NOT_FOUND, known)
        if len(found) > 1:
            digits = ", ".join(peer.short for peer in found)
            several = f"{len(found)} peers are called {wanted!r}; use the digits of one: {digits}"
            raise ApiRefused(HTTPStatus.CONFLICT, several)
        [peer] = found
        try:
            seq, timeout_s = int(query.get("seq", "1")), float(query.get("timeout_s", "1"))
        except ValueError:
            raise ApiRefused(HTTPStatus.BAD_REQUEST, "seq and timeout_s are numbers") from None
        if not 0 < timeout_s <= _MAX_PING_TIMEOUT_S:
            raise ApiRefused(HTTPStatus.BAD_REQUEST, f"timeout_s: 0 to {_MAX_PING_TIMEOUT_S}")
        rtt_s = await self._mesh.ping(peer, timeout_s=timeout_s)
        pong: Pong = {"seq": seq, "rtt_ms": round(rtt_s * 1e3, 3) if rtt_s is not None else None}
        return pong

    async def _reload(self, _query: Query) -> object:
        try:
            reloaded: Reloaded = {"unchanged": await self._reload_settings()}
        except ConfigError as error:
            raise ApiRefused(HTTPStatus.CONFLICT, f"nothing has changed: {error}") from None
        return reloaded

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None, "asyncio runs this in a task"
        self._connections.add(task)
        try:
            if _may_use(writer.get_extra_info("socket"), self._path):
                async with asyncio.timeout(_REQUEST_TIMEOUT_S):
                    await self._serve(reader, writer)
        except (TimeoutError, ConnectionError, h11.ProtocolError):
            pass  # A local caller that hangs, leaves, or speaks something else.
        finally:
            self._connections.discard(task)
            writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One request, one answer, close: callers are commands, not browsers."""
        connection = h11.Connection(h11.SERVER)
        request: h11.Request | None = None
        size = 0
        while True:
            event = connection.next_event()
            if event is h11.NEED_DATA:
                connection.receive_data(await reader.read(_READ_BYTES))
            elif isinstance(event, h11.Request):
                request = event
            elif isinstance(event, h11.Data):
                size += len(event.data)
                if size > _MAX_BODY_BYTES:
                    return
            elif isinstance(event, h11.EndOfMessage):
                break
            else:
                return
        if request is None:
            return
        status, body = await self._answer(request)
        headers = [
            ("Content-Type", "application/json"),
            ("Content-Length", str(len(body))),
            ("Connection", "close"),
        ]
        for out in (h11.Response(status_code=status, headers=headers), h11.Data(data=body)):
            writer.write(connection.send(out) or b"")
        writer.write(connection.send(h11.EndOfMessage()) or b"")
        await writer.drain()

    async def _answer(self, request: h11.Request) -> tuple[HTTPStatus, bytes]:
        try:
            try:
                url = urlsplit(request.target.decode("ascii", "replace"))
            except ValueError as error:
                raise ApiRefused(HTTPStatus.BAD_REQUEST, str(error)) from None
            query = {key: values[-1] for key, values in parse_qs(url.query).items()}
            handler = self._handlers.get((request.method.decode("ascii", "replace"), url.path))
            if handler is None:
                raise ApiRefused(HTTPStatus.NOT_FOUND, f"no {url.path} in this version")
            return HTTPStatus.OK, json.dumps(await handler(query)).encode()
        except ApiRefused as refused:
            return refused.status, json.dumps({"error": str(refused)}).encode()


def bind_unix(path: Path) -> socket.socket:
    """A bound unix socket, 0660; one left behind by a node that was killed is replaced.

    Raises ListenError with one line that says what to do.
    """
    bound = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        if path.exists():
            _remove_stale(path)
        # Made with no permissions for others from the first moment on.
        before = os.umask(0o117)
        try:
            bound.bind(str(path))
        finally:
            os.umask(before)
    except OSError as error:
        bound.close()
        reason = error.strerror or str(error)
        raise ListenError(f"cannot serve the API at {path}: {reason}; see --api") from error
    except ListenError:
        bound.close()
        raise
    return bound


def _remove_stale(path: Path) -> None:
    if not stat.S_ISSOCK(path.lstat().st_mode):
        raise ListenError(f"cannot serve the API at {path}: a file is in the way; see --api")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            path.unlink(missing_ok=True)
            return
    raise ListenError(f"another node serves its API at {path}; choose another with --api")


def _may_use(connection: socket.socket, path: Path) -> bool:
    raw = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    _pid, uid, gid = _CREDENTIALS.unpack(raw)
    return uid in (0, os.geteuid()) or gid == path.stat().st_gid
