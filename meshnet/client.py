"""A typed client of a node's local API; standard library only, so that plug-ins start fast."""

from __future__ import annotations

import http.client
import json
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast
from urllib.parse import urlencode

from meshnet.errors import ApiError
from meshnet.paths import default_api_path
from meshnet.report import (
    Explanation,
    Pong,
    Reloaded,
    RemovedReport,
    Report,
    ResetReport,
    TargetReport,
)

_TIMEOUT_S = 10.0


class Client:
    """Speaks to the node behind one API socket. Every call raises ApiError when it cannot."""

    def __init__(self, path: Path | None = None) -> None:
        self.path = path if path is not None else default_api_path()

    def report(self) -> Report:
        """Everything the node says of itself."""
        return cast(Report, self._call("GET", "/v1/report"))

    def targets(self) -> list[TargetReport]:
        """Everything that the node dials."""
        return cast(list[TargetReport], self._call("GET", "/v1/targets"))

    def connect(self, addresses: Sequence[str]) -> list[str]:
        """Have the node keep links to these (``HOST[:PORT]``); as it understood them."""
        answer = self._call("POST", "/v1/connect?" + urlencode({"peer": addresses}, doseq=True))
        return cast(list[str], answer["connecting"])

    def forget(self, addresses: Sequence[str]) -> list[str]:
        """Undo `connect`, or a peer given at the node's start. All of them, or none."""
        answer = self._call("POST", "/v1/forget?" + urlencode({"peer": addresses}, doseq=True))
        return cast(list[str], answer["forgotten"])

    def rmpeer(self, peers: Sequence[str], *, data: bool = False) -> list[RemovedReport]:
        """Have the whole mesh forget peers that are gone (name, prefix or nickname).

        With ``data`` what they wrote in users' channels, too. All of them, or none.
        """
        query = urlencode({"peer": peers, "data": int(data)}, doseq=True)
        answer = self._call("POST", f"/v1/rmpeer?{query}")
        return cast(list[RemovedReport], answer["removed"])

    def explain(self, peer: str) -> Explanation:
        """Why a peer, or an address that is dialled, is connected as it is, or is not."""
        return cast(Explanation, self._call("GET", "/v1/explain?" + urlencode({"peer": peer})))

    def ping(self, peer: str, *, seq: int = 1, timeout_s: float = 1.0) -> Pong:
        """One probe through the data session with ``peer`` (name, prefix or nickname)."""
        query = urlencode({"peer": peer, "seq": seq, "timeout_s": timeout_s})
        return cast(Pong, self._call("POST", f"/v1/ping?{query}"))

    @property
    def answers(self) -> bool:
        """Whether there is a node; also where we may not ask it anything."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
            try:
                probe.connect(str(self.path))
            except (FileNotFoundError, ConnectionRefusedError):
                return False
            except OSError:
                return True
        return True

    def reset(self) -> ResetReport:
        """Have the node leave the mesh for good, remove its state, and end."""
        return cast(ResetReport, self._call("POST", "/v1/reset"))

    def reload(self) -> Reloaded:
        """Have the node read its settings again, files included."""
        return cast(Reloaded, self._call("POST", "/v1/reload"))

    def _call(self, method: str, target: str) -> Any:
        connection = _UnixConnection(self.path)
        try:
            connection.request(method, target)
            response = connection.getresponse()
            answer = json.loads(response.read())
        except FileNotFoundError:
            raise ApiError(f"no node at {self.path}: start one, or name it with --api") from None
        except ConnectionRefusedError:
            gone = f"nobody answers at {self.path}: start the node, or name its socket with --api"
            raise ApiError(gone) from None
        except PermissionError:
            raise ApiError(f"no permission for {self.path}: use the node's user or root") from None
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise ApiError(f"the node at {self.path} does not answer: {error}") from error
        finally:
            connection.close()
        if response.status != http.client.OK:
            raise ApiError(str(answer.get("error", response.reason)))
        return answer


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=_TIMEOUT_S)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(_TIMEOUT_S)
        self.sock.connect(str(self._path))
