"""The HTTP server before callers of all kinds: what it holds is bounded, a quick one is served."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from http import HTTPStatus

import pytest

from meshnet.aio.sockets import listen_tcp
from meshnet.node import http
from meshnet.node.http import Answer, HttpServer, Refused, Request, as_json

BIG = 64 * 1024 * 1024


async def echo(request: Request) -> Answer:
    return as_json({"method": request.method, "values": dict(request.values)})


async def refuse(_request: Request) -> Answer:
    raise Refused(HTTPStatus.CONFLICT, "not now")


async def fail(_request: Request) -> Answer:
    raise RuntimeError("a bug")


async def big(_request: Request) -> Answer:
    return Answer(b"x" * BIG)


ROUTES = {
    ("GET", "/echo"): echo,
    ("POST", "/act"): echo,
    ("GET", "/refuse"): refuse,
    ("GET", "/fail"): fail,
    ("GET", "/big"): big,
}


@asynccontextmanager
async def serving(timeout_s: float = 5.0) -> AsyncIterator[int]:
    """The port of a running server."""
    bound = listen_tcp("127.0.0.1", 0, "--status-addr")
    port: int = bound.getsockname()[1]
    server = HttpServer(ROUTES, timeout_s=timeout_s)
    await server.start(bound)
    try:
        yield port
    finally:
        await server.stop()


def run(test: Callable[[], Awaitable[None]]) -> None:
    asyncio.run(asyncio.wait_for(test(), 30))


async def ask(port: int, request: bytes) -> tuple[int, bytes]:
    """(status, body) of the answer to raw bytes; (0, b"") when the connection just ends."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(request)
        said = await asyncio.wait_for(reader.read(), 10)
    except ConnectionError:
        return 0, b""
    finally:
        writer.close()
    head, _, body = said.partition(b"\r\n\r\n")
    return (int(head.split()[1]), body) if head else (0, b"")


def get(target: str, method: str = "GET", headers: str = "") -> bytes:
    return f"{method} {target} HTTP/1.1\r\nHost: x\r\n{headers}\r\n".encode()


ECHO = get("/echo")


def test_a_request_gets_its_answer_with_all_values_of_its_query() -> None:
    async def test() -> None:
        async with serving() as port:
            status, body = await ask(port, get("/echo?a=1&a=2&b=%2F"))
            assert status == HTTPStatus.OK
            assert json.loads(body) == {"method": "GET", "values": {"a": ["1", "2"], "b": ["/"]}}

    run(test)


def test_the_first_line_says_in_words_what_its_number_means() -> None:
    async def test() -> None:
        async with serving() as port:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(get("/nothing"))
            assert await reader.readline() == b"HTTP/1.1 404 Not Found\r\n"
            writer.close()

    run(test)


def test_head_is_get_without_the_body() -> None:
    async def test() -> None:
        async with serving() as port:
            assert await ask(port, get("/echo", "HEAD")) == (HTTPStatus.OK, b"")

    run(test)


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (get("/nothing"), HTTPStatus.NOT_FOUND),
        (get("/echo", "POST"), HTTPStatus.METHOD_NOT_ALLOWED),
        (get("/act"), HTTPStatus.METHOD_NOT_ALLOWED),
        (get("/act", "HEAD"), HTTPStatus.METHOD_NOT_ALLOWED),
        (get("/refuse"), HTTPStatus.CONFLICT),
        (get("//[x"), HTTPStatus.BAD_REQUEST),
        (get("/echo?" + "a&" * 1001), HTTPStatus.BAD_REQUEST),
        (b"GET /echo HTTP/1.1\r\n\r\n", HTTPStatus.BAD_REQUEST),  # RFC 9112 3.2: no Host
        (b"GET\r\n\r\n", HTTPStatus.BAD_REQUEST),
        (b"\x00\xff" * 50 + b"\r\n\r\n", HTTPStatus.BAD_REQUEST),
        (
            get("/echo", headers=f"X: {'x' * 40_000}\r\n"),
            HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
        ),
        (
            get("/echo", headers="Content-Length: 70000\r\n") + bytes(70_000),
            HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
        ),
    ],
)
def test_what_cannot_be_served_is_refused_with_its_status_and_a_reason(
    request_bytes: bytes, status: HTTPStatus
) -> None:
    async def test() -> None:
        async with serving() as port:
            answered, body = await ask(port, request_bytes)
            assert answered == status
            assert json.loads(body)["error"] if b"HEAD" not in request_bytes else not body
            assert (await ask(port, ECHO))[0] == HTTPStatus.OK

    run(test)


def test_a_bug_in_an_answer_is_logged_and_ends_that_connection_only(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def test() -> None:
        async with serving() as port:
            assert await ask(port, get("/fail")) == (0, b"")
            assert (await ask(port, ECHO))[0] == HTTPStatus.OK

    run(test)
    assert "a bug" in caplog.text


@pytest.mark.parametrize("sent", [b"", b"GET /echo HTTP/1.1\r\nHost:", get("/big")])
def test_who_hangs_is_cut_in_time(sent: bytes) -> None:
    """Says nothing, stops in the middle, or does not read its answer."""

    async def test() -> None:
        async with serving(timeout_s=0.3) as port:
            with socket.create_connection(("127.0.0.1", port)) as hanging:
                hanging.setblocking(False)
                await asyncio.get_running_loop().sock_sendall(hanging, sent)
                deadline = asyncio.get_running_loop().time() + 5
                while open_connections(port):
                    assert asyncio.get_running_loop().time() < deadline
                    await asyncio.sleep(0.02)

    run(test)


def open_connections(port: int) -> bool:
    """Whether the server still holds a connection: an established one with its port as ours."""
    with open("/proc/net/tcp", encoding="ascii") as table:  # noqa: PTH123
        rows = [line.split() for line in table][1:]
    return any(row[1].endswith(f":{port:04X}") and row[3] == "01" for row in rows)


def test_however_many_hang_a_quick_caller_is_served() -> None:
    async def test() -> None:
        async with serving(timeout_s=30.0) as port:
            hanging = [
                await asyncio.open_connection("127.0.0.1", port)
                for _ in range(3 * http.MAX_CONNECTIONS)
            ]
            for _ in range(10):
                assert (await ask(port, ECHO))[0] == HTTPStatus.OK
            # And no more are held than may be: the others have been cut.
            async with asyncio.timeout(5):
                while sum(not reader.at_eof() for reader, _ in hanging) > http.MAX_CONNECTIONS:
                    await asyncio.sleep(0.01)
            for _, writer in hanging:
                writer.close()

    run(test)


def test_requests_in_pieces_are_requests() -> None:
    async def test() -> None:
        async with serving() as port:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            for number in range(len(ECHO)):
                writer.write(ECHO[number : number + 1])
                await writer.drain()
                await asyncio.sleep(0)
            assert (await reader.read()).startswith(b"HTTP/1.1 200")
            writer.close()

    run(test)
