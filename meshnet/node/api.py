"""The local API: HTTP/1.1 with JSON over a unix socket, for this host's users only.

The socket is 0660 and the kernel's word on who called (SO_PEERCRED) is checked as well: root, the
node's own user, or a member of the socket's group by primary group.
"""

from __future__ import annotations

import contextlib
import os
import socket
import stat
import struct
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from pathlib import Path

from meshnet.aio.config import parse_peer
from meshnet.aio.mesh import Mesh
from meshnet.errors import ConfigError, ListenError, LocalProtocolError
from meshnet.ids import PeerName, join_host_port
from meshnet.node.http import Answer, HttpServer, Refused, Request, as_json
from meshnet.report import Pong, Reloaded, RemovedReport, ResetReport

_MAX_PING_TIMEOUT_S = 5.0
_CREDENTIALS = struct.Struct("=iII")


class ApiServer:
    """Serves one mesh on a unix socket, from `start` to `stop`; from `bind` on the path is ours."""

    def __init__(
        self,
        mesh: Mesh,
        path: Path,
        reload: Callable[[], Awaitable[Reloaded]],
        leave: Callable[[], ResetReport],
    ) -> None:
        self._mesh = mesh
        self._reload_settings = reload
        self._leave = leave
        self._path = path
        self._made_parent = False
        self._bound: socket.socket | None = None
        self._server: HttpServer | None = None

    def bind(self) -> None:
        """Take the path, before the mesh starts; callers wait until there is somebody to ask.

        Raises ListenError with one line that says what to do.
        """
        self._made_parent = not self._path.parent.exists()
        self._bound = bind_unix(self._path)

    async def start(self) -> None:
        """Answer callers, those who wait already too. The mesh is started, the path bound."""
        assert self._bound is not None, "bind comes first"
        routes = {
            ("GET", "/v1/report"): self._report,
            ("GET", "/v1/targets"): self._targets,
            ("GET", "/v1/explain"): self._explain,
            ("POST", "/v1/connect"): self._connect,
            ("POST", "/v1/forget"): self._forget,
            ("POST", "/v1/rmpeer"): self._rmpeer,
            ("POST", "/v1/ping"): self._ping,
            ("POST", "/v1/reload"): self._reload,
            ("POST", "/v1/reset"): self._reset,
        }
        self._server = HttpServer(routes, admits=lambda caller: _may_use(caller, self._path))
        await self._server.start(self._bound)

    async def stop(self) -> None:
        """Close every connection and remove the socket."""
        if self._server is not None:
            await self._server.stop()
        self.close()

    def close(self) -> None:
        """Give the path back. Closing twice is allowed."""
        if self._bound is None:
            return
        self._bound.close()
        self._bound = None
        self._path.unlink(missing_ok=True)
        if self._made_parent:
            with contextlib.suppress(OSError):
                self._path.parent.rmdir()  # Another node may use it by now.

    async def _report(self, _request: Request) -> Answer:
        return as_json(self._mesh.report())

    async def _targets(self, _request: Request) -> Answer:
        return as_json(self._mesh.targets())

    async def _connect(self, request: Request) -> Answer:
        addresses = _addresses(request)
        for address in addresses:
            self._mesh.connect(address)
        await self._mesh.targets_kept()
        return as_json({"connecting": addresses})

    async def _forget(self, request: Request) -> Answer:
        addresses = _addresses(request)
        given = {row["address"] for row in self._mesh.targets() if row["given"]}
        unknown = [address for address in addresses if address not in given]
        if unknown:
            lists = f"no such target: {', '.join(unknown)}; `meshnet targets` lists those given"
            if len(addresses) > 1:
                lists = f"nothing was forgotten: {lists}"
            raise Refused(HTTPStatus.NOT_FOUND, lists)
        for address in addresses:
            self._mesh.forget(address)
        await self._mesh.targets_kept()
        return as_json({"forgotten": addresses})

    async def _rmpeer(self, request: Request) -> Answer:
        wanted, data = request.values.get("peer", []), request.query.get("data") == "1"
        if not wanted:
            raise Refused(HTTPStatus.BAD_REQUEST, "no peer is given: peer=NAME")
        # All of them are looked at before any is removed.
        peers = [self._peer_to_remove(text) for text in wanted]
        known = {row["name"]: row for row in self._mesh.report()["peers"]}
        for peer in peers:
            if str(peer) in known and known[str(peer)]["gone"] is None:
                there = f"{known[str(peer)]['nickname'] or peer.short} is not gone; stop it first"
                raise Refused(HTTPStatus.CONFLICT, f"nothing was removed: {there}")
        removed: list[RemovedReport] = []
        for peer in dict.fromkeys(peers):
            try:
                entries = self._mesh.remove_peer(peer, data=data)
            except LocalProtocolError as error:
                raise Refused(HTTPStatus.CONFLICT, str(error)) from None
            nickname = known[str(peer)]["nickname"] if str(peer) in known else ""
            removed.append({"name": str(peer), "nickname": nickname, "entries": entries})
        return as_json({"removed": removed})

    def _peer_to_remove(self, wanted: str) -> PeerName:
        """A full name may be one that nobody knows: it is removed already."""
        self._refuse_ourselves(wanted, "leave for good by `meshnet reset`")
        if not self._mesh.find_peers(wanted):
            with contextlib.suppress(ValueError):
                return PeerName.parse(wanted)
        return self._one_peer(wanted, gone=True)

    async def _explain(self, request: Request) -> Answer:
        wanted = request.query.get("peer", "")
        if self._mesh.find_peers(wanted):
            return as_json(self._mesh.explain(self._one_peer(wanted)))
        with contextlib.suppress(ConfigError):  # Then it is neither a peer nor an address.
            explanation = self._mesh.explain_address(wanted)
            if explanation is not None:
                return as_json(explanation)
        self._refuse_ourselves(wanted)
        lists = f"no other peer and no target {wanted!r}; `meshnet peers` and `targets` list them"
        raise Refused(HTTPStatus.NOT_FOUND, lists)

    async def _ping(self, request: Request) -> Answer:
        query = request.query
        peer = self._one_peer(query.get("peer", ""))
        try:
            seq, timeout_s = int(query.get("seq", "1")), float(query.get("timeout_s", "1"))
        except ValueError:
            raise Refused(HTTPStatus.BAD_REQUEST, "seq and timeout_s are numbers") from None
        if not 0 < timeout_s <= _MAX_PING_TIMEOUT_S:
            raise Refused(HTTPStatus.BAD_REQUEST, f"timeout_s: 0 to {_MAX_PING_TIMEOUT_S}")
        rtt_s = await self._mesh.ping(peer, timeout_s=timeout_s)
        pong: Pong = {"seq": seq, "rtt_ms": round(rtt_s * 1e3, 3) if rtt_s is not None else None}
        return as_json(pong)

    async def _reload(self, _request: Request) -> Answer:
        try:
            return as_json(await self._reload_settings())
        except ConfigError as error:
            raise Refused(HTTPStatus.CONFLICT, f"nothing has changed: {error}") from None

    async def _reset(self, _request: Request) -> Answer:
        # The answer is written before anything else has its turn, the end of this server too.
        return as_json(self._leave())

    def _one_peer(self, wanted: str, *, gone: bool = False) -> PeerName:
        found = self._mesh.find_peers(wanted, gone=gone)
        if not found:
            self._refuse_ourselves(wanted)
            known = f"no other peer {wanted!r}; give a nickname or name that `meshnet peers` lists"
            raise Refused(HTTPStatus.NOT_FOUND, known)
        if len(found) > 1:
            digits = ", ".join(peer.short for peer in found)
            several = f"{len(found)} peers are called {wanted!r}; use the digits of one: {digits}"
            raise Refused(HTTPStatus.CONFLICT, several)
        return found[0]

    def _refuse_ourselves(self, wanted: str, instead: str = "`meshnet status` shows it") -> None:
        if wanted in (self._mesh.config.nickname, str(self._mesh.name), self._mesh.name.short):
            ours = f"{wanted!r} is this node itself; {instead}"
            raise Refused(HTTPStatus.CONFLICT, ours)


