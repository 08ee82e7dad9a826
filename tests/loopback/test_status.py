"""`--status-addr` and `--metrics` as strangers see them: a node as a process, asked over TCP."""

from __future__ import annotations

import asyncio
import http.client
import json
import socket
import subprocess
from pathlib import Path

import pytest

from meshnet import Mesh, MeshConfig
from meshnet.errors import ListenError
from meshnet.node.http import Request
from meshnet.node.options import parse_options
from meshnet.node.run import run as run_node
from meshnet.node.status import status_routes, status_text
from meshnet.testing import MemoryPort
from support.node_process import LOCAL, environment, get, node, node_command

PSK = bytes(32)


def test_a_node_serves_its_status_to_strangers(tmp_path: Path) -> None:
    with node(tmp_path, "--nickname", "here", "--status-addr", LOCAL) as served:
        at = served["status"]
        status, kind, body = get(at, "/v1/report")
        assert (status, kind) == (200, "application/json")
        assert json.loads(body)["nickname"] == "here"
        assert get(at, "/healthz") == (200, "text/plain; charset=utf-8", "ok\n")
        status, kind, body = get(at, "/")
        assert (status, kind) == (200, "text/plain; charset=utf-8")
        assert "(here)" in body
        assert get(at, "/metrics")[0] == 404
        assert get(at, "/v1/targets")[0] == 404


def test_nothing_can_be_changed_from_there(tmp_path: Path) -> None:
    with node(tmp_path, "--status-addr", LOCAL) as served:
        for path in ("/v1/connect?peer=a", "/v1/forget?peer=a", "/v1/ping?peer=a"):
            connection = http.client.HTTPConnection(served["status"], timeout=10)
            connection.request("POST", path)
            assert connection.getresponse().status == 404
            connection.close()


def test_one_address_may_serve_both(tmp_path: Path) -> None:
    options = ["--status-addr", LOCAL, "--metrics", LOCAL]
    with node(tmp_path, *options) as served:
        assert served["status"] == served["metrics"]
        assert get(served["status"], "/healthz")[0] == 200
        assert "meshnet_ready 1.0" in get(served["metrics"], "/metrics")[2]


def test_without_a_tap_left_the_node_is_not_ready() -> None:
    async def test() -> None:
        port = MemoryPort()
        async with Mesh(MeshConfig(listen=LOCAL, psk=PSK), port) as mesh:
            healthz = status_routes(mesh)["GET", "/healthz"]
            request = Request("GET", "/healthz", {}, "")
            assert (await healthz(request)).status == 200
            port.close_host()
            with pytest.raises(Exception, match="the host's side is closed"):
                await asyncio.wait_for(mesh.wait_failed(), 5)
            assert (await healthz(request)).status == 503
        port.close()

    asyncio.run(test())


def test_the_screen_of_text_has_every_connection_and_its_reason() -> None:
    async def test() -> None:
        with socket.socket() as bound:
            bound.bind(("127.0.0.1", 0))
            peer = f"127.0.0.1:{bound.getsockname()[1]}"
            async with Mesh(MeshConfig(listen=LOCAL, psk=PSK, peers=[peer])) as mesh:
                while not mesh.report()["connections"][0]["reason"]:
                    await asyncio.sleep(0.01)
                text = status_text(mesh.report())
                assert "1 retrying" in text
                assert f"{peer} retrying Connection refused" in text

    asyncio.run(asyncio.wait_for(test(), 30))


@pytest.mark.parametrize("option", ["--status-addr", "--metrics"])
def test_a_port_in_use_names_the_option(tmp_path: Path, option: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as user:
        options = [option, f"127.0.0.1:{user.getsockname()[1]}"]
        config = parse_options(node_command(tmp_path, *options)[3:], {})
        with pytest.raises(ListenError, match=f"in use; choose another with {option}"):
            asyncio.run(run_node(config, lambda: config))
    assert not (tmp_path / "api.sock").exists()


@pytest.mark.parametrize("option", ["--listen", "--status-addr", "--metrics"])
@pytest.mark.parametrize("address", ["192.0.2.1:0", "[fe80::1%nodevice]:0"])
def test_an_address_that_cannot_be_had_names_the_option(
    tmp_path: Path, option: str, address: str
) -> None:
    config = parse_options(node_command(tmp_path, option, address)[3:], {})
    with pytest.raises(ListenError, match=option):
        asyncio.run(run_node(config, lambda: config))


def test_variables_that_look_misspelt_are_named_in_one_line_of_the_log(tmp_path: Path) -> None:
    process = subprocess.Popen(
        node_command(tmp_path),
        stderr=subprocess.PIPE,
        text=True,
        env={**environment(), "MESHNET_NIKNAME": "x", "MESHNET_PORT": "tcp://10.0.0.1:6783"},
    )
    assert process.stderr is not None
    lines = [process.stderr.readline() for _ in range(3)]
    process.terminate()
    process.communicate(timeout=10)
    [warning] = [line for line in lines if "variables ignored" in line]
    assert 'text="MESHNET_NIKNAME (did you mean MESHNET_NICKNAME?)"' in warning
