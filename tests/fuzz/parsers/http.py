"""Any request is answered once, with what the caller did wrong, or not at all; nothing is raised.

A plan: pieces, as they arrive one by one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import cast

import h11

from fuzz.plan import Plan, piece
from meshnet.node.http import Answer, HttpServer, Request, as_json

COVERS = (
    "meshnet.node.http:_read_request",
    "meshnet.node.http:HttpServer._serve",
    "meshnet.node.http:HttpServer._answer",
)


async def _echo(request: Request) -> Answer:
    return as_json({"method": request.method, "query": request.query, "accept": request.accept})


_SERVER = HttpServer({("GET", "/echo"): _echo, ("POST", "/act"): _echo})


class _Writer:
    """Keeps what is said."""

    def __init__(self) -> None:
        self.said = b""

    def write(self, data: bytes) -> None:
        self.said += data

    async def drain(self) -> None:
        pass


def check(data: bytes) -> None:
    asyncio.run(_serve(data))


async def _serve(data: bytes) -> None:
    plan = Plan(data)
    reader, writer = asyncio.StreamReader(), _Writer()
    serving = asyncio.ensure_future(
        _SERVER._serve(reader, cast(asyncio.StreamWriter, writer))  # All that it uses of one.
    )
    await asyncio.sleep(0)
    while not plan.over and not serving.done():
        if arrived := plan.piece(2):
            reader.feed_data(arrived)
        await asyncio.sleep(0)
    reader.feed_eof()
    await serving
    if writer.said:
        _judge(writer.said, is_head=_words(data) == b"HEAD")


def _words(data: bytes) -> bytes:
    plan = Plan(data)
    said = b""
    while not plan.over:
        said += plan.piece(2)
    return said.lstrip(b"\r\n").partition(b" ")[0]


def _judge(said: bytes, *, is_head: bool) -> None:
    client = h11.Connection(h11.CLIENT)
    method = "HEAD" if is_head else "GET"
    client.send(h11.Request(method=method, target="/", headers=[("Host", "x")]))
    client.send(h11.EndOfMessage())
    client.receive_data(said)
    response = client.next_event()
    assert isinstance(response, h11.Response)
    # 501 is for a transfer coding that nobody here knows (RFC 9112 section 6.1).
    assert response.status_code == 501 or 200 <= response.status_code < 500, said
    while isinstance(client.next_event(), h11.Data):
        pass
    assert client.their_state in (h11.DONE, h11.MUST_CLOSE), "cut off"
    # Of what is no request it is not known that it wanted no body.
    was_read = not (is_head and response.status_code in (400, 431, 501))
    assert not was_read or client.trailing_data[0] == b"", "more than one answer"


def _request(line: str, headers: str = "", body: bytes = b"") -> bytes:
    return f"{line} HTTP/1.1\r\nHost: x\r\n{headers}\r\n".encode() + body


def seeds() -> Iterator[bytes]:
    requests = (
        _request("GET /echo?a=1&b=%C3%BC&a=2", "Accept: text/plain\r\nAccept: */*\r\n"),
        _request("HEAD /echo"),
        _request("POST /act?peer=a", "Content-Length: 4\r\n", b"body"),
        _request("POST /act", "Transfer-Encoding: chunked\r\n", b"4\r\nbody\r\n0\r\n\r\n"),
        _request("POST /act", "Content-Length: 4\r\n", b"bo"),
        _request("GET /act"),
        _request("DELETE /echo"),
        _request("GET /nothing"),
        _request("GET //["),
        _request("GET http://[x/echo"),
        _request("GET /echo?" + "a&" * 1001),
        _request("GET /echo?" + "a=&" * 900),
        _request("GET /echo?%ff=%zz&=;"),
        _request("GET /echo", "X: " + "x" * 17000 + "\r\n"),
        _request("POST /act", "Content-Length: x\r\n"),
        _request("POST /act", "Transfer-Encoding: gzip\r\n"),
        _request("GET /echo", "Connection: Upgrade\r\nUpgrade: websocket\r\n"),
        _request("CONNECT x:1"),
        _request("GET /echo", "Expect: 100-continue\r\nContent-Length: 1\r\n", b"x"),
        _request("GET /echo") * 2,
        b"GET /echo HTTP/1.0\r\n\r\n",
        b"GET /echo HTTP/2.0\r\n\r\n",
        b"GET /echo HTTP/1.1\r\n\r\n",
        b"\x16\x03\x01\x02\x00",
        b"\r\n\r\n",
        b"",
    )
    for request in requests:
        yield piece(request, 2)
        yield b"".join(piece(request[at : at + 9], 2) for at in range(0, min(len(request), 300), 9))
    long = _request("POST /act", "Content-Length: 70000\r\n")
    yield piece(long, 2) + piece(bytes(65000), 2) + piece(bytes(5000), 2)
    chunked = _request("POST /act", "Transfer-Encoding: chunked\r\n")
    yield piece(chunked, 2) + (piece(b"8000\r\n" + bytes(0x8000) + b"\r\n", 2)) * 3