def _addresses(request: Request) -> list[str]:
    """The addresses a request names, in full, or none of them when one is no address."""
    try:
        parsed = [parse_peer(text) for text in request.values.get("peer", [])]
    except ConfigError as error:
        raise Refused(HTTPStatus.BAD_REQUEST, str(error)) from None
    if not parsed:
        raise Refused(HTTPStatus.BAD_REQUEST, "no address is given: peer=HOST[:PORT]")
    return [join_host_port(*address) for address in parsed]


def bind_unix(path: Path) -> socket.socket:
    """A unix socket that listens, 0660; one left behind by a node that was killed is replaced.

    Raises ListenError with one line that says what to do.
    """
    bound = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        if path.exists():
            remove_stale(path)
        # Made with no permissions for others from the first moment on.
        before = os.umask(0o117)
        try:
            bound.bind(str(path))
        finally:
            os.umask(before)
        # At once: one that does not listen looks like one left behind.
        bound.listen()
    except OSError as error:
        bound.close()
        reason = error.strerror or str(error)
        raise ListenError(f"cannot serve the API at {path}: {reason}; see --api") from error
    except ListenError:
        bound.close()
        raise
    return bound


def remove_stale(path: Path) -> None:
    """Remove a socket that a node which was killed has left. Raises ListenError for others."""
    if not stat.S_ISSOCK(path.lstat().st_mode):
        raise ListenError(f"cannot serve the API at {path}: a file is in the way; see --api")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        # Of a node that is stuck the queue may be full: we do not queue up behind it.
        probe.setblocking(False)
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            path.unlink(missing_ok=True)
            return
        except BlockingIOError:
            pass
    raise ListenError(f"another node serves its API at {path}; choose another with --api")


def _may_use(connection: socket.socket, path: Path) -> bool:
    raw = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    _pid, uid, gid = _CREDENTIALS.unpack(raw)
    return uid in (0, os.geteuid()) or gid == path.stat().st_gid
